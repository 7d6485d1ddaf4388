"""One small editor for each kind of parameter."""

from collections.abc import Mapping
from enum import Enum
from html import escape
from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QValidator, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

Choices = Mapping[str, tuple[str, str]]
"""Values to choose from, each with its label and its tooltip."""


def wrapping(text: str) -> str:
    """A tooltip that breaks its lines: Qt does so for rich text only."""
    return f"<qt>{escape(text)}</qt>" if text else ""


class Field(QWidget):
    """An editor of one value."""

    changed = Signal()
    holds_path = False

    def value(self) -> Any:
        """What is set now."""
        raise NotImplementedError

    def set_value(self, value: Any) -> None:
        """Show a value."""
        raise NotImplementedError

    def hold(self, *widgets: QWidget) -> None:
        """Lay `widgets` out side by side; the first one takes the room."""
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for index, widget in enumerate(widgets):
            layout.addWidget(widget, 0 if index else 1)
        self.setFocusProxy(widgets[0])

    def name_child(self, name: str) -> None:
        """Give the editor itself the field's name, so that tests and style sheets find it."""
        proxy = self.focusProxy()
        if proxy is not None:
            proxy.setObjectName(name)


class _NoWheel:
    """Scrolling a form must not change the number under the mouse."""

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        if event is not None:
            event.ignore()


class _Spin(_NoWheel, QSpinBox):
    pass


class _Combo(_NoWheel, QComboBox):
    pass


def choice_box(name: str) -> QComboBox:
    """An empty box of choices that does not widen the dock with the longest of them."""
    box = QComboBox()
    box.setObjectName(name)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


class _ScientificSpin(_NoWheel, QDoubleSpinBox):
    """A number as people write it: 0.001, 1e-05, 50."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(12)

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt's name
        return f"{value:g}"

    def valueFromText(self, text: str | None) -> float:  # noqa: N802 - Qt's name
        try:
            return float((text or "").replace(",", "."))
        except ValueError:
            return self.value()

    def validate(self, text: str | None, position: int) -> tuple[QValidator.State, str, int]:
        try:
            inside = self.minimum() <= float((text or "").replace(",", ".")) <= self.maximum()
        except ValueError:
            inside = False
        return (
            QValidator.State.Acceptable if inside else QValidator.State.Intermediate,
            text or "",
            position,
        )

    def stepBy(self, steps: int) -> None:  # noqa: N802 - Qt's name
        """Small numbers go by factors, as learning rates do; others by tenths of their size."""
        value = self.value()
        self.setValue(
            value * 2.0**steps
            if 0 < abs(value) < 0.01
            else value + steps * max(0.05, 10 ** (len(str(int(abs(value)))) - 2))
        )


class IntegerField(Field):
    """A whole number within bounds."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self._spin = _Spin()
        self._spin.setRange(
            int(low) if low is not None else -(2**31), int(high) if high is not None else 2**31 - 1
        )
        self._spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._spin.valueChanged.connect(lambda _: self.changed.emit())
        self.hold(self._spin)

    def value(self) -> int:
        """The number."""
        return self._spin.value()

    def set_value(self, value: Any) -> None:
        """Show a number."""
        self._spin.setValue(int(value))


class FloatField(Field):
    """A number within bounds."""

    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self._spin = _ScientificSpin()
        self._spin.setRange(low if low is not None else -1e12, high if high is not None else 1e12)
        self._spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._spin.valueChanged.connect(lambda _: self.changed.emit())
        self._exact = self._spin.value()
        self.hold(self._spin)

    def value(self) -> float:
        """The number; as it was set, where nobody changed it: the spin box keeps twelve decimals."""
        shown = self._spin.value()
        return self._exact if abs(shown - self._exact) < 1e-11 else shown

    def set_value(self, value: Any) -> None:
        """Show a number."""
        self._exact = float(value)
        self._spin.setValue(self._exact)


class BoolField(Field):
    """Yes or no."""

    def __init__(self) -> None:
        super().__init__()
        self._box = QCheckBox()
        self._box.toggled.connect(lambda _: self.changed.emit())
        self.hold(self._box)

    def value(self) -> bool:
        """Whether it is ticked."""
        return self._box.isChecked()

    def set_value(self, value: Any) -> None:
        """Tick it or not."""
        self._box.setChecked(bool(value))


class ChoiceField(Field):
    """One of a few values."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._combo = _Combo()
        self._combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setMinimumContentsLength(8)
        self.set_choices(choices)
        self._combo.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.hold(self._combo)

    def set_choices(self, choices: Choices) -> None:
        """Offer other values; the one chosen stays if it is among them."""
        current = self.value()
        self._combo.clear()
        for index, (value, (label, tip)) in enumerate(choices.items()):
            self._combo.addItem(label, value)
            self._combo.setItemData(index, wrapping(tip), Qt.ItemDataRole.ToolTipRole)
        self.set_value(current)

    def value(self) -> str:
        """The chosen value."""
        return str(self._combo.currentData() or "")

    def set_value(self, value: Any) -> None:
        """Choose a value."""
        index = self._combo.findData(str(value.value if isinstance(value, Enum) else value))
        if index >= 0:
            self._combo.setCurrentIndex(index)


class TextField(Field):
    """A line of text."""

    def __init__(self, placeholder: str = "") -> None:
        super().__init__()
        self._line = QLineEdit()
        self._line.setPlaceholderText(placeholder)
        self._line.textChanged.connect(lambda _: self.changed.emit())
        self.hold(self._line)

    def value(self) -> Any:
        """The text."""
        return self._line.text().strip()

    def set_value(self, value: Any) -> None:
        """Show a text."""
        self._line.setText(str(value))
        self._line.setCursorPosition(0)


class WordsField(TextField):
    """Several words, with commas between them."""

    def __init__(self, placeholder: str = "") -> None:
        super().__init__(placeholder or "separate by commas")

    def value(self) -> list[str]:
        """The words."""
        return [word.strip() for word in self._line.text().split(",") if word.strip()]

    def set_value(self, value: Any) -> None:
        """Show words."""
        super().set_value(", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value))
