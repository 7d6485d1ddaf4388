"""The Explain tab: maps of the section in use by the model in use, appearing while they are computed."""

from html import escape
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QComboBox, QFormLayout

from napari_mitoxai import explain
from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.explain.plan import PREDICTED
from napari_mitoxai.explain.planted_truth import long_hint, short_hint
from napari_mitoxai.napari.area_chooser import AreaChooser
from napari_mitoxai.napari.blend_box import BlendBox
from napari_mitoxai.napari.call_box import fibres_of
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.method_settings import MethodSettings
from napari_mitoxai.napari.overlay import LiveMaps
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.runner import Outcome
from napari_mitoxai.napari.shown_channel import ShownChannel
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.napari.trust_box import TrustBox
from napari_mitoxai.tasks.explain import ExplainParameters, ExplainResult, explain_one

if TYPE_CHECKING:
    from napari_mitoxai.napari.runs import RunSummary

_WHAT_PLACES_ARE = "1st, 2nd …: place in finding a planted truth. Hover over a method for more."
_USUAL = ("grad_cam", "guided_backprop", "lrp_epsilon")
# what this tab has widgets of its own for
_FILLED_IN = (
    "run", "sections", "target", "against", "region", "shapes", "fibres", "fibre_ids", "settings",
)  # fmt: skip


def _class_box(field: str) -> QComboBox:
    box = QComboBox()
    box.setObjectName(field)
    box.setToolTip(wrapping(ExplainParameters.model_fields[field].description or ""))
    return box


def _label(method: explain.Method) -> str:
    """What stands in the list: the method, and how well it found a planted truth."""
    hint = short_hint(method.name)
    return f"{method.title} · {hint}" if hint else method.title


def _tip(method: explain.Method) -> str:
    return f"{method.description} {long_hint(method.name)}".strip()


