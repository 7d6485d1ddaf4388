"""How bright: percentiles for all channels, the same contrast in all sections, linear or arcsinh."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.runner import State
from napari_mitoxai.napari.state import WindowState

_SAME = (
    ("each section by itself", "Every section has limits of its own: for looking at one of them."),
    (
        "same in all sections",
        "For comparing: a protein has the same limits wherever it is shown, from the open sections and those of the cohort together.",
    ),
)
_SCALE = (
    ("linear", "Brightness follows the counts."),
    (
        "arcsinh",
        "Brightness follows the arcsinh of the counts: dim places show beside bright ones. The counts stay as they are.",
    ),
)


class ContrastBox(QWidget):
    """The settings of a window's `ChannelDisplay`."""

    def __init__(self, state: WindowState) -> None:
        super().__init__()
        self.setObjectName("contrast_box")
        self._state = state
        display = state.display
        self._low = _percent("low_percentile", display.percentiles[0])
        self._high = _percent("high_percentile", display.percentiles[1])
        self._low.setToolTip(wrapping("Counts below this percentile of a channel are black."))
        self._high.setToolTip(wrapping("Counts above this percentile of a channel have its full colour."))
        self._auto = QPushButton("Auto")
        self._auto.setObjectName("auto_contrast")
        self._auto.setToolTip(
            wrapping("Set the contrast of every shown channel from these percentiles of its counts.")
        )
        self._same = _choice("same_contrast", _SAME, int(display.same))
        self._scale = _choice("scale", _SCALE, int(display.arcsinh))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for row in (
            (QLabel("Contrast"), self._low, QLabel("to"), self._high, QLabel("%"), self._auto),
            (self._same, self._scale),
        ):
            line = QHBoxLayout()
            for widget in row:
                line.addWidget(widget, int(widget in (self._auto, self._same)))
            column.addLayout(line)
        self._auto.clicked.connect(lambda: state.channels.auto())
        for spin in (self._low, self._high):
            spin.valueChanged.connect(self._on_percentiles)
        self._same.activated.connect(lambda index: state.channels.set_same(bool(index)))
        self._scale.activated.connect(lambda index: state.channels.set_arcsinh(bool(index)))
        state.runner.state_changed.connect(self._on_state)
        self._on_state(state.runner.state)

    def _on_percentiles(self) -> None:
        self._low.setMaximum(self._high.value() - 0.1)
        self._high.setMinimum(self._low.value() + 0.1)
        self._state.channels.set_percentiles(self._low.value(), self._high.value())

    def _on_state(self, state: State) -> None:
        """Sections are compared by the task runner, which does one thing at a time."""
        self._same.setEnabled(state is State.IDLE)


def _percent(name: str, value: float) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setObjectName(name)
    spin.setRange(0, 100)
    spin.setDecimals(1)
    spin.setSingleStep(0.1)
    spin.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
    spin.setStyleSheet(
        "QDoubleSpinBox { min-width: 44px; max-width: 44px; padding: 2px 4px; }"
    )  # napari leaves room for buttons
    spin.setKeyboardTracking(False)
    spin.setValue(value)
    spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return spin


def _choice(name: str, choices: tuple[tuple[str, str], ...], chosen: int) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(6)
    for index, (text, tip) in enumerate(choices):
        combo.addItem(text)
        combo.setItemData(index, wrapping(tip), Qt.ItemDataRole.ToolTipRole)
    combo.setToolTip("<br>".join(wrapping(f"{text}: {tip}") for text, tip in choices))
    combo.setCurrentIndex(chosen)
    return combo
