"""The confusion matrix, live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPalette
from qtpy.QtWidgets import QToolTip, QWidget

from dynsim.commands import Evaluated
from dynsim_gui.models.classifier import accuracy_with_sigma, class_names, confusion_colours, percent, shares, text_on

_MARGIN, _SMALL, _LARGEST = 8, 9, 96  # pixels: around all, least side of a cell with a label, greatest of any
_CENTRE = Qt.AlignmentFlag.AlignCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter


class _Places(NamedTuple):
    """Upper left corner of the matrix and the side of its cells, in pixels."""

    left: float
    top: float
    side: float

    def cell(self, row: int, column: int) -> QRectF:
        return QRectF(self.left + column * self.side, self.top + row * self.side, self.side, self.side)


class ConfusionView(QWidget):
    """Rows are true classes, columns predictions; `cell_clicked(true, predicted)`."""

    cell_clicked = Signal(int, int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._confusion, self._names, self._header = np.zeros((0, 0), int), (), ""
        self.setMinimumSize(220, 240)

    def sizeHint(self) -> QSize:
        return QSize(420, 440)

    def show_evaluation(self, evaluated: Evaluated, classes: Sequence) -> None:
        """The counts of an evaluation."""
        self._confusion, self._names = evaluated.confusion, class_names(classes)
        self._header = accuracy_with_sigma(evaluated)
        self.update()

    def clear(self) -> None:
        """Nothing has been evaluated."""
        self._confusion = np.zeros((0, 0), int)
        self.update()

    def cell_area(self, true: int, predicted: int) -> QRectF:
        """Where a cell lies in the widget."""
        return self._places().cell(true, predicted)

    def mouseReleaseEvent(self, event) -> None:
        cell = self._cell_at(event.position())
        if cell is not None and event.button() == Qt.MouseButton.LeftButton:
            self.cell_clicked.emit(*cell)

    def event(self, event) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            QToolTip.showText(event.globalPos(), self.told_at(QPointF(event.pos())), self)
            return True
        return super().event(event)

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        if not len(self._confusion):
            painter.setPen(self._dim())
            painter.drawText(self.rect(), _CENTRE | Qt.TextFlag.TextWordWrap, "No evaluation has arrived yet.")
            return
        self._paint_header(painter)
        places = self._places()
        self._paint_counts(painter, places)
        self._paint_labels(painter, places)

    def told_at(self, point: QPointF) -> str:
        """What the tip over a cell says, "" beside the matrix."""
        cell = self._cell_at(point)
        if cell is None:
            return ""
        true, predicted = cell
        count, share = self._confusion[cell], shares(self._confusion)[cell]
        verb = "recognised" if true == predicted else f"taken for {self._names[predicted]}"
        return f"{count:,} of class {self._names[true]} {verb} ({percent(share)})"

    def _dim(self) -> QColor:
        return self.palette().color(QPalette.ColorRole.PlaceholderText)

    def _sized(self, pixels: float) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(int(max(7, min(pixels, self.fontMetrics().height() - 2))))
        return font

    def _label_width(self, font: QFont) -> float:
        metrics = QFontMetricsF(font)
        return min(max((metrics.horizontalAdvance(name) for name in self._names), default=0.0) + 6, 90)

    def _places(self) -> _Places:
        """As large as fits beside the labels, in the middle."""
        line, names = self.fontMetrics().height(), self._label_width(self.font())
        left, right = _MARGIN + line + names, 46 + _MARGIN
        above = _MARGIN + 2 * line + min(names, 84) + 6
        k = max(len(self._confusion), 1)
        side = max(1.0, min((self.width() - left - right) / k, (self.height() - above - _MARGIN) / k, _LARGEST))
        side = float(int(side)) if side >= 4 else side
        spare = (self.width() - left - right - k * side) / 2
        return _Places(left + max(0.0, spare), above, side)

    def _cell_at(self, point: QPointF) -> tuple[int, int] | None:
        left, top, side = self._places()
        column, row = int((point.x() - left) // side), int((point.y() - top) // side)
        k = len(self._confusion)
        return (row, column) if 0 <= row < k and 0 <= column < k else None

    def _paint_header(self, painter: QPainter) -> None:
        line = self.fontMetrics().height()
        painter.setPen(self.palette().color(QPalette.ColorRole.Text))
        painter.drawText(QRectF(_MARGIN, _MARGIN, self.width() - 2 * _MARGIN, line), _CENTRE, self._header)

    def _paint_counts(self, painter: QPainter, places: _Places) -> None:
        colours, side = confusion_colours(self._confusion), places.side
        font = self._sized(0.5 * side)
        painter.setFont(font)
        fits = QFontMetricsF(font).horizontalAdvance(str(self._confusion.max())) + 3 < side
        gap = 1 if side >= 6 else 0
        for (true, predicted), count in np.ndenumerate(self._confusion):
            area = places.cell(true, predicted)
            colour = colours[true, predicted]
            painter.fillRect(area.adjusted(0, 0, -gap, -gap), QColor(*map(int, colour)))
            if fits and count:
                painter.setPen(QColor(text_on(colour)))
                painter.drawText(area, _CENTRE, str(count))

    def _paint_labels(self, painter: QPainter, places: _Places) -> None:
        k, line, (left, top, side) = len(self._confusion), self.fontMetrics().height(), places
        font = self._sized(side)
        painter.setFont(font)
        names = self._label_width(font)
        every = 1 if side >= _SMALL else int(np.ceil(_SMALL / side))
        recalls = np.diagonal(shares(self._confusion))
        for c in range(0, k, every):
            row = top + c * side + side / 2 - line / 2
            painter.setPen(self.palette().color(QPalette.ColorRole.Text))
            painter.drawText(QRectF(left - names - 4, row, names, line), _RIGHT, self._short(font, c, names))
            self._paint_column_name(painter, font, c, places)
            painter.setPen(self._dim())
            painter.drawText(QRectF(left + k * side + 4, row, 46, line), _LEFT, percent(recalls[c]))
        self._paint_axes(painter, places, names)

    def _short(self, font: QFont, c: int, room: float) -> str:
        return QFontMetricsF(font).elidedText(self._names[c], Qt.TextElideMode.ElideRight, room)

    def _paint_column_name(self, painter: QPainter, font: QFont, c: int, places: _Places) -> None:
        """Upright where all names fit their columns, else turned."""
        left, top, side = places
        line = self.fontMetrics().height()
        if self._label_width(font) <= side + 4:
            painter.drawText(QRectF(left + c * side, top - line - 2, side, line), _CENTRE, self._names[c])
            return
        painter.save()
        painter.translate(left + (c + 0.5) * side, top - 3)
        painter.rotate(-90)
        painter.drawText(QRectF(0, -line / 2, 84, line), _LEFT, self._short(font, c, 84))
        painter.restore()

    def _paint_axes(self, painter: QPainter, places: _Places, names: float) -> None:
        k, line, (left, top, side) = len(self._confusion), self.fontMetrics().height(), places
        painter.setFont(self.font())
        painter.setPen(self._dim())
        painter.drawText(QRectF(left, _MARGIN + line + 1, k * side, line), _CENTRE, "predicted")
        painter.drawText(QRectF(left + k * side + 2, top - line - 2, 46, line), _LEFT, "recall")
        painter.save()
        painter.translate(left - names - 6 - line / 2, top + k * side / 2)
        painter.rotate(-90)
        painter.drawText(QRectF(-60, -line / 2, 120, line), _CENTRE, "true")
        painter.restore()
