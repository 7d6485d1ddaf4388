"""The Relevance tab: where the maps of the section in use fall, in sentences, in a plot, and in the fibres' colours."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFormLayout, QWidget

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.fibres.answers import QUESTIONS, in_brief
from napari_mitoxai.fibres.relevance import POOLED
from napari_mitoxai.imc import Section
from napari_mitoxai.napari.fibre_editor import classes_by_hand
from napari_mitoxai.napari.fibre_legend import FibreLegend
from napari_mitoxai.napari.fibre_table import OUTLINES, colour_fibres, coloured_by, put_table
from napari_mitoxai.napari.fields import choice_box
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.groups_box import GroupsBox
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.measure import MeasureParameters

if TYPE_CHECKING:
    from napari_mitoxai.napari.relevance_canvas import RelevanceCanvas
    from napari_mitoxai.tasks.fibre_relevance import FibreRelevance
    from napari_mitoxai.tasks.measure_maps import MapsResult

_ASKED = (
    "out",
    "calls",
    "figure",
    "keep_all",
    "membrane_um",
    "submembrane_um",
    "gap_um",
    "draws",
    "overwrite",
)
ENRICHMENT, SHARE = "enrichment", "share of relevance"


class RelevancePanel(TaskPanel):
    """Maps joined with fibres: the answers of one map at a time."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "relevance_panel")
        self._found: FibreRelevance | None = None
        self._of: tuple[Section, Any] | None = None  # what was measured: the section and its layer of fibres
        self._canvas: RelevanceCanvas | None = None
        self._missing = wrapped(name="what_is_missing")
        self._maps = choice_box("maps")
        others = [name for name in MeasureParameters.model_fields if name not in _ASKED]
        self.form = Form(
            MeasureParameters, leave_out=others, browse={"out": "save", "calls": "open", "figure": "save"}
        )
        self.form.add_row("Maps", self._maps)
        self._method, self._channel, self._colour = (
            choice_box("method"),
            choice_box("channel"),
            choice_box("colour_fibres"),
        )
        self._answers = wrapped(name="answers")
        self._kept = wrapped(name="kept")
        self._shown = QWidget()
        self._rows = QFormLayout(self._shown)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.addRow("Method", self._method)
        self._rows.addRow(self._answers)
        self._rows.addRow("Channel", self._channel)
        self._rows.addRow("Colour fibres by", self._colour)
        self._legend = FibreLegend(self._follow_colours)
        self._rows.addRow(self._legend)
        self._rows.addRow(self._kept)
        self._colour.addItems([OUTLINES, ENRICHMENT, SHARE])
        self.add(self._missing)
        self.add(self.form)
        self.add(
            self.starter(
                "Where does the relevance fall?", "measure_relevance", self._start, ready=self._ready
            )
        )
        self.add(self._shown)
        self._groups = GroupsBox(state)
        self.add(folded("Compare groups", "groups_of_subjects", self._groups))
        self._column.addStretch(1)
        self._shown.setVisible(False)
        self._method.currentTextChanged.connect(lambda _: self._show_method())
        self._channel.currentTextChanged.connect(lambda _: self._paint())
        self._colour.currentTextChanged.connect(lambda _: self._paint())
        state.section_changed.connect(self._on_section)
        state.layers_changed.connect(self._on_layers)
        # maps take their final name when explaining has ended, without a sign from their layers
        self._afterwards = QTimer(self)
        self._afterwards.setSingleShot(True)
        self._afterwards.setInterval(0)
        self._afterwards.timeout.connect(self._on_layers)
        state.runner.state_changed.connect(self._on_runner)
        self._on_section(state.section)

    # --- what there is --------------------

    def _on_runner(self, _: Any) -> None:
        self._afterwards.start()

    def _stores(self) -> list[str]:
        """The stores whose maps are shown of the section in use."""
        section = self._state.section
        viewer = self._state.viewer
        if section is None or viewer is None:
            return []
        every = [facts_of(layer) for layer in viewer.layers]
        return list(
            dict.fromkeys(
                facts.source
                for facts in reversed(every)
                if facts is not None
                and facts.kind == "map"
                and facts.path == str(section.address)
                and facts.source
                and not Path(facts.source).name.startswith(".")  # still being made
            )
        )

    def _ready(self) -> bool:
        return self._state.fibres is not None and bool(self._maps.currentData())

    def _on_section(self, section: Section | None) -> None:
        if section is not None:
            self.form.set_values({"out": suggest(section.path, f"{section.name}_relevance", ".csv")})
        if self._of is not None and section is not self._of[0]:
            self._forget()
        self._on_layers()

    def _on_layers(self) -> None:
        stores = self._stores()
        if stores != [self._maps.itemData(place) for place in range(self._maps.count())]:
            self._maps.clear()
            for store in stores:
                self._maps.addItem(Path(store).name, store)
        text = ""
        if self._state.section is None:
            text = "Open a section first: drop a file on the window, or use the Section tab."
        elif self._state.fibres is None:
            text = "Find the fibres of this section first, or import labels, under Fibres."
        elif not stores:
            text = "Explain this section first, under Explain, or drop its maps on the window."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        if self._of is not None and self._state.fibres is not self._of[1]:
            self._forget()  # other fibres than those that were measured
        self.refresh_starters()

    def _forget(self) -> None:
        self._found, self._of = None, None
        self._shown.setVisible(False)

    # --- measuring --------------------

    def _start(self) -> None:
        section, layer = self._state.section, self._state.fibres
        if section is None or layer is None:
            return
        facts = facts_of(layer)
        source = Path(facts.source) if facts is not None and facts.source else section.path
        parameters = self.form.parameters(
            section=section.address, fibres=source, maps=Path(self._maps.currentData())
        )
        labels = np.array(layer.data)  # as they are now: they may be edited while they are measured
        features = layer.features.copy()
        by_hand = dict(classes_by_hand(layer))

        def work(progress: ProgressCallback, cancel: CancelToken) -> "tuple[MapsResult, FibreRelevance]":
            import matplotlib.backends.backend_qtagg  # noqa: F401 - takes a second, which the window should not wait

            from napari_mitoxai.tasks.measure_maps import measure_with_maps

            return measure_with_maps(
                parameters, labels, by_hand, _calls(features), progress=progress, cancel=cancel
            )

        def show(done: "tuple[MapsResult, FibreRelevance]") -> None:
            result, self._found = done
            self._of = section, layer
            notes = [escape(note) for note in result.notes]
            self._kept.setText("<br>".join([*notes, f"Kept in {escape(result.table.name)} and beside it."]))
            self._kept.setToolTip(str(result.table))
            self._groups.tables.add(result.table)
            self._show_results()
            if self._state.section is section:
                self.form.set_values({"out": suggest(section.path, f"{section.name}_relevance", ".csv")})

        self._state.runner.run(
            "Measuring relevance",
            work,
            on_done=show,
            step=self._with_calls(parameters, features),
            labels=labels,
        )

    def _with_calls(self, parameters: MeasureParameters, features: pd.DataFrame) -> MeasureParameters:
        """The same with the table of the calls that the layer holds, to be done again without the layer."""
        called = self._state.recorder.last("oxphos")
        if (
            parameters.calls is not None
            or called is None
            or not any(str(name).endswith("_status") for name in features)
        ):
            return parameters
        return parameters.model_copy(update={"calls": called.written[0]})

    # --- what came out --------------------

    def _show_results(self) -> None:
        if self._found is None:
            return
        if self._canvas is None:
            from napari_mitoxai.napari.relevance_canvas import RelevanceCanvas

            self._canvas = canvas = RelevanceCanvas()
            self._rows.addRow(canvas)
            viewer = self._state.viewer
            if viewer is not None:
                canvas.set_theme(viewer.theme)
                viewer.events.theme.connect(lambda event: canvas.set_theme(event.value))
        kept = self._method.currentText()
        names = [each.method for each in self._found.sums]
        self._method.blockSignals(True)
        self._method.clear()
        self._method.addItems(names)
        self._method.setCurrentText(kept if kept in names else names[0])
        self._method.blockSignals(False)
        self._shown.setVisible(True)
        if self._of is not None:
            self._legend.follow(self._of[1])
            statuses = [name for name in self._of[1].features if str(name).endswith("_status")]
            self._colour.blockSignals(True)
            self._colour.clear()
            self._colour.addItems([OUTLINES, ENRICHMENT, SHARE, *statuses])
            self._colour.blockSignals(False)
        self._show_method()
        self._colour.setCurrentText(ENRICHMENT)
        self.reveal(self._answers)

    def _show_method(self) -> None:
        found, method, canvas = self._found, self._method.currentText(), self._canvas
        if found is None or canvas is None or not method:
            return
        from napari_mitoxai.figures.relevance_plot import colours_of

        own = [answer for answer in found.answers if answer.method == method]
        lines = []
        for question, asked in QUESTIONS.items():
            said = [answer.sentence for answer in in_brief(own) if answer.question == question]
            if said:
                lines.append(f"<b>{escape(asked)}</b><br>" + "<br>".join(map(escape, said)))
        self._answers.setText("<br>".join(lines))
        sums = next(each for each in found.sums if each.method == method)
        canvas.show_map(sums, own, found.counted, colours_of(found.sums)[method])
        kept = self._channel.currentText()
        self._channel.blockSignals(True)
        self._channel.clear()
        self._channel.addItems(reversed(sums.planes))  # their sum first
        if kept in sums.planes:
            self._channel.setCurrentText(kept)
        self._channel.blockSignals(False)
        self._paint()

    def _paint(self) -> None:
        """Colour the fibres that were measured."""
        found, by = self._found, self._colour.currentText()
        if found is None or self._of is None or not by:  # coloured by what is chosen elsewhere
            return
        layer = self._of[1]
        if by not in (ENRICHMENT, SHARE):
            colour_fibres(layer, by)
            return
        sums = next((each for each in found.sums if each.method == self._method.currentText()), None)
        channel = self._channel.currentText()
        if sums is None or channel not in sums.planes:
            colour_fibres(layer, OUTLINES)
            return
        quantity = "enrichment" if by == ENRICHMENT else "share"
        name = f"{sums.method}_{'all' if channel == POOLED else channel}_{quantity}"  # as in the wide table
        values = getattr(sums.fibres(), quantity)[:, sums.planes.index(channel)]
        put_table(layer, pd.DataFrame({"fibre": sums.regions.ids, name: values}))
        colour_fibres(layer, name)

    def _follow_colours(self) -> None:
        """Name what the fibres are coloured by, also where another tab chose it."""
        if self._of is None:
            return
        by = coloured_by(self._of[1])
        kinds = {"_enrichment": ENRICHMENT, "_share": SHARE}
        shown = next((kind for ending, kind in kinds.items() if by.endswith(ending)), by)
        self._colour.blockSignals(True)
        self._colour.setCurrentIndex(self._colour.findText(shown))
        self._colour.blockSignals(False)


def _calls(features: pd.DataFrame) -> pd.DataFrame | None:
    """The calls that a layer of fibres holds."""
    called = "index" in features and any(str(name).endswith("_status") for name in features)
    return features.rename(columns={"index": "fibre"}) if called else None
