"""The ways to ask which channels matter to a model, each as a column of values, one a channel. Imports torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_mitoxai.cohort import TABLE, Cohort, Member, read_cohort
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.common.files import read_json
from napari_mitoxai.explain import open_maps
from napari_mitoxai.fibres.subjects import by_subject
from napari_mitoxai.imc import find_sections, read_section
from napari_mitoxai.models import Checkpoint, load_checkpoint, pick_device
from napari_mitoxai.models.checkpoint import CHECKPOINT_FILE
from napari_mitoxai.tasks.inside import refuse_without_fibres
from napari_mitoxai.tasks.train import METRICS_FILE
from napari_mitoxai.training import PatchSet, gather_patches, predict
from napari_mitoxai.training.channel_shares import shares_over
from napari_mitoxai.trust import rank_correlations
from napari_mitoxai.trust.channel_effects import channel_effects, from_others, in_disorder, occluded

if TYPE_CHECKING:
    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.tasks.channels import ChannelsParameters

Row = dict[str, Any]
WEIGHT, SCALED = "mixing weight", "mixing weight x SD"
OCCLUSION, PERMUTATION, DISORDER = "occlusion", "permutation", "pixel permutation"
RELEVANCE, ALONE_LEFT_OUT, ALONE_RANDOM = "relevance", "alone, subjects left out", "alone, patches at random"
_HELD_OUT = ("test", "new")


def ways_of(
    parameters: "ChannelsParameters", progress: ProgressCallback, cancel: CancelToken
) -> tuple[pd.DataFrame, list[str]]:
    """Ask in every way that there is something to ask by.

    Returns
    -------
    pandas.DataFrame
        A row a way and channel: ``way, channel, rank`` (1 the largest value), ``value``, ``sd`` and ``n`` (over subjects,
        models or seeds), ``unit`` (what the value is), ``accuracy`` (the share of patches no longer called right, where
        a channel was taken away).
    list of str
        What a reader should know.
    """
    models = models_of(parameters.run)
    panel = models[0].panel.targets
    rows, notes = _shares(models, parameters.run)
    found, said = _without(parameters, models, progress, cancel)
    rows += found
    notes += said
    found, said = _relevance(parameters.maps, models, cancel)
    rows += found
    notes += said
    if parameters.sweep is not None:
        rows += _alone(parameters.sweep, panel)
    table = pd.DataFrame(rows, columns=["way", "channel", "value", "sd", "n", "unit", "accuracy"])
    ranks = table.groupby("way", sort=False)["value"].rank(ascending=False, method="average")
    table.insert(2, "rank", ranks)
    return table, notes


def correlate(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation between every pair of ways (ways, ways), over the channels that both have."""
    ways = list(dict.fromkeys(table["way"]))
    wide = table.pivot_table(index="channel", columns="way", values="value", sort=False)[ways]
    matrix = pd.DataFrame(np.nan, index=ways, columns=ways)
    for a in ways:
        for b in ways:
            both = wide[[a, b]].dropna() if a != b else wide[[a, a]].dropna()
            if len(both) > 2:
                matrix.loc[a, b] = rank_correlations(both.to_numpy(float).T)[0, 1]
    return matrix


def by_chance(channels: int) -> float:
    """The magnitude of Spearman's correlation that one order in twenty of so many channels reaches by chance (t approximation)."""
    if channels < 4:
        return 1.0
    from scipy.stats import t

    reached = float(t.ppf(0.975, channels - 2))
    return float(reached / np.sqrt(channels - 2 + reached**2))


def models_of(run: Path) -> list[Checkpoint]:
    """The models of the folds of a run, which each leave some subjects out; or its own, where it has none.

    Raises
    ------
    MitoxaiError
        If there is none.
    """
    folds = sorted(folder.parent for folder in run.expanduser().glob(f"folds/*/{CHECKPOINT_FILE}"))
    return [load_checkpoint(folder) for folder in folds] or [load_checkpoint(run)]


# --- what the blend says ---------------------------------------------------------------------------------------------


