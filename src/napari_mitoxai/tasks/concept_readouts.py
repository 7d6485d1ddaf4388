"""The calls that read a network's concepts out: patches, activations, tables, pictures, overlays. Imports torch."""

import hashlib
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_mitoxai.cohort import (
    CONCEPTS_TABLE,
    Cohort,
    patch_corners,
    place_concepts,
    read_cohort,
    read_concepts,
    read_patches,
    tissue_mask,
)
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.explain.blending import Blender
from napari_mitoxai.explain.store import BLOCK, MapGrid, create_store
from napari_mitoxai.figures.channels import choose_channels
from napari_mitoxai.figures.concept_plot import draw_correlation, draw_gallery, draw_importance, draw_paths
from napari_mitoxai.imc import read_section
from napari_mitoxai.models import Checkpoint, Whitening, pick_device
from napari_mitoxai.tasks.concepts import ConceptsParameters
from napari_mitoxai.tasks.embed_vectors import Places, choose_places
from napari_mitoxai.tasks.inside import as_seen
from napari_mitoxai.tasks.sweep import file_name
from napari_mitoxai.tasks.sweep_table import write_table
from napari_mitoxai.training import ConceptPatches, PatchSet, ScaledPatches, gather_concepts
from napari_mitoxai.training.concept_readouts import correlations, importance, percentiles
from napari_mitoxai.training.concepts import axes_of, best_axis, concept_activations, purity

Row = dict[str, Any]
_SHOWN_PATHS = 3  # examples of each concept


@dataclass
class Found:
    """What was read out; see `ConceptsResult`."""

    purity: list[Row] = field(default_factory=list)
    importance: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    overlays: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class _Subject:
    """What is read out, and how."""

    parameters: ConceptsParameters
    checkpoint: Checkpoint
    whitening: Whitening
    network: torch.nn.Module
    folder: Path
    cancel: CancelToken

    def examples(self, patches: PatchSet) -> ScaledPatches:
        return ScaledPatches(patches, self.checkpoint.scaling)

    def activations(self, patches: PatchSet, *, every_axis: bool = False) -> dict[str, NDArray[np.float32]]:
        return concept_activations(
            self.network, self.examples(patches), self.whitening, every_axis=every_axis,
            batch_size=self.parameters.batch_size, cancel=self.cancel,
        )  # fmt: skip


def read_out(
    parameters: ConceptsParameters,
    cohort_path: Path,
    checkpoint: Checkpoint,
    folder: Path,
    progress: ProgressCallback,
    cancel: CancelToken,
) -> Found:
    """Read everything out into a folder; see `tasks.concepts.run`."""
    assert checkpoint.whitening is not None
    network = checkpoint.model().to(pick_device(parameters.device))
    subject = _Subject(parameters, checkpoint, checkpoint.whitening, network, folder, cancel)
    cohort, found = read_cohort(cohort_path), Found()
    known = [member for member in cohort.members if member.group in checkpoint.classes]
    if not known:
        raise MitoxaiError(
            f"{cohort_path} has none of the groups {', '.join(checkpoint.classes)}: give the cohort that the run was trained on."
        )
    chosen = choose_places(
        known, checkpoint, parameters.overlap, parameters.patches, parameters.seed, progress, cancel
    )
    patches = _read(subject, chosen, progress)
    set_ = _concept_patches(subject, cohort, found, progress)
    _write_purity(subject, set_, found)
    progress(Progress("Reading out", 1, 4, "galleries"))
    activations = subject.activations(patches)
    _write_gallery(subject, chosen, patches, activations)
    progress(Progress("Reading out", 2, 4, "correlations"))
    _write_correlation(subject, patches)
    progress(Progress("Reading out", 3, 4, "importance"))
    _write_importance(subject, patches, found, progress)
    _write_paths(subject, set_, activations)
    for path in parameters.sections:
        found.overlays.append(_write_overlay(subject, path, progress))
    progress(Progress("Reading out", 4, 4))
    return found


def _read(subject: _Subject, chosen: list[Places], progress: ProgressCallback) -> PatchSet:
    """The chosen patches of the cohort, in their order."""
    checkpoint = subject.checkpoint
    counts: list[NDArray[np.float32]] = []
    for done, places in enumerate(chosen):
        subject.cancel.check()
        progress(Progress("Reading patches", done, len(chosen), places.name))
        section = as_seen(places.member.read(), subject.parameters.mask)
        counts += read_patches(section, checkpoint.channels_in(section), places.corners, checkpoint.geometry)
    owners = [places.member for places in chosen for _ in places.corners]
    return PatchSet(
        np.stack(counts),
        np.asarray([owner.subject for owner in owners]),
        np.asarray([checkpoint.classes.index(owner.group) for owner in owners], dtype=np.int64),
        checkpoint.panel,
    )


