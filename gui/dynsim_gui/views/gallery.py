"""Samples with what the network takes them for, the wrong ones first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QPainter, QPalette, QPen
from qtpy.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QScrollArea,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from dynsim.commands import Evaluated
from dynsim_gui.models import palette
from dynsim_gui.models.classifier import class_names, percent
from dynsim_gui.views.pad import grey, picture

_SIDE, _MARGIN, _GAP = 58, 8, 6  # pixels of a picture, around all, between two
_FEATURES = 12  # columns of a table at most
_CENTRE = Qt.AlignmentFlag.AlignCenter


class GalleryView(QStackedWidget):
    """Pictures of images, a table of anything else; `sample_chosen(raw (features,), true)`."""

    sample_chosen = Signal(object, int)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._evaluated: Evaluated | None = None
        self.pictures, self.table = _Pictures(), QTableWidget()
        self._empty = QLabel("No evaluation has arrived yet.", alignment=_CENTRE)
        self._empty.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        area = QScrollArea(widgetResizable=True)
        area.setWidget(self.pictures)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        for page in (self._empty, area, self._table_page()):
            self.addWidget(page)
        self.pictures.chosen.connect(self._choose)

    def show_evaluation(
        self, evaluated: Evaluated, classes: Sequence, input_shape: tuple[int, ...], high: float = 1.0
    ) -> None:
        """The gallery of an evaluation; `high` is white in images."""
        self._evaluated = evaluated
        texts = captions(evaluated, classes)
        if len(input_shape) == 2:
            images = grey(evaluated.gallery_X, high).reshape(-1, *input_shape)
            self.pictures.show_images(images, texts, _wrong(evaluated))
        else:
            self._fill_table(evaluated, texts)
        self.setCurrentIndex(1 if len(input_shape) == 2 else 2)

    def clear(self) -> None:
        """Nothing has been evaluated."""
        self._evaluated = None
        self.setCurrentIndex(0)

    def _table_page(self) -> QWidget:
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.verticalHeader().hide()
        self.table.cellClicked.connect(lambda row, column: self._choose(row))
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
        column.addWidget(self.table)
        return page

    def _choose(self, index: int) -> None:
        self.sample_chosen.emit(self._evaluated.gallery_X[index], int(self._evaluated.gallery_true[index]))

    def _fill_table(self, e: Evaluated, texts: list[tuple[str, str]]) -> None:
        features = min(e.gallery_X.shape[1], _FEATURES)
        self.table.setColumnCount(2 + features)
        self.table.setHorizontalHeaderLabels(["true → predicted", "at", *(f"x{k + 1}" for k in range(features))])
        self.table.setRowCount(len(texts))
        for row, (wrong, words) in enumerate(zip(_wrong(e), texts)):
            for column, word in enumerate([*words, *(f"{v:.3g}" for v in e.gallery_X[row, :features])]):
                item = QTableWidgetItem(word)
                if wrong and column < 2:
                    item.setForeground(QColor(palette.ERROR))
                self.table.setItem(row, column, item)
        self.table.resizeColumnsToContents()


def _wrong(e: Evaluated) -> np.ndarray:
    return e.gallery_true != e.gallery_predicted


def captions(e: Evaluated, classes: Sequence) -> list[tuple[str, str]]:
    """("9 → 4", "98 %") of every sample: true class, predicted class and its probability."""
    names = class_names(classes)
    rows = zip(e.gallery_true, e.gallery_predicted, e.gallery_probability)
    return [(f"{names[t]} → {names[p]}", percent(float(share))) for t, p, share in rows]


class _Pictures(QWidget):
    """A grid of images that wraps to the width; `chosen(number)`."""

    chosen = Signal(int)

    def __init__(self):
        super().__init__()
        self._images, self._texts, self._wrong = [], [], np.zeros(0, bool)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_images(self, images: np.ndarray, texts: list[tuple[str, str]], wrong: np.ndarray) -> None:
        """(n, rows, columns) uint8 with their captions."""
        self._images, self._texts, self._wrong = [picture(i) for i in images], texts, wrong
        self.setMinimumHeight(self.heightForWidth(self.width()))
        self.update()

    def heightForWidth(self, width: int) -> int:
        """Pixels for all rows."""
        across = self._across(width)
        return 2 * _MARGIN + -(-len(self._images) // across) * (self._cell_height() + _GAP)

    def cell_area(self, number: int) -> QRectF:
        """Where a sample lies, caption included."""
        across = self._across(self.width())
        pitch = (self.width() - 2 * _MARGIN + _GAP) / across
        row, column = divmod(number, across)
        top = _MARGIN + row * (self._cell_height() + _GAP)
        return QRectF(_MARGIN + column * pitch, top, pitch - _GAP, self._cell_height())

    def resizeEvent(self, event) -> None:
        self.setMinimumHeight(self.heightForWidth(self.width()))

    def mouseReleaseEvent(self, event) -> None:
        number = self._at(event.position())
        if number is not None and event.button() == Qt.MouseButton.LeftButton:
            self.chosen.emit(number)

    def event(self, event) -> bool:
        if event.type() == QEvent.Type.ToolTip:
            number = self._at(QPointF(event.pos()))
            words = "" if number is None else "true → predicted: {}, {}".format(*self._texts[number])
            QToolTip.showText(event.globalPos(), words, self)
            return True
        return super().event(event)

    def paintEvent(self, event) -> None:
        painter = QPainter(self)
        painter.setFont(self._small())
        for number, image in enumerate(self._images):
            area = self.cell_area(number)
            if event.rect().intersects(area.toAlignedRect()):
                self._paint_sample(painter, area, image, number)

    def sizeHint(self) -> QSize:
        return QSize(400, self.heightForWidth(400))

    def _across(self, width: int) -> int:
        return max(1, (width - 2 * _MARGIN + _GAP) // (_SIDE + 12 + _GAP))

    def _small(self) -> QFont:
        font = QFont(self.font())
        font.setPixelSize(11)
        return font

    def _cell_height(self) -> int:
        return _SIDE + 4 + 2 * QFontMetrics(self._small()).height()

    def _at(self, point: QPointF) -> int | None:
        return next((k for k in range(len(self._images)) if self.cell_area(k).contains(point)), None)

    def _paint_sample(self, painter: QPainter, area: QRectF, image, number: int) -> None:
        scale = _SIDE / max(image.width(), image.height())
        spot = QRectF(0, 0, scale * image.width(), scale * image.height())
        spot.moveCenter(QPointF(area.center().x(), area.top() + _SIDE / 2 + 1))
        painter.drawImage(spot, image)
        if self._wrong[number]:
            painter.setPen(QPen(QColor(palette.ERROR), 2))
            painter.drawRect(spot)
        line = QFontMetrics(self._small()).height()
        roles = (QPalette.ColorRole.Text, QPalette.ColorRole.PlaceholderText)
        for k, (words, role) in enumerate(zip(self._texts[number], roles)):
            painter.setPen(self.palette().color(role))
            row = QRectF(area.left(), area.top() + _SIDE + 4 + k * line, area.width(), line)
            short = painter.fontMetrics().elidedText(words, Qt.TextElideMode.ElideMiddle, int(area.width()))
            painter.drawText(row, _CENTRE, short)
