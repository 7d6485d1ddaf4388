"""Lay out patches by what they look like and by what the network makes of them: did it learn the disease, or the people."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import (
    read_json,
    refuse_existing,
    refuse_foreign,
    refuse_input,
    write_json,
    written_beside,
)
from napari_mitoxai.common.provenance import now, software
from napari_mitoxai.tasks.fields import BatchSize, Device, Overlap, TrainedRun
from napari_mitoxai.tasks.inside import SectionMask, refuse_without_fibres
from napari_mitoxai.tasks.parameters import ADVANCED, TaskParameters

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from napari_mitoxai.cohort import Member
    from napari_mitoxai.models import Checkpoint
    from napari_mitoxai.tasks.embed_vectors import Places

METHODS = ("tsne", "umap")
TABLE, NUMBERS, PICTURE, SIDECAR = "embedding.csv", "neighbours.csv", "embedding.png", "embedding.json"
SPACES = {"pixels": "pixels", "features": "the network's features"}
_TRAINED_ON = ("train", "validation")
_ALIKE = 0.02  # shares that differ by less are not told apart


class EmbedParameters(TaskParameters):
    """What laying patches out needs to know."""

    run: TrainedRun
    sections: list[Path] = Field(
        min_length=1,
        title="Cohort or sections",
        description="A cohort: its table, or the folder with its sections; or sections.",
        json_schema_extra={"argument": True},
    )
    out: Path = Field(
        title="Folder",
        description="Folder to make for the coordinates, the numbers and the picture.",
    )
    methods: list[str] = Field(
        default=["tsne", "umap"], min_length=1, title="Methods",
        description="tsne (t-SNE) or umap (UMAP, which needs umap-learn).", json_schema_extra={"option": "--method"},
    )  # fmt: skip
    colours: list[str] = Field(
        default=["subject", "group"], min_length=1, title="Colour by",
        description="Columns to colour the picture by, a row each: subject, group, use, section, batch or any column of the cohort.",
        json_schema_extra={"option": "--colour", **ADVANCED},
    )  # fmt: skip
    neighbours: int = Field(
        default=15, ge=1, le=200, title="Neighbours", description="How many nearest patches of each are looked at, and that UMAP keeps it with.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    perplexity: float = Field(
        default=30, ge=2, le=500, title="Perplexity", description="About how many neighbours t-SNE keeps a patch with.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    overlap: Overlap = 0.5
    most_patches: int = Field(
        default=1000, ge=10, le=20_000, title="Most patches", description="Of more, as many are drawn of each section as of the others.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    mask: SectionMask = None
    seed: int = Field(
        default=0, ge=0, title="Seed", description="The same gives the same picture.", json_schema_extra=ADVANCED
    )  # fmt: skip
    batch_size: BatchSize = 16
    device: Device = "auto"
    overwrite: bool = Field(
        default=False, title="Replace an embedding", description="Whether an earlier one in the folder may be replaced.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip

    @field_validator("methods")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in METHODS:
                raise ValueError(f"there is no method {name!r}: choose of {', '.join(METHODS)}")
        return names


@dataclass(frozen=True)
class EmbedResult:
    """Patches laid out.

    Attributes
    ----------
    folder, table, numbers, figure : Path
        What was written: the folder, and in it the coordinates, what they say, and the picture.
    patches, subjects : int
        How many.
    said : list of str
        What the numbers say, in sentences.
    notes : list of str
        What a reader should know.
    """

    folder: Path
    table: Path
    numbers: Path
    figure: Path
    patches: int
    subjects: int
    said: list[str]
    notes: list[str]


def run(
    parameters: EmbedParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> EmbedResult:
    """Read the patches, ask the network for its features of them, and lay both out; also as numbers.

    Raises
    ------
    MitoxaiError
        If the run or a section cannot be opened, a section does not fit the model, there are too few patches, or the folder exists.
    Cancelled
        If it was cancelled; nothing is written. Laying out itself, some seconds, is not interrupted.
    """
    cancel = cancel or CancelToken()
    refuse_existing(parameters.out, overwrite=parameters.overwrite)
    refuse_foreign(parameters.out, SIDECAR, "an embedding")
    refuse_input(parameters.out, parameters.run, *parameters.sections)
    methods, notes = _methods(parameters)
    progress(Progress("Starting", 0, 1, "loading the deep-learning libraries"))
    from napari_mitoxai.models import load_checkpoint
    from napari_mitoxai.tasks.embed_vectors import choose_places, read_vectors
    from napari_mitoxai.trust import projection

    checkpoint = load_checkpoint(parameters.run)
    refuse_without_fibres(checkpoint, parameters.run, parameters.mask)
    members = _members(parameters.sections)
    chosen = choose_places(
        members, checkpoint, parameters.overlap, parameters.most_patches, parameters.seed, progress, cancel
    )
    patches = _patch_table(chosen, checkpoint, parameters.out.absolute())
    _refuse_colours(parameters.colours, patches)
    if len(patches) < 5:
        raise MitoxaiError(f"There are only {len(patches)} patches: give more sections, or a higher overlap.")
    with tempfile.TemporaryDirectory() as scratch:
        vectors = read_vectors(
            chosen, checkpoint, parameters.mask, Path(scratch) / "pixels", batch_size=parameters.batch_size,
            device=parameters.device, progress=progress, cancel=cancel,
        )  # fmt: skip
        grams: dict[str, NDArray[np.float64]] = {}
        for space, points in vectors.items():
            progress(Progress("Comparing patches", len(grams), len(vectors), SPACES[space]))
            grams[space] = projection.products(points, cancel)
        vectors.clear()  # where files are open, they cannot be removed everywhere
    frames: list[pd.DataFrame] = []
    shares: dict[str, float] = {}
    for space, gram in grams.items():
        components, shares[space] = projection.principal_components(gram)
        for method in methods:
            cancel.check()
            title = f"{projection.METHODS[method]} of {SPACES[space]}"
            progress(Progress("Laying out", len(frames), len(grams) * len(methods), title))
            axes = projection.project(
                components, method, seed=parameters.seed, perplexity=parameters.perplexity, neighbours=parameters.neighbours
            )  # fmt: skip
            frames.append(patches.assign(space=space, method=method, axis_1=axes[:, 0], axis_2=axes[:, 1]))
    cancel.check()
    progress(Progress("Counting neighbours", 0, 1))
    numbers = _numbers(grams, patches, checkpoint.geometry.patch_size, parameters)
    notes += _notes(patches, numbers)
    table = _ordered(frames)
    provenance = {
        "run": os.path.relpath(parameters.run.resolve(), parameters.out.resolve()),
        "weights_sha256": checkpoint.weights_sha256, "architecture": checkpoint.architecture,
        "channels": checkpoint.panel.targets, "patch_size": checkpoint.geometry.patch_size,
        "variance_in_components": shares, "said": sentences(numbers), "notes": notes, "made": now(), "software": software(),
        "parameters": parameters.model_dump(mode="json"),
    }  # fmt: skip
    _write(parameters, table, numbers, provenance)
    out = parameters.out
    return EmbedResult(
        out, out / TABLE, out / NUMBERS, out / PICTURE, len(patches), patches["subject"].nunique(), sentences(numbers), notes
    )  # fmt: skip


def read_embedding(folder: Path) -> "tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]":
    """Open what `run` wrote: the coordinates, with ``path`` absolute; the numbers; and the sidecar.

    Raises
    ------
    MitoxaiError
        If it is no such folder.
    """
    import pandas as pd

    info = read_json(folder / SIDECAR)
    words = dict.fromkeys(("section", "subject", "group", "path", "use", "space", "method"), str)
    try:
        table = pd.read_csv(folder / TABLE, dtype=words, keep_default_na=False)
        numbers = pd.read_csv(folder / NUMBERS)
        table["path"] = [str((folder / path).resolve()) for path in table["path"]]
    except (OSError, ValueError, KeyError) as error:
        raise MitoxaiError(
            f"{folder} holds no embedding that can be read ({error}): make it again with `mitoxai embed`."
        ) from error
    return table, numbers, info


def _methods(parameters: EmbedParameters) -> tuple[list[str], list[str]]:
    """Which can be made here, and a sentence on the one that cannot."""
    from napari_mitoxai.trust.projection import umap_is_there

    methods = list(dict.fromkeys(parameters.methods))
    if "umap" not in methods or umap_is_there():
        return methods, []
    said = "UMAP needs umap-learn, which is not installed: pip install 'napari-mitoxai[embedding]'."
    if methods == ["umap"]:
        raise MitoxaiError(said)
    return ["tsne"], [f"{said} There is t-SNE only."]


def _members(paths: list[Path]) -> "list[Member]":
    """The sections, each with its subject and group; of a cohort, or as their files say."""
    from napari_mitoxai.cohort import Member, read_cohort
    from napari_mitoxai.imc import find_sections, read_section, split_address

    members: list[Member] = []
    for path in paths:
        if path.suffix.lower() == ".csv" or (path.is_dir() and find_sections(path) != [path]):
            members += read_cohort(path).members
            continue
        section = read_section(path)
        file, acquisition = split_address(path)
        members.append(
            Member(
                file.resolve(),
                section.subject or section.name,
                section.group or "",
                acquisition=acquisition or "",
            )
        )
    return members


def _patch_table(chosen: "list[Places]", checkpoint: "Checkpoint", out: Path) -> "pd.DataFrame":
    """A row a patch: whose it is, where its centre lies, and what the cohort says."""
    import pandas as pd

    half = checkpoint.geometry.patch_size / 2
    rows = [
        {
            "section": places.name,
            "subject": places.member.subject,
            "group": places.member.group,
            "y_px": y + half,
            "x_px": x + half,
            "use": checkpoint.use_of(places.member.subject),
            "path": os.path.relpath(places.member.address, out.resolve()),
            **({"batch": places.member.batch} if places.member.batch else {}),
            **places.member.extra,
        }
        for places in chosen
        for y, x in places.corners
    ]
    return pd.DataFrame(rows).fillna("")


def _refuse_colours(colours: list[str], patches: "pd.DataFrame") -> None:
    columns = [str(name) for name in patches if name not in ("y_px", "x_px", "path")]
    if unknown := [name for name in colours if name not in columns]:
        raise MitoxaiError(
            f"The patches have no column {unknown[0]!r} to be coloured by: choose of {', '.join(columns)}."
        )


def _numbers(
    grams: "dict[str, NDArray[np.float64]]", patches: "pd.DataFrame", side: int, parameters: EmbedParameters
) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    from napari_mitoxai.trust.neighbours import neighbourhoods
    from napari_mitoxai.trust.projection import distances

    subjects = patches["subject"].to_numpy(str)
    groups = {str(subject): str(group) for subject, group in zip(subjects, patches["group"], strict=True)}
    same = patches["path"].to_numpy()[:, None] == patches["path"].to_numpy()[None]
    near = np.ones_like(same)
    for axis in ("y_px", "x_px"):
        at = patches[axis].to_numpy()
        near &= np.abs(at[:, None] - at[None]) < side
    asked: dict[str, list[str] | None] = {"all": None}
    seen = sorted(set(subjects[patches["use"].isin(_TRAINED_ON)]))
    unseen = sorted(set(subjects) - set(seen))
    if seen and unseen:
        asked |= {"trained on": seen, "held out": unseen}
    rows = [
        {"space": space, "subjects_asked": which, **asdict(number), "neighbours": parameters.neighbours}
        for space, gram in grams.items()
        for which, of in asked.items()
        for number in neighbourhoods(
            distances(gram), subjects, groups, ~(same & near), neighbours=parameters.neighbours, of=of, seed=parameters.seed
        )
    ]  # fmt: skip
    columns = [
        "space", "subjects_asked", "measure", "value", "low", "high", "shuffled", "shuffled_low", "shuffled_high", "p", "smallest_p",
        "subjects", "patches", "neighbours",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def sentences(numbers: "pd.DataFrame") -> list[str]:
    """What the numbers say of people and of the disease, for a person."""
    rows = {
        (row["space"], row["measure"]): row
        for row in numbers[numbers["subjects_asked"] == "all"].to_dict("records")
    }
    said = []
    if ("features", "subject_purity") in rows:
        features, pixels = rows["features", "subject_purity"], rows["pixels", "subject_purity"]
        more = features["value"] - pixels["value"]
        said.append(
            f"Of the {features['neighbours']} nearest patches, {features['value']:.0%} are of the same subject by the network's features, "
            f"{pixels['value']:.0%} by pixels and {features['shuffled']:.0%} by chance: the network tells people apart "
            + (f"{'more' if more > 0 else 'less'} than" if abs(more) > _ALIKE else "about as much as")
            + " the pixels do."
        )
    if ("features", "group_purity") in rows:
        features, pixels = rows["features", "group_purity"], rows["pixels", "group_purity"]
        said.append(
            f"Among the patches of other subjects, {features['value']:.0%} of the nearest are of the same group by the network's features, "
            f"{pixels['value']:.0%} by pixels, and {features['shuffled']:.0%} (95 % {features['shuffled_low']:.0%} to {features['shuffled_high']:.0%}) "
            f"with the subjects' groups exchanged (p = {features['p']:.3g}, the smallest possible {features['smallest_p']:.3g})."
        )
    return said


def _notes(patches: "pd.DataFrame", numbers: "pd.DataFrame") -> list[str]:
    notes = []
    if not (numbers["measure"] == "group_purity").any():
        notes.append(
            "Nothing is said of groups: that takes two subjects of each of two groups, by the cohort or the sections' files."
        )
    uses = patches.drop_duplicates("subject")["use"]
    seen = int(uses.isin(_TRAINED_ON).sum())
    if seen and len(uses) > 1:
        notes.append(
            f"The model was trained on {seen} of the {len(uses)} subjects: that it tells their groups apart is no evidence; look at those held out."
        )
    return notes


def _ordered(frames: "list[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    first = ["section", "subject", "group", "y_px", "x_px", "space", "method", "axis_1", "axis_2"]
    table = pd.concat(frames, ignore_index=True)
    return table[first + [name for name in table if name not in first]]


def _write(
    parameters: EmbedParameters, table: "pd.DataFrame", numbers: "pd.DataFrame", info: dict[str, Any]
) -> None:
    from napari_mitoxai.fibres.tables import write_table
    from napari_mitoxai.figures.embedding_plot import embedding_figure
    from napari_mitoxai.figures.saving import save_figure

    with written_beside(parameters.out, overwrite=parameters.overwrite) as folder:
        folder.mkdir()
        write_table(folder / TABLE, table)
        write_table(folder / NUMBERS, numbers)
        save_figure(embedding_figure(table, parameters.colours), folder / PICTURE)
        write_json(folder / SIDECAR, info)
