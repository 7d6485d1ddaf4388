"""From a figure's specification to what it draws: sections, maps, fibres and tables are read and joined here."""

from typing import TYPE_CHECKING, Any

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback, no_progress
from napari_mitoxai.figures.cells import (
    Extent,
    FibreCell,
    FigureCell,
    FigureRow,
    MapCell,
    PictureCell,
    PlotCell,
)
from napari_mitoxai.figures.spec import FigureSpec, Limits, Panel, Row, preset_panels
from napari_mitoxai.tasks.figure_fibres import coloured
from napari_mitoxai.tasks.figure_inputs import Inputs, factor_of
from napari_mitoxai.tasks.figure_plots import plot_cell
from napari_mitoxai.tasks.figure_window import cut_to, map_extent, window_of
from napari_mitoxai.trust.recorded import FAILS, in_numbers, rests_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_mitoxai.explain import MapStore
    from napari_mitoxai.figures import Composite
    from napari_mitoxai.imc import Section

_USES = {
    "test": "held out from training",
    "validation": "used to choose the epoch, so no evidence for new subjects",
    "train": "trained on this subject, so no evidence for new subjects",
    "new": "not in the training cohort",
}
_FIBRE = (0.34, 0.71, 0.91, 0.35)  # of a fibre that nothing is known of


def panels_of(spec: FigureSpec, inputs: Inputs) -> list[Panel]:
    """The columns: those listed, or those of the arrangement with the maps that all rows have.

    Raises
    ------
    MitoxaiError
        If the arrangement asks for a method that a row has no map of, or there is none at all.
    """
    if spec.panels:
        return list(spec.panels)
    each = [[name for path in row.maps for name in inputs.store(path).methods] for row in spec.rows]
    common = [name for name in dict.fromkeys(each[0]) if all(name in names for names in each)]
    methods = spec.methods or common
    if not methods:
        raise MitoxaiError(
            "A figure needs maps: give the stores that `mitoxai explain` wrote with --maps, or list panels."
        )
    return preset_panels(spec.preset, methods)


def rows_of(
    spec: FigureSpec,
    inputs: Inputs,
    progress: ProgressCallback = no_progress,
    cancel: CancelToken | None = None,
) -> tuple[list[FigureRow], list[PlotCell]]:
    """Read what a figure shows.

    Parameters
    ----------
    spec : FigureSpec
        With paths that can be opened from here.
    inputs : Inputs
        Reads the files.
    progress, cancel : callable, CancelToken
        Told, and looked at, for each row.

    Returns
    -------
    list of FigureRow, list of PlotCell
        The rows, and the plots below them.

    Raises
    ------
    MitoxaiError
        If files cannot be read or do not belong together, or a method, channel or column is not there.
    """
    panels = panels_of(spec, inputs)
    opened = []
    for done, row in enumerate(spec.rows):
        if cancel is not None:
            cancel.check()
        progress(Progress("Reading", done, len(spec.rows), str(row.section.name)))
        opened.append(_Opened(row, spec, panels, inputs))
    shared: dict[str, Limits] = {}
    if spec.shared_limits:
        for each in opened:
            for name, (low, high) in each.channel_limits.items():
                known = shared.get(name, (low, high))
                shared[name] = min(low, known[0]), max(high, known[1])
    rows = []
    for each in opened:
        if cancel is not None:
            cancel.check()
        rows.append(each.read(shared))
    return rows, [plot_cell(panel, inputs) for panel in spec.below]


def verdict_line(store: "MapStore") -> str:
    """What the model says of the section, and whether that is evidence, in one line."""
    verdict = store.info["verdict"]
    target = store.info.get("target_class", store.info["target"])  # what is explained may be a difference
    part = "a part of " if store.info.get("area") else ""
    combined, kind = store.info.get("combined"), store.info["checkpoint"]["architecture"]
    who = (
        f"{len(combined['from'])} models ({kind}) together call" if combined else f"The model ({kind}) calls"
    )
    return (
        f"{who} {part}{store.info['section']['name']} {verdict['call']}: "
        f"probability of {target} {verdict['probability'][target]:.2f}, mean of {verdict['patches']} patches; "
        f"{_USES[store.info['use_of_subject']]}."
    )


