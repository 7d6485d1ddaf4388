"""From a concept set to its tests: patches read, activations and derivatives computed, p values corrected. Imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from napari_mitoxai.cohort import (
    Cohort,
    Member,
    patch_corners,
    read_cohort,
    read_patches,
    tissue_mask,
    with_tissue,
)
from napari_mitoxai.cohort.concepts import ConceptExample, PlacedConcepts, place_concepts, read_concepts
from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.models import Checkpoint, load_checkpoint, pick_device
from napari_mitoxai.tasks.inside import as_seen, refuse_without_fibres
from napari_mitoxai.trust.tcav import concept_test, look, stage_layers

if TYPE_CHECKING:
    from napari_mitoxai.tasks.tcav import TcavParameters

Corner = tuple[int, int]
LEVEL = 0.05
NOT_APART = "not told apart from random patches"
NO_EFFECT = "told apart, but no effect on the class is shown"
_MIN_TISSUE = 0.25  # as of the patches that a network is trained on
_POOL = 3  # random patches for each example
_TRIES = 40  # places that are tried for each random patch


@dataclass(frozen=True)
class _Sets:
    """Patches by section: of each concept, and random ones."""

    members: list[Member]
    concepts: dict[str, list[tuple[int, Corner]]]
    pool: list[tuple[int, Corner]]
    notes: list[str]


def concept_table(
    parameters: "TcavParameters", progress: ProgressCallback, cancel: CancelToken
) -> tuple[str, pd.DataFrame, list[str]]:
    """Test all concepts of a set.

    Returns
    -------
    str
        The class.
    pandas.DataFrame
        A row a concept and layer: ``concept, layer``, the fields of `ConceptTest`, ``q`` and ``accuracy_q`` (Benjamini and Hochberg
        1995, over all rows), ``subjects`` and ``verdict``.
    list of str
        What a reader should know.
    """
    checkpoint = load_checkpoint(parameters.run)
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    target = parameters.target or checkpoint.classes[-1]
    if target not in checkpoint.classes:
        raise MitoxaiError(
            f"The model has no class {target!r}: choose one of {', '.join(checkpoint.classes)}."
        )
    cohort = _cohort(parameters, checkpoint)
    progress(Progress("Finding patches", 0, 1))
    examples = read_concepts(parameters.concepts)
    placed = place_concepts(examples, _with_sections_of(examples, cohort), checkpoint.geometry, cancel)
    sets = _sets(placed, checkpoint, parameters, cancel)
    network, device = checkpoint.model(), pick_device(parameters.device)
    network.to(device)
    shape = (len(checkpoint.panel), checkpoint.geometry.input_size, checkpoint.geometry.input_size)
    layers = parameters.layers or stage_layers(network, shape, device)
    asked: dict[str, Any] = {
        "batch_size": parameters.batch_size, "device": device, "progress": progress, "cancel": cancel
    }  # fmt: skip

    def activations(wanted: list[tuple[int, Corner]]) -> dict[str, NDArray[np.float64]]:
        return look(
            network, _read(wanted, sets.members, checkpoint, parameters.mask, cancel), layers, **asked
        )

    random = activations(sets.pool)
    of_class, owners = _of_class(cohort, target, checkpoint, parameters, cancel)
    derivatives = look(network, of_class, layers, target=checkpoint.classes.index(target), **asked)
    pool_strata = np.array([place for place, _ in sets.pool])
    rows = []
    for number, (concept, wanted) in enumerate(sets.concepts.items()):
        own = activations(wanted)
        strata = np.array([place for place, _ in wanted])
        used = np.isin(pool_strata, strata)
        subjects = sorted({sets.members[place].subject for place in strata})
        for done, layer in enumerate(layers):
            progress(Progress("Testing concepts", number * len(layers) + done, len(sets.concepts) * len(layers), f"{concept}, {layer}"))  # fmt: skip
            tested = concept_test(
                own[layer], random[layer][used], derivatives[layer], concept_strata=strata, other_strata=pool_strata[used],
                subjects=owners, draws=parameters.draws, seed=parameters.seed, cancel=cancel,
            )  # fmt: skip
            rows.append({"concept": concept, "layer": layer, **vars(tested), "subjects": " ".join(subjects)})
    return (
        target,
        _judged(pd.DataFrame(rows), target),
        [*placed.notes, *sets.notes, *_limits(sets, parameters)],
    )


def _judged(table: pd.DataFrame, target: str) -> pd.DataFrame:
    table["q"] = false_discovery_control(table["p"])
    table["accuracy_q"] = false_discovery_control(table["accuracy_p"])
    effect = np.where(table["effect"] > 0, f"speaks for {target}", f"speaks against {target}")
    shown = np.where(table["q"] <= LEVEL, effect, NO_EFFECT)
    table["verdict"] = np.where(table["accuracy_q"] <= LEVEL, shown, NOT_APART)
    order = [
        "concept",
        "layer",
        "score",
        "score_sd",
        "effect",
        "low",
        "high",
        "p",
        "q",
        "accuracy",
        "chance",
        "accuracy_p",
        "accuracy_q",
    ]
    return table[[*order, "examples", "subjects", "verdict"]]


def in_words(table: pd.DataFrame, target: str) -> list[str]:
    """A sentence a concept: at which layers it speaks for or against the class, or that nothing is shown."""
    sentences = []
    for concept, own in table.groupby("concept", sort=False):
        found = own[~own["verdict"].isin([NOT_APART, NO_EFFECT])]
        if len(found):
            said = "; ".join(
                f"{verdict} at {', '.join(rows['layer'])} (score {rows['score'].min():.2f} to {rows['score'].max():.2f}, q {rows['q'].max():.2g} or less)"
                for verdict, rows in found.groupby("verdict", sort=False)
            )
        elif (own["verdict"] == NOT_APART).all():
            said = "is not told apart from random patches of the same sections at any layer: its scores mean nothing"
        else:
            said = f"is told apart from random patches, but no effect on {target} is shown (the smallest q is {own['q'].min():.2g})"
        sentences.append(f"{concept} {said}.")
    return sentences


def _limits(sets: _Sets, parameters: "TcavParameters") -> list[str]:
    smallest = 1 / (parameters.draws + 1)
    subjects = {member.subject for member in sets.members}
    notes = [f"The smallest p that {parameters.draws} random sets can give is {smallest:.2g}."]
    notes.append(
        f"The draws are of patches, of {len(subjects)} subject{'s' if len(subjects) > 1 else ''}: they say what this model does with these "
        "sections, not what holds for other people. Examples that lie close together are more alike than random places are."
    )
    return notes


# --- patches ---------------------------------------------------------------------------------------------------------


def _with_sections_of(examples: Sequence[ConceptExample], cohort: Cohort) -> Cohort:
    """A cohort and the sections of examples that it does not have: a concept may be drawn on a section that is new to the model."""
    known = {member.address.name for member in cohort.members}
    new = {}
    for example in examples:
        if example.section.name not in known:
            file, _, acquisition = example.section.name.partition("#")
            path = example.section.with_name(file)
            new[example.section] = Member(path, example.subject or file, group="", acquisition=acquisition)
    return replace(cohort, members=(*cohort.members, *new.values()))


def _cohort(parameters: "TcavParameters", checkpoint: Checkpoint) -> Cohort:
    if parameters.cohort is not None:
        return read_cohort(parameters.cohort)
    trained = checkpoint.provenance.get("parameters", {}).get("cohort")
    if not trained or not Path(trained).exists():
        raise MitoxaiError(
            f"The cohort that {parameters.run.name} was trained on is not there ({trained or 'it is not known'}): give --cohort."
        )
    return read_cohort(trained)


def _sets(
    placed: PlacedConcepts, checkpoint: Checkpoint, parameters: "TcavParameters", cancel: CancelToken
) -> _Sets:
    """The patches to look at: examples, no more than asked for, and random ones of the same sections."""
    if parameters.against and parameters.against not in placed.concepts:
        raise MitoxaiError(
            f"The set has no concept {parameters.against!r} to take random patches from: choose one of {', '.join(placed.concepts)}."
        )
    members = list(dict.fromkeys(each.member.address for each in placed.examples))
    by_address = {each.member.address: each.member for each in placed.examples}
    all_places: dict[str, list[tuple[int, Corner]]] = {}
    for each in placed.examples:
        all_places.setdefault(each.example.concept, []).append(
            (members.index(each.member.address), each.corner)
        )
    offered = all_places.pop(parameters.against, []) if parameters.against else []
    if not all_places:
        raise MitoxaiError(f"The set has no concept but {parameters.against}: give one to be tested.")
    notes, concepts = [], {}
    rng = np.random.default_rng(parameters.seed)
    for concept, wanted in all_places.items():
        kept = wanted
        if parameters.against:
            kept = _no_more_than_offered(wanted, offered)
            if len(kept) < len(wanted):
                notes.append(
                    f"{len(wanted) - len(kept)} of the {len(wanted)} examples of {concept} are left out: {parameters.against} has too few patches of their sections."
                )
        if len(kept) > parameters.most_examples:
            notes.append(f"{parameters.most_examples} of the {len(kept)} examples of {concept} are used.")
            kept = [
                kept[place]
                for place in np.linspace(0, len(kept) - 1, parameters.most_examples).round().astype(int)
            ]
        concepts[concept] = kept
    most = {
        place: max(sum(own == place for own, _ in wanted) for wanted in concepts.values())
        for place in range(len(members))
    }
    pool: list[tuple[int, Corner]] = []
    for place, count in most.items():
        cancel.check()
        number = max(_POOL * count, 2 * _POOL) if count else 0
        if parameters.against:
            own = [corner for other, corner in offered if other == place]
            chosen = rng.permutation(len(own))[:number]
            pool += [(place, own[index]) for index in sorted(chosen)]
        elif number:
            pool += [
                (place, corner)
                for corner in _random_places(by_address[members[place]], checkpoint, number, rng, cancel)
            ]
    return _Sets([by_address[address] for address in members], concepts, pool, notes)


def _no_more_than_offered(
    wanted: list[tuple[int, Corner]], offered: list[tuple[int, Corner]]
) -> list[tuple[int, Corner]]:
    """From each section no more examples than there are random patches."""
    room = {place: sum(other == place for other, _ in offered) for place, _ in wanted}
    kept = []
    for place, corner in wanted:
        if room[place] > 0:
            kept.append((place, corner))
            room[place] -= 1
    return kept


def _random_places(
    member: Member, checkpoint: Checkpoint, number: int, rng: np.random.Generator, cancel: CancelToken
) -> list[Corner]:
    """Corners of patches anywhere on the tissue of a section."""
    section = member.read()
    side = checkpoint.geometry.patch_size
    tissue = tissue_mask(section, cancel)
    rooms = [length - side + 1 for length in section.shape[1:]]
    tried = rng.integers(0, rooms, (number * _TRIES, 2))
    corners = with_tissue([(int(y), int(x)) for y, x in tried], side, tissue, _MIN_TISSUE)[:number]
    if len(corners) < number:
        raise MitoxaiError(
            f"{section.name} has too little tissue for {number} random patches: leave its concepts out."
        )
    return corners


def _read(
    wanted: Sequence[tuple[int, Corner]], members: Sequence[Member], checkpoint: Checkpoint, mask: Path | None, cancel: CancelToken
) -> NDArray[np.float32]:  # fmt: skip
    """Scaled patches (N, C, Y, X), in the order asked for."""
    found: dict[int, NDArray[np.float32]] = {}
    for place in dict.fromkeys(place for place, _ in wanted):
        cancel.check()
        section = as_seen(members[place].read(), mask)
        numbers = [number for number, (other, _) in enumerate(wanted) if other == place]
        numbers.sort(key=lambda number: wanted[number][1])  # neighbours in a row are read at once
        corners = [wanted[number][1] for number in numbers]
        patches = read_patches(section, checkpoint.channels_in(section), corners, checkpoint.geometry)
        found.update(zip(numbers, patches, strict=True))
    return checkpoint.scaling(np.stack([found[number] for number in range(len(wanted))]))


def _of_class(
    cohort: Cohort, target: str, checkpoint: Checkpoint, parameters: "TcavParameters", cancel: CancelToken
) -> tuple[NDArray[np.float32], list[str]]:
    """Scaled patches of a class, no more than asked for of each subject, and whose they are."""
    members = [member for member in cohort.members if member.group == target]
    if not members:
        raise MitoxaiError(f"{cohort.path.name} has nobody of the class {target}: give a cohort that has.")
    wanted: dict[str, list[tuple[int, Corner]]] = {}
    for place, member in enumerate(members):
        section = member.read()
        checkpoint.geometry.check(section.shape, section.name)
        corners = patch_corners(section.shape, checkpoint.geometry, tissue_mask(section, cancel))
        wanted.setdefault(member.subject, []).extend((place, corner) for corner in corners)
    chosen, owners = [], []
    for subject, places in wanted.items():
        number = min(parameters.most_patches, len(places))
        own = [places[index] for index in np.linspace(0, len(places) - 1, number).round().astype(int)]
        chosen += own
        owners += [subject] * len(own)
    if not chosen:
        raise MitoxaiError(f"The sections of {target} have no patch with tissue in it: check their channels.")
    return _read(chosen, members, checkpoint, parameters.mask, cancel), owners