def _concept_patches(
    subject: _Subject, cohort: Cohort, found: Found, progress: ProgressCallback
) -> ConceptPatches | None:
    """The examples of the run's own set, as far as the cohort has their sections."""
    checkpoint, parameters = subject.checkpoint, subject.parameters
    there = {member.address.name for member in cohort.members}
    examples = [
        example for example in read_concepts(parameters.run / CONCEPTS_TABLE) if example.section.name in there
    ]
    if not examples:
        found.notes.append(
            "None of the concepts' examples is in this cohort: purity and paths cannot be told."
        )
        return None
    placed = place_concepts(examples, cohort, checkpoint.geometry, subject.cancel)
    found.notes += placed.notes
    one_a_fibre = checkpoint.provenance.get("parameters", {}).get("crops") == "fibres"
    return gather_concepts(
        placed, checkpoint.panel, checkpoint.geometry, masks=parameters.mask, one_a_fibre=one_a_fibre,
        concepts=subject.whitening.concepts, progress=progress, cancel=subject.cancel,
    )  # fmt: skip


def _write_purity(subject: _Subject, set_: ConceptPatches | None, found: Found) -> None:
    if set_ is None:
        return
    concepts = subject.whitening.concepts
    known = np.isin(set_.patches.subjects, subject.checkpoint.split.get("train", []))
    for subjects, chosen in (("trained", known), ("held out", ~known)):
        own = set_.patches.take(np.flatnonzero(chosen))
        if not len(own):
            continue
        for layer, activations in subject.activations(own, every_axis=True).items():
            for number, row in enumerate(purity(activations, own.labels, concepts)):
                best = (None, None) if row["auc"] is None else best_axis(activations, own.labels == number)
                found.purity.append({
                    "layer": layer, "subjects": subjects, **row, "best_axis": best[0], "best_axis_auc": best[1],
                })  # fmt: skip
    if known.all():
        found.notes.append(
            "No example is of a subject that was held out: the purities are those of examples that the axes were turned to."
        )
    write_table(subject.folder / "purity.csv", found.purity)


def _write_gallery(
    subject: _Subject, chosen: list[Places], patches: PatchSet, activations: dict[str, NDArray[np.float32]]
) -> None:
    """The most activated patches: a row each with its place, and a picture a concept and layer."""
    panel = subject.checkpoint.panel
    shown = choose_channels([channel.role.value for channel in panel])
    names = [(panel[index].target, panel[index].role.value) for index in shown]
    where = [(places, corner) for places in chosen for corner in places.corners]
    side = subject.checkpoint.geometry.patch_size
    rows: list[Row] = []
    for layer, values in activations.items():
        for number, concept in enumerate(subject.whitening.concepts):
            order = np.argsort(-values[:, number], kind="stable")[: subject.parameters.top]
            for rank, index in enumerate(order, start=1):
                places, (y, x) = where[index]
                rows.append({
                    "layer": layer, "concept": concept, "rank": rank, "activation": float(values[index, number]),
                    "section": str(places.member.address), "subject": places.member.subject, "group": places.member.group,
                    "use": subject.checkpoint.use_of(places.member.subject),
                    "y_px": y + (side - 1) / 2, "x_px": x + (side - 1) / 2,
                })  # fmt: skip
            titles = [f"{patches.subjects[index]}  {values[index, number]:.2f}" for index in order]
            draw_gallery(
                subject.folder / f"gallery_{file_name(concept)}_{file_name(layer)}.png", patches.counts[order][:, shown],
                names, titles, f"{concept}: the {len(order)} most activated of {len(patches)} patches, in {layer}",
            )  # fmt: skip
    write_table(subject.folder / "gallery.csv", rows)


def _write_correlation(subject: _Subject, patches: PatchSet) -> None:
    """Between the axes of the concepts; beside it how far all axes of the layer go together."""
    concepts = subject.whitening.concepts
    found = correlations(
        subject.network, subject.examples(patches), subject.whitening,
        batch_size=subject.parameters.batch_size, cancel=subject.cancel,
    )  # fmt: skip
    rows: list[Row] = []
    for layer, matrix in found.items():
        rest = np.abs(matrix[~np.eye(len(matrix), dtype=bool)]).mean()
        rows += [
            {"layer": layer, "first": concepts[i], "second": concepts[j], "correlation": float(matrix[i, j]), "mean_of_all_axes": float(rest)}
            for i, j in combinations(range(len(concepts)), 2)
        ]  # fmt: skip
    write_table(subject.folder / "correlation.csv", rows)
    count = len(concepts)
    draw_correlation(
        subject.folder / "correlation.png",
        {layer: matrix[:count, :count] for layer, matrix in found.items()},
        concepts,
    )


def _write_importance(subject: _Subject, patches: PatchSet, found: Found, progress: ProgressCallback) -> None:
    trained = np.isin(patches.subjects, subject.checkpoint.split.get("train", []))
    own = patches.take(np.flatnonzero(~trained))
    if len(own) < 2:
        own = patches
        found.notes.append(
            "No section of the cohort is of a subject that was held out: importances are those of patches that were trained on."
        )
    found.importance = importance(
        subject.network, subject.examples(own), subject.whitening, subject.checkpoint.classes,
        seed=subject.parameters.seed, batch_size=subject.parameters.batch_size, progress=progress, cancel=subject.cancel,
    )  # fmt: skip
    write_table(subject.folder / "importance.csv", found.importance)
    draw_importance(subject.folder / "importance.png", found.importance)