class ExplainPanel(TaskPanel):
    """Methods to tick, the class to explain, and the model's verdict on the section."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "explain_panel")
        # the usual ones first, so that what is ticked is in sight
        names = [*_USUAL, *(name for name in explain.available() if name not in _USUAL)]
        methods = [explain.method(name) for name in names]
        choices = {method.name: (_label(method), _tip(method)) for method in methods}
        self.form = Form(
            ExplainParameters, leave_out=_FILLED_IN, choices={"methods": choices}, browse={"out": "save"}
        )
        self.form.set_values({"methods": list(_USUAL)})
        self.form.add_note("methods", wrapped(_WHAT_PLACES_ARE, "planted_truth", dim=True))
        self._missing = wrapped(name="what_is_missing")
        self._target, self._against = _class_box("target"), _class_box("against")
        self._area = AreaChooser(state)
        self.form.add_row("Class", self._target)
        self.form.add_row("Part", self._area)
        self.form.add_folded("Against", self._against)
        self._settings = MethodSettings()
        self.form.add_folded("", self._settings)
        self._verdict = wrapped(name="verdict")
        self._live: LiveMaps | None = None
        self.add(self._missing)
        self.add(self.form)
        self.add(self.starter("Explain", "explain", self._start, ready=self._ready))
        self.add(self._verdict)
        shown = QFormLayout()
        shown.addRow("Show relevance of", ShownChannel(state))
        self._column.addLayout(shown)
        self.add(folded("Trust: check these maps", "trust", TrustBox(state)))
        self.add(BlendBox(state))
        self._column.addStretch(1)
        state.section_changed.connect(self._on_section)
        state.run_changed.connect(self._on_run)
        self.form.changed.connect(self._on_form)
        self._on_run(state.run)
        self._on_section()
        self._on_form()

    def _on_form(self) -> None:
        self._settings.set_methods(self.form.field("methods").value())
        self.refresh_starters()

    def _ready(self) -> bool:
        section, run = self._state.section, self._state.run
        return (
            section is not None
            and run is not None
            and not run.missing_in(section)
            and bool(self.form.field("methods").value())
        )

    def _on_run(self, run: "RunSummary | None") -> None:
        self._target.clear()
        self._against.clear()
        if run is not None:
            for name in run.classes:
                self._target.addItem(name, name)
            self._target.addItem("the one that the model calls it", PREDICTED)
            self._target.setCurrentIndex(len(run.classes) - 1)
            self._against.addItem("no other class", None)
            for name in run.classes:
                self._against.addItem(name, name)
        self._target.setEnabled(run is not None)
        self._say_what_is_missing()

    def _on_section(self, _: Any = None) -> None:
        section = self._state.section
        if section is not None:
            self.form.set_values({"out": suggest(section.path, f"{section.name}_maps", ".ome.zarr")})
        self._say_what_is_missing()

    def _say_what_is_missing(self) -> None:
        section, run = self._state.section, self._state.run
        text = ""
        if section is None:
            text = "Open a section first: drop a file on the window, or use the Section tab."
        elif run is None:
            text = "Train a model, or load a run, first: both are on the Train tab."
        elif missing := run.missing_in(section):
            text = f"{section.name} has no channel {', '.join(missing)}, which {run.name} reads: open a section with the full panel, or load another run."
        self._missing.setText(text)
        self._missing.setVisible(bool(text))
        self.refresh_starters()

    def _start(self) -> None:
        section, run = self._state.section, self._state.run
        if section is None or run is None:
            return
        names = self.form.field("methods").value()
        parameters = self.form.parameters(
            run=run.path,
            sections=[section.address],
            methods=self._settings.labels(names),
            settings=self._settings.settings(names),
            target=self._target.currentData(),
            against=self._against.currentData(),
        )
        if parameters.mask is None and run.inside_fibres:
            parameters = parameters.model_copy(update={"mask": fibres_of(self._state, section)})
        area = self._area.area(section)
        step = parameters.model_copy(update=self._area.parameters(section, parameters.out))
        live = self._live = LiveMaps(self._state, section)
        live.refresh(now=True)  # what is on the screen is known from the start

        def work(progress: ProgressCallback, cancel: CancelToken) -> ExplainResult:
            load_libraries(progress)
            return explain_one(parameters, area=area, watcher=live, progress=progress, cancel=cancel)

        started = self._state.runner.run(
            "Explaining", work, on_done=self._on_explained, on_end=self._on_end, step=step, labels=self._area.labels(section)
        )  # fmt: skip
        if started:
            self._verdict.setText("")
            self._state.runner.ticked.connect(live.refresh)

    def _on_explained(self, result: ExplainResult) -> None:
        live = self._live
        if live is None:
            return
        probability = float(result.verdict["probability"][result.verdict["call"]])
        use = {
            "new": "Its subject is new to the model.",
            "test": "Its subject was held out from training.",
        }.get(
            result.use_of_subject,
            f"Its subject was used to {result.use_of_subject} the model: this is no test of it.",
        )
        what = live.section.name if result.whole else f"This part of {live.section.name}"
        remarks = "".join(
            f"<br>Without {escape(label)}: {escape(reason)}" for label, reason in result.left_out.items()
        )
        remarks += "".join(f"<br>{escape(note)}" for note in result.notes)
        self._verdict.setText(
            f"<b>{escape(what)} is called {escape(result.verdict['call'])}</b>, {100 * probability:.0f} % sure "
            f"over {result.verdict['patches']} patches. {use}"
            f"<br>The maps explain {escape(result.target)} and are in {escape(result.maps.name)}.{remarks}"
        )
        self._verdict.setToolTip(str(result.maps))
        self.reveal(self._verdict)
        live.finish(result.maps, result.verdict, result.left_out)
        self._on_section()

    def _on_end(self, outcome: Outcome) -> None:
        if self._live is not None:
            self._state.runner.ticked.disconnect(self._live.refresh)
            self._live.refresh(now=True)
            self._live = None
        if outcome.cancelled:
            self._verdict.setText("What was finished is kept: Explain goes on from there.")
