"""Which channels matter to the model in use, asked in several ways, on the Train tab."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTableWidget, QTableWidgetItem

from napari_mitoxai.common import CancelToken, ProgressCallback
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.libraries import load_libraries
from napari_mitoxai.napari.map_tree import stores_shown
from napari_mitoxai.napari.more_fields import CheckListField
from napari_mitoxai.napari.panel import TaskPanel
from napari_mitoxai.napari.picture import Picture
from napari_mitoxai.napari.places import suggest
from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.channels import ChannelsParameters, ChannelsResult
from napari_mitoxai.tasks.channels import run as channels

if TYPE_CHECKING:
    import pandas as pd

    from napari_mitoxai.napari.runs import RunSummary

_ROWS_SHOWN = 12
_WHAT = (
    "Takes each channel away in several ways, and compares that with the blend of a model that mixes channels, with maps, and "
    "with networks that see one channel only."
)


class ChannelsBox(TaskPanel):
    """The form, a button, the ranks of the channels by each way, and how far the ways agree.

    Parameters
    ----------
    state : WindowState
        Of the window.
    """

    def __init__(self, state: WindowState) -> None:
        super().__init__(state, "channels_box")
        self._column.setContentsMargins(0, 0, 0, 0)
        self.form = Form(
            ChannelsParameters,
            leave_out=("run",),
            choices={"maps": {}},
            browse={"data": "open", "out": "save", "sweep": "folder", "mask": "folder"},
        )
        self._missing = wrapped("Train a model, or load a run, first: both are above.", "no_model")
        self._says = wrapped(_WHAT, "channels_say")
        self.table = ChannelRanks()
        self.table.hide()
        self._plot = Picture("channels_plot")
        self.add(self._missing)
        self.add(self.form)
        self.add(
            self.starter(
                "Compare the ways", "compare_channels", self._start, ready=lambda: state.run is not None
            )
        )
        self.add(self._says)
        self.add(self.table)
        self.add(self._plot)
        state.run_changed.connect(self._on_run)
        state.cohort_changed.connect(self._on_data)
        state.section_changed.connect(self._on_data)
        state.layers_changed.connect(self._on_layers)
        self._on_run(state.run)
        self._on_data()
        self._on_layers()

    def _on_run(self, run: "RunSummary | None") -> None:
        self._missing.setVisible(run is None)
        self.form.setVisible(run is not None)
        if run is not None:
            self.form.set_values({"out": suggest(run.path, f"{run.path.name}_channels")})
        self.refresh_starters()

    def _on_data(self, _: object = None) -> None:
        """The cohort in use; without one the section, until the user says otherwise."""
        state, field = self._state, self.form.field("data")
        if state.cohort is not None:
            field.set_value(state.cohort)
        elif state.section is not None and not field.value():
            field.set_value(state.section.address)

    def _on_layers(self) -> None:
        """Offer the maps in the window; what has come since is ticked."""
        field = self.form.field("maps")
        assert isinstance(field, CheckListField)
        stores, known = stores_shown(self._state), field.known()
        if stores == list(known):
            return
        ticked = [each for each in stores if each in field.value() or each not in known]
        field.set_choices({each: (Path(each).name, each) for each in stores})
        field.set_value(ticked)

    def _start(self) -> None:
        run = self._state.run
        if run is None:
            return
        parameters = self.form.parameters(run=run.path)

        def work(progress: ProgressCallback, cancel: CancelToken) -> "tuple[ChannelsResult, pd.DataFrame]":
            load_libraries(progress)
            import pandas as pd

            result = channels(parameters, progress, cancel)
            return result, pd.read_csv(result.table)

        def show(done: "tuple[ChannelsResult, pd.DataFrame]") -> None:
            result, ranks = done
            self._says.setText(_told(result))
            self.table.show_ranks(ranks, result.channels)
            self.table.show()
            self._plot.show_file(result.plot)
            self.form.set_values({"out": suggest(run.path, f"{run.path.name}_channels")})
            self.reveal(self.table)

        self._state.runner.run("Comparing channels", work, on_done=show, step=parameters)


class ChannelRanks(QTableWidget):
    """A row a channel, a column a way: ranks, with the value on hover."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("channel_ranks")
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)

    def show_ranks(self, table: "pd.DataFrame", order: list[str]) -> None:
        """Show the table of a comparison, channels in this order."""
        ways = list(dict.fromkeys(table["way"]))
        self.clear()
        self.setRowCount(len(order))
        self.setColumnCount(len(ways))
        self.setVerticalHeaderLabels(order)
        # "alone, subjects left out" in three short lines
        self.setHorizontalHeaderLabels([way.replace(", ", ",\n").replace(" ", "\n") for way in ways])
        for row in table.to_dict("records"):
            spread = "" if row["sd"] != row["sd"] else f" ± {row['sd']:.3g} (SD, {row['n']})"
            item = QTableWidgetItem(f"{row['rank']:g}")
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            item.setToolTip(f"{row['channel']}, {row['way']}: {row['value']:.3g}{spread}, {row['unit']}")
            self.setItem(order.index(row["channel"]), ways.index(row["way"]), item)
        self.resizeColumnsToContents()
        self.resizeRowsToContents()
        header = self.horizontalHeader()
        above = header.sizeHint().height() if header is not None else 0
        self.setFixedHeight(above + self.rowHeight(0) * min(len(order), _ROWS_SHOWN) + 24)


def _told(result: ChannelsResult) -> str:
    """Which channels come first, which ways agree most and least, what chance reaches, and what limits it."""
    lines = [f"<b>By their mean rank:</b> {escape(', '.join(result.channels[:3]))} come first."]
    if result.pairs:
        most, least = result.pairs[0], result.pairs[-1]
        lines.append(f"Most alike: {_pair(most)}. Least: {_pair(least)}.")
        lines.append(
            f"With {len(result.channels)} channels one order in twenty reaches ±{result.chance:.2f} by chance."
        )
    lines += [escape(note) for note in result.notes]
    lines.append(f"Kept in {escape(result.table.parent.name)}.")
    return "<br>".join(lines)


def _pair(pair: dict[str, object]) -> str:
    return f"{escape(str(pair['way_a']))} and {escape(str(pair['way_b']))} ({pair['correlation']:.2f})"
