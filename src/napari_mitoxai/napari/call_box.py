"""Calling the section in use with the model in use: the probability as an overlay, the call with its uncertainty."""

from html import escape
from pathlib import Path
from typing import Any

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.imc import Section
from napari_mitoxai.imc.reading import stem
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import LayerTuple, facts_of
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.probability import probability_layers
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.predict import PredictParameters, PredictResult
from napari_mitoxai.tasks.predict import run as predict


class CallBox(TaskPanel):
    """A button, where the map goes, and the call."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "call_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self.form = Form(
            PredictParameters, leave_out=("run", "section"), browse={"out": "save", "mask": "open"}
        )
        self._says = wrapped(name="section_call")
        self.add(self.form)
        self.add(self.starter("Call this section", "predict", self._start, ready=self._ready))
        self.add(self._says)
        state.section_changed.connect(self._refresh)
        state.run_changed.connect(self._refresh)
        self._refresh()

    def _ready(self) -> bool:
        section, run = self._state.section, self._state.run
        return section is not None and run is not None and not run.missing_in(section)

    def _refresh(self, _: Any = None) -> None:
        section = self._state.section
        self.setVisible(self._state.run is not None)
        if section is not None:
            self.form.set_values({"out": suggest(section.path, f"{section.name}_probability", ".ome.zarr")})
        self._says.setText("" if section is not None else "Open a section first: drop a file on the window.")
        self.refresh_starters()

    def _start(self) -> None:
        section, run = self._state.section, self._state.run
        if section is None or run is None:
            return
        parameters = self.form.parameters(run=run.path, section=section.address)
        if parameters.mask is None and run.inside_fibres:
            parameters = parameters.model_copy(update={"mask": fibres_of(self._state, section)})

        def work(progress: ProgressCallback, cancel: CancelToken) -> tuple[PredictResult, list[LayerTuple]]:
            load_libraries(progress)
            result = predict(parameters, progress, cancel)
            from napari_mitoxai.explain import open_maps

            return result, probability_layers(open_maps(result.maps))

        self._state.runner.run("Calling the section", work, on_done=self._show, step=parameters)

    def _show(self, done: tuple[PredictResult, list[LayerTuple]]) -> None:
        result, layers = done
        for layer in layers:
            self._state.add_layer(layer)
        self._refresh()
        self._says.setText(call_html(result))
        self._says.setToolTip(str(result.maps))
        self.reveal(self._says)


def fibres_of(state: WindowState, section: Section) -> Path | None:
    """The file of the fibres that lie over a section in the window, for a model that was trained inside fibres."""
    layer = state.layers_of(section, "fibres").get("fibres")
    facts = None if layer is None else facts_of(layer)
    return Path(facts.source) if facts is not None and facts.source else None


def call_html(result: PredictResult) -> str:
    """The call of a section, how much it depends on which part was imaged, and what the model knew before."""
    low, high = result.interval
    name = stem(result.section)
    depends = (
        f"95 % of resampled sections {low:.2f} to {high:.2f}"
        if (low, high) != (0.0, 1.0)
        else "too small a section to tell how much that depends on its parts"
    )
    use = {
        "new": "Its subject is new to the model.",
        "test": "Its subject was held out from training.",
    }.get(result.use_of_subject, "")
    said = (
        f"<b>{escape(name)} is called {escape(result.call)}</b>: probability of {escape(result.last_class)} "
        f"{result.probability[result.last_class]:.2f} ({depends}); "
        f"{100 * result.agreement:.0f} % of {result.patches} patches agree. {use}"
    )
    lines = [
        said,
        *(escape(note) for note in result.notes),
        f"The map is in {escape(result.maps.name)}.",
    ]
    return "<br>".join(lines)
