"""The settings of the ticked explanation methods: one method at a time, its presets and its parameters."""

import json
from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_mitoxai import explain
from napari_mitoxai.napari.fields import wrapping
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.top import wrapped

_DEFAULTS = "as they are"


class MethodSettings(QWidget):
    """Parameters by method; what nobody touched stays at its default."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("method_settings")
        self._values: dict[str, dict[str, Any]] = {}  # by method, where they are not the defaults
        self._form: Form[Any] | None = None
        self._method = QComboBox()
        self._method.setObjectName("method_to_set")
        self._method.setToolTip(wrapping("The method whose settings are below."))
        self._preset = QComboBox()
        self._preset.setObjectName("preset")
        self._preset.setToolTip(
            wrapping("Settings with a name of their own, as those of a paper; they can be changed further.")
        )
        self._none = wrapped("It has no settings.", "no_settings", dim=True)
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Settings of", self._method)
        rows.addRow("Preset", self._preset)
        self._rows = rows
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.addLayout(rows)
        self._layout.addWidget(self._none)
        self._method.currentIndexChanged.connect(lambda _: self._show())
        self._preset.activated.connect(lambda _: self._apply_preset())

    def set_methods(self, names: Sequence[str]) -> None:
        """Offer the settings of these methods."""
        if names == [self._method.itemData(index) for index in range(self._method.count())]:
            return
        current = self._method.currentData()
        self._method.blockSignals(True)
        self._method.clear()
        for name in names:
            self._method.addItem(explain.method(name).title, name)
        self._method.setCurrentIndex(max(self._method.findData(current), 0))
        self._method.blockSignals(False)
        self._show()

    def labels(self, names: Sequence[str]) -> list[str]:
        """What to ask for: methods, with their preset where the settings are just those of one."""
        return [self._label(name) for name in names]

    def settings(self, names: Sequence[str]) -> list[str]:
        """What differs from the defaults or the preset, as ``label.parameter=value``."""
        said = []
        for name in names:
            label = self._label(name)
            _, preset = explain.resolve(label)
            start = preset.model_dump()
            said += [
                f"{label}.{key}={json.dumps(value)}"
                for key, value in self._values.get(name, {}).items()
                if value != start[key]
            ]
        return said

    def _label(self, name: str) -> str:
        values = self._values.get(name)
        for preset in explain.method(name).presets:
            if values is not None and values == explain.resolve(f"{name}@{preset}")[1].model_dump():
                return f"{name}@{preset}"
        return name

    def _show(self) -> None:
        name = self._method.currentData()
        if self._form is not None:
            self._layout.removeWidget(self._form)
            self._form.hide()  # it is deleted when Qt finds the time, and would lie over the next one until then
            self._form.deleteLater()
            self._form = None
        self.setVisible(bool(name))
        if not name:
            return
        entry = explain.method(name)
        self._preset.clear()
        self._preset.addItem(_DEFAULTS, "")
        for preset in entry.presets:
            self._preset.addItem(preset, preset)
        self._preset.setCurrentIndex(max(self._preset.findData(self._label(name).partition("@")[2]), 0))
        self._rows.setRowVisible(self._preset, bool(entry.presets))
        self._none.setVisible(not entry.parameters.model_fields)
        if entry.parameters.model_fields:
            self._form = Form(entry.parameters)
            self._form.set_values(self._values.get(name, {}))
            self._form.changed.connect(self._keep)
            self._layout.addWidget(self._form)

    def _keep(self) -> None:
        name = self._method.currentData()
        if self._form is None or not name:
            return
        values = self._form.values()
        if values == explain.method(name).defaults():
            self._values.pop(name, None)
        else:
            self._values[name] = values
        self._preset.setCurrentIndex(max(self._preset.findData(self._label(name).partition("@")[2]), 0))
        self.changed.emit()

    def _apply_preset(self) -> None:
        name, preset = self._method.currentData(), self._preset.currentData()
        if not name:
            return
        if preset:
            self._values[name] = explain.resolve(f"{name}@{preset}")[1].model_dump()
        else:
            self._values.pop(name, None)
        if self._form is not None:
            self._form.blockSignals(True)
            self._form.set_values(self._values.get(name, explain.method(name).defaults()))
            self._form.blockSignals(False)
        self.changed.emit()
