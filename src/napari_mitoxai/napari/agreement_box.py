"""How far the ticked maps agree: measured in the background, shown for a section, a group or all."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QWidget

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.fibre_table import drop_columns, put_table
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.layers import facts_of
from napari_mitoxai.napari.map_tree import MapTree
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.agree import EVERY, AgreeParameters, AgreeResult, rows_of, what_is_shown
from napari_mitoxai.tasks.agree import run as agree

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.napari.agreement_canvas import AgreementCanvas

_ASKED = ("out", "cohort", "figure", "figures_of_each", "values", "top", "overwrite")


class AgreementBox(TaskPanel):
    """The form of the comparison by numbers, and its matrix.

    Parameters
    ----------
    state : WindowState
    maps : MapTree
        Whose ticked maps are compared.
    """

    pair_chosen = Signal(
        str, str, str
    )  # the section's name, or `EVERY`; the two methods as the table names them

    def __init__(self, state: WindowState, maps: MapTree) -> None:
        super().__init__(state, "agreement_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self._maps = maps
        self._table: pd.DataFrame | None = None
        self._canvas: AgreementCanvas | None = None
        others = [name for name in AgreeParameters.model_fields if name not in _ASKED]
        self.form = Form(
            AgreeParameters, leave_out=others, browse={"out": "save", "figure": "save", "cohort": "open"}
        )
        self._says = wrapped(name="agreement_says")
        self._of, self._measure = QComboBox(), QComboBox()
        self._of.setObjectName("agreement_of")
        self._measure.setObjectName("agreement_measure")
        for box in (self._of, self._measure):
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.activated.connect(lambda _: self._show())
        self._shown = QWidget()
        self._rows = QFormLayout(self._shown)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._rows.addRow("Of", self._of)
        self._rows.addRow("Measure", self._measure)
        self._rows.addRow(self._says)
        self._shown.hide()
        self.add(QLabel("<b>Do they agree?</b>"))
        self.add(self.form)
        self.add(self.starter("Measure agreement", "agree", self._start, ready=self._ready))
        self.add(self._shown)
        maps.changed.connect(self._on_maps)
        self._on_maps()

    def _stores(self) -> list[str]:
        return list(dict.fromkeys(store for store, _ in self._maps.chosen()))

    def _methods(self) -> list[str]:
        """The ticked maps as the task names them: nothing where all of the stores are ticked."""
        from napari_mitoxai.explain import open_maps
        from napari_mitoxai.tasks.section_agreement import named

        chosen = self._maps.chosen()
        every = [(store, method) for store in self._stores() for method in self._maps.methods_of(store)]
        left_out = {method for store, method in every if (store, method) not in chosen}
        if not left_out:
            return []
        names = [
            named(method, open_maps(store)) if method in left_out else method for store, method in chosen
        ]
        return list(dict.fromkeys(names))

    def _ready(self) -> bool:
        return len(self._maps.chosen()) > 1

    def _on_maps(self) -> None:
        stores = self._stores()
        if stores and not self.form.field("out").value():
            self.form.set_values({"out": suggest(Path(stores[0]), "agreement", ".csv")})
        self.refresh_starters()

    def _fibres(self, stores: list[str]) -> list[Path]:
        """The files with the fibres of the stores' sections, one a section in their order; none unless each has one."""
        from napari_mitoxai.explain import open_maps

        viewer = self._state.viewer
        every = [facts_of(layer) for layer in viewer.layers] if viewer is not None else []
        files = {
            facts.path: Path(facts.source)
            for facts in every
            if facts is not None and facts.kind == "fibres" and facts.source
        }
        sections = list(dict.fromkeys(str(open_maps(store).info["section"]["path"]) for store in stores))
        found = [files[path] for path in sections if path in files and files[path].is_file()]
        return found if len(found) == len(sections) else []

    def _start(self) -> None:
        stores = self._stores()
        parameters = self.form.parameters(
            maps=[Path(store) for store in stores], methods=self._methods(), fibres=self._fibres(stores)
        )

        def work(
            progress: ProgressCallback, cancel: CancelToken
        ) -> "tuple[AgreeResult, pd.DataFrame, pd.DataFrame | None]":
            import matplotlib.backends.backend_qtagg  # noqa: F401 - takes a second, which the window should not wait

            from napari_mitoxai.tasks.fibre_relevance import read_table

            result = agree(parameters, progress, cancel)
            named = "the table of `mitoxai agree`"
            by_fibre = None if result.by_fibre is None else read_table(result.by_fibre, named)
            return result, read_table(result.table, named), by_fibre

        def done(outcome: "tuple[AgreeResult, pd.DataFrame, pd.DataFrame | None]") -> None:
            result, self._table, by_fibre = outcome
            notes = [escape(note) for note in result.notes]
            notes.append(
                f"Click a cell to see its two maps under a curtain. Kept in {escape(result.table.name)}."
            )
            if by_fibre is None:
                notes.insert(
                    0, "By pixel only: the fibres of every section must be open, and kept in a file."
                )
            else:
                self._put(by_fibre)
                notes.append(
                    "How far maps agree inside each fibre is in the table of the fibres: colour them by <i>agreement</i> under OXPHOS."
                )
            self._says.setText("<br>".join(notes))
            self._says.setToolTip(str(result.table))
            self._offer()
            self.form.set_values({"out": suggest(result.table, "agreement", ".csv")})

        self._state.runner.run("Measuring agreement", work, on_done=done, step=parameters)

    def _put(self, table: "pd.DataFrame") -> None:
        """Put what is known of each fibre into the fibres of its section."""
        viewer = self._state.viewer
        for layer in viewer.layers if viewer is not None else ():
            facts = facts_of(layer)
            if facts is None or facts.kind != "fibres":
                continue
            own = table[table["section"] == facts.section].drop(columns=["subject", "group", "pixels"])
            if own.empty:
                continue
            drop_columns(layer, [str(name) for name in layer.features if str(name).startswith("agreement")])
            if "index" in layer.features:  # those that were not explained stay
                own = own.set_index("fibre").reindex(layer.features["index"].rename("fibre")).reset_index()
            put_table(layer, own)

    def _offer(self) -> None:
        table = self._table
        if table is None:
            return
        if self._canvas is None:
            from napari_mitoxai.napari.agreement_canvas import AgreementCanvas

            self._canvas = canvas = AgreementCanvas()
            self._rows.insertRow(2, canvas)
            viewer = self._state.viewer
            if viewer is not None:
                canvas.set_theme(viewer.theme)
                viewer.events.theme.connect(lambda event: canvas.set_theme(event.value))
            canvas.chosen.connect(self._on_chosen)
        from napari_mitoxai.figures.agreement_plot import TITLES

        sections = list(dict.fromkeys(table["section"]))
        self._of.clear()
        if EVERY in sections:
            for group in table.loc[table["section"] == EVERY, "group"].fillna("").unique():
                self._of.addItem(what_is_shown(table, EVERY, group), (EVERY, group))
        for section in sections:
            if section != EVERY:
                self._of.addItem(section, (section, None))
        top = self.form.field("top").value()
        self._measure.clear()
        for measure in TITLES:
            if (table["measure"] == measure).any():
                self._measure.addItem(TITLES[measure].format(top=100 * top), measure)
        self._shown.show()
        self._show()
        self.reveal(self._canvas)

    def _show(self) -> None:
        if self._table is not None and self._canvas is not None and self._of.currentData() is not None:
            own = rows_of(self._table, *self._of.currentData())
            self._canvas.show_table(own, self._measure.currentData())

    def _on_chosen(self, first: str, second: str) -> None:
        section: Any = self._of.currentData()
        self.pair_chosen.emit(section[0], first, second)
