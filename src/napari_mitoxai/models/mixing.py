"""Blending the channels to one image before a network, with weights that tell which channels matter."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError


class ChannelMixing(nn.Module):
    """Blend channels with non-negative weights that are trained with the network behind it.

    After DCMIX (Siegismund, Wieser, Heyse and Steigele, GCPR 2023, arXiv 2308.16637): image ``k`` is the sum of the
    channels, each with the weight ``|w|`` of its own; no bias. Neither the full text nor code of the authors was at hand:
    that the weights are not negative, that there is one a channel, that the default is a single image, and that the
    weights are the importance is theirs; the exact form is not, see Notes.

    Parameters
    ----------
    channels : int
        Planes of the input.
    images : int
        Planes of the output. Every image has ``channels`` weights of its own.

    Attributes
    ----------
    weight : torch.nn.Parameter
        (images, channels), of any sign: its magnitude is what blends. Starts at 1 / channels, the mean of all channels.

    Raises
    ------
    MitoxaiError
        If there is no channel or no image.

    Notes
    -----
    * A rectified weight gets no gradient once it is negative, so that its channel is lost for good. A magnitude does, and
      it can be exactly 0, unlike a softplus. Only a weight set to exactly 0 stays there.
    * The size of all weights together means nothing, as the network behind can undo it: `importance` is their share.
    * A weight also depends on the range of its channel. Scale the channels before, as our training does, or read
      `scaled_importance`.
    * A blend cannot subtract a channel, and of channels that show the same any share of the weight is as good as any other.
    * The blend is a 1 x 1 convolution, so that every explanation method finds an operation that it has a rule for. A rule
      that spreads relevance evenly over what the first layer reads (the flat presets of LRP) ignores its weights.
    """

    def __init__(self, channels: int, images: int = 1) -> None:
        super().__init__()
        if channels < 1 or images < 1:
            raise MitoxaiError(
                f"{channels} channels cannot be mixed to {images} images: give at least one of each."
            )
        self.weight = nn.Parameter(torch.full((images, channels), 1 / channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """From channels (N, channels, H, W) to blended images (N, images, H, W)."""
        return F.conv2d(inputs, self.blend[:, :, None, None])

    @property
    def blend(self) -> Tensor:
        """The non-negative weights (images, channels)."""
        return self.weight.abs()

    @property
    def importance(self) -> Tensor:
        """The share (channels,) that each channel has in the blend, 1 together; of several images the mean."""
        return _shares(self.blend.detach())

    def scaled_importance(self, deviation: Tensor) -> Tensor:
        """The share that each channel has in what varies: of weight x standard deviation.

        Parameters
        ----------
        deviation : Tensor
            (channels,), standard deviation of each channel as the layer reads it.

        Returns
        -------
        Tensor
            (channels,), 1 together.
        """
        return _shares(self.blend.detach() * deviation)

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        images, channels = self.weight.shape
        return f"channels={channels}, images={images}"


def _shares(weights: Tensor) -> Tensor:
    """Mean over images of each channel's share; an image without any weight counts for nothing."""
    totals = weights.sum(1, keepdim=True)
    used = totals[:, 0] > 0
    if not used.any():
        return torch.zeros_like(weights[0])
    return (weights[used] / totals[used]).mean(0)


class WithMixing(nn.Module):
    """A network behind a channel mixing.

    Attributes
    ----------
    mixing : ChannelMixing
        From the channels to the images.
    network : torch.nn.Module
        From the images to logits.
    """

    def __init__(self, mixing: ChannelMixing, network: nn.Module) -> None:
        super().__init__()
        self.mixing, self.network = mixing, network

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes)."""
        logits: Tensor = self.network(self.mixing(inputs))
        return logits
