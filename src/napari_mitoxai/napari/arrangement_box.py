"""The window's arrangement kept in a file and opened again."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.fibres.relevance import POOLED
from napari_mitoxai.imc import read_labels
from napari_mitoxai.napari.arrangement import (
    Arrangement,
    Compared,
    ComparedMap,
    ShownLayer,
    read_arrangement,
    save_arrangement,
    without_missing,
)
from napari_mitoxai.napari.compare_cells import COMPARED_KEY
from napari_mitoxai.napari.layers import (
    METADATA_KEY,
    LayerFacts,
    LayerTuple,
    channel_layers,
    facts_of,
    fibre_layer,
    store_layers,
)
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.probability import is_probability, probability_layers
from napari_mitoxai.napari.runs import RunSummary, load_run
from napari_mitoxai.napari.shown_channel import show_channel
from napari_mitoxai.napari.state import WindowState

if TYPE_CHECKING:
    from napari_mitoxai.napari.compare_panel import ComparePanel

_ENDING = ".json"


class ArrangementBox(QWidget):
    """Save and open.

    Parameters
    ----------
    state : WindowState
    panel : ComparePanel
        Which is asked for what is compared, and compares it again.
    """

    def __init__(self, state: WindowState, panel: "ComparePanel") -> None:
        super().__init__()
        self.setObjectName("arrangement_box")
        self._state, self._panel = state, panel
        self._waiting: list[tuple[ShownLayer, LayerTuple]] = []
        self._rest: Callable[[], None] | None = None
        self._next = QTimer(self)
        self._next.setSingleShot(True)
        self._next.setInterval(0)
        self._next.timeout.connect(self._add_next)
        column = QHBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for text, name, tip, call in (
            ("Save arrangement…", "save_arrangement", "Which layers, sections and maps, how they look, the view, the tab, and what is compared.", self._ask_to_save),
            ("Open arrangement…", "open_arrangement", "What is open stays, and is hidden.", self._ask_to_open),
        ):  # fmt: skip
            button = QPushButton(text)
            button.setObjectName(name)
            button.setToolTip(tip)
            button.clicked.connect(call)
            column.addWidget(button)

    # --- saving --------------------

    def _ask_to_save(self, _: Any = None) -> None:
        chosen = QFileDialog.getSaveFileName(self, "Save the arrangement", f"arrangement{_ENDING}", f"Arrangements (*{_ENDING})")[0]  # fmt: skip
        if not chosen:
            return
        path = Path(chosen)
        named = path if path.suffix == _ENDING else path.with_name(path.name + _ENDING)
        try:
            # the dialog has asked before a file is replaced, but not of a name that it did not see
            self.save(named, overwrite=named == path)
        except MitoxaiError as error:
            show_error(str(error))

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Write what the window shows.

        Raises
        ------
        MitoxaiError
            If the file exists and may not be replaced, or cannot be written.
        """
        arrangement, left_out = self.arrangement()
        save_arrangement(path, arrangement, overwrite=overwrite)
        without = f" Not in it, since no file holds them: {', '.join(left_out)}." if left_out else ""
        show_info(f"The arrangement is in {path}.{without}")

    def arrangement(self) -> tuple[Arrangement, list[str]]:
        """What the window shows, and the names of layers that no file holds."""
        viewer, comparison = self._state.viewer, self._state.comparison
        shown, left_out = [], []
        for layer in viewer.layers:
            facts = facts_of(layer)
            if COMPARED_KEY in layer.metadata:
                continue
            kept = facts is not None and facts.kind in ("channel", "map", "fibres")
            if facts is None or not kept or (facts.kind != "channel" and not facts.source):
                left_out.append(layer.name)
                continue
            shown.append(
                ShownLayer(
                    kind=facts.kind,  # type: ignore[arg-type]
                    section=facts.path,
                    what=facts.what,
                    source=facts.source,
                    channel=layer.metadata[METADATA_KEY].get("channel", POOLED) if facts.kind == "map" else POOLED,
                    visible=comparison.visible_before(layer),
                    opacity=layer.opacity,
                    limits=_limits(layer) if facts.kind != "fibres" else None,
                )
            )  # fmt: skip
        camera, compared = viewer.scene.camera, None
        if comparison.complete:
            compared = Compared(
                maps=[
                    ComparedMap(store=str(choice.store), method=choice.method, channel=choice.channel)
                    for choice in (cell.choice for cell in comparison.cells)
                ],
                contrast=self._panel.contrast,
                score=comparison.cells[0].score,
                outlined=self._panel.outlined,
                mode=comparison.mode,
                pair=comparison.pair,
                curtain=comparison.curtain,
            )
        workspace = self._workspace()
        run, cohort = self._state.run, self._state.cohort
        return (
            Arrangement(
                layers=shown,
                centre=(float(camera.center[-2]), float(camera.center[-1])),
                zoom=float(camera.zoom),
                tab=workspace.tab if workspace is not None else "",
                run=str(run.path) if run is not None else "",
                cohort=str(cohort) if cohort is not None else "",
                compared=compared,
            ),
            left_out,
        )

    def _workspace(self) -> Any:
        """The column of tabs that this one is in; None in a dock of its own."""
        parent: Any = self.parent()
        while parent is not None and not hasattr(parent, "show_tab"):
            parent = parent.parent()
        return parent

    # --- opening --------------------

    def _ask_to_open(self, _: Any = None) -> None:
        chosen = QFileDialog.getOpenFileName(self, "Open an arrangement", "", f"Arrangements (*{_ENDING})")[0]
        if chosen:
            try:
                self.open(Path(chosen))
            except MitoxaiError as error:
                show_error(str(error))

    def open(self, path: Path) -> None:
        """Show what a file says; what is open stays, and is hidden unless the file names it.

        Files that are gone are told in one sentence, and the rest is opened.

        Raises
        ------
        MitoxaiError
            If it is not an arrangement, or nothing of it is there any more.
        """
        arrangement, missing = without_missing(read_arrangement(path))
        if missing and not arrangement.layers and arrangement.compared is None:
            raise MitoxaiError(
                f"Nothing that {path.name} shows is there any more ({_few(missing)}): put the files back, or open them where they are now."
            )

        def work(progress: ProgressCallback, cancel: CancelToken) -> Any:
            made = []
            for number, layer in enumerate(arrangement.layers):
                cancel.check()
                progress(Progress("Opening the arrangement", number, len(arrangement.layers), layer.what))
                made.append((layer, _layer_tuple(layer, self._state)))
            run = load_run(Path(arrangement.run), progress, cancel) if arrangement.run else None
            return made, run

        def done(result: tuple[list[tuple[ShownLayer, LayerTuple]], RunSummary | None]) -> None:
            made, run = result
            self._state.comparison.end()
            for layer in self._state.viewer.layers:
                layer.visible = False
            if run is not None:
                self._state.set_run(run)
            if arrangement.cohort:
                self._state.set_cohort(Path(arrangement.cohort))
            self._waiting, self._rest = made, lambda: self._arrange(arrangement, path, missing)
            self._next.start()

        self._state.runner.run("Opening the arrangement", work, on_done=done)

    def _add_next(self) -> None:
        """Add one more layer, so that the window stays free between them."""
        if self._state.viewer is None:
            return
        if not self._waiting:
            rest, self._rest = self._rest, None
            if rest is not None:
                rest()
            return
        shown, made = self._waiting.pop(0)
        layer = self._open_already(shown) or self._state.add_layer(made)
        if shown.kind == "map" and shown.channel != POOLED:
            show_channel(layer, shown.channel)
        if shown.limits is not None:
            low, high = shown.limits
            first, last = layer.contrast_limits_range
            layer.contrast_limits_range = min(low, first), max(high, last)
            layer.contrast_limits = shown.limits
        layer.opacity, layer.visible = shown.opacity, shown.visible
        self._next.start()

    def _open_already(self, shown: ShownLayer) -> Any:
        """The fibres that are open of the same file, which may have been edited; None for other layers."""
        for layer in self._state.viewer.layers if shown.kind == "fibres" else ():
            facts = facts_of(layer)
            if facts is not None and (facts.kind, facts.path, facts.source) == (
                "fibres",
                shown.section,
                shown.source,
            ):
                return layer
        return None

    def _arrange(self, arrangement: Arrangement, path: Path, missing: list[str]) -> None:
        viewer, workspace = self._state.viewer, self._workspace()

        def look() -> None:
            viewer.scene.camera.center = (0.0, *arrangement.centre)
            viewer.scene.camera.zoom = arrangement.zoom

        if workspace is not None and arrangement.tab:
            workspace.show_tab(arrangement.tab)
        compared = arrangement.compared
        if compared is None:
            look()
        else:
            self._panel.compare_again(compared, look)
        if missing:
            show_error(
                f"{path.name} names files that are not there, and was opened without them: {_few(missing)}. Put them back, or open them where they are now."
            )


