"""Maps of several checkpoints in one: the stores with ticked maps, combined in the background."""

from pathlib import Path

from napari_mitoxai.common import CancelToken, MitoxaiError, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.map_tree import MapTree
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.aggregate import AggregateParameters, AggregateResult
from napari_mitoxai.tasks.aggregate import run as aggregate


class AggregateBox(TaskPanel):
    """The form of combining maps; what came out is offered above, ticked.

    Parameters
    ----------
    state : WindowState
    maps : MapTree
        Whose stores with ticked maps are combined.
    """

    def __init__(self, state: WindowState, maps: MapTree) -> None:
        super().__init__(state, "aggregate_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._maps = maps
        self.form = Form(AggregateParameters, leave_out=("maps", "methods"), browse={"out": "save"})
        self._says = wrapped(
            "Ticked maps of one section by several networks, that read one channel each or are folds of one design, become one map with a plane a channel.",
            "aggregate_says",
        )
        self.add(self._says)
        self.add(self.form)
        self.add(self.starter("Combine", "aggregate", self._start, ready=lambda: len(self._stores()) > 1))
        maps.changed.connect(self._on_maps)
        self._on_maps()

    def _stores(self) -> list[str]:
        return list(dict.fromkeys(store for store, _ in self._maps.chosen()))

    def _on_maps(self) -> None:
        stores = self._stores()
        if stores and not self.form.field("out").value():
            self.form.set_values({"out": suggest(Path(stores[0]), "combined", ".ome.zarr")})
        self.refresh_starters()

    def _start(self) -> None:
        chosen = self._maps.chosen()
        stores = self._stores()
        methods = [
            name
            for name in dict.fromkeys(name for _, name in chosen)
            if all((each, name) in chosen for each in stores)
        ]
        if not methods:
            raise MitoxaiError("No method is ticked of every store: tick the same ones of each.")
        parameters = self.form.parameters(maps=[Path(store) for store in stores], methods=methods)

        def work(progress: ProgressCallback, cancel: CancelToken) -> AggregateResult:
            return aggregate(parameters, progress, cancel)

        def done(result: AggregateResult) -> None:
            self._maps.add(result.maps)
            self._maps.choose([(str(result.maps), method) for method in result.methods])
            self._says.setText(
                " ".join(
                    (
                        f"{result.checkpoints} checkpoints combined in {result.maps.name}, ticked above.",
                        *result.notes,
                    )
                )
            )
            self._says.setToolTip(str(result.maps))
            self.form.set_values({"out": suggest(result.maps, "combined", ".ome.zarr")})

        self._state.runner.run("Combining maps", work, on_done=done, step=parameters)
