"""Starting a training from a run, without bringing along what held-out subjects taught it. Imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.imc import Panel
from napari_mitoxai.models import Checkpoint, load_checkpoint
from napari_mitoxai.models.whitened import whitened_layers
from napari_mitoxai.tasks.train import TrainParameters


def start_from(
    parameters: TrainParameters,
    network: torch.nn.Module,
    panel: Panel,
    split: Mapping[str, Sequence[str]],
) -> None:
    """Give a new network the weights of a run; layers that are whitened now start as they are.

    Of a run with folds the model of the fold is taken that was tested on the same subjects.

    Parameters
    ----------
    parameters : TrainParameters
        With ``start_from``.
    network : torch.nn.Module
        Changed in place.
    panel : Panel
        What it reads.
    split : dict
        Subjects by use, of the training that begins.

    Raises
    ------
    MitoxaiError
        If the run is of another kind of network, or was trained on a subject that is held out now.
    """
    assert parameters.start_from is not None
    # a split of patches has the same subjects on both sides, and says so
    checkpoint = _unaware_of(
        parameters.start_from, [subject for subject in split["test"] if subject not in split["train"]]
    )
    wanted = {
        "architecture": parameters.architecture, "head": parameters.head, "mixing": parameters.mixing,
        "channels": panel.targets,
    }  # fmt: skip
    there = {
        "architecture": checkpoint.architecture, "head": checkpoint.head, "mixing": checkpoint.mixing,
        "channels": checkpoint.panel.targets,
    }  # fmt: skip
    for name, value in wanted.items():
        if there[name] != value:
            raise MitoxaiError(
                f"{parameters.start_from} has {name} {_said(there[name])} and this training {_said(value)}: "
                "start from a run with the same settings."
            )
    fresh = tuple(f"{name}." for name in whitened_layers(network))
    own = network.state_dict()
    kept = {
        key: value for key, value in checkpoint.state.items() if key in own and value.shape == own[key].shape
    }
    missing = [key for key in own if key not in kept and not key.startswith(fresh)]
    if missing:
        raise MitoxaiError(
            f"{parameters.start_from} does not fit this training ({missing[0]}): it has other classes or other whitened layers."
        )
    network.load_state_dict({**own, **kept})


def _unaware_of(run: Path, held_out: Sequence[str]) -> Checkpoint:
    """The run, or its fold, that was neither trained nor stopped on held-out subjects."""
    for folder in (run, *sorted((run / "folds").glob("[0-9]*"))):
        checkpoint = load_checkpoint(folder)
        seen = {*checkpoint.split.get("train", []), *checkpoint.split.get("validation", [])}
        if seen.isdisjoint(held_out):
            return checkpoint
        known = sorted(seen.intersection(held_out))
    raise MitoxaiError(
        f"{run} was trained on {', '.join(known)}, held out here: its figures would be those of subjects it knows. Start from "
        "a run that held the same subjects out."
    )


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
