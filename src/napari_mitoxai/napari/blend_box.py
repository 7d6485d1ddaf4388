"""The blend of a model with channel mixing, shown over the section in use."""

from html import escape
from typing import TYPE_CHECKING

from napari_mitoxai.common import CancelToken, Progress, ProgressCallback
from napari_mitoxai.napari.layers import LayerTuple
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped

if TYPE_CHECKING:
    from napari_mitoxai.napari.runs import RunSummary

_TOLD = 4  # channels that are named


class BlendBox(TaskPanel):
    """A button, and which channels the blend takes; hidden for a model that does not mix channels."""

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "blend_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        button = self.starter("Show the blend", "show_blend", self._start, ready=self._ready)
        button.setToolTip("The picture that this model makes of all channels before it looks at anything.")
        self._says = wrapped(name="blend_shares")
        self.add(button)
        self.add(self._says)
        state.section_changed.connect(self.refresh_starters)
        state.run_changed.connect(self._on_run)
        self._on_run(state.run)

    def _ready(self) -> bool:
        section, run = self._state.section, self._state.run
        return section is not None and run is not None and not run.missing_in(section)

    def _on_run(self, run: "RunSummary | None") -> None:
        self._says.setText("")
        self.setVisible(run is not None and run.mixing > 0)
        self.refresh_starters()

    def _start(self) -> None:
        section, run = self._state.section, self._state.run
        if section is None or run is None:
            return

        def work(
            progress: ProgressCallback, cancel: CancelToken
        ) -> tuple[list[LayerTuple], dict[str, float]]:
            load_libraries(progress)
            from napari_mitoxai.models import load_checkpoint
            from napari_mitoxai.models.mixing import WithMixing
            from napari_mitoxai.napari.blend import blend_layers

            progress(Progress("Blending the channels", 0, 0, section.name))
            checkpoint = load_checkpoint(run.path)
            network = checkpoint.model()
            assert isinstance(network, WithMixing)
            cancel.check()
            shares = dict(zip(checkpoint.panel.targets, network.mixing.importance.tolist(), strict=True))
            return blend_layers(section, checkpoint, network.mixing.blend.numpy(), run.path), shares

        self._state.runner.run("Showing the blend", work, on_done=self._show)

    def _show(self, done: tuple[list[LayerTuple], dict[str, float]]) -> None:
        layers, shares = done
        for layer in reversed(layers):
            self._state.add_layer(layer)
        first = sorted(shares, key=lambda name: -shares[name])[:_TOLD]
        told = ", ".join(f"{escape(name)} {100 * shares[name]:.0f} %" for name in first)
        self._says.setText(f"<b>Largest shares of the blend:</b> {told}.")
        self.reveal(self._says)
