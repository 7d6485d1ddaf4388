"""Concept sets: patches that show what a biologist has a name for, read, written and checked."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from napari_mitoxai.cohort.cohort import Cohort
from napari_mitoxai.cohort.patches import PatchGeometry, with_tissue
from napari_mitoxai.cohort.rows import read_rows
from napari_mitoxai.cohort.table import Member
from napari_mitoxai.cohort.tissue import tissue_mask
from napari_mitoxai.common import CancelToken, MitoxaiError
from napari_mitoxai.common.files import written_beside

CONCEPTS_TABLE = "concepts.csv"  # what the set of a run is called in its folder
COLUMNS = ("concept", "section", "subject", "y_px", "x_px", "source")
FEW = 3  # examples from which no direction can be told from chance
_MIN_TISSUE = 0.25  # as of the patches that a network is trained on


@dataclass(frozen=True)
class ConceptExample:
    """One patch that shows a concept.

    Attributes
    ----------
    concept : str
        Its name.
    section : Path
        What `read_section` opens: a path, or an address as ``slide.mcd#2``; absolute.
    subject : str
        Whose section it is; may be empty.
    y_px, x_px : float
        Centre of the patch, in full-resolution pixels of the section.
    source : str
        What it was made from: ``fibre 17``, ``shape 3``, or empty.
    """

    concept: str
    section: Path
    subject: str
    y_px: float
    x_px: float
    source: str = ""


@dataclass(frozen=True)
class PlacedExample:
    """An example of a concept as a patch of a cohort's section.

    Attributes
    ----------
    example : ConceptExample
        As it was given.
    member : Member
        The row of the cohort.
    corner : (y, x)
        Upper left corner of the patch in pixels; a patch that would reach over the edge is moved inside.
    """

    example: ConceptExample
    member: Member
    corner: tuple[int, int]


@dataclass(frozen=True)
class PlacedConcepts:
    """The examples of a concept set that can be used.

    Attributes
    ----------
    examples : tuple of PlacedExample
        In the order of the set, without those that were left out.
    notes : tuple of str
        What was left out, and what a user should know of the rest.
    """

    examples: tuple[PlacedExample, ...]
    notes: tuple[str, ...] = ()

    @property
    def concepts(self) -> list[str]:
        """The names, in the order of the set."""
        return list(dict.fromkeys(placed.example.concept for placed in self.examples))

    def as_examples(self) -> list[ConceptExample]:
        """The examples with the section and subject that the cohort has for them."""
        return [
            replace(item.example, section=item.member.address, subject=item.member.subject)
            for item in self.examples
        ]

    def of(self, subjects: Sequence[str]) -> "PlacedConcepts":
        """The examples of these subjects."""
        return replace(
            self, examples=tuple(placed for placed in self.examples if placed.member.subject in subjects)
        )


def read_concepts(path: Path | str) -> list[ConceptExample]:
    """Read a concept set.

    Parameters
    ----------
    path : Path
        A CSV file with the columns ``concept, section, y_px, x_px`` and, optional, ``subject, source``; a row an example.
        Relative sections start at the file.

    Raises
    ------
    MitoxaiError
        If it is not such a table, or a row does not hold what it should.
    """
    path = Path(path).expanduser()
    rows = read_rows(path, ("concept", "section", "y_px", "x_px"), "a concept set")
    if not rows:
        raise MitoxaiError(f"{path.name} has no rows: name at least one concept and give it examples.")
    return [_example(path, number, row) for number, row in enumerate(rows, start=2)]


def write_concepts(path: Path, examples: Iterable[ConceptExample], *, overwrite: bool = False) -> Path:
    """Write a concept set; sections in the table's folder are written relative to it, so that both can be moved together.

    Raises
    ------
    MitoxaiError
        If it exists and may not be replaced, or cannot be written.
    """
    path = Path(path).expanduser()
    folder = path.parent.resolve()
    rows = [
        {
            "concept": example.concept,
            "section": example.section.relative_to(folder).as_posix()
            if example.section.is_relative_to(folder)
            else os.fspath(example.section),
            "subject": example.subject,
            "y_px": f"{example.y_px:.1f}",
            "x_px": f"{example.x_px:.1f}",
            "source": example.source,
        }
        for example in examples
    ]
    with written_beside(path, overwrite=overwrite) as partial:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(
            partial, index=False, encoding="utf-8", lineterminator="\n"
        )
    return path


def place_concepts(
    examples: Sequence[ConceptExample],
    cohort: Cohort,
    geometry: PatchGeometry,
    cancel: CancelToken | None = None,
) -> PlacedConcepts:
    """Find the patch of each example in a cohort, and say what is wrong with a concept set.

    Left out, and noted, are examples that stand there twice, and those whose patch shows less tissue than a patch that is
    trained on. Noted are concepts with few examples, from one subject, or that share their patches with another.

    Parameters
    ----------
    examples : sequence of ConceptExample
        From `read_concepts`.
    cohort : Cohort
        Has every section of the set.
    geometry : PatchGeometry
        Side of a patch.
    cancel : CancelToken, optional
        Checked between sections.

    Returns
    -------
    PlacedConcepts
        At least one example of every concept.

    Raises
    ------
    MitoxaiError
        If a section is not in the cohort or is another subject's there, a place lies outside of its section, or a concept
        has no example on tissue.
    """
    members = [_member_of(example, cohort) for example in examples]
    placed: dict[int, PlacedExample] = {}
    twice, bare = 0, dict[str, int]()
    for member in dict.fromkeys(member.address for member in members):
        if cancel is not None:
            cancel.check()
        own = [number for number, other in enumerate(members) if other.address == member]
        section = members[own[0]].read()
        geometry.check(section.shape, section.name)
        tissue = tissue_mask(section, cancel)
        seen = set[tuple[str, int, int]]()
        for number in own:
            example = examples[number]
            corner = _corner(example, section.shape, section.name, geometry.patch_size)
            if (example.concept, *corner) in seen:
                twice += 1
            elif not with_tissue([corner], geometry.patch_size, tissue, _MIN_TISSUE):
                bare[example.concept] = bare.get(example.concept, 0) + 1
            else:
                placed[number] = PlacedExample(example, members[number], corner)
            seen.add((example.concept, *corner))
    kept = tuple(placed[number] for number in sorted(placed))
    _refuse_empty(examples, kept)
    notes = [
        f"{count} of the examples of {concept} lie over background and are left out."
        for concept, count in bare.items()
    ]
    if twice:
        notes.insert(0, f"{twice} examples stand twice in the concept set and are used once.")
    return PlacedConcepts(kept, (*notes, *remarks(kept, geometry.patch_size)))


def _example(path: Path, number: int, row: dict[str, str]) -> ConceptExample:
    empty = [column for column in ("concept", "section", "y_px", "x_px") if not row[column]]
    if empty:
        raise MitoxaiError(
            f"Line {number} of {path.name} has no {', '.join(empty)}: fill it in, or delete the line."
        )
    try:
        y, x = float(row["y_px"]), float(row["x_px"])
    except ValueError:
        y = x = np.nan
    if not np.isfinite([y, x]).all():
        raise MitoxaiError(
            f"Line {number} of {path.name} has the place ({row['y_px']}, {row['x_px']}): write pixels as numbers."
        )
    section = Path(row["section"]).expanduser()
    if not section.is_absolute():
        section = Path(os.path.abspath(path.parent / section))
    return ConceptExample(row["concept"], section, row.get("subject", ""), y, x, row.get("source", ""))


def _member_of(example: ConceptExample, cohort: Cohort) -> Member:
    """The section in the cohort: by its address; where the files have moved, by a name that is there once."""
    same = [member for member in cohort.members if member.address == _resolved(example.section)]
    same = same or [member for member in cohort.members if member.address.name == example.section.name]
    if len(same) != 1:
        reason = "has several of that name" if same else "does not have"
        raise MitoxaiError(
            f"The concept {example.concept} has an example in {example.section}, which {cohort.path.name} {reason}: "
            "choose the cohort that the concepts were drawn on, or delete its lines from the concept set."
        )
    if example.subject and example.subject != same[0].subject:
        raise MitoxaiError(
            f"The concept {example.concept} says that {example.section.name} is of {example.subject}, the cohort says "
            f"{same[0].subject}: correct one of the two tables."
        )
    return same[0]


def _resolved(address: Path) -> Path:
    return address.parent.resolve() / address.name


def _corner(example: ConceptExample, shape: Sequence[int], name: str, side: int) -> tuple[int, int]:
    height, width = shape[-2:]
    if not (-0.5 <= example.y_px < height - 0.5 and -0.5 <= example.x_px < width - 0.5):
        raise MitoxaiError(
            f"The concept {example.concept} has an example at ({example.x_px:g}, {example.y_px:g}) px, outside of {name}, "
            f"which is {width} x {height} px: give the place in full-resolution pixels of this section."
        )
    y, x = (
        int(np.clip(round(centre - (side - 1) / 2), 0, length - side))
        for centre, length in ((example.y_px, height), (example.x_px, width))
    )
    return y, x


def _refuse_empty(examples: Sequence[ConceptExample], kept: Sequence[PlacedExample]) -> None:
    left = {placed.example.concept for placed in kept}
    for concept in dict.fromkeys(example.concept for example in examples):
        if concept not in left:
            raise MitoxaiError(
                f"No example of the concept {concept} lies on tissue: draw it inside the tissue, or delete it from the set."
            )


def remarks(kept: Sequence[PlacedExample], side: int) -> list[str]:
    """What a user should know of concepts that can be used."""
    notes = []
    by_concept: dict[str, list[PlacedExample]] = {}
    for placed in kept:
        by_concept.setdefault(placed.example.concept, []).append(placed)
    for concept, own in by_concept.items():
        if len(own) <= FEW:
            count = f"{len(own)} examples" if len(own) > 1 else "one example"
            notes.append(
                f"The concept {concept} has {count} only: what is found is how these patches look, not the concept."
            )
        subjects = {placed.member.subject for placed in own}
        if len(subjects) == 1:
            notes.append(
                f"The concept {concept} is from {subjects.pop()} only: it is then a detector of this subject."
            )
    for first, second in combinations(by_concept, 2):
        shared = sum(
            any(_mostly_the_same(one, other, side) for other in by_concept[second])
            for one in by_concept[first]
        )
        if shared:
            notes.append(
                f"{first} and {second} share patches ({shared} of the {len(by_concept[first])} of {first}): where more than half "
                "of a patch is in both, the two cannot be told apart; smaller patches show less of the neighbours."
            )
    return notes


def _mostly_the_same(one: PlacedExample, other: PlacedExample, side: int) -> bool:
    """Whether two patches have more than half of their area in common."""
    if one.member.address != other.member.address:
        return False
    overlap = [max(side - abs(a - b), 0) for a, b in zip(one.corner, other.corner, strict=True)]
    return overlap[0] * overlap[1] > side**2 / 2
