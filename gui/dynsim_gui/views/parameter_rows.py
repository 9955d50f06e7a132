"""One live parameter: a slider with its typed value, a list or a switch, with a way back and what is wrong with it."""

from __future__ import annotations

from html import escape
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QSlider, QWidget

from dynsim_gui.models import palette
from dynsim_gui.models.parameters import STEPS, Parameter
from dynsim_gui.views.widgets import Complaint, Framed, NumberBox, back_button

_LABEL_WIDTH, _BOX_WIDTH = 88, 74


class ParameterRow(QWidget):
    """What all rows have; each kind brings the widget that shows the value.

    Signals
    -------
    slid(key, value) : while a slider moves. released : the slider was let go.
    settled(key, value) : a final value; None asks for what the library decides.
    """

    slid = Signal(str, object)
    released = Signal()
    settled = Signal(str, object)

    def __init__(self, parameter: Parameter, editor: QWidget) -> None:
        super().__init__()
        self.parameter = parameter
        self.shown: Any = None
        self._original: Any = None
        self._touched = False
        self.frame, self.complaint = Framed(editor), Complaint()
        self.note, self.back = QLabel(wordWrap=True, visible=False), back_button("Back to the scenario's value")
        self.grid = QGridLayout(self)
        self._lay_out()
        self.back.clicked.connect(lambda: self.settle(self._original))

    @property
    def busy(self) -> bool:
        """Somebody is entering a value, which nothing may overwrite."""
        return False

    @property
    def changed(self) -> bool:
        """Whether the value is another than the scenario's; one that the library decided was changed by a person."""
        return self.shown != self._original and (self._touched or self._original is not None)

    def remember(self, value: Any) -> None:
        """The scenario's value; None where the library decides."""
        self._original, self._touched = value, False

    def show_value(self, value: Any) -> None:
        """Show without telling anybody."""
        if value != self.shown and not self.busy:
            self.shown = value
            self.fill(value)

    def fill(self, value: Any) -> None:
        """Put the value into the widget, silently."""
        raise NotImplementedError

    def settle(self, value: Any) -> None:
        """Show a person's value and tell it."""
        self.shown, self._touched = value, True
        self.fill(value)
        self.say("")
        self.settled.emit(self.parameter.key, value)

    def say(self, message: str) -> None:
        """What is wrong; "" for nothing."""
        self.frame.mark(bool(message))
        self.complaint.say(message)

    def remark(self, text: str) -> None:
        """Something to know about the value."""
        self.note.setText(f'<span style="color:{palette.DIM}">{escape(text)}</span>')
        self.note.setVisible(bool(text))

    def permit(self, allowed: bool, reason: str) -> None:
        """Whether it can be changed now, and if not, why."""
        self.frame.setEnabled(allowed)
        self.back.setEnabled(allowed and self.changed)
        self.setToolTip(self.parameter.tip if allowed else f"{self.parameter.tip} — {reason}")

    def _lay_out(self) -> None:
        p = self.parameter
        symbol = f' <span style="color:{palette.DIM}">{p.symbol}</span>' if p.symbol else ""
        label = QLabel(f"{p.label}{symbol}")
        label.setFixedWidth(_LABEL_WIDTH)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setSpacing(2)
        self.grid.addWidget(label, 0, 0)
        if p.kind == "number":
            self.frame.setFixedWidth(_BOX_WIDTH)
            self.grid.addWidget(self.frame, 0, 2)
        else:
            self.grid.addWidget(self.frame, 0, 1, 1, 2)
        self.grid.addWidget(self.back, 0, 3)
        self.grid.addWidget(self.note, 1, 1, 1, 3)
        self.grid.addWidget(self.complaint, 2, 0, 1, 4)


class NumberRow(ParameterRow):
    """A slider and a box; typed values may lie outside of the slider's range."""

    def __init__(self, parameter: Parameter) -> None:
        self.box = NumberBox(parameter.integer)
        super().__init__(parameter, self.box)
        self.slider = QSlider(Qt.Orientation.Horizontal, maximum=STEPS)
        self.grid.addWidget(self.slider, 0, 1)
        self.box.setButtonSymbols(NumberBox.ButtonSymbols.NoButtons)  # there is the slider, and the arrow keys
        self.box.lineEdit().setPlaceholderText("auto")
        self.slider.valueChanged.connect(self._slide)
        self.slider.sliderReleased.connect(self.released)
        self.box.editingFinished.connect(self._type)
        self.box.stepped.connect(self._type)

    @property
    def busy(self) -> bool:
        line = self.box.lineEdit()
        return self.slider.isSliderDown() or (line.hasFocus() and line.isModified())

    def fill(self, value: Any) -> None:
        self.box.lineEdit().setText(self.parameter.write(value))
        self.slider.blockSignals(True)
        self.slider.setValue(self.parameter.position(value or 0))
        self.slider.blockSignals(False)

    def permit(self, allowed: bool, reason: str) -> None:
        super().permit(allowed, reason)
        self.slider.setEnabled(allowed)

    def _slide(self, position: int) -> None:
        self.shown, self._touched = self.parameter.value(position), True
        self.box.lineEdit().setText(self.parameter.write(self.shown))
        self.say("")
        self.slid.emit(self.parameter.key, self.shown)

    def _type(self) -> None:
        text = self.box.lineEdit().text().strip()
        if text == self.parameter.write(self.shown):
            return
        value = self.parameter.read(text)
        self.box.lineEdit().setModified(False)
        if value is None and text:
            self.say("not a whole number" if self.parameter.integer else "not a number")
        else:
            self.settle(value)


class ChoiceRow(ParameterRow):
    """A list of names."""

    def __init__(self, parameter: Parameter) -> None:
        self.combo = QComboBox()
        self.combo.addItems(list(parameter.options))
        super().__init__(parameter, self.combo)
        self.combo.textActivated.connect(self.settle)

    def fill(self, value: Any) -> None:
        self.combo.setCurrentText(str(value))


class SwitchRow(ParameterRow):
    """On or off."""

    def __init__(self, parameter: Parameter) -> None:
        self.switch = QCheckBox()
        super().__init__(parameter, self.switch)
        self.switch.clicked.connect(self.settle)

    def fill(self, value: Any) -> None:
        self.switch.setChecked(bool(value))
        self.switch.setText("on" if value else "off")


def parameter_row(parameter: Parameter) -> ParameterRow:
    """The row for a parameter of its kind."""
    return {"number": NumberRow, "choice": ChoiceRow, "switch": SwitchRow}[parameter.kind](parameter)
