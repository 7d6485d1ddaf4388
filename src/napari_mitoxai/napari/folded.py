"""A part of a tab that is folded away until it is wanted."""

from qtpy.QtWidgets import QWidget
from superqt import QCollapsible


def folded(title: str, name: str, content: QWidget) -> QCollapsible:
    """Fold a widget away under its title.

    Parameters
    ----------
    title : str
        What is shown of it at first.
    name : str
        For tests and style sheets.
    content : QWidget
        What unfolds.
    """
    part = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    part.setObjectName(name)
    part.setDuration(0)
    outer = part.layout()
    if outer is not None:
        outer.setContentsMargins(0, 0, 0, 0)
    part.addWidget(content)
    return part
