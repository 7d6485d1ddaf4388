"""The docks that the manifest offers: the workspace with all tabs, and each tab on its own."""

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QFrame,
    QGridLayout,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_mitoxai.napari.cohort_panel import CohortPanel
from napari_mitoxai.napari.compare_panel import ComparePanel
from napari_mitoxai.napari.concepts_panel import ConceptsPanel
from napari_mitoxai.napari.embedding_panel import EmbeddingPanel
from napari_mitoxai.napari.explain_panel import ExplainPanel
from napari_mitoxai.napari.fibres_panel import FibresPanel
from napari_mitoxai.napari.figure_panel import FigurePanel
from napari_mitoxai.napari.oxphos_panel import OxphosPanel
from napari_mitoxai.napari.relevance_panel import RelevancePanel
from napari_mitoxai.napari.section_panel import SectionPanel
from napari_mitoxai.napari.state import WindowState, state_of
from napari_mitoxai.napari.top import Top
from napari_mitoxai.napari.train_panel import TrainPanel

_WIDTH = 360
_ABREAST = 4  # titles of tabs


class _Dock(QWidget):
    """The section and model in use, the running task, and below them whatever the dock is for."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self._state = state_of(napari_viewer)
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(8, 8, 8, 8)
        self._layout.addWidget(Top(self._state))
        self.destroyed.connect(self._state.dock_gone)
        self._state.dock_came()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        return QSize(_WIDTH, 640)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """From now on the dock is in a window; when that closes, the running task stops."""
        super().showEvent(event)
        self._state.watch(self)


def _scrolled(panel: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(panel)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area


_PANELS: dict[str, Callable[[WindowState], QWidget]] = {
    "Section": SectionPanel,
    "Fibres": FibresPanel,
    "OXPHOS": OxphosPanel,
    "Cohort": CohortPanel,
    "Train": TrainPanel,
    "Explain": ExplainPanel,
    "Concepts": ConceptsPanel,
    "Relevance": RelevancePanel,
    "Embedding": EmbeddingPanel,
    "Compare": ComparePanel,
    "Figure": FigurePanel,
}


class Workspace(_Dock):
    """One column whose tabs follow the work."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.setObjectName("mitoxai_workspace")
        # not a QTabWidget: its bar has one row, and hides the titles that do not fit in the column
        self.tabs = QStackedWidget()
        self.tabs.setObjectName("tabs")
        titles, group = QGridLayout(), QButtonGroup(self)
        titles.setSpacing(2)
        for index, (title, panel) in enumerate(_PANELS.items()):
            self.tabs.addWidget(_scrolled(panel(self._state)))
            button = QPushButton(title)
            button.setObjectName(f"tab_{title}")
            button.setCheckable(True)
            group.addButton(button, index)
            titles.addWidget(button, index // _ABREAST, index % _ABREAST)
        group.buttons()[0].setChecked(True)
        group.idClicked.connect(self.tabs.setCurrentIndex)
        self.tabs.currentChanged.connect(lambda index: group.buttons()[index].setChecked(True))
        self._layout.addLayout(titles)
        self._layout.addWidget(self.tabs, 1)

    @property
    def tab(self) -> str:
        """The tab in front."""
        return list(_PANELS)[self.tabs.currentIndex()]

    def show_tab(self, title: str) -> None:
        """Bring a tab to the front; nothing happens if there is no such tab."""
        if title in _PANELS:
            self.tabs.setCurrentIndex(list(_PANELS).index(title))


class _OneDock(_Dock):
    title = ""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self._layout.addWidget(_scrolled(_PANELS[self.title](self._state)), 1)


class SectionDock(_OneDock):
    """Open sections and choose channels."""

    title = "Section"


class FibresDock(_OneDock):
    """Find the muscle fibres."""

    title = "Fibres"


class OxphosDock(_OneDock):
    """Measure fibres and call their OXPHOS status."""

    title = "OXPHOS"


class CohortDock(_OneDock):
    """See and edit what is trained on."""

    title = "Cohort"


class TrainDock(_OneDock):
    """Train a classifier, or load a run."""

    title = "Train"


class ExplainDock(_OneDock):
    """Explain what a model sees."""

    title = "Explain"


class ConceptsDock(_OneDock):
    """Name what fibres and shapes show, and test it on the model."""

    title = "Concepts"


class RelevanceDock(_OneDock):
    """Ask where the relevance falls."""

    title = "Relevance"


class EmbeddingDock(_OneDock):
    """See whether a network learnt the disease or the people."""

    title = "Embedding"


class CompareDock(_OneDock):
    """Compare explanation maps."""

    title = "Compare"


class FigureDock(_OneDock):
    """Take the figure to the paper."""

    title = "Figure"
