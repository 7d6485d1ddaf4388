"""Patches before a training: how many of each group, and what augmentation makes of them. Brings matplotlib."""

from html import escape
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_mitoxai.napari.state import WindowState
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.preview import Preview

_ROW = 95  # px


class PreviewView(QWidget):
    """The balance of the classes as a table, and a patch of each class as read and as augmented."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("preview_view")
        self._state = state
        self._balance = wrapped(name="class_balance")
        self._canvas = FigureCanvasQTAgg(Figure(layout="constrained"))
        self._canvas.setObjectName("augmentation_preview")
        self._found: Preview | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._balance)
        layout.addWidget(self._canvas)
        state.viewer.events.theme.connect(self._draw)

    def show_preview(self, found: Preview) -> None:
        """Show what was found."""
        self._found = found
        self._balance.setText(balance_html(found))
        self._canvas.setFixedHeight(_ROW * len(found.shown) + 20)
        self._draw()

    def _draw(self, event: Any = None) -> None:
        found, viewer = self._found, self._state.viewer
        if found is None or viewer is None:
            return
        colours = get_theme(viewer.theme)
        ink, figure = colours.text.as_hex(), self._canvas.figure
        figure.clear()
        figure.set_facecolor(colours.background.as_hex())
        grid = figure.subplots(len(found.shown), len(found.shown[0].pictures), squeeze=False)
        for row, shown in zip(grid, found.shown, strict=True):
            for place, (axes, picture) in enumerate(zip(row, shown.pictures, strict=True)):
                axes.imshow(picture, interpolation="nearest")
                axes.set_xticks([])
                axes.set_yticks([])
                if place == 0:
                    axes.set_ylabel(f"{shown.subject}\n{shown.group}", color=ink, fontsize=7)
        grid[0][0].set_title("as read", color=ink, fontsize=8)
        if len(grid[0]) > 1:
            grid[0][len(grid[0]) // 2].set_title("augmented", color=ink, fontsize=8)
        self._canvas.draw_idle()


def balance_html(found: Preview) -> str:
    """Subjects and patches by use and group."""
    groups = [shown.group for shown in found.shown]
    head = "".join(f"<td><i>{escape(group)}</i></td>" for group in groups)
    rows = ""
    for use, counted in found.balance.items():
        cells = "".join(
            f"<td>{subjects} subject{'s' if subjects != 1 else ''}, {patches} patch{'es' if patches != 1 else ''}</td>"
            for subjects, patches in (counted[group] for group in groups)
        )
        rows += f"<tr><td>{use}</td>{cells}</tr>"
    notes = "".join(f"<p>{escape(note)}</p>" for note in found.notes)
    return f'<table cellpadding="3" cellspacing="0"><tr><td></td>{head}</tr>{rows}</table>{notes}'