def _limits(layer: Any) -> tuple[float, float]:
    low, high = layer.contrast_limits
    return float(low), float(high)


def _few(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _layer_tuple(shown: ShownLayer, state: WindowState) -> LayerTuple:
    """A layer of an arrangement, made anew from its files."""
    section = open_section(shown.section, state.display)
    if shown.kind == "channel":
        targets = [channel.target for channel in section.panel]
        if shown.what not in targets:
            raise MitoxaiError(
                f"{section.name} has no channel {shown.what} (it has {', '.join(targets)}): the file has changed since it was arranged."
            )
        return channel_layers(section, [targets.index(shown.what)], display=state.display)[0]
    if shown.kind == "fibres":
        labels = read_labels(Path(shown.source))
        if labels.shape != tuple(section.shape[-2:]):
            raise MitoxaiError(f"{shown.source} has another size than {section.name}: it has changed since it was arranged.")  # fmt: skip
        facts = LayerFacts("fibres", section.name, str(section.address), "fibres", "", shown.source)
        return fibre_layer(np.asarray(labels), facts, pixel_size_um=section.pixel_size_um)
    from napari_mitoxai.explain import open_maps

    store = open_maps(shown.source)
    layers = probability_layers(store) if is_probability(store) else store_layers(store)
    for layer in layers:
        if layer[1]["metadata"][METADATA_KEY]["what"] == shown.what:
            return layer
    raise MitoxaiError(f"{store.path.name} has no map by {shown.what}: it has changed since it was arranged.")
