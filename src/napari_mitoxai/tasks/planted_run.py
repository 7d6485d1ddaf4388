"""One network of the planted truth: simulate, train, explain what it gets right, score. Imports torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from napari_mitoxai.cohort import patch_corners, read_patches, tissue_mask
from napari_mitoxai.common import CancelToken, Progress, ProgressCallback
from napari_mitoxai.common.files import read_json, write_json, written_beside
from napari_mitoxai.explain import attribute_many, resolve
from napari_mitoxai.explain.filling import prepared
from napari_mitoxai.imc import read_labels, read_section
from napari_mitoxai.models import CancellingMode, Checkpoint, load_checkpoint, pick_device
from napari_mitoxai.simulate import SIGNALS, cohort
from napari_mitoxai.tasks.planted import COHORT, LEAST_TRUTH, OVERLAP, PlantedParameters
from napari_mitoxai.tasks.train import BEGUN_FILE, CONFIG_FILE, TrainParameters
from napari_mitoxai.tasks.train import run as train
from napari_mitoxai.training.evaluation import predict
from napari_mitoxai.trust.planted import chance_of, score_patch

MODEL_FILE, SCORES_FILE = "model.json", "scores.csv"
_PATCH = 128
_BATCH = 4  # many small steps: there is little time, and noise does no harm
_JITTER = 0.2  # there are many subjects, each with gains of its own
_HELD_OUT = 2  # subjects a group


@dataclass(frozen=True)
class PlantedModel:
    """One network, and what it may be asked about.

    Attributes
    ----------
    signal : str
    seed : int
    epochs : int
        For how many it was trained.
    accuracy : float
        Mean over the two classes of the share of held-out patches called right.
    learnt : bool
        Whether that reaches what was asked for.
    held_out, right, confident, explained : int
        Held-out patches of patients that show the signal; of these those called right, those with confidence, and those explained.
    refused : dict
        Methods that have no meaning for the network, and why.
    """

    signal: str
    seed: int
    epochs: int
    accuracy: float
    learnt: bool
    held_out: int
    right: int
    confident: int
    explained: int
    refused: dict[str, str]


def one_model(
    parameters: PlantedParameters,
    signal: str,
    seed: int,
    folder: Path,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> tuple[PlantedModel, pd.DataFrame]:
    """Make one network and score its maps, or go on with what an earlier call left in the folder.

    Parameters
    ----------
    parameters : PlantedParameters
    signal : str
    seed : int
        Draws the cohort and the network.
    folder : Path
        Gets ``cohort/``, ``run/``, ``scores.csv`` and, when it is finished, ``model.json``.
    progress, cancel

    Returns
    -------
    PlantedModel
    pandas.DataFrame
        A row a patch and method; empty if the network did not learn the signal, or there is no patch to explain.

    Raises
    ------
    Cancelled
        If it was cancelled; the same call goes on.
    """
    known = _known(folder, parameters.epochs)
    methods = parameters.all_methods()
    if known is not None:
        model, scores = known
        done = set(model.refused) | (set() if scores.empty else set(scores["method"]))
        methods = [name for name in methods if name not in done]
        if not methods or not model.explained:
            return known
        parameters = parameters.model_copy(update={"epochs": model.epochs})
    trained = _trained(parameters, signal, seed, folder, progress, cancel)
    checkpoint = load_checkpoint(trained)
    device = pick_device(parameters.device)
    network = prepared(checkpoint, device)
    candidates = _candidates(folder, checkpoint, device, network, cancel)
    accuracy = _balanced(candidates)
    learnt = accuracy >= parameters.learnt
    shown = [patch for patch in candidates if patch.truth is not None]
    confident = [patch for patch in shown if patch.probability >= parameters.confidence]
    chosen = _drawn(confident, parameters.patches, seed) if learnt else []
    refused: dict[str, str] = {} if known is None else dict(known[0].refused)
    rows: list[dict[str, Any]] = []
    for number, patch in enumerate(chosen):
        detail = f"patch {number + 1} of {len(chosen)}, {len(methods)} methods"
        progress(Progress("Explaining", number, len(chosen), detail))
        found, not_here = _explained(patch, network, device, methods, checkpoint, signal, cancel)
        refused |= not_here
        rows += [{"signal": signal, "seed": seed, **row} for row in found]
    progress(Progress("Explaining", len(chosen), len(chosen)))
    scores = pd.DataFrame(rows)
    if known is not None and not known[1].empty:
        scores = pd.concat([known[1], scores], ignore_index=True)
    model = PlantedModel(
        signal, seed, checkpoint.metrics["epochs"], accuracy, learnt, len(shown), sum(patch.probability > 0.5 for patch in shown), len(confident),
        len(chosen), refused,
    )  # fmt: skip
    with written_beside(folder / SCORES_FILE, overwrite=True) as partial:
        scores.to_csv(partial, index=False)
    write_json(folder / MODEL_FILE, asdict(model))
    return model, scores


def _known(folder: Path, epochs: int) -> tuple[PlantedModel, pd.DataFrame] | None:
    """What an earlier call finished; not a network that learnt nothing and may now be trained for longer."""
    if not (folder / MODEL_FILE).is_file():
        return None
    model = PlantedModel(**read_json(folder / MODEL_FILE))
    if not model.explained and epochs > model.epochs:
        return None
    scores = pd.read_csv(folder / SCORES_FILE) if model.explained else pd.DataFrame()
    return model, scores


def _trained(
    parameters: PlantedParameters,
    signal: str,
    seed: int,
    folder: Path,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> Path:
    """The run of a network, trained unless it is there."""
    run, table = folder / "run", folder / COHORT
    if _is_finished(run, parameters.epochs):
        return run
    if not table.is_file():
        # one seed is one set of tissues: between signals nothing else differs
        count = parameters.subjects_per_group
        cohort(
            table.parent,
            count,
            signal,
            parameters.size,
            seed,
            overwrite=True,
            progress=progress,
            cancel=cancel,
        )
    trained = train(
        TrainParameters(
            cohort=_divided(table), out=run, patch_size=_PATCH, input_size=_PATCH, overlap=OVERLAP,
            epochs=parameters.epochs, batch_size=_BATCH, jitter=_JITTER, seed=seed, device=parameters.device,
            overwrite=(run / CONFIG_FILE).is_file() and not (run / BEGUN_FILE).is_file(),
        ),
        progress,
        cancel,
    )  # fmt: skip
    if trained.cancelled:
        cancel.check()
    return run


def _is_finished(run: Path, epochs: int) -> bool:
    """Whether a network was trained so long, to its end."""
    config = run / CONFIG_FILE
    if not config.is_file() or (run / BEGUN_FILE).is_file():
        return False
    return bool(read_json(config)["parameters"]["epochs"] == epochs)


def _divided(table: Path) -> Path:
    """The same table with a column that holds out the last two subjects of each group.

    Nobody validates: two subjects say too little to choose an epoch by, and the last one is as good.
    """
    divided = table.with_name("divided.csv")
    frame = pd.read_csv(table)
    last = frame.groupby("group")["subject"].tail(_HELD_OUT)
    frame["split"] = np.where(frame["subject"].isin(last), "test", "train")
    with written_beside(divided, overwrite=True) as partial:
        frame.to_csv(partial, index=False)
    return divided


@dataclass(frozen=True)
class _Patch:
    """A held-out patch: what the network reads, and what it says."""

    subject: str
    corner: tuple[int, int]
    inputs: NDArray[np.float32]  # (C, Y, X), scaled
    label: int
    probability: float  # of a patient
    truth: NDArray[np.bool_] | None  # where it shows the signal


def _candidates(
    folder: Path,
    checkpoint: Checkpoint,
    device: torch.device,
    network: torch.nn.Module,
    cancel: CancelToken,
) -> list[_Patch]:
    """The patches of the subjects that were held out."""
    found = []
    table = folder / COHORT
    geometry = checkpoint.geometry
    side = geometry.patch_size
    for subject in checkpoint.split["test"]:
        section = read_section(table.parent / f"{subject}.ome.tiff")
        truth = read_labels(table.parent / "truth" / f"{subject}.tiff") > 0
        corners = patch_corners(section.shape, geometry, tissue_mask(section), overlap=OVERLAP)
        planes = checkpoint.channels_in(section)
        inputs = checkpoint.scaling(np.stack(list(read_patches(section, planes, corners, geometry))))
        probabilities = predict(network, inputs, device=device, cancel=cancel)[:, -1]
        for (y, x), values, probability in zip(corners, inputs, probabilities, strict=True):
            own = truth[y : y + side, x : x + side]
            shows = LEAST_TRUTH <= own.mean() < 1
            found.append(
                _Patch(
                    subject,
                    (y, x),
                    values,
                    int(subject.startswith("P")),
                    float(probability),
                    own if shows else None,
                )
            )
    return found


def _balanced(patches: Sequence[_Patch]) -> float:
    """Mean over the classes of the share of patches called right."""
    right = [
        np.mean([(patch.probability > 0.5) == bool(label) for patch in patches if patch.label == label])
        for label in (0, 1)
    ]
    return float(np.mean(right))


def _drawn(patches: Sequence[_Patch], number: int, seed: int) -> list[_Patch]:
    """So many patches at random, from each subject in turn."""
    rng = np.random.default_rng([seed, 7])
    by_subject: dict[str, list[_Patch]] = {}
    for index in rng.permutation(len(patches)):
        by_subject.setdefault(patches[index].subject, []).append(patches[index])
    turns = [(turn, own[turn]) for own in by_subject.values() for turn in range(len(own))]
    turns.sort(key=lambda each: each[0])
    return [patch for _, patch in turns[:number]]


def _explained(
    patch: _Patch,
    network: torch.nn.Module,
    device: torch.device,
    methods: Sequence[str],
    checkpoint: Checkpoint,
    signal: str,
    cancel: CancelToken,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The scores of a patch, a row a method; and which methods have no meaning for the network."""
    assert patch.truth is not None
    inputs = torch.from_numpy(patch.inputs[None]).to(device, memory_format=torch.channels_last)
    with CancellingMode(cancel):
        answers = attribute_many(network, inputs, list(methods), len(checkpoint.classes) - 1, keep_going=True)
    targets = checkpoint.panel.targets
    carriers = SIGNALS[signal].channels
    right = [targets.index(name) for name in carriers] if len(carriers) < len(targets) else None
    rows = []
    for label, values in answers.maps.items():
        entry, settings = resolve(label)
        relevance = np.asarray(values[0].float().cpu().numpy())
        own = right if entry.is_per_channel(settings) else None
        chance = chance_of(patch.truth, len(targets), own)
        rows.append(
            {
                "subject": patch.subject,
                "y_px": patch.corner[0],
                "x_px": patch.corner[1],
                "probability": patch.probability,
                "method": label,
                **score_patch(relevance, patch.truth, own),
                **{f"chance_{name}": value for name, value in chance.items()},
            }
        )
    return rows, answers.refused
