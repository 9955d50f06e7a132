"""What forms share: a number box, a frame and a line for what is wrong, a brake on signals."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QFont, QPainter, QPaintEvent, QPalette, QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QHBoxLayout, QLabel, QToolButton, QWidget

from dynsim_gui.models import palette

_INTERVAL_MS = 100


class NumberBox(QAbstractSpinBox):
    """A spin box whose text stays as typed (1e-4); it steps whole numbers by 1, others along 1, 2, 5, 10.

    `typed` tells every keystroke, `stepped` every step of the arrows.
    """

    typed = Signal(str)
    stepped = Signal(str)

    def __init__(self, integer: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.integer = integer
        self.setCorrectionMode(QAbstractSpinBox.CorrectionMode.CorrectToPreviousValue)
        self.lineEdit().textEdited.connect(self.typed)

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:
        return QAbstractSpinBox.StepEnabledFlag.StepUpEnabled | QAbstractSpinBox.StepEnabledFlag.StepDownEnabled

    def stepBy(self, steps: int) -> None:
        text = self.lineEdit().text() or self.lineEdit().placeholderText()
        try:
            value = float(text)
        except ValueError:
            return
        if not math.isfinite(value):
            return
        after = str(int(value) + steps) if self.integer else f"{_stepped(value, steps):g}"
        self.lineEdit().setText(after)
        self.stepped.emit(after)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # a turn of the wheel scrolls the form, it does not change it


def _stepped(value: float, steps: int) -> float:
    """The next of 1, 2, 5, 10, ... in either direction; 0 stays 0 downwards and starts at 0.001 upwards."""
    if value <= 0:
        return 0.001 if steps > 0 else value
    for _ in range(abs(steps)):
        decade = 10.0 ** math.floor(math.log10(value) + 1e-9)
        ladder = [m * decade for m in (0.5, 1, 2, 5, 10)]
        above, below = [x for x in ladder if x > value * 1.0001], [x for x in ladder if x < value * 0.9999]
        value = above[0] if steps > 0 else below[-1]
    return value


class Complaint(QLabel):
    """The library's message, hidden while there is none; `remove` asks to take a key out that does not belong."""

    remove = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        self.linkActivated.connect(self.remove)
        self.hide()

    def say(self, message: str, removable: list[str] | None = None) -> None:
        text = escape(message).replace("\n", "<br>")
        links = "".join(
            f' <a href="{escape(k)}" style="color:{palette.ACCENT}">remove {escape(k)}</a>' for k in removable or ()
        )
        self.setText(f'<span style="color:{palette.ERROR}">⚠ {text}</span>{links}')
        self.setVisible(bool(message))


class Framed(QWidget):
    """A frame around a widget, red while something is wrong with it."""

    def __init__(self, inner: QWidget) -> None:
        super().__init__()
        self.wrong = False
        box = QHBoxLayout(self)
        box.setContentsMargins(2, 2, 2, 2)
        box.addWidget(inner)

    def mark(self, wrong: bool) -> None:
        self.wrong = wrong
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.wrong:
            painter = QPainter(self)
            painter.setPen(QColor(palette.ERROR))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))


def dim(widget: QWidget, default: bool) -> None:
    """Text of a value that nobody wrote: slanted, in the colour of placeholders."""
    font = QFont(widget.font())
    font.setItalic(default)
    widget.setFont(font)
    palette, usual = QPalette(widget.palette()), QPalette()
    for role in (QPalette.ColorRole.WindowText, QPalette.ColorRole.Text, QPalette.ColorRole.ButtonText):
        shown = QPalette.ColorRole.PlaceholderText if default else role
        for group in (QPalette.ColorGroup.Active, QPalette.ColorGroup.Inactive):
            palette.setColor(group, role, usual.color(shown))
    widget.setPalette(palette)


def back_button(tip: str) -> QToolButton:
    """A small flat button for the way back to a value."""
    button = QToolButton(text="↺", toolTip=tip)
    button.setStyleSheet("QToolButton { border: 0; background: transparent; padding: 2px 4px; }")
    return button


class Throttle(QObject):
    """Passes values on at most every 100 ms a key; the last one always arrives."""

    passed = Signal(str, object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: dict[str, Any] = {}
        self._timer = QTimer(self, singleShot=True, interval=_INTERVAL_MS)
        self._timer.timeout.connect(self.flush)

    def put(self, key: str, value: Any) -> None:
        self._waiting[key] = value
        if not self._timer.isActive():
            self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        waiting, self._waiting = self._waiting, {}
        if waiting:
            self._timer.start()
        for key, value in waiting.items():
            self.passed.emit(key, value)


def on_its_own(canvas: QWidget) -> QWidget:
    """A GL canvas in a native window of its own: Qt then puts only that together for a new picture, not everything
    around it, which took a third of the processor time of every frame under a software renderer."""
    canvas.setAttribute(Qt.WidgetAttribute.WA_DontCreateNativeAncestors)
    canvas.setAttribute(Qt.WidgetAttribute.WA_NativeWindow)
    return canvas
