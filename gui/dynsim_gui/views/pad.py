"""Draw a sample by hand and see what the network makes of it."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from dynsim_gui.models.pad import Pad

_INTERVAL = 1000 // 15  # ms between two pictures of a stroke in progress


def picture(pixels: np.ndarray) -> QImage:
    """A QImage of its own memory from (rows, columns) grey or (rows, columns, 3) rgb uint8."""
    rows, columns = pixels.shape[:2]
    grey = pixels.ndim == 2
    kind = QImage.Format.Format_Grayscale8 if grey else QImage.Format.Format_RGB888
    data = np.ascontiguousarray(pixels, np.uint8).tobytes()
    return QImage(data, columns, rows, columns * (1 if grey else 3), kind).copy()


def grey(values: np.ndarray, high: float = 1.0) -> np.ndarray:
    """0 ... high as uint8; what lies beyond is clipped."""
    return np.round(np.clip(np.asarray(values, float) / high, 0, 1) * 255).astype(np.uint8)


class PadView(QWidget):
    """A sheet with its buttons.

    Signals
    -------
    drawn : (1, features) float32 in natural units, at most 15 times a second while a stroke is drawn.
    cleared : nothing is left on the sheet.
    sample_wanted : "Random test sample" was pressed.
    """

    drawn = Signal(object)
    cleared = Signal()
    sample_wanted = Signal()

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.sheet, self._preview = _Sheet(), _Preview()
        self._untouched = False
        self._clock = QTimer(self, singleShot=True, interval=_INTERVAL)
        self._clock.timeout.connect(self._emit)
        self.sheet.inked.connect(self._inked)
        self.clear_button = self._button("Clear", lambda: self._change(self.pad.clear))
        self.undo_button = self._button("Undo", lambda: self._change(self.pad.undo))
        self.sample_button = self._button("Random test sample", self.sample_wanted.emit)
        self.centre_box = QCheckBox("Centre and scale")
        self.centre_box.setToolTip("Place the drawing as the data set does: its size, its centre of mass.")
        self.centre_box.setChecked(True)
        self.centre_box.toggled.connect(self._emit)
        self._lay_out()
        self.offer_samples(False)

    @property
    def pad(self) -> Pad:
        """The drawing."""
        return self.sheet.pad

    def configure(self, shape: tuple[int, int], high: float = 1.0) -> None:
        """A new, empty sheet of input pixels; `high` is full ink in natural units."""
        self.sheet.pad = Pad(shape, high)
        self._refresh()

    def load(self, image: np.ndarray) -> None:
        """Show an image in natural units, as it is until it is drawn on; `drawn` is not emitted."""
        self.pad.load(image)
        self._untouched = True
        self._refresh()

    def offer_samples(self, there: bool) -> None:
        """Whether there are samples for the button."""
        self.sample_button.setEnabled(there)
        self.sample_button.setToolTip("" if there else "Comes with the first evaluation.")

    def _button(self, text: str, pressed) -> QPushButton:
        button = QPushButton(text)
        button.clicked.connect(lambda: pressed())
        return button

    def _lay_out(self) -> None:
        pair, side, row = QHBoxLayout(), QVBoxLayout(), QHBoxLayout(self)
        pair.addWidget(self.clear_button)
        pair.addWidget(self.undo_button)
        side.addLayout(pair)
        side.addWidget(self.sample_button)
        side.addWidget(self.centre_box)
        side.addWidget(self._preview, 1)
        hint = QLabel("left button draws, right erases")
        hint.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        side.addWidget(hint)
        row.setContentsMargins(6, 6, 6, 6)
        row.addWidget(self.sheet, 1)
        row.addLayout(side)

    def _change(self, change) -> None:
        change()
        self._emit()

    def _inked(self, finished: bool) -> None:
        if finished:
            self._emit()
        elif not self._clock.isActive():
            self._clock.start()

    def _refresh(self) -> np.ndarray:
        self._clock.stop()
        self.sheet.update()
        seen = self.pad.as_input(self.centre_box.isChecked() and not self._untouched)
        self._preview.show_pixels(grey(seen, self.pad.high).reshape(self.pad.shape))
        return seen

    def _emit(self) -> None:
        self._untouched = False
        seen = self._refresh()
        if self.pad.empty:
            self.cleared.emit()
        else:
            self.drawn.emit(seen)


class _Sheet(QWidget):
    """The drawing, as large as fits; `inked(finished)` at each piece of a stroke and at its end."""

    inked = Signal(bool)

    def __init__(self):
        super().__init__()
        self.pad = Pad((28, 28))
        self._last: tuple[float, float] | None = None
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setMinimumSize(140, 140)
        self.setAccessibleName("Sheet to draw a sample on")

    def sizeHint(self) -> QSize:
        return QSize(230, 230)

    def area(self) -> QRectF:
        """Where the sheet lies in the widget."""
        rows, columns = self.pad.shape
        scale = min((self.width() - 2) / columns, (self.height() - 2) / rows)
        width, height = scale * columns, scale * rows
        return QRectF((self.width() - width) / 2, (self.height() - height) / 2, width, height)

    def mousePressEvent(self, event) -> None:
        if self._last is None and event.button() in _TOOLS:
            self._ink(event, event.button(), joined=False)

    def mouseMoveEvent(self, event) -> None:
        held = next((b for b in _TOOLS if event.buttons() & b), None)
        if held is not None and self._last is not None:
            self._ink(event, held, joined=True)

    def mouseReleaseEvent(self, event) -> None:
        if self._last is not None and not any(event.buttons() & b for b in _TOOLS):
            self._last = None
            self.inked.emit(True)

    def paintEvent(self, event) -> None:
        painter, area = QPainter(self), self.area()
        painter.drawImage(area, picture(grey(self.pad.ink)))
        painter.setPen(self.palette().color(QPalette.ColorRole.Mid))
        painter.drawRect(area)
        if self.pad.empty:
            painter.setPen(QColor("#8a8a8a"))  # the sheet is black in any theme
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "draw here")

    def _ink(self, event, button, *, joined: bool) -> None:
        here = self._in_pixels(event.position())
        tool, widths = _TOOLS[button]
        tool(self.pad, *(self._last or here), *here, widths * self.pad.layout.brush, joined=joined)
        self._last = here
        self.update()
        self.inked.emit(False)

    def _in_pixels(self, point) -> tuple[float, float]:
        area, (rows, columns) = self.area(), self.pad.shape
        return (
            (point.x() - area.left()) / area.width() * columns,
            (point.y() - area.top()) / area.height() * rows,
        )


# What the buttons do, and how many brush widths wide.
_TOOLS = {Qt.MouseButton.LeftButton: (Pad.stroke, 1.0), Qt.MouseButton.RightButton: (Pad.erase, 1.6)}


class _Preview(QWidget):
    """What the network sees, in its own pixels."""

    def __init__(self):
        super().__init__()
        self._image = QImage()
        self.setMinimumSize(70, 70)
        self.setToolTip("What the network sees")

    def show_pixels(self, pixels: np.ndarray) -> None:
        self._image = picture(pixels)
        self.update()

    def paintEvent(self, event) -> None:
        if self._image.isNull():
            return
        painter, line = QPainter(self), self.fontMetrics().height()
        scale = min(self.width() / self._image.width(), (self.height() - line) / self._image.height())
        width, height = scale * self._image.width(), scale * self._image.height()
        area = QRectF((self.width() - width) / 2, line + (self.height() - line - height) / 2, width, height)
        painter.setPen(self.palette().color(QPalette.ColorRole.PlaceholderText))
        painter.drawText(
            self.rect(), Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, "as the network sees it"
        )
        painter.setOpacity(0.75)
        painter.drawImage(area, self._image)
