"""One editor for each kind of field: each shows a value (None: the default, dimmed) and tells what a person enters."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from dynsim_gui.models.scenario_form import FieldSpec
from dynsim_gui.views.widgets import NumberBox, dim

_CHOICES_IN_A_ROW = 3
_NOTHING = "not set"


class NumberEditor(NumberBox):
    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec.kind == "integer")
        self.spec = spec
        self.lineEdit().setPlaceholderText(spec.write(spec.default) or _NOTHING)
        for signal in (self.typed, self.stepped):
            signal.connect(lambda text: self.edited.emit(spec.read(text)))

    def show_value(self, value: Any) -> None:
        _write(self.lineEdit(), self.spec, value)


class TextEditor(QLineEdit):
    """Text, lists and literals."""

    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.setPlaceholderText(spec.write(spec.default) or ("auto, 16, auto" if not spec.optional else _NOTHING))
        self.textEdited.connect(lambda text: self.edited.emit(spec.read(text)))

    def show_value(self, value: Any) -> None:
        _write(self, self.spec, value)


def _write(line: QLineEdit, spec: FieldSpec, value: Any) -> None:
    """Text for the value, unless what is typed there already means it."""
    if spec.read(line.text()) != value:
        line.setText(spec.write(value))


class ChoiceEditor(QComboBox):
    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.addItems(list(spec.options))
        self.textActivated.connect(self.edited.emit)

    def show_value(self, value: Any) -> None:
        shown = str(self.spec.default if value is None else value)
        if self.findText(shown) < 0:
            self.addItem(shown)
        self.setCurrentText(shown)
        dim(self, value is None)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class FlagEditor(QCheckBox):
    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.clicked.connect(self.edited.emit)

    def show_value(self, value: Any) -> None:
        on = bool(self.spec.default if value is None else value)
        self.setChecked(on)
        self.setText("on" if on else "off")
        dim(self, value is None)


class ChoicesEditor(QWidget):
    """Several of the options, a tick each."""

    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        grid = QGridLayout(self)
        grid.setContentsMargins(2, 2, 2, 2)
        self.boxes = {name: QCheckBox(name) for name in spec.options}
        for k, box in enumerate(self.boxes.values()):
            grid.addWidget(box, *divmod(k, _CHOICES_IN_A_ROW))
            box.clicked.connect(self._tell)

    def show_value(self, value: Any) -> None:
        chosen = self.spec.default if value is None else value
        for name, box in self.boxes.items():
            box.setChecked(isinstance(chosen, list) and name in chosen)
            dim(box, value is None)

    def _tell(self) -> None:
        self.edited.emit([name for name, box in self.boxes.items() if box.isChecked()])


class PathEditor(QWidget):
    """A name from the list or a file of one's own."""

    edited = Signal(object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.combo = _Names()
        self.combo.setEditable(True)
        self.combo.addItems(list(spec.options))
        self.combo.lineEdit().setPlaceholderText(spec.write(spec.default) or _NOTHING)
        self.combo.setMinimumContentsLength(8)
        self.own = QPushButton("Own file…", autoDefault=False)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.own)
        self.combo.lineEdit().textEdited.connect(self._tell)
        self.combo.textActivated.connect(self._tell)
        self.own.clicked.connect(self._browse)
        self.setFocusProxy(self.combo)

    def show_value(self, value: Any) -> None:
        if self.spec.read(self.combo.currentText()) != value:
            self.combo.setEditText(self.spec.write(value))

    def _tell(self, text: str) -> None:
        self.edited.emit(self.spec.read(text))

    def _browse(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, f"A file for {self.spec.label}", "", "Data (*.npz *.csv *.npy)")
        if file:
            self.combo.setEditText(file)
            self._tell(file)


class _Names(QComboBox):
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


_EDITORS = {
    "choice": ChoiceEditor,
    "choices": ChoicesEditor,
    "flag": FlagEditor,
    "integer": NumberEditor,
    "number": NumberEditor,
    "path": PathEditor,
}


def editor(spec: FieldSpec) -> Any:
    """The editor of a field: a QWidget with `show_value(value)` and the signal `edited(value)`; None is the default."""
    return _EDITORS.get(spec.kind, TextEditor)(spec)
