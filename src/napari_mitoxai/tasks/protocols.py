"""Training settings by the name of where they come from; every one of them can be changed."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """A set of training settings.

    Attributes
    ----------
    title : str
        For a menu.
    description : str
        What it is, and where it differs from its source.
    values : dict
        By field of the training parameters; what is not named stays at its default.
    needs_weights : bool
        Whether it starts from ImageNet weights, which a user has to ask for: nothing is downloaded silently.
    """

    title: str
    description: str
    values: dict[str, Any] = field(default_factory=dict)
    needs_weights: bool = False


_KHAN = {
    "split": "patch-random",
    "base": "frozen",
    "head": "dense",
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "schedule": "constant",
    "monitor": "accuracy",
    "draw": "all",
    "jitter": 0.0,
    "batch_size": 2,
    "patch_size": 512,
    "test_share": 0.1,
    "validation_share": 0.1,
}

PROTOCOLS: dict[str, Protocol] = {
    "small": Protocol(
        "a small network",
        "A small network from random weights on patches averaged to 128 px, tested on the subjects that are held out: the defaults.",
    ),
    "subject": Protocol(
        "every subject tested",
        "The small network, tested on every subject by models that never saw it, and then trained on all of them.",
        {"split": "subject", "folds": "leave-one-out"},
    ),
    "S1": Protocol(
        "Khan et al. 2022",
        "Patches of 512 px, a frozen ImageNet base with dense layers, Adam, patience 200 on validation accuracy, patches split "
        "80:10:10 at random.",
        {
            **_KHAN,
            "architecture": "resnet50",
            "input_size": 512,
            "epochs": 400,
            "patience": 200,
            "augmentation": ["flips", "zoom", "shear"],
        },
        needs_weights=True,
    ),
    "S2": Protocol(
        "Pilla 2022",
        "Patches of 512 px reduced to 224 px, a frozen ImageNet base with dense layers, 100 epochs, patience 30, patches split "
        "80:10:10 at random; rotated, mirrored and zoomed views are computed once, not every epoch.",
        {
            **_KHAN,
            "architecture": "vgg16",
            "input_size": 224,
            "epochs": 100,
            "patience": 30,
            "augmentation": ["rotation", "flips", "zoom"],
        },
        needs_weights=True,
    ),
    "S3": Protocol(
        "Brima & Atemkeng 2024",
        "All weights trained from random ones by SGD with momentum 0.939 and a rate that decays by 3e-4 a step, 20 epochs, "
        "patches split 70:30 at random without validation.",
        {
            "split": "patch-random",
            "architecture": "densenet121",
            # 450 px is averaged exactly to the 225 px of the source
            "patch_size": 450,
            "input_size": 225,
            "optimizer": "sgd",
            "learning_rate": 1e-3,
            "momentum": 0.9394867962846013,
            "weight_decay": 0.0,
            "schedule": "inverse-time",
            "decay": 3e-4,
            "batch_size": 32,
            "epochs": 20,
            "draw": "all",
            "jitter": 0.0,
            "augmentation": [],
            "test_share": 0.3,
            "validation_share": 0.0,
        },
    ),
}