def _write_paths(
    subject: _Subject, set_: ConceptPatches | None, among: dict[str, NDArray[np.float32]]
) -> None:
    """Where each example stands among all patches of the cohort, concept by concept and layer by layer."""
    if set_ is None:
        return
    concepts, layers = subject.whitening.concepts, list(among)
    own = subject.activations(set_.patches)
    ranks = np.stack([percentiles(own[layer], among[layer]) for layer in layers], 1)  # (N, layers, K)
    rows: list[Row] = []
    for number, item in enumerate(set_.placed.examples):
        for place, layer in enumerate(layers):
            rows += [
                {
                    "example": number + 1, "of": item.example.concept, "section": str(item.member.address),
                    "subject": item.member.subject, "y_px": item.example.y_px, "x_px": item.example.x_px, "layer": layer,
                    "concept": concept, "activation": float(own[layer][number, k]), "percentile": float(ranks[number, place, k]),
                }
                for k, concept in enumerate(concepts)
            ]  # fmt: skip
    write_table(subject.folder / "paths.csv", rows)
    if len(layers) < 2:
        return
    shown = []
    for number, concept in enumerate(concepts):
        members = np.flatnonzero(set_.patches.labels == number)
        last = own[layers[-1]][members, number]
        for index in members[np.argsort(-last)][:_SHOWN_PATHS]:
            example = set_.placed.examples[index].example
            shown.append(
                (
                    f"{concept}: {set_.patches.subjects[index]}, {example.source or f'example {index + 1}'}",
                    ranks[index],
                )
            )
    draw_paths(subject.folder / "paths.png", shown, layers, concepts)


def _write_overlay(subject: _Subject, path: Path, progress: ProgressCallback) -> Path:
    """The activation of every concept at every place of a section, as a store of maps: one a layer and concept."""
    checkpoint, parameters = subject.checkpoint, subject.parameters
    section = read_section(path)
    planes = checkpoint.channels_in(section)
    geometry = checkpoint.geometry
    geometry.check(section.shape, section.name)
    corners = patch_corners(
        section.shape, geometry, tissue_mask(section, subject.cancel), overlap=parameters.overlap
    )
    if not corners:
        raise MitoxaiError(f"{section.name} has no patch with tissue in it: check its channels.")
    section = as_seen(section, parameters.mask)
    reduction = geometry.reduction
    shape = (section.shape[1] // reduction, section.shape[2] // reduction)
    side, name = geometry.patch_size // reduction, section.subject or section.name
    text = f"{checkpoint.weights_sha256} {section.address} {parameters.overlap} {parameters.mask} concepts"
    info: dict[str, Any] = {
        "section": {
            "name": section.name, "path": str(section.address), "subject": name, "shape": list(section.shape),
            "notes": list(section.notes),
        },
        "checkpoint": {
            "architecture": checkpoint.architecture, "weights_sha256": checkpoint.weights_sha256, "classes": checkpoint.classes,
            "panel": checkpoint.panel.targets, "patch_size": geometry.patch_size, "input_size": geometry.input_size,
        },
        "use_of_subject": checkpoint.use_of(name), "target": "concepts", "area": None,
        "provenance": {"software": software(), "started": now(), "parameters": parameters.model_dump(mode="json")},
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }  # fmt: skip
    methods = {
        f"{file_name(concept)}_{file_name(layer)}": {
            "channels": [concept], "signed": True, "title": f"{concept} in {layer}", "method": "concept", "parameters": {"layer": layer},
        }
        for layer in subject.whitening.layers
        for concept in subject.whitening.concepts
    }  # fmt: skip
    target = subject.folder / "overlays" / f"{file_name(section.name)}.ome.zarr"
    target.parent.mkdir(exist_ok=True)
    store = create_store(target, MapGrid(shape, reduction, section.pixel_size_um), methods, info)
    places = [(y // reduction, x // reduction) for y, x in corners]
    blender = Blender(shape, places, side, BLOCK)
    for done, (place, patch) in enumerate(
        zip(places, read_patches(section, planes, corners, geometry), strict=True), start=1
    ):
        inputs = torch.from_numpy(checkpoint.scaling(patch))[None]
        given = axes_of(subject.network, inputs, subject.cancel).values()
        count = len(subject.whitening.concepts)
        laid = [F.interpolate(axes[:, :count].float(), (side, side), mode="bilinear")[0] for axes in given]
        maps = dict(zip(methods, torch.cat(laid)[:, None].cpu().numpy(), strict=True))
        for block, blended in blender.add(place, maps):
            for method in methods:
                store.write_block(method, block, blended[method])
            store.mark_finished(block)
        progress(Progress("Overlay", done, len(places), section.name))
    store.complete({"patches": len(corners)})
    return target
