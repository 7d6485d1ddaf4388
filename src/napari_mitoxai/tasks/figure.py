"""Make a figure of a section and its maps, or make one again from its sidecar."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.common.files import read_json, refuse_existing, refuse_input, sha256
from napari_mitoxai.figures.spec import FigureSpec
from napari_mitoxai.tasks.parameters import TaskParameters, validated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.imc import Section

_MOST_PIXELS = 4000  # along a side: more than any panel shows

_USES = {
    "test": "held out from training",
    "validation": "used to choose the epoch, so no evidence for new subjects",
    "train": "trained on this subject, so no evidence for new subjects",
    "new": "not in the training cohort",
}


class FigureParameters(FigureSpec, TaskParameters):
    """What a figure needs to know, beside how it looks."""

    section: Path = Field(
        title="Section",
        description="The section: a file or a folder; or the .json sidecar of a figure, to make that one again.",
        json_schema_extra={"argument": True},
    )
    maps: Path | None = Field(default=None, title="Maps", description="The store that explaining wrote.")
    fibres: Path | None = Field(
        default=None, title="Fibres", description="A label image of the fibres, to outline them."
    )
    out: Path = Field(
        title="Figure",
        description="The file to write: .png, .pdf, .svg or .tiff; a sidecar .json lies beside it.",
    )
    methods: list[str] = Field(
        default=[],
        title="Methods",
        description="Maps to show; all of the store by default.",
        json_schema_extra={"option": "--method"},
    )
    overwrite: bool = Field(
        default=False,
        title="Replace an existing figure",
        description="Whether an existing figure may be replaced.",
        json_schema_extra={"advanced": True},
    )


@dataclass(frozen=True)
class FigureResult:
    """A figure.

    Attributes
    ----------
    figure : Path
        The file.
    sidecar : Path
        What it was made from; `run` makes the same pixels of it again.
    """

    figure: Path
    sidecar: Path


def run(
    parameters: FigureParameters, progress: ProgressCallback = no_progress, cancel: CancelToken | None = None
) -> FigureResult:
    """Draw a figure and write it with its sidecar.

    Raises
    ------
    MitoxaiError
        If the maps or fibres are not of this section, a method has no map, an input changed since the sidecar was
        written, or the figure exists.
    Cancelled
        If it was cancelled; nothing is written.
    """
    files = draw_and_save(parameters, [parameters.out], progress, cancel)
    return FigureResult(files[0], files[-1])


def draw_and_save(
    parameters: FigureParameters,
    files: list[Path],
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> list[Path]:
    """Draw a figure once and write it in several formats; returns the files and, last, their sidecar."""
    cancel = cancel or CancelToken()
    sidecar = files[0].with_suffix(".json")
    # a figure made again under its own name keeps the sidecar that it is made from
    same_sidecar = sidecar.resolve() == parameters.section.resolve()
    for file in files if same_sidecar else [*files, sidecar]:
        refuse_existing(file, overwrite=parameters.overwrite)
    if parameters.section.suffix == ".json":
        parameters = _from_sidecar(parameters)
    for file in files:
        refuse_input(file, parameters.section, parameters.fibres)
    from napari_mitoxai.figures import save_figure, write_sidecar

    progress(Progress("Drawing", 0, 2, "reading the section and the maps"))
    figure, made_from = draw(parameters)
    cancel.check()
    progress(Progress("Drawing", 1, 2, files[0].name))
    for file in files:
        save_figure(figure, file, overwrite=parameters.overwrite)
    if not same_sidecar:
        made_from["parameters"] = _portable(parameters, files[0].resolve().parent)
        write_sidecar(files, made_from, overwrite=parameters.overwrite)
    progress(Progress("Drawing", 2, 2, files[0].name))
    return [*files, sidecar]


def draw(parameters: FigureParameters) -> "tuple[Figure, dict[str, Any]]":
    """Draw a figure; also what it was made from, for its sidecar.

    Raises
    ------
    MitoxaiError
        If the maps or fibres are not of this section, or a method has no map.
    """
    from napari_mitoxai.explain import open_maps
    from napari_mitoxai.figures import compose
    from napari_mitoxai.imc import read_section

    if parameters.maps is None:
        raise MitoxaiError("A figure needs maps: give the store that `mitoxai explain` wrote with --maps.")
    section, store = read_section(parameters.section), open_maps(parameters.maps)
    if "verdict" not in store.info:
        raise MitoxaiError(
            f"{parameters.maps} is not finished: run the same `mitoxai explain` again, it goes on."
        )
    if list(section.shape[1:]) != store.info["section"]["shape"][1:]:
        raise MitoxaiError(
            f"{parameters.maps.name} was made of {store.info['section']['name']}, which has another size than {section.name}: "
            "give the maps of this section."
        )
    panels = [_map_panel(store, name) for name in parameters.methods or store.methods]
    spec = FigureSpec(**{name: getattr(parameters, name) for name in FigureSpec.model_fields})
    figure = compose(
        _section_panel(section, parameters.fibres), panels, verdict=verdict_line(store), spec=spec
    )
    inputs = {
        "section_sha256": sha256(section.path) if section.path.is_file() else None,
        "fibres_sha256": sha256(parameters.fibres) if parameters.fibres else None,
        "maps_fingerprint": store.info["fingerprint"],
    }
    return figure, {"inputs": inputs, "maps": store.info}


def verdict_line(store: "MapStore") -> str:
    """What the model says of the section, and whether that is evidence, in one line."""
    verdict = store.info["verdict"]
    target = store.info.get("target_class", store.info["target"])  # what is explained may be a difference
    part = "a part of " if store.info.get("area") else ""
    return (
        f"The model ({store.info['checkpoint']['architecture']}) calls {part}{store.info['section']['name']} {verdict['call']}: "
        f"probability of {target} {verdict['probability'][target]:.2f}, mean of {verdict['patches']} patches; "
        f"{_USES[store.info['use_of_subject']]}."
    )


def _section_panel(section: "Section", fibres: Path | None) -> Any:
    from napari_mitoxai import figures
    from napari_mitoxai.imc import Role, read_labels

    factor = max(1, max(section.shape[1:]) // _MOST_PIXELS)
    shown = figures.choose_channels([channel.role for channel in section.panel])
    ground = (section.panel.with_role(Role.MEMBRANE) or shown)[:1]
    planes = section.read_reduced([*shown, *ground], factor=factor)
    pixel = section.pixel_size_um
    translate = [(factor - 1) / 2 * pixel] * 2
    channels = [
        figures.ChannelImage(section.panel[index].target, section.panel[index].role, plane)
        for index, plane in zip(shown, planes[:-1], strict=True)
    ]
    picture = figures.composite(channels)
    outlines = []
    if fibres is not None:
        labels = read_labels(fibres)
        if labels.shape != section.shape[1:]:
            raise MitoxaiError(
                f"{fibres.name} is {labels.shape[1]} x {labels.shape[0]} px and {section.name} {section.shape[2]} x {section.shape[1]} px: "
                "give the fibres of this section."
            )
        outlines = figures.outlines(labels, pixel)
    return figures.SectionPanel(
        title=section.name,
        image=picture.image,
        base=figures.grey(planes[-1]),
        extent=figures.Extent.of(picture.image.shape[:2], pixel * factor, translate),
        legend=picture.legend,
        outlines=outlines,
        base_name=section.panel[ground[0]].target,
    )


def _map_panel(store: "MapStore", method: str) -> Any:
    from napari_mitoxai import figures

    values = store.read(method)
    grid = store.grid
    channels = store.channels(method)
    summed = (
        ", sum of channels"
        if len(channels) > 1
        else f", {channels[0]}"
        if store.info.get("pooling", "none") != "none"
        else ""
    )
    return figures.MapPanel(
        title=store.title(method),
        values=values.sum(0),
        extent=figures.Extent.of(grid.shape, grid.scale_um, [grid.translate_um] * 2),
        signed=store.signed(method),
        label=f"relevance for {store.explained}{summed}",
    )


def _portable(parameters: FigureParameters, folder: Path) -> dict[str, Any]:
    """Parameters with paths relative to the sidecar, so that a folder can be moved as a whole."""
    values = parameters.model_dump(mode="json", exclude={"out", "overwrite"})
    for name in ("section", "maps", "fibres"):
        if values[name] is not None:
            values[name] = os.path.relpath(Path(values[name]).resolve(), folder)
    return values


def _from_sidecar(parameters: FigureParameters) -> FigureParameters:
    """The parameters that a sidecar holds, after a look whether its inputs are still the same."""
    sidecar = parameters.section
    content = read_json(sidecar)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), dict) for key in ("parameters", "inputs")
    ):
        raise MitoxaiError(f"{sidecar.name} is no sidecar of a figure: give the .json that lies beside one.")
    values = dict(content["parameters"])
    for name in ("section", "maps", "fibres"):
        if values.get(name) is not None:
            values[name] = (sidecar.resolve().parent / values[name]).resolve()
    made = validated(FigureParameters, {**values, "out": parameters.out, "overwrite": parameters.overwrite})
    from napari_mitoxai.imc import split_address

    section = split_address(made.section)[0]
    for name, path in (("section_sha256", section), ("fibres_sha256", made.fibres)):
        expected = content["inputs"].get(name)
        if expected is not None and (path is None or not path.is_file() or sha256(path) != expected):
            raise MitoxaiError(
                f"{path} is not there or changed since {sidecar.name} was written: put the old file back, or make a new figure."
            )
    from napari_mitoxai.explain import open_maps

    if made.maps is not None and open_maps(made.maps).info["fingerprint"] != content["inputs"].get(
        "maps_fingerprint"
    ):
        raise MitoxaiError(
            f"{made.maps} holds other maps than when {sidecar.name} was written: explain again, or make a new figure."
        )
    return made
