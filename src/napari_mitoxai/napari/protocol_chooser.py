"""The protocol of a training: it fills the form, where every value stays to be seen and changed."""

from typing import Any

from qtpy.QtCore import Signal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_mitoxai.napari.fields import ChoiceField, wrapping
from napari_mitoxai.napari.forms import Form
from napari_mitoxai.napari.runs import OPTIMISTIC
from napari_mitoxai.napari.top import wrapped
from napari_mitoxai.tasks.protocols import PROTOCOLS
from napari_mitoxai.tasks.train import TrainParameters

# what a protocol says nothing of: it stays as the user has it
_STAYS = {"cohort", "out", "hold_out", "channels", "where", "mask", "crops", "seed", "weights", "device", "overwrite"}  # fmt: skip


class ProtocolChooser(QWidget):
    """A choice that fills a form, and what became of its values since."""

    changed = Signal()

    def __init__(self, form: Form[TrainParameters]) -> None:
        super().__init__()
        self._form = form
        choices = {name: (f"{name}: {one.title}", one.description) for name, one in PROTOCOLS.items()}
        self._choice = ChoiceField(choices)
        self._choice.name_child("protocol")
        self._choice.setToolTip(wrapping(TrainParameters.model_fields["protocol"].description or ""))
        self._says = wrapped(name="protocol_says")
        rows = QFormLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Protocol", self._choice)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self._says)
        self._choice.changed.connect(self._fill)
        form.changed.connect(self._say)
        self._say()

    def value(self) -> str:
        """The name of the protocol."""
        return self._choice.value()

    def set_value(self, name: str) -> None:
        """Choose a protocol: as if the user did."""
        self._choice.set_value(name)

    def changes(self) -> list[str]:
        """Titles of the values that are no longer the protocol's."""
        now, fields = self._form.values(), TrainParameters.model_fields
        return [
            fields[name].title or name
            for name, value in self._values().items()
            if name in now and not _same(now[name], value)
        ]

    def _values(self) -> dict[str, Any]:
        """All values of the protocol: those it names, and the defaults of the others."""
        defaults = {
            name: info.get_default(call_default_factory=True)
            for name, info in TrainParameters.model_fields.items()
            if name not in _STAYS and not info.is_required()
        }
        return {**defaults, **PROTOCOLS[self.value()].values}

    def _fill(self) -> None:
        self._form.set_values(self._values())
        self._say()
        self.changed.emit()

    def _say(self) -> None:
        text = PROTOCOLS[self.value()].description
        if self._form.field("split").value() == "patch-random":
            text += f"<br>{OPTIMISTIC}: patches of one subject are on both sides, so its figures say nothing of new subjects."
        if changed := self.changes():
            text += f"<br>Changed since: {', '.join(changed)}."
        self._says.setText(text)


def _same(shown: Any, value: Any) -> bool:
    """A list of ticks has an order of its own."""
    return bool(sorted(shown) == sorted(value) if isinstance(value, list) else shown == value)
