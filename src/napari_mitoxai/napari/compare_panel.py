"""The Compare tab: maps beside each other, two under a curtain or in turn, a fibre under all of them, and how far they agree."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QPushButton, QSlider, QWidget

from napari_mitoxai.common import CancelToken, MitoxaiError, Progress, ProgressCallback
from napari_mitoxai.fibres.relevance import POOLED
from napari_mitoxai.napari.aggregate_box import AggregateBox
from napari_mitoxai.napari.agreement_box import AgreementBox
from napari_mitoxai.napari.arrangement import Compared
from napari_mitoxai.napari.arrangement_box import ArrangementBox
from napari_mitoxai.napari.compare_cells import (
    CellMap,
    Contrast,
    MapChoice,
    Tissue,
    ingredients,
    prepare,
    usual_ingredients,
)
from napari_mitoxai.napari.compare_planes import Ingredient
from napari_mitoxai.napari.comparison import BLINK, BLINK_KEY, SIDE_BY_SIDE, SWIPE, SWIPE_KEY
from napari_mitoxai.napari.fibre_readout import FibreReadout
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.map_tree import MapTree
from napari_mitoxai.napari.opening import open_section
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.agree import EVERY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EACH = "each channel by itself"
_SLIDER = 1000  # steps


class ComparePanel(TaskPanel):
    """What is compared, and how."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "compare_panel")
        self.comparison = state.comparison
        self._then: Callable[[], None] | None = None
        self._missing = wrapped(name="what_is_missing")
        self.maps = MapTree(state)
        self._channel = _box("compared_channel", "Whose relevance the maps show. A map that does not tell channels apart has one cell in any case.")  # fmt: skip
        self._contrast = _box(
            "contrast",
            "Which maps have one colour scale. Values of different methods have no common unit: one scale for all maps is right for "
            "maps by one method, of several subjects, channels or checkpoints.",
        )
        self._contrast.addItems([each.value for each in Contrast])
        self._outlines = QCheckBox("Outlines of fibres")
        self._outlines.setObjectName("outlined")
        self._outlines.setChecked(True)
        rows = QFormLayout()
        rows.addRow("Channel", self._channel)
        rows.addRow("Colour scale", self._contrast)
        self._score = _box(
            "score", "Which trust score the cells tell, with its 95 % interval. `mitoxai trust` makes them."
        )
        rows.addRow("Score", self._score)
        rows.addRow(self._outlines)
        self._leave = QPushButton("Leave")
        self._leave.setObjectName("leave_comparison")
        self._leave.setToolTip("Puts layers, grid and view back as they were.")
        self._leave.clicked.connect(lambda _: self.comparison.end())
        self.add(self._missing)
        self.add(self.maps)
        self._column.addLayout(rows)
        self.add(self.starter("Compare", "compare", self._start, ready=self._ready), self._leave)
        self._says = wrapped(name="comparison_says")
        self.add(self._says)
        self._two = self._make_two()
        self.add(self._two)
        self.readout = FibreReadout(state)
        self.add(self.readout)
        self.agreement = AgreementBox(state, self.maps)
        self.agreement.pair_chosen.connect(self._on_pair_chosen)
        self.add(self.agreement)
        self.add(folded("Combine checkpoints", "combine_checkpoints", AggregateBox(state, self.maps)))
        self.arrangement = ArrangementBox(state, self)
        self.add(self.arrangement)
        self._column.addStretch(1)
        self.maps.changed.connect(self._on_maps)
        self._contrast.activated.connect(lambda _: self.comparison.set_contrast(self.contrast))
        self._score.activated.connect(lambda _: self.comparison.set_score(self._score.currentText()))
        self._outlines.toggled.connect(self.comparison.set_outlined)
        state.section_changed.connect(self._on_layers)
        state.layers_changed.connect(self._on_layers)
        self.comparison.changed.connect(self._on_comparison)
        # maps take their final name when explaining has ended, without a sign from their layers
        self._afterwards = QTimer(self)
        self._afterwards.setSingleShot(True)
        self._afterwards.setInterval(0)
        self._afterwards.timeout.connect(self._on_rest)
        state.runner.state_changed.connect(self._on_task)
        self._on_layers()
        self._on_maps()
        self._on_comparison()

    def _on_task(self, _: Any) -> None:
        self._afterwards.start()

    def _on_rest(self) -> None:
        """A task ended: there may be new maps, and new scores of those that are compared."""
        self._on_layers()
        if self.comparison.complete and not self._state.runner.busy:
            try:
                self.comparison.read_scores()
            except MitoxaiError as error:
                show_error(str(error))
            self.comparison.set_score(self._score.currentText())

    def _make_two(self) -> QWidget:
        """Two maps at one place."""
        two = QWidget()
        rows = QFormLayout(two)
        rows.setContentsMargins(0, 0, 0, 0)
        self._first, self._second = _box("first_map", ""), _box("second_map", "")
        rows.addRow("Left, or first", self._first)
        rows.addRow("Right, or second", self._second)
        line = QHBoxLayout()
        self._modes: dict[str, QPushButton] = {}
        for mode, key in ((SIDE_BY_SIDE, ""), (SWIPE, SWIPE_KEY), (BLINK, BLINK_KEY)):
            button = QPushButton(mode.capitalize())
            button.setObjectName(f"mode_{mode.replace(' ', '_')}")
            button.setCheckable(True)
            button.setToolTip(f"In the picture: {key.replace('-', '+')}, and again to go back." if key else "All cells again.")  # fmt: skip
            button.clicked.connect(lambda _, mode=mode: self._choose_mode(mode))
            self._modes[mode] = button
            line.addWidget(button)
        rows.addRow(line)
        self._curtain = QSlider(Qt.Orientation.Horizontal)
        self._curtain.setObjectName("curtain")
        self._curtain.setRange(0, _SLIDER)
        self._curtain.valueChanged.connect(lambda value: self.comparison.move_curtain(value / _SLIDER))
        rows.addRow("Curtain", self._curtain)
        for box in (self._first, self._second):
            box.activated.connect(lambda _: self._on_pair())
        return two

    # --- what there is --------------------

    @property
    def contrast(self) -> Contrast:
        """Which maps have one colour scale."""
        return Contrast(self._contrast.currentText())

    @property
    def channel(self) -> str:
        """`POOLED`, `EACH`, or a channel."""
        return self._channel.currentText()

    @property
    def outlined(self) -> bool:
        """Whether fibres are outlined."""
        return self._outlines.isChecked()

    def choices(self) -> list[MapChoice]:
        """The maps that are ticked, channel by channel where that is asked for."""
        found = []
        for store, method in self.maps.chosen():
            own, wanted = self.maps.channels_of(store, method), self.channel
            if wanted == EACH and own:
                found += [MapChoice(Path(store), method, name) for name in own]
            else:
                found.append(MapChoice(Path(store), method, wanted if wanted in own else POOLED))
        return found

    def _ready(self) -> bool:
        return len(self.maps.chosen()) > 0

    def _on_layers(self, _: Any = None) -> None:
        self.maps.refresh()
        text = ""
        if not self.maps.stores():
            text = "Explain a section first, under Explain, or drop its maps on the window."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        self.refresh_starters()

    def _on_maps(self) -> None:
        kept, names = self._channel.currentText(), self.maps.channels()
        self._channel.clear()
        self._channel.addItems([POOLED, *([EACH] if names else []), *names])
        self._channel.setCurrentIndex(max(self._channel.findText(kept), 0))
        self.refresh_starters()

    # --- comparing --------------------

    def _start(self) -> None:
        self.compare(self.choices())

    def compare_again(self, compared: Compared, look: Callable[[], None]) -> None:
        """Show a comparison of an arrangement.

        Parameters
        ----------
        compared : Compared
        look : callable
            Moves the view, when all cells are there.
        """
        for each in compared.maps:
            if each.store not in self.maps.stores():
                self.maps.add(each.store)
        self.maps.choose([(each.store, each.method) for each in compared.maps])
        choices = [MapChoice(Path(each.store), each.method, each.channel) for each in compared.maps]
        self._contrast.setCurrentText(compared.contrast.value)
        self._outlines.setChecked(compared.outlined)

        def then() -> None:
            comparison = self.comparison
            self._score.setCurrentText(compared.score)
            comparison.set_score(compared.score)
            comparison.move_curtain(compared.curtain)
            # cells may stand in another order, since this window may be wider
            cells = [cell.choice for cell in comparison.cells]
            comparison.pair = (cells.index(choices[compared.pair[0]]), cells.index(choices[compared.pair[1]]))
            try:
                if compared.mode == SWIPE:
                    comparison.swipe(*comparison.pair)
                elif compared.mode == BLINK:
                    comparison.blink(*comparison.pair)
            except MitoxaiError as error:
                show_error(str(error))
            look()

        self.compare(choices, then)

    def compare(self, choices: list[MapChoice], then: Callable[[], None] | None = None) -> None:
        """Show maps beside each other, as the tab says.

        Parameters
        ----------
        choices : list of MapChoice
        then : callable, optional
            Called when all cells are there.
        """
        contrast, outlined = self.contrast, self.outlined
        known = self._open_tissues()
        display = self._state.display

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[list[CellMap], dict[str, Tissue]]:
            progress(Progress("Opening maps", 0, len(choices)))
            cells = prepare(choices, contrast, cancel)
            tissues = {}
            for cell in cells:
                cancel.check()
                address = cell.section
                if address in tissues:
                    continue
                parts, labels = known.get(address, (None, None))
                section = open_section(address, display)
                tissues[address] = Tissue(
                    section.name,
                    address,
                    section.pixel_size_um,
                    parts or usual_ingredients(section, display),
                    labels,
                )
            return cells, tissues

        def show(done: tuple[list[CellMap], dict[str, Tissue]]) -> None:
            cells, tissues = done
            self.comparison.begin(cells, tissues, outlined=outlined)
            self.comparison.set_score(self._score.currentText())
            self._then = then

        self._state.runner.run("Comparing", work, on_done=show)

    def _open_tissues(self) -> "dict[str, tuple[list[Ingredient] | None, NDArray[np.integer] | None]]":
        """By the addresses of sections in the window: their channels as they are shown, and their fibres."""
        viewer = self._state.viewer
        channels: dict[str, list[Any]] = {}
        fibres: dict[str, Any] = {}
        for layer in viewer.layers if viewer is not None else ():
            facts = facts_of(layer)
            if facts is None:
                continue
            if facts.kind == "channel" and self.comparison.visible_before(layer):
                channels.setdefault(facts.path, []).append(layer)
            elif facts.kind == "fibres":
                fibres[facts.path] = layer.data
        return {
            path: (ingredients(channels[path]) if path in channels else None, fibres.get(path))
            for path in {*channels, *fibres}
        }

    def _on_comparison(self) -> None:
        comparison = self.comparison
        self._leave.setEnabled(comparison.active)
        done, of = comparison.progress
        self._says.setText(f"Showing map {done + 1} of {of}…" if done < of else "")
        self._says.setVisible(done < of)
        complete = comparison.complete
        self._two.setEnabled(complete and len(comparison.cells) > 1)
        for mode, button in self._modes.items():
            button.setChecked(complete and comparison.mode == mode)
        swiping = complete and comparison.mode == SWIPE
        self._curtain.setEnabled(swiping)
        titles = [cell.title for cell in comparison.cells]
        for box in (self._first, self._second):
            if [box.itemText(place) for place in range(box.count())] != titles:
                box.clear()
                box.addItems(titles)
        scores = list(dict.fromkeys(row["score"] for cell in comparison.cells for row in cell.recorded))
        if [self._score.itemText(place) for place in range(self._score.count())] != scores:
            self._score.clear()
            self._score.addItems(scores)
        self._score.setEnabled(bool(scores))
        self._score.setPlaceholderText("none was made" if comparison.active else "")
        if titles:
            self._first.setCurrentIndex(comparison.pair[0])
            self._second.setCurrentIndex(comparison.pair[1])
        if complete and self._then is not None:
            then, self._then = self._then, None
            then()
        self._curtain.blockSignals(True)
        self._curtain.setValue(round(comparison.curtain * _SLIDER))
        self._curtain.blockSignals(False)

    def _on_pair(self) -> None:
        pair = self._first.currentIndex(), self._second.currentIndex()
        self.comparison.pair = pair
        if self.comparison.mode != SIDE_BY_SIDE:
            self._choose_mode(self.comparison.mode)

    def _on_pair_chosen(self, section: str, first: str, second: str) -> None:
        """Two methods of the agreement's table, under a curtain; if they are not compared now, they will be.

        Parameters
        ----------
        section : str
            A section's name, or `EVERY`: then the first that has both.
        first, second : str
            As `mitoxai agree` names them.
        """
        chosen = [choice for choice in self._named(section, first, second) if choice is not None]
        if len(chosen) < 2:
            show_info(
                f"The maps by {first} and {second} are not in the list above any more: add their store again."
            )
            return
        cells = [cell.choice for cell in self.comparison.cells]
        if self.comparison.complete and all(choice in cells for choice in chosen):
            self._swipe_between(*chosen)
        else:
            self.compare(chosen, lambda: self._swipe_between(*chosen))

    def _swipe_between(self, first: MapChoice, second: MapChoice) -> None:
        cells = [cell.choice for cell in self.comparison.cells]
        self._first.setCurrentIndex(cells.index(first))
        self._second.setCurrentIndex(cells.index(second))
        self._choose_mode(SWIPE)

    def _named(self, section: str, *names: str) -> list[MapChoice | None]:
        """The maps, channels summed, that a table names: by the method, with the store's name behind it where several have it."""
        about = {store: self.maps.section_of(store) for store in self.maps.stores()}
        for wanted in [section] if section != EVERY else dict.fromkeys(about.values()):
            found: list[MapChoice | None] = []
            for name in names:
                every = [
                    MapChoice(Path(store), method)
                    for store, own in about.items()
                    if own == wanted
                    for method in self.maps.methods_of(store)
                    if name in (method, f"{method} ({Path(store).name.removesuffix('.ome.zarr')})")
                ]
                found.append(every[0] if every else None)
            if all(found):
                return found
        return [None] * len(names)

    def _choose_mode(self, mode: str) -> None:
        comparison, pair = self.comparison, (self._first.currentIndex(), self._second.currentIndex())
        try:
            if mode == SWIPE:
                comparison.swipe(*pair)
            elif mode == BLINK:
                comparison.blink(*pair)
            else:
                comparison.show_side_by_side()
        except MitoxaiError as error:
            show_info(str(error))
            self._on_comparison()


def _box(name: str, tip: str) -> QComboBox:
    box = QComboBox()
    box.setObjectName(name)
    box.setToolTip(wrapping(tip))
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    return box