class _Opened:
    """A row whose files are open."""

    def __init__(self, row: Row, spec: FigureSpec, panels: list[Panel], inputs: Inputs) -> None:
        from napari_mitoxai.imc import Role

        self._row, self._spec, self._panels, self._inputs = row, spec, panels, inputs
        self._section = section = inputs.section(row.section)
        self._stores = [_checked(inputs.store(path), section) for path in row.maps]
        self._window = window_of(section, row)
        self._polygons: list[NDArray[Any]] = []
        self._ids: list[int] = []
        if row.fibres is not None:
            self._open_fibres()
        drawn = [panel for panel in panels if panel.show in {"composite", "merge"}]
        self._channels = {index: self._chosen(panel) for index, panel in enumerate(panels) if panel in drawn}
        first = next(iter(self._channels.values()), self._default())
        self._ground = (section.panel.with_role(Role.MEMBRANE) or first)[0]
        self.channel_limits = {
            section.panel[channel].target: self._limits(channel)
            for channel in sorted({each for own in self._channels.values() for each in own})
        }

    def _default(self) -> list[int]:
        from napari_mitoxai.figures import choose_channels

        return choose_channels([channel.role for channel in self._section.panel])

    def _chosen(self, panel: Panel) -> list[int]:
        """The channels of a composite, or of the red and green below a map."""
        from napari_mitoxai.figures import choose_channels

        if panel.channels:
            return [self._section.panel.index(name) for name in panel.channels]
        roles = [channel.role for channel in self._section.panel]
        return choose_channels(roles, 2) if panel.show == "merge" else choose_channels(roles)

    def _limits(self, channel: int) -> Limits:
        from napari_mitoxai.figures.channels import channel_limits

        given = self._row.limits.get(self._section.panel[channel].target)
        return given or channel_limits(
            self._inputs.planes(self._section, [channel])[0], self._spec.percentile
        )

    def _open_fibres(self) -> None:
        import numpy as np

        path, section = self._row.fibres, self._section
        assert path is not None
        labels = self._inputs.labels(path)
        if labels.shape != section.shape[1:]:
            raise MitoxaiError(
                f"{path.name} is {labels.shape[1]} x {labels.shape[0]} px and {section.name} {section.shape[2]} x {section.shape[1]} px: "
                "give the fibres of this section."
            )
        outlines = self._inputs.outlines(path, section.pixel_size_um)
        seen = self._window.extent
        for label, polygon in zip(np.unique(labels[labels > 0]), outlines, strict=True):
            (left, top), (right, bottom) = polygon.min(0), polygon.max(0)
            if left < seen.right and right > seen.left and top < seen.bottom and bottom > seen.top:
                self._ids.append(int(label))
                self._polygons.append(polygon)

    def read(self, shared: dict[str, Limits]) -> FigureRow:
        """The row's panels, with the limits of channels that are the same in all rows."""
        from napari_mitoxai.figures import grey
        from napari_mitoxai.figures.channels import channel_limits, stretch

        limits = {**self.channel_limits, **shared, **self._row.limits}
        wanted = sorted({self._ground, *(each for own in self._channels.values() for each in own)})
        planes, extent = self._planes(wanted)
        ground = planes[self._ground]
        if self._window.whole:
            base = grey(ground, self._spec.percentile)
        else:
            whole = self._inputs.planes(self._section, [self._ground])[0]
            base = stretch(ground, channel_limits(whole, self._spec.percentile))
        cells = [self._cell(place, panel, planes, limits) for place, panel in enumerate(self._panels)]
        return FigureRow(
            title=self._row.title or self._section.name,
            extent=extent if self._window.whole else self._window.extent,
            base=base,
            base_extent=extent,
            cells=cells,
            outlines=self._polygons,
            base_name=self._section.panel[self._ground].target,
            verdict=verdict_line(self._stores[0]) if self._stores else "",
        )

    def _planes(self, channels: list[int]) -> "tuple[dict[int, NDArray[Any]], Extent]":
        """Channels where the window is, and where their pixels lie."""
        from napari_mitoxai.figures import block_mean

        section, window = self._section, self._window
        pixel = section.pixel_size_um
        if window.whole:
            factor = factor_of(section.shape[1:])
            found = self._inputs.planes(section, channels)
            shape, corner = found[0].shape, (0, 0)
        else:
            read = section.read(channels, y=window.y, x=window.x)
            factor = factor_of(read.shape[1:])
            found = [block_mean(plane, factor) for plane in read]
            shape, corner = found[0].shape, (window.y.start, window.x.start)
        first = [(start + (factor - 1) / 2) * pixel for start in corner]
        return dict(zip(channels, found, strict=True)), Extent.of(shape, pixel * factor, first)

    # --- cells --------------------

    def _cell(
        self, place: int, panel: Panel, planes: "dict[int, NDArray[Any]]", limits: dict[str, Limits]
    ) -> FigureCell:
        if panel.show == "composite":
            shown = self._picture(place, planes, limits)
            return PictureCell(panel.title or self._of("section"), shown.image, shown.legend)
        if panel.show == "plot":
            return plot_cell(panel, self._inputs, self._section.name)
        if panel.show == "fibres":
            return self._fibres(panel)
        picture = self._picture(place, planes, limits) if panel.show == "merge" else None
        return self._map(panel, picture)

    def _of(self, what: str) -> str:
        """A title; where there are several rows, each is labelled with its section."""
        return what if len(self._spec.rows) > 1 else f"{self._name()}: {what}"

    def _name(self) -> str:
        return self._row.title or self._section.name

    def _picture(
        self, place: int, planes: "dict[int, NDArray[Any]]", limits: dict[str, Limits]
    ) -> "Composite":
        from napari_mitoxai.figures import ChannelImage, composite

        pure = ("#ff0000", "#00ff00") if self._panels[place].show == "merge" else ()
        images = []
        for order, index in enumerate(self._channels[place]):
            channel = self._section.panel[index]
            colour = pure[order] if order < len(pure) else self._spec.channel_colours.get(channel.target, "")
            images.append(
                ChannelImage(channel.target, channel.role, planes[index], colour, limits[channel.target])
            )
        return composite(images, arcsinh=self._spec.arcsinh)

    def _map(self, panel: Panel, below: "Composite | None") -> MapCell:
        store = self._store_of(panel.method)
        names = store.channels(panel.method)
        if panel.channel:
            what = f", {panel.channel}"
        elif len(names) > 1:
            what = ", sum of channels"
        else:
            what = f", {names[0]}" if store.info.get("pooling", "none") != "none" else ""
        values, extent = cut_to(
            self._inputs.map_of(store, panel.method, panel.channel), map_extent(store), self._window.extent
        )
        limit = self._row.limits.get(panel.method)
        return MapCell(
            title=panel.title or store.title(panel.method),
            values=values,
            extent=extent,
            signed=store.signed(panel.method) and below is None,
            label=f"relevance for {store.explained}{what}",
            key=f"{panel.show} {panel.method} {panel.channel}",
            ground=below.image if below is not None else None,
            alone=panel.show == "map",
            limit=limit[1] if limit else None,
            warning=FAILS if panel.method in self._inputs.failures(store) else "",
            note=". ".join(filter(None, (_red_and_green(below), self._scores(store, panel.method)))),
        )

    def _store_of(self, method: str) -> "MapStore":
        for store in self._stores:
            if method in store.methods:
                return store
        known = ", ".join(name for store in self._stores for name in store.methods)
        where = ", ".join(store.path.name for store in self._stores)
        if not self._stores:
            raise MitoxaiError(
                f"{self._name()} has no maps in this figure, and {method} is asked for: give the store that `mitoxai explain` wrote with --maps."
            )
        raise MitoxaiError(
            f"{where} has no map by {method} (it has {known}): explain the section with it first."
        )

    def _scores(self, store: "MapStore", method: str) -> str:
        """The scores that are asked for, with their intervals; where there is none, that is said."""
        if not self._spec.scores:
            return ""
        table = self._inputs.scores(store)
        told = []
        for name in self._spec.scores:
            own = table[(table["method"] == method) & (table["score"] == name)]
            if not len(own):
                told.append(f"{name}: not computed")
                continue
            row = own.iloc[0].to_dict()
            told.append(f"{name} {in_numbers(row, 2)}, {rests_on(row)}")
        return "; ".join(told)

    def _fibres(self, panel: Panel) -> FibreCell:
        import numpy as np

        if self._row.fibres is None:
            raise MitoxaiError(
                f"{self._name()} has no fibres in this figure: give their label image, which `mitoxai segment` writes."
            )
        title = panel.title or self._of("fibres")
        if not panel.colour_by:
            return FibreCell(title, np.tile(np.array(_FIBRE), (len(self._ids), 1)))
        return coloured(
            title, panel.colour_by, self._column(panel.colour_by), self._row.limits.get(panel.colour_by)
        )

    def _column(self, name: str) -> Any:
        """A column of the fibre table, in the order of the outlines."""
        path = self._row.table
        if path is None:
            raise MitoxaiError(
                f"Fibres of {self._name()} are coloured by {name}, and there is no table of them: give it in the row (table)."
            )
        table = self._inputs.table(path)
        if "section" in table:
            table = table[table["section"].astype(str) == self._section.name]
        if name not in table or "fibre" not in table or table["fibre"].duplicated().any():
            raise MitoxaiError(
                f"{path.name} has no column {name} with a row a fibre of {self._section.name}: choose another column or table."
            )
        return table.set_index("fibre")[name].reindex(self._ids)


def _checked(store: "MapStore", section: "Section") -> "MapStore":
    if list(section.shape[1:]) != store.info["section"]["shape"][1:]:
        raise MitoxaiError(
            f"{store.path.name} was made of {store.info['section']['name']}, which has another size than {section.name}: "
            "give the maps of this section."
        )
    return store


def _red_and_green(below: "Composite | None") -> str:
    colours = zip(("red", "green"), below.legend if below is not None else (), strict=False)
    return "; ".join(f"{colour}: {entry.name}" for colour, entry in colours)