def _shares(models: Sequence[Checkpoint], run: Path) -> tuple[list[Row], list[str]]:
    if not models[0].mixing:
        return [], []
    known = [model.metrics["mixing"]["channels"] for model in models if "mixing" in model.metrics]
    if len(known) < len(models):  # imported: the deviations of what it was trained on are not known
        shares = [model.model().mixing.importance.tolist() for model in models]  # type: ignore[union-attr, operator]
        rows = [
            _row(WEIGHT, channel, [own[place] for own in shares], "share of the weights")
            for place, channel in enumerate(models[0].panel.targets)
        ]
        return rows, [
            f"{run.name} does not tell how far its channels vary: its weights are given as they are."
        ]
    rows = []
    for way, key, unit in (
        (WEIGHT, "weight", "share of the weights"),
        (SCALED, "weight_x_sd", "share of weight x SD"),
    ):
        for channel in [row["channel"] for row in shares_over(known)]:
            values = [next(row[key] for row in own if row["channel"] == channel) for own in known]
            rows.append(_row(way, channel, values, unit))
    return rows, []


# --- taking channels away --------------------------------------------------------------------------------------------


def _without(
    parameters: "ChannelsParameters",
    models: Sequence[Checkpoint],
    progress: ProgressCallback,
    cancel: CancelToken,
) -> tuple[list[Row], list[str]]:
    first = models[0]
    refuse_without_fibres(first, parameters.run, parameters.mask)
    cohort, notes = _cohort(parameters.data)
    if unknown := sorted({member.group for member in cohort.members if member.group} - set(first.classes)):
        raise MitoxaiError(
            f"{parameters.data.name} has the group {', '.join(unknown)}, and {parameters.run.name} tells {' from '.join(first.classes)}: "
            "give sections of these groups."
        )
    trained = first.provenance.get("parameters", {})
    patches = gather_patches(
        cohort, first.geometry, channels=first.panel.targets, masks=parameters.mask,
        one_a_fibre=trained.get("crops") == "fibres", progress=progress, cancel=cancel,
    )  # fmt: skip
    patches = _evenly(patches, parameters.most_patches)
    groups = cohort.groups
    asked = [[subject for subject in groups if model.use_of(subject) in _HELD_OUT] for model in models]
    if not any(asked):
        asked = [list(groups) for _ in models]
        notes.append(
            "The model has seen every one of these subjects: what it loses may be what it knows them by. Give subjects that were held out."
        )
    elif seen := [subject for subject in groups if not any(subject in own for own in asked)]:
        notes.append(
            f"{', '.join(seen)}: not asked about, as the model was trained on {'it' if len(seen) == 1 else 'them'}."
        )
    ways = [OCCLUSION, DISORDER, *([PERMUTATION] if len(set(groups.values())) > 1 else [])]
    if PERMUTATION not in ways:
        notes.append(
            "Channels were not exchanged between patches, which takes a cohort with at least two groups."
        )
    found: dict[tuple[str, str], list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for number, (model, subjects) in enumerate(zip(models, asked, strict=True)):
        if not subjects:
            continue
        told = _told(progress, number, len(models))
        for key, lost in _of_model(model, patches, subjects, groups, ways, parameters, told, cancel):
            found.setdefault(key, []).append(lost)
    rows = []
    for way in ways:
        losses = {subject: found[way, subject] for subject in groups if (way, subject) in found}
        # a subject that several models were asked about counts once
        means = np.array([np.mean([own[0] for own in each], axis=0) for each in losses.values()])
        accuracies = np.array([np.mean([own[1] for own in each], axis=0) for each in losses.values()])
        for place, channel in enumerate(first.panel.targets):
            row = _row(way, channel, means[:, place].tolist(), "drop in probability")
            rows.append(row | {"accuracy": float(accuracies[:, place].mean())})
    if any(
        model.use_of(subject) == "new" for model, own in zip(models, asked, strict=True) for subject in own
    ):
        notes.append("Some of these subjects were not in the model's cohort; they were taken as held out.")
    return rows, notes


def _of_model(
    model: Checkpoint, patches: PatchSet, subjects: list[str], groups: dict[str, str], ways: list[str],
    parameters: "ChannelsParameters", progress: ProgressCallback, cancel: CancelToken,
) -> "Iterable[tuple[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.float64]]]]":  # fmt: skip
    """The losses (C,) in probability and accuracy of each way and subject."""
    network, device = model.model(), pick_device(parameters.device)
    own = patches.of(subjects)
    inputs = model.scaling(own.counts)
    before = predict(network, inputs, batch_size=parameters.batch_size, device=device, cancel=cancel)
    labels = _labels(own, groups, model.classes, before)
    everybody = model.scaling(patches.counts) if PERMUTATION in ways else inputs
    for way in ways:
        change: Any = {OCCLUSION: occluded, DISORDER: in_disorder}.get(way)
        if way == PERMUTATION:
            donors = _balanced(patches)
            change = [from_others(everybody[donors, channel]) for channel in range(inputs.shape[1])]
        effects = channel_effects(
            network, inputs, labels, change, before=before, repeats=1 if way == OCCLUSION else parameters.repeats,
            seed=parameters.seed, batch_size=parameters.batch_size, device=device, progress=progress, cancel=cancel,
        )  # fmt: skip
        for subject in subjects:
            mine = own.subjects == subject
            if mine.any():
                yield (
                    (way, subject),
                    (effects.probability[:, mine].mean(1), effects.accuracy[:, mine].mean(1)),
                )


def _labels(
    patches: PatchSet, groups: dict[str, str], classes: list[str], before: NDArray[np.float32]
) -> NDArray[np.int64]:
    """The class of each patch: its subject's group, or what the model calls a subject whose group is not told."""
    labels = np.zeros(len(patches), np.int64)
    for subject in dict.fromkeys(patches.subjects.tolist()):
        own = patches.subjects == subject
        group = groups[subject]
        labels[own] = classes.index(group) if group else int(before[own].mean(0).argmax())
    return labels


def _balanced(patches: PatchSet) -> NDArray[np.intp]:
    """Numbers of patches in which every class, and every subject in it, takes the same share, as nearly as whole numbers can."""
    sizes = {
        subject: int((patches.subjects == subject).sum())
        for subject in dict.fromkeys(patches.subjects.tolist())
    }
    label = {subject: int(patches.labels[patches.subjects == subject][0]) for subject in sizes}
    peers = {subject: sum(label[other] == label[subject] for other in sizes) for subject in sizes}
    wanted = max(size * peers[subject] for subject, size in sizes.items())
    chosen = [
        np.resize(np.flatnonzero(patches.subjects == subject), max(wanted // peers[subject], 1))
        for subject in sizes
    ]
    return np.concatenate(chosen)


def _evenly(patches: PatchSet, most: int) -> PatchSet:
    """No more than so many patches of each subject, spread over all of its patches."""
    chosen = []
    for subject in dict.fromkeys(patches.subjects.tolist()):
        own = np.flatnonzero(patches.subjects == subject)
        chosen.append(own[np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int))])
    return patches.take(np.concatenate(chosen))


def _cohort(data: Path) -> tuple[Cohort, list[str]]:
    """A cohort, or a section as a cohort of one."""
    data = data.expanduser()
    if (
        data.suffix.lower() == ".csv"
        or (data / TABLE).is_file()
        or (data.is_dir() and find_sections(data) != [data])
    ):
        return read_cohort(data), []
    section = read_section(data)
    subject, group = section.subject or section.name, section.group or ""
    notes = (
        []
        if group
        else [f"The group of {section.name} is not told: the class is the one that the model calls it."]
    )
    return Cohort((Member(data, subject, group),), data), notes


def _told(progress: ProgressCallback, number: int, models: int) -> ProgressCallback:
    def told(report: Progress) -> None:
        detail = f"model {number + 1} of {models}" if models > 1 else report.detail
        progress(
            Progress(
                report.stage,
                report.done + number * report.total,
                report.total * models,
                detail,
                report.values,
            )
        )

    return told


# --- what maps and other networks say --------------------------------------------------------------------------------


def _relevance(
    maps: Sequence[Path], models: Sequence[Checkpoint], cancel: CancelToken
) -> tuple[list[Row], list[str]]:
    """Each channel's share of a map's magnitudes, mean over sections of a subject, then over subjects."""
    panel = models[0].panel.targets
    known = {model.weights_sha256 for model in models}
    shares: dict[str, list[tuple[str, NDArray[np.float64]]]] = {}
    pooled, notes = set(), []
    for path in maps:
        store = open_maps(path)
        if "verdict" not in store.info:
            raise MitoxaiError(f"{path} is not finished: run the same `mitoxai explain` again, it goes on.")
        if store.info["checkpoint"]["weights_sha256"] not in known:
            notes.append(
                f"{path.name}: by another model than this run's; its relevance is compared all the same."
            )
        for method in store.methods:
            if len(store.channels(method)) == 1 and len(panel) > 1:
                pooled.add(method)
                continue
            share = _share_of(store, method, panel, cancel)
            if share is not None:
                shares.setdefault(method, []).append((str(store.info["section"]["subject"]), share))
    if pooled:
        notes.append(f"{', '.join(sorted(pooled))}: left out, as the map does not tell channels apart.")
    rows = []
    for method, own in shares.items():
        for place, channel in enumerate(panel):
            values = by_subject([share[place] for _, share in own], [subject for subject, _ in own])
            rows.append(
                _row(f"{RELEVANCE}, {method}", channel, list(values.values()), "share of the magnitude")
            )
    return rows, notes


def _share_of(
    store: "MapStore", method: str, panel: Sequence[str], cancel: CancelToken
) -> NDArray[np.float64] | None:
    """The share of each channel in a map's magnitudes; None for a map that is 0 everywhere."""
    channels = store.channels(method)
    if set(channels) != set(panel):
        raise MitoxaiError(
            f"{store.path.name} has the channels {', '.join(channels)}, and the model reads {', '.join(panel)}: give maps by this model."
        )
    sums = np.zeros(len(channels))
    for region in _strips(store.grid.shape):
        cancel.check()
        sums += np.abs(store.read_region(method, region)).sum((1, 2), dtype=np.float64)
    total = sums.sum()
    return sums[[channels.index(name) for name in panel]] / total if total > 0 else None


def _strips(shape: tuple[int, int], rows: int = 512) -> Iterable[tuple[slice, slice]]:
    for start in range(0, shape[0], rows):
        yield slice(start, min(start + rows, shape[0])), slice(0, shape[1])


def _alone(sweep: Path, panel: Sequence[str]) -> list[Row]:
    """The test accuracy of networks that see one channel: over the architectures and seeds of a sweep, by split."""
    finished = [folder for folder in sorted((sweep / "runs").glob("*")) if (folder / METRICS_FILE).is_file()]
    if not finished:
        raise MitoxaiError(f"{sweep} holds no finished runs: give the folder that `mitoxai sweep` wrote.")
    accuracies: dict[tuple[str, str], list[float]] = {}
    for folder in finished:
        metrics = read_json(folder / METRICS_FILE)
        channels = read_json(folder / "config.json")["parameters"]["channels"]
        if len(channels) == 1 and metrics["patch_accuracy"] is not None:
            way = ALONE_RANDOM if metrics["split"]["protocol"] == "patch-random" else ALONE_LEFT_OUT
            accuracies.setdefault((way, channels[0]), []).append(metrics["patch_accuracy"])
    rows = [
        _row(way, channel, accuracies[way, channel], "accuracy on test patches")
        for way in (ALONE_LEFT_OUT, ALONE_RANDOM)
        for channel in panel
        if (way, channel) in accuracies
    ]
    if not rows:
        raise MitoxaiError(
            f"No run of {sweep.name} sees a single channel of this model's ({', '.join(panel)}): sweep with --channels each."
        )
    return rows


def _row(way: str, channel: str, values: Sequence[float], unit: str) -> Row:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "way": way,
        "channel": channel,
        "value": float(np.mean(values)),
        "sd": spread,
        "n": len(values),
        "unit": unit,
    }
