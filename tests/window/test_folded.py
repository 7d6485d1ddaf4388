"""What is folded away shows whole when it is unfolded."""

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_mitoxai.napari.folded import folded
from napari_mitoxai.napari.top import wrapped


class Wide(QWidget):
    """Asks for more width than a dock has."""

    def sizeHint(self):
        return QSize(900, 20)


def test_a_long_text_is_not_cut_off(qtbot):
    dock, content, text = QWidget(), QWidget(), wrapped()
    inside = QVBoxLayout(content)
    inside.addWidget(text)
    inside.addWidget(Wide())
    part, area = folded("More", "more", content), QScrollArea()
    column = QVBoxLayout(dock)
    column.addWidget(part)
    column.addStretch(1)
    area.setWidgetResizable(True)
    area.setWidget(dock)
    qtbot.addWidget(area)
    area.resize(300, 1200)
    area.show()
    part.expand(animate=False)
    text.setText("A sentence that says what was found, and on which patches of whom. " * 20)
    qtbot.waitUntil(lambda: text.height() >= text.heightForWidth(text.width()) > 200, timeout=5000)
    text.setText("Less.")
    qtbot.waitUntil(lambda: text.minimumHeight() < 60, timeout=5000)
