"""What the tabs of tasks have in common."""

from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_error
from qtpy.QtCore import QPoint, QTimer
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_mitoxai.common import MitoxaiError
from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import WindowState


class TaskPanel(QWidget):
    """A column of widgets with buttons that rest while a task runs."""

    def __init__(self, state: WindowState, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self._state = state
        self._starters: list[tuple[QPushButton, Callable[[], bool]]] = []
        self._column = QVBoxLayout(self)
        self._to_reveal: QWidget | None = None
        self._revealed = 0, 0  # the heights that were scrolled to
        self._reveal = QTimer(self)
        self._reveal.setSingleShot(True)
        self._reveal.setInterval(50)
        self._reveal.timeout.connect(self._scroll)
        self._column.setSpacing(10)
        state.runner.state_changed.connect(self._on_state)

    def add(self, *widgets: QWidget) -> None:
        """Put widgets below each other, or those given together side by side."""
        if len(widgets) == 1:
            self._column.addWidget(widgets[0])
            return
        line = QHBoxLayout()
        for index, widget in enumerate(widgets):
            line.addWidget(widget, int(index == 0))
        self._column.addLayout(line)

    def starter(
        self, text: str, name: str, start: Callable[[], None], *, ready: Callable[[], bool] = lambda: True
    ) -> QPushButton:
        """A button that starts a task; `ready` says whether what it needs is there."""
        button = QPushButton(text)
        button.setObjectName(name)

        def clicked() -> None:
            try:
                start()
            except MitoxaiError as error:
                show_error(str(error))

        button.clicked.connect(clicked)
        self._starters.append((button, ready))
        return button

    def reveal(self, widget: QWidget) -> None:
        """Scroll to a widget, once it has its place."""
        self._to_reveal, self._revealed = widget, (0, 0)
        self._reveal.start()

    def _scroll(self) -> None:
        area = self.parent()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parent()
        widget, content = self._to_reveal, None if area is None else area.widget()
        if area is None or widget is None or content is None or not content.isAncestorOf(widget):
            return
        bar, view = area.verticalScrollBar(), area.viewport()
        if bar is None or view is None:
            return
        if widget.height() > view.height():
            bar.setValue(widget.mapTo(content, QPoint(0, 0)).y())  # its beginning, not its middle
        else:
            area.ensureWidgetVisible(widget)
        found = widget.height(), bar.maximum()
        if found != self._revealed:  # texts break their lines, and parts unfold, one after the other
            self._revealed = found
            self._reveal.start()

    def refresh_starters(self, _: Any = None) -> None:
        """Enable the buttons whose task can start now."""
        self._on_state(self._state.runner.state)

    def _on_state(self, state: State) -> None:
        for button, ready in self._starters:
            button.setEnabled(state is State.IDLE and ready())
