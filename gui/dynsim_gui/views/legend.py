"""What the colours mean: a bar with its range, or a row of named patches."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from dynsim_gui.models.palette import BORDER, DIM, TEXT, WARN, category, lookup
from dynsim_gui.models.particles import PULL, PUSH, Colouring

BAR = 180


class Legend(QWidget):
    """Of the particles' colours; one line high."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colouring: Colouring | None = None
        self._links = False
        self.setFixedHeight(24)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_colouring(self, colouring: Colouring) -> None:
        """Show another one; the values themselves do not matter here."""
        self._colouring = colouring
        self.setToolTip(colouring.missing or colouring.quantity.label)
        self.update()

    def show_links(self, on: bool) -> None:
        """Whether links are drawn, whose colours are explained at the right."""
        if on != self._links:
            self._links = on
            self.update()

    def sizeHint(self) -> QSize:
        return QSize(420, 24)

    def paintEvent(self, _: QPaintEvent) -> None:
        c = self._colouring
        if c is None:
            return
        painter = QPainter(self)
        right = self._paint_links(painter) if self._links and not c.missing else self.width()
        if c.categorical:
            end = self._patches(painter, c, right)
            self._text(painter, end + 8, c.missing, WARN, right)
        else:
            self._bar(painter, c, right)

    def _paint_links(self, painter: QPainter) -> int:
        """What the colours of links mean; where that begins. Nothing in a narrow window."""
        metrics, words = painter.fontMetrics(), (("link: weight pulled up", PULL), ("pulled down", PUSH))
        width = sum(metrics.horizontalAdvance(word) + 30 for word, _ in words)
        if self.width() < width + 330:
            return self.width()
        x = self.width() - width
        for word, colour in words:
            painter.fillRect(QRect(x, 11, 14, 2), QColor.fromRgbF(*colour))
            x = self._text(painter, x + 18, word, DIM) + 12
        return self.width() - width

    def _bar(self, painter: QPainter, c: Colouring, right: int) -> None:
        x = self._text(painter, 8, c.quantity.label, TEXT, max(120, right - 200)) + 12
        if _short(c.clim[0]) == _short(c.clim[1]):
            self._text(painter, x, f"the same everywhere: {_short(c.clim[0])}", DIM)
            return
        x = self._text(painter, x, _short(c.clim[0]), DIM) + 6
        colours = np.ascontiguousarray(lookup(c.map)[None])
        image = QImage(colours.data, 256, 1, 256 * 3, QImage.Format.Format_RGB888)
        width = max(40, min(BAR, right - x - 70))
        bar = QRect(x, 7, width, 10)
        painter.drawImage(bar, image)
        painter.setPen(QColor(BORDER))
        painter.drawRect(bar)
        self._text(painter, x + width + 6, _short(c.clim[1]), DIM)

    def _patches(self, painter: QPainter, c: Colouring, right: int) -> int:
        x = self._text(painter, 8, c.quantity.label, TEXT, right) + 12
        for k, name in enumerate(c.names):
            if x + 40 > right:
                return self._text(painter, x, "…", DIM)
            painter.fillRect(QRect(x, 7, 10, 10), QColor(category(k)))
            x = self._text(painter, x + 14, name, DIM) + 10
        return x

    def _text(self, painter: QPainter, x: int, text: str, colour: str, right: int | None = None) -> int:
        """Draws, what would reach beyond `right` cut with an ellipsis, and returns where the next may begin."""
        if right is not None:
            text = painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, max(0, right - x))
        width = painter.fontMetrics().horizontalAdvance(text)
        painter.setPen(QColor(colour))
        painter.drawText(QRect(x, 0, width + 2, self.height()), Qt.AlignmentFlag.AlignVCenter, text)
        return x + width


def _short(value: float) -> str:
    return f"{value:.3g}"
