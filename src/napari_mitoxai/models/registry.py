"""The names of the architectures, without importing any of them."""

from dataclasses import dataclass

from napari_mitoxai.common import MitoxaiError


@dataclass(frozen=True)
class Architecture:
    """Where an architecture comes from.

    Attributes
    ----------
    library : str
        ``torchvision`` or ``timm``.
    builder : str
        Its name there.
    options : dict
        What the builder is told beside the number of classes.
    """

    library: str
    builder: str
    options: dict[str, bool]


# inception_v3 without its auxiliary head: with it, training returns two outputs
ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": Architecture("torchvision", "vgg16", {}),
    "vgg16_bn": Architecture("torchvision", "vgg16_bn", {}),
    "vgg19": Architecture("torchvision", "vgg19", {}),
    "resnet18": Architecture("torchvision", "resnet18", {}),
    "resnet50": Architecture("torchvision", "resnet50", {}),
    "densenet121": Architecture("torchvision", "densenet121", {}),
    "inception_v3": Architecture("torchvision", "inception_v3", {"aux_logits": False, "init_weights": True}),
    "efficientnet_b0": Architecture("torchvision", "efficientnet_b0", {}),
    "resnet50v2": Architecture("timm", "resnetv2_50", {}),
    "xception": Architecture("timm", "legacy_xception", {}),
    "inception_resnet_v2": Architecture("timm", "inception_resnet_v2", {}),
}


def available() -> list[str]:
    """The names that `create` knows."""
    return list(ARCHITECTURES)


def architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises
    ------
    MitoxaiError
        If the name is not known.
    """
    if name not in ARCHITECTURES:
        raise MitoxaiError(f"There is no architecture {name!r}: choose one of {', '.join(ARCHITECTURES)}.")
    return ARCHITECTURES[name]
