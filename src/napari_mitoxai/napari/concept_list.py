"""The concepts of a set as a list: how many examples each has, and of whom."""

from collections.abc import Sequence

from qtpy.QtWidgets import QHeaderView, QTreeWidget, QTreeWidgetItem

from napari_mitoxai.cohort.concepts import ConceptExample
from napari_mitoxai.tasks.concepts_from_table import counted

# Okabe and Ito: apart for every reader
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_HEIGHT = 96


class ConceptList(QTreeWidget):
    """A row a concept."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("concept_list")
        self.setHeaderLabels(["Concept", "Examples", "of"])
        self.setRootIsDecorated(False)
        self.setFixedHeight(_HEIGHT)
        self.setMinimumWidth(80)
        header = self.header()
        if header is not None:
            for column in (0, 1):
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)

    def show_examples(self, examples: Sequence[ConceptExample]) -> None:
        """Show what a set holds."""
        chosen = self.chosen()
        self.clear()
        for name, subjects in counted(examples).items():
            told = ", ".join(f"{subject or 'unknown'} {number}" for subject, number in subjects.items())
            item = QTreeWidgetItem([name, str(sum(subjects.values())), told])
            item.setToolTip(0, name)
            item.setToolTip(2, told)
            self.addTopLevelItem(item)
            item.setSelected(name == chosen)

    def chosen(self) -> str:
        """The name of the selected concept; empty if none is."""
        items = self.selectedItems()
        return items[0].text(0) if items else ""
