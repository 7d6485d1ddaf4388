"""Which batch norms of a network concept whitening takes the place of."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.models.whitening import Activation, ConceptWhitening

PLACES_A_FEATURE = 4  # in a batch, below which a covariance is mostly noise

# where Chen, Bei and Rudin (2020) whiten, beside the batch norms of VGG: the first of a block, and those between dense blocks
_PUBLISHED = re.compile(r"(layer\d+\.\d+\.bn1|features\.\d+|features\.(norm0|transition\d\.norm|norm5))")


@dataclass(frozen=True)
class Whitening:
    """What of a network is whitened, and towards which concepts its axes are turned.

    Attributes
    ----------
    layers : tuple of str
        The batch norms that `ConceptWhitening` stands in place of, by their names in the architecture.
    concepts : tuple of str
        Their names; concept j is axis j of every layer.
    activation : str
        What counts as the activation of an axis, see `places`.
    iterations : int
        0 for the exact whitening, else the steps of the published iteration.
    """

    layers: tuple[str, ...]
    concepts: tuple[str, ...]
    activation: Activation = "pooled-max"
    iterations: int = 0


def whiten(network: nn.Module, whitening: Whitening) -> None:
    """Put concept whitening in place of batch norms of a network, in place.

    Parameters
    ----------
    network : torch.nn.Module
        As the libraries build it.
    whitening : Whitening
        Which.

    Raises
    ------
    MitoxaiError
        If there is no such batch norm, or it has fewer features than there are concepts.
    """
    possible = batch_norms(network)
    for name in whitening.layers:
        if name not in possible:
            names = ", ".join(possible) or "none, so that this architecture cannot be whitened"
            raise MitoxaiError(f"The network has no batch norm {name!r}: it has {names}.")
        features = possible[name]
        if features < len(whitening.concepts):
            raise MitoxaiError(
                f"{name} has {features} features and there are {len(whitening.concepts)} concepts: every concept needs an axis, "
                "choose another layer or fewer concepts."
            )
        parent, _, child = name.rpartition(".")
        setattr(
            network.get_submodule(parent), child, ConceptWhitening(features, iterations=whitening.iterations)
        )


def batch_norms(network: nn.Module) -> dict[str, int]:
    """The features of every batch norm that may be whitened, by its name, in the order of the network."""
    # timm's batch norms are subclasses with an activation in them
    return {
        name: module.num_features
        for name, module in network.named_modules()
        if type(module) is nn.BatchNorm2d
    }


def whitened_layers(network: nn.Module) -> dict[str, ConceptWhitening]:
    """The whitened layers of a network by their names in it."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ConceptWhitening)}


def places_of(network: nn.Module, input_size: int, channels: int) -> dict[str, int]:
    """Places (height times width) of every batch norm and whitened layer for one input of this side, from shapes alone.

    Parameters
    ----------
    network : torch.nn.Module
        On the device ``meta``.
    input_size : int
        Side of the input.
    channels : int
        Planes of the input.
    """
    found: dict[str, int] = {}
    watched = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d | ConceptWhitening)
    }

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = inputs[0].shape[2] * inputs[0].shape[3]

        return watched[name].register_forward_pre_hook(note)

    handles = [watch(name) for name in watched]
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, channels, input_size, input_size, device="meta"))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def best_layer(network: nn.Module, input_size: int, channels: int, batch_size: int) -> str:
    """The layer to whiten where none is named: of the published places, the deepest with enough places in a batch.

    Parameters
    ----------
    network : torch.nn.Module
        Not whitened, on the device ``meta``.
    input_size, channels, batch_size : int
        Of the training.

    Returns
    -------
    str
        The deepest that has `PLACES_A_FEATURE` places for every feature; where none has, the one that has most.

    Raises
    ------
    MitoxaiError
        If the network has no batch norm at the published places.
    """
    features = {name: count for name, count in batch_norms(network).items() if _PUBLISHED.fullmatch(name)}
    if not features:
        raise MitoxaiError(
            "This architecture has no batch norm that concept whitening is known for: choose resnet18, resnet50, vgg16_bn or "
            "densenet121, or name a layer with --whitened-layer."
        )
    places = places_of(network, input_size, channels)
    ratios = {name: places[name] * batch_size / count for name, count in features.items()}
    enough = [name for name, ratio in ratios.items() if ratio >= PLACES_A_FEATURE]
    return enough[-1] if enough else max(ratios, key=lambda name: ratios[name])


def too_few_places(features: int, places: int, batch_size: int, name: str) -> str | None:
    """What to say of a layer that has too few places in a batch to whiten its features, or None."""
    if places * batch_size >= PLACES_A_FEATURE * features:
        return None
    return (
        f"{name} has {features} features, and a batch of {batch_size} shows it {places * batch_size} places: what is whitened is mostly "
        "noise, and calls of new subjects suffer. Choose an earlier layer, larger batches or a larger input."
    )
