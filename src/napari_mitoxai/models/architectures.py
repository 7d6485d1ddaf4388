"""Building a classifier for any number of channels, from random or from ImageNet weights."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.common.files import sha256
from napari_mitoxai.models.heads import with_dense_head
from napari_mitoxai.models.mixing import ChannelMixing, WithMixing
from napari_mitoxai.models.registry import Architecture, architecture
from napari_mitoxai.models.whitened import Whitening, whiten

_IMAGENET_CLASSES = 1000


def create(
    name: str,
    channels: int,
    classes: int,
    weights: str | Path | None = None,
    *,
    head: str = "linear",
    adaptation: str = "papers",
    mixing: int = 0,
    whitening: Whitening | None = None,
) -> nn.Module:
    """Build a classifier.

    Parameters
    ----------
    name : str
        One of `available`.
    channels : int
        Planes of the input.
    classes : int
        Outputs (logits).
    weights : None, "imagenet" or path
        Random weights; the library's ImageNet weights, which are downloaded unless they were before; or a local file
        with them: ``.safetensors``, or torchvision's own ``.pth``, whose hash is checked.
    head : str
        ``linear``, the architecture's own classifier, or ``dense``: global mean pooling and the dense layers of Khan et
        al. (2022), see `DenseHead`.
    adaptation : str
        What pretrained kernels of the first layer become. ``papers``: the first three channels keep them and the others
        get their mean, as Khan et al. (2022) do; a single channel is read as if it were copied three times, as their
        single-protein networks do. ``mean-scaled``: every channel gets 3 / channels times their mean, so that activations
        keep their size.
    mixing : int
        Images that the channels are blended to before the network reads them, see `ChannelMixing`; 0 for no blending. The
        network is then `WithMixing`.
    whitening : Whitening, optional
        Batch norms that concept whitening takes the place of.

    Returns
    -------
    torch.nn.Module
        In training mode, on the CPU; input (N, channels, H, W), output (N, classes).

    Raises
    ------
    MitoxaiError
        If the name is not known, the weights cannot be fetched, the file does not fit the architecture, or a layer cannot
        be whitened.
    """
    entry = architecture(name)
    model = _build(entry, classes)
    if weights is not None:
        _load_pretrained(model, _pretrained_state(name, entry, weights), name)
    _widen_first_convolution(model, mixing or channels, adaptation if weights is not None else None)
    if whitening is not None:
        whiten(model, whitening)
    if head == "dense":
        model = with_dense_head(model, entry, classes)
    return WithMixing(ChannelMixing(channels, mixing), model) if mixing else model


def _build(entry: Architecture, classes: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both libraries warn of choices that are made on purpose here
        if entry.library == "timm":
            import timm

            timm_model: nn.Module = timm.create_model(entry.builder, num_classes=classes)
            return timm_model
        import torchvision

        model: nn.Module = torchvision.models.get_model(
            entry.builder, weights=None, num_classes=classes, **entry.options
        )
        return model


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that reads the input: in all our architectures the first one defined."""
    return next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


def _widen_first_convolution(model: nn.Module, channels: int, adaptation: str | None) -> None:
    name, old = first_convolution(model)
    if old.in_channels == channels and adaptation != "mean-scaled":
        return
    same: Any = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation")}
    new = nn.Conv2d(channels, old.out_channels, bias=old.bias is not None, **same)
    with torch.no_grad():
        if adaptation is not None:
            new.weight[:] = _adapted(old.weight, channels, adaptation)
            if old.bias is not None and new.bias is not None:
                new.bias.copy_(old.bias)
        else:
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
            if new.bias is not None:
                nn.init.zeros_(new.bias)
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def _adapted(kernels: Tensor, channels: int, adaptation: str) -> Tensor:
    """Pretrained kernels (out, 3, y, x) for another number of channels."""
    mean = kernels.mean(1, keepdim=True).expand(-1, channels, -1, -1)
    if adaptation == "mean-scaled":
        return mean * (kernels.shape[1] / channels)
    if channels == 1:
        return kernels.sum(1, keepdim=True)
    return torch.cat([kernels[:, :channels], mean[:, kernels.shape[1] :]], dim=1)


def _pretrained_state(name: str, entry: Architecture, weights: str | Path) -> Mapping[str, Tensor]:
    if str(weights) != "imagenet":
        return _state_from_file(name, entry, Path(weights).expanduser())
    try:
        if entry.library == "timm":
            import timm

            return dict(timm.create_model(entry.builder, pretrained=True).state_dict())
        import torchvision

        return dict(
            torchvision.models.get_model_weights(entry.builder).DEFAULT.get_state_dict(
                check_hash=True, progress=False
            )
        )
    except (URLError, OSError, RuntimeError) as error:
        raise MitoxaiError(
            f"The ImageNet weights of {name} cannot be downloaded ({error}): give a local file with them, or start from random weights."
        ) from error


def _state_from_file(name: str, entry: Architecture, path: Path) -> Mapping[str, Tensor]:
    if not path.exists():
        raise MitoxaiError(f"{path} is not there: give imagenet, or the path of a weights file.")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise MitoxaiError(
                f"{path.name} is not a readable safetensors file ({error}): copy it again."
            ) from error
    if not any(sha256(path).startswith(prefix) for prefix in _official_hashes(entry)):
        raise MitoxaiError(
            f"{path.name} is not one of torchvision's own files for {name}, and other pickled files can run code: "
            "give the weights as .safetensors."
        )
    state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _official_hashes(entry: Architecture) -> list[str]:
    """The library ends the names of its files with the first eight digits of their SHA-256."""
    if entry.library != "torchvision":
        return []
    import torchvision

    return [
        str(weights.url).rsplit("-", 1)[-1].removesuffix(".pth")
        for weights in torchvision.models.get_model_weights(entry.builder)
    ]


def _load_pretrained(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load everything but the last layer, which has other classes."""
    own = model.state_dict()
    wrong = [
        key
        for key, value in own.items()
        if (key not in state and not key.endswith("num_batches_tracked"))
        or (key in state and state[key].shape != value.shape and state[key].shape[0] != _IMAGENET_CLASSES)
    ]
    if wrong:
        raise MitoxaiError(
            f"The weights do not fit {name} ({wrong[0]} is missing or of another shape): give those of {name}."
        )
    fitting = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    model.load_state_dict(fitting, strict=False)
