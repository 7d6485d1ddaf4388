"""A layer whose axes can be given names: whitening, and a rotation that turns an axis towards each concept."""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.models.cayley import turned_towards

Activation = Literal["mean", "max", "positive-mean", "pooled-max"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
_BLOCK = 3  # side of the blocks of pooled-max


class ConceptWhitening(nn.Module):
    """Whiten the features of a layer, and turn one axis towards each concept.

    After Chen, Bei and Rudin (2020), Nature Machine Intelligence 2:772, a drop-in for ``BatchNorm2d(features)``: the output
    is ``R W (x - mean)`` at every place, where W is the ZCA whitening of the features over batch and places and R a rotation
    whose row j is the axis of concept j. There is no affine part, as there is none in theirs.

    Parameters
    ----------
    features : int
        Channels of the input.
    eps : float
        Added to every variance: where features are collinear, or a batch has fewer places than features, what is
        whitened there is this small instead of nothing at all.
    momentum : float
        Share of the newest batch in the running statistics, and of the newest examples in what a concept's axis is turned to.
    iterations : int
        0 for the exact whitening; else the Newton-Schulz steps of the published code, which takes 10: they end short of
        the whitening where variances differ much, and the running whitening is then the mean of the batches' whitenings, as published.

    Attributes
    ----------
    rotation : Tensor
        (features, features), orthogonal; row j is the axis of concept j. The identity at the start.
    running_mean, running_covariance : Tensor
        (features,) and (features, features), of the batches that were trained on.
    running_whitening : Tensor
        (features, features), what evaluation whitens with: of the running covariance.
    pull : Tensor
        (features, features), row j: the mean whitened features where concept j was most active lately.

    Raises
    ------
    MitoxaiError
        If there are no features, or the input has another number of them.

    Notes
    -----
    * The whitening of the mean covariance is not the mean of the whitenings: a batch with fewer places than features has
      directions without variance, where its own whitening is 1 / sqrt(eps), about 300. The mean of such whitenings, which the published
      code evaluates with, magnifies what the training never saw; that of the mean covariance does not.
    * The gradient of the whitening is that of the matrix function (Daleckii and Krein), in which no difference of two
      variances is divided by: equal variances do not matter.
    * In evaluation the layer is a 1 x 1 convolution, see `folded`, so that every explanation method has a rule for it.
    """

    rotation: Tensor
    running_mean: Tensor
    running_covariance: Tensor
    running_whitening: Tensor
    pull: Tensor
    num_batches_tracked: Tensor

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.05, iterations: int = 0) -> None:
        super().__init__()
        if features < 1:
            raise MitoxaiError(f"{features} features cannot be whitened: give at least one.")
        self.features, self.eps, self.momentum, self.iterations = features, eps, momentum, iterations
        self.register_buffer("rotation", torch.eye(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_covariance", torch.eye(features))
        self.register_buffer("running_whitening", torch.eye(features))
        self.register_buffer("pull", torch.zeros(features, features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, inputs: Tensor) -> Tensor:
        """From features (N, features, H, W) to axes of the same shape; the first ones are those of the concepts."""
        if inputs.ndim != 4 or inputs.shape[1] != self.features:
            raise MitoxaiError(
                f"The whitening of {self.features} features was given {tuple(inputs.shape)}: it needs (N, {self.features}, H, W)."
            )
        with torch.autocast(
            "cuda" if inputs.is_cuda else "cpu", enabled=False
        ):  # covariances need the digits
            # explanations follow every call, so that none is made that changes nothing
            x = inputs if inputs.dtype == self.rotation.dtype else inputs.to(self.rotation.dtype)
            mean, whitening = self.running_mean, self.running_whitening
            if self.training:
                mean, covariance = moments(x)
                whitening = self._whitening_of(covariance)
                self._follow(mean.detach(), covariance.detach(), whitening.detach())
            weight = self.rotation @ whitening
            return F.conv2d(x, weight[:, :, None, None], -(weight @ mean))

    def folded(self) -> nn.Conv2d:
        """The 1 x 1 convolution that the layer is in evaluation."""
        convolution = nn.Conv2d(self.features, self.features, 1)
        weight = self.rotation @ self.running_whitening
        convolution.weight = nn.Parameter(weight[:, :, None, None].clone(), requires_grad=False)
        convolution.bias = nn.Parameter(-(weight @ self.running_mean), requires_grad=False)
        return convolution.eval()

    @torch.no_grad()
    def collect(self, concept: int, inputs: Tensor, activation: Activation) -> None:
        """Remember what the features look like where a concept's examples activate its axis.

        Parameters
        ----------
        concept : int
            Row of the rotation.
        inputs : Tensor
            (N, features, H, W), what the layer reads of examples of the concept, in evaluation mode.
        activation : str
            How places are chosen, see `places`.
        """
        whitened = torch.einsum(
            "dc,nchw->ndhw", self.running_whitening, inputs - self.running_mean[:, None, None]
        )
        weights = places(torch.einsum("d,ndhw->nhw", self.rotation[concept], whitened), activation)
        newest = torch.einsum("nhw,ndhw->d", weights, whitened) / len(inputs)
        self.pull[concept] = self.momentum * newest + (1 - self.momentum) * self.pull[concept]

    @torch.no_grad()
    def turn(self) -> None:
        """Turn the axes of the concepts towards what was collected, by the published search; the others give way."""
        concepts = int(self.pull.abs().sum(1).nonzero().max()) + 1 if self.pull.any() else 0
        if concepts:
            self.rotation.copy_(turned_towards(self.rotation, self.pull[:concepts]))

    def train(self, mode: bool = True) -> "ConceptWhitening":
        """Leaving the training mode, the whitening is made that of the running covariance."""
        if self.training and not mode:
            self._settle()
        super().train(mode)
        return self

    def extra_repr(self) -> str:
        """Sizes, for printing."""
        how = f", iterations={self.iterations}" if self.iterations else ""
        return f"{self.features}, eps={self.eps}, momentum={self.momentum}{how}"

    def _save_to_state_dict(self, *arguments: Any) -> None:
        if self.training:
            self._settle()
        super()._save_to_state_dict(*arguments)

    @torch.no_grad()
    def _settle(self) -> None:
        if not self.iterations:
            self.running_whitening.copy_(self._whitening_of(self.running_covariance))

    def _whitening_of(self, covariance: Tensor) -> Tensor:
        own = covariance + self.eps * torch.eye(
            self.features, dtype=covariance.dtype, device=covariance.device
        )
        return newton_schulz(own, self.iterations) if self.iterations else inverse_square_root(own)

    @torch.no_grad()
    def _follow(self, mean: Tensor, covariance: Tensor, whitening: Tensor) -> None:
        self.num_batches_tracked += 1
        # at first the mean of all batches: nothing is left of what the layer began with
        share = (1 / self.num_batches_tracked).clamp(min=self.momentum).to(mean.dtype)
        self.running_mean.lerp_(mean, share)
        self.running_covariance.lerp_(covariance, share)
        if self.iterations:
            self.running_whitening.lerp_(whitening, share)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and biased covariance (C, C) of features (N, C, H, W) over batch and places."""
    flat = x.transpose(0, 1).flatten(1)
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    return mean, centred @ centred.T / flat.shape[1]


def inverse_square_root(matrix: Tensor) -> Tensor:
    """The symmetric W with W S W = 1 of a symmetric positive S (C, C), computed in float64; ZCA whitening."""
    root: Tensor = _InverseSquareRoot.apply(matrix)
    return root


class _InverseSquareRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, matrix: Tensor) -> Tensor:
        # not every device has eigenvalues, or float64
        exact = (matrix.cpu() if matrix.device.type == "mps" else matrix).double()
        values, vectors = torch.linalg.eigh(exact)
        roots = values.clamp(min=torch.finfo(torch.float32).tiny).sqrt()
        ctx.save_for_backward(roots, vectors)
        return ((vectors / roots) @ vectors.T).to(matrix)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        roots, vectors = ctx.saved_tensors
        own = gradient.to(roots)
        # divided differences of 1 / sqrt: -1 / (a b (a + b)) for roots a and b, also where they are equal
        differences = -1 / (roots[:, None] * roots * (roots[:, None] + roots))
        inner = vectors.T @ ((own + own.T) / 2) @ vectors
        return (vectors @ (differences * inner) @ vectors.T).to(gradient)


def newton_schulz(matrix: Tensor, iterations: int) -> Tensor:
    """The published approximation of `inverse_square_root`: steps P <- 1.5 P - 0.5 P³ S on S divided by its trace."""
    trace = matrix.trace()
    scaled = matrix / trace
    root = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        root = 1.5 * root - 0.5 * root @ root @ root @ scaled
    return root / trace.sqrt()


def places(axis: Tensor, activation: Activation) -> Tensor:
    """What share each place has in the activation of an axis.

    Parameters
    ----------
    axis : Tensor
        (N, H, W), the axis at every place.
    activation : str
        ``mean`` of all places, ``max``: the strongest one, ``positive-mean``: those above 0, or ``pooled-max``: the strongest of every
        block of 3 x 3, without the rows and columns that fill no block.

    Returns
    -------
    Tensor
        (N, H, W), 1 together in each example (0 where no place is above 0).

    Raises
    ------
    MitoxaiError
        If there is no such way.
    """
    count, height, width = axis.shape
    if activation == "mean":
        return torch.full_like(axis, 1 / (height * width))
    if activation == "positive-mean":
        positive = (axis > 0).to(axis.dtype)
        return positive / positive.sum((1, 2), keepdim=True).clamp(min=1)
    if activation == "max":
        strongest = axis.flatten(1).argmax(1, keepdim=True)
    elif activation == "pooled-max":
        block = min(_BLOCK, height, width)
        _, found = F.max_pool2d(axis[:, None], block, return_indices=True)
        strongest = found.flatten(1)
    else:
        raise MitoxaiError(f"There is no activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}.")
    weights = torch.zeros_like(axis).flatten(1)
    weights.scatter_(1, strongest, 1 / strongest.shape[1])
    return weights.view(count, height, width)


def activations_of(axes: Tensor, activation: Activation) -> Tensor:
    """The activation (N, K) of axes (N, K, H, W): the mean over the places that `places` chooses."""
    flat = axes.flatten(0, 1)
    return (flat * places(flat, activation)).sum((1, 2)).view(axes.shape[:2])
