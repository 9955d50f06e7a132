"""A field of a form: label, editor, the way back to its default and, framed in red, what is wrong with it."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from dynsim_gui.models import palette
from dynsim_gui.models.scenario_form import FieldSpec
from dynsim_gui.views.editors import editor
from dynsim_gui.views.widgets import Complaint, Framed, back_button

LABEL_WIDTH, _EDITOR_WIDTH = 100, 300


class FieldRow(QWidget):
    """Label, editor, a way back to the default, what it is, and what is wrong with it."""

    edited = Signal(str, object)

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.label, self.editor, self.complaint = QLabel(spec.label), editor(spec), Complaint()
        self.frame = Framed(self.editor)
        self.back = back_button("Back to the default")
        about = QLabel(f'<span style="color:{palette.DIM}">{escape(spec.description)}</span>', wordWrap=True)
        self.label.setFixedWidth(LABEL_WIDTH)
        self.frame.setFixedWidth(_EDITOR_WIDTH)
        self.label.setBuddy(self.editor)
        for widget in (self.label, self.editor):
            widget.setToolTip(explained(spec))
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(1)
        for column, widget in enumerate((self.label, self.frame, self.back, about)):
            grid.addWidget(widget, 0, column)
        grid.addWidget(self.complaint, 1, 1, 1, 3)
        grid.setColumnStretch(3, 1)
        self.editor.edited.connect(lambda value: self.edited.emit(spec.path, value))
        self.back.clicked.connect(lambda: self.edited.emit(spec.path, None))

    def show_value(self, value: Any) -> None:
        self.editor.show_value(value)
        self.back.setEnabled(value is not None and self.spec.optional)

    def say(self, message: str) -> None:
        self.frame.mark(bool(message))
        self.complaint.say(message)


def explained(spec: FieldSpec) -> str:
    """Everything about a field in a line, for tooltips and the line of the focused field."""
    default = f"default {spec.write(spec.default)}" if spec.default not in (None, "") else ""
    notes = ", ".join(filter(None, (spec.bounds, default)))
    return f"{spec.path}: {spec.description}" + (f" ({notes})" if notes else "")
