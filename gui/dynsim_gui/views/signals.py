"""The signals of one sample on their way through the subsystems to its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QFont, QPainter, QPalette, QPen
from qtpy.QtWidgets import QToolTip, QWidget

from dynsim.commands import Prediction
from dynsim_gui.models import palette
from dynsim_gui.models.classifier import class_names, columns_for, lit, percent, signal_colours
from dynsim_gui.views.pad import picture

_MARGIN, _FAINT, _LINE = 8, 0.12, 11  # pixels; opacity of what is not lit; least height of a bar's row in pixels
_CENTRE, _LEFT = Qt.AlignmentFlag.AlignCenter, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


@dataclass(frozen=True)
class _Column:
    """A subsystem: its emitted signals (n,), their colours (n, 3), and its image's shape where it has one."""

    name: str
    signals: np.ndarray
    colours: np.ndarray
    shape: tuple[int, int] | None

    def active(self) -> str:
        """Share of the sub-models that emit at all."""
        return percent(float(np.mean(self.signals != 0)))


class SignalsView(QWidget):
    """Columns of cells for the subsystems, bars for the classes, and a sweep that lights one after another."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._progress, self._true = 1.0, None
        self._message = "No sample has been sent through the network yet."
        self._columns: list[_Column] = []
        self._output, self._classes, self._probabilities = "", (), np.zeros(0)
        self._cells: list[tuple[QRectF, int, _Column]] = []
        self.setMinimumSize(260, 180)

    def sizeHint(self) -> QSize:
        return QSize(420, 360)

    def show_prediction(
        self,
        prediction: Prediction,
        input_shape: tuple[int, ...],
        classes: Sequence,
        order: Sequence[str],
        sample: int = 0,
        true: int | None = None,
    ) -> None:
        """One sample of a prediction.

        order : names of the subsystems, input first, output last. true : position of its class, where known.
        """
        self._classes, self._true, self._output = class_names(classes), true, order[-1]
        self._probabilities = prediction.probabilities[sample]
        self._columns = [_column(name, prediction.emitted[name][sample], None) for name in order[:-1]]
        first = self._columns[0]
        if len(input_shape) == 2 and prod(input_shape) == len(first.signals):
            self._columns[0] = _column(first.name, first.signals, input_shape)
        self.update()

    def clear(self, message: str) -> None:
        """Show nothing but the reason why."""
        self._columns, self._cells, self._message = [], [], message
        self.update()

    def progress(self, share: float) -> None:
        """Light the columns as far as a sweep from the input (0) to the classes (1) has come."""
        self._progress = float(np.clip(share, 0, 1))
        self.update()

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not self._columns:
            painter.setPen(self._dim())
            painter.drawText(self.rect(), _CENTRE | Qt.TextFlag.TextWordWrap, self._message)
            return
        self._cells = []
        areas = self._areas()
        for k, (column, area) in enumerate(zip(self._columns, areas)):
            painter.setOpacity(self._light(k))
            self._paint_cells(painter, column, area)
            self._paint_arrow(painter, k, area, areas[k + 1])
        painter.setOpacity(self._light(len(self._columns)))
        self._paint_classes(painter, areas[-1])

    def event(self, event) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.told_at(QPointF(event.pos())), self)
            return True
        return super().event(event)

    def told_at(self, point: QPointF) -> str:
        """What the tip over a cell says, "" beside them."""
        for area, across, column in self._cells:
            if area.contains(point):
                size = area.width() / across
                index = int((point.y() - area.top()) / size) * across + int((point.x() - area.left()) / size)
                if index < len(column.signals):
                    return f"{column.name} {index} emits {column.signals[index]:.3g}"
        return ""

    def _light(self, k: int) -> float:
        return _FAINT + (1 - _FAINT) * lit(k, len(self._columns) + 1, self._progress)

    def _dim(self) -> QColor:
        return self.palette().color(QPalette.ColorRole.PlaceholderText)

    def _areas(self) -> list[QRectF]:
        """Where the columns go; the classes take half as much again or more, for their names."""
        count = len(self._columns)
        gap = 24 if count < 4 else 14
        room = self.width() - 2 * _MARGIN - count * gap
        last = max(1.5 * room / (count + 1.5), min(110, room / 2))
        unit = (room - last) / count
        widths = [unit] * count + [last]
        height = min(self.height(), 1.1 * self.width()) - 2 * _MARGIN
        return [QRectF(_MARGIN + k * (unit + gap), _MARGIN, width, height) for k, width in enumerate(widths)]

    def _paint_frame(self, painter: QPainter, area: QRectF, title: str, caption: str, colour: QColor) -> QRectF:
        """Title above, caption below; what is left between them."""
        line = self.fontMetrics().height()
        elided = self.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, int(area.width()))
        painter.setPen(self.palette().color(QPalette.ColorRole.Text))
        painter.drawText(QRectF(area.left(), area.top(), area.width(), line), _CENTRE, elided)
        painter.setPen(colour)
        elided = self.fontMetrics().elidedText(caption, Qt.TextElideMode.ElideRight, int(area.width()))
        painter.drawText(QRectF(area.left(), area.bottom() - line, area.width(), line), _CENTRE, elided)
        return area.adjusted(0, line + 4, 0, -line - 4)

    def _paint_cells(self, painter: QPainter, column: _Column, area: QRectF) -> None:
        title = self._fitting(area, f"{column.name} {len(column.signals):,}", column.name)
        active = "" if column is self._columns[0] else column.active()  # of the input it says nothing
        caption = self._fitting(area, f"{active} active" if active else "", active)
        inner = self._paint_frame(painter, area, title, caption, self._dim())
        rows, across = column.shape or _grid(len(column.signals), inner)
        pixels = np.zeros((rows * across, 3), np.uint8)
        pixels[:] = palette.rgb(palette.PANEL)
        pixels[: len(column.colours)] = column.colours
        size = min(inner.width() / across, inner.height() / rows, 26)
        size = float(int(size)) if size >= 3 else size
        spot = QRectF(0, 0, size * across, size * rows)
        spot.moveCenter(inner.center())
        painter.drawImage(spot, picture(pixels.reshape(rows, across, 3)))
        self._cells.append((spot, across, column))
        if size >= 5 and column.shape is None:
            self._paint_gaps(painter, spot, size)

    def _fitting(self, area: QRectF, long: str, short: str) -> str:
        return long if self.fontMetrics().horizontalAdvance(long) <= area.width() else short

    def _paint_gaps(self, painter: QPainter, spot: QRectF, size: float) -> None:
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.Window), 1))
        for x in np.arange(spot.left(), spot.right() + 1, size):
            painter.drawLine(QPointF(x, spot.top()), QPointF(x, spot.bottom()))
        for y in np.arange(spot.top(), spot.bottom() + 1, size):
            painter.drawLine(QPointF(spot.left(), y), QPointF(spot.right(), y))

    def _paint_arrow(self, painter: QPainter, k: int, area: QRectF, following: QRectF) -> None:
        """From one column to the next; a dot runs along it while the sweep is between them."""
        done = lit(k + 1, len(self._columns) + 1, self._progress)
        y, x0, x1 = area.center().y(), area.right() + 3, following.left() - 3
        painter.setOpacity(_FAINT + (1 - _FAINT) * done)
        painter.setPen(QPen(QColor(palette.ACCENT), 1.5))
        painter.drawLine(QPointF(x0, y), QPointF(x1, y))
        for side in (-3, 3):
            painter.drawLine(QPointF(x1 - 4, y + side), QPointF(x1, y))
        if 0 < done < 1:
            painter.setOpacity(1)
            painter.setBrush(QColor(palette.ACCENT))
            painter.drawEllipse(QPointF(x0 + done * (x1 - x0), y), 3.5, 3.5)

    def _paint_classes(self, painter: QPainter, area: QRectF) -> None:
        inner = self._paint_frame(painter, area, self._output, *self._verdict())
        room = max(1, int(inner.height() // _LINE))
        shown = np.sort(np.argsort(-self._probabilities, kind="stable")[:room])
        height = min(26.0, inner.height() / len(shown))
        font = QFont(self.font())
        font.setPixelSize(max(8, min(13, int(height) - 2)))
        painter.setFont(font)
        widest = max(painter.fontMetrics().horizontalAdvance(self._classes[c]) for c in shown)
        names = min(widest + 8, 0.45 * inner.width())
        top = inner.center().y() - height * len(shown) / 2
        for row, c in enumerate(shown):
            self._paint_bar(painter, QRectF(inner.left(), top + row * height, inner.width(), height), int(c), names)

    def _verdict(self) -> tuple[str, QColor]:
        top = int(self._probabilities.argmax())
        if self._true is None:
            return f"{self._classes[top]} at {percent(self._probabilities[top])}", self._dim()
        if self._true == top:
            return f"{self._classes[top]}: right", QColor(palette.GOOD)
        return f"{self._classes[top]}: wrong, is {self._classes[self._true]}", QColor(palette.ERROR)

    def _paint_bar(self, painter: QPainter, row: QRectF, c: int, names: float) -> None:
        share, top = float(self._probabilities[c]), c == self._probabilities.argmax()
        text = self.palette().color(QPalette.ColorRole.Text) if top else self._dim()
        bar = row.adjusted(names, 1.5, -44, -1.5)
        painter.setPen(text)
        name = painter.fontMetrics().elidedText(self._classes[c], Qt.TextElideMode.ElideRight, int(names - 6))
        painter.drawText(QRectF(row.left() + 3, row.top(), names - 6, row.height()), _LEFT, name)
        painter.drawText(QRectF(row.right() - 44, row.top(), 41, row.height()), _RIGHT, percent(share))
        painter.fillRect(bar, self.palette().color(QPalette.ColorRole.AlternateBase))
        bar.setWidth(share * bar.width())
        painter.fillRect(bar, QColor(palette.ACCENT) if top else self._dim())
        if c == self._true:
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.setPen(QPen(QColor(palette.GOOD), 1.5))
            painter.drawRect(row.adjusted(1, 0.5, -1, -0.5))


def _column(name: str, signals: np.ndarray, shape: tuple[int, int] | None) -> _Column:
    return _Column(name, signals, signal_colours(signals), shape)


def _grid(n: int, area: QRectF) -> tuple[int, int]:
    across = columns_for(n, area.width(), max(area.height(), 1.0))
    return -(-n // across), across
