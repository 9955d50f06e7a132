"""One particle in numbers: who it is, where it is in R^d, its neighbours and one of its curves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QRect, QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QFontDatabase, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QScrollArea, QStackedWidget, QVBoxLayout, QWidget

from dynsim_gui.models.curves import peaks, short
from dynsim_gui.models.inspector import Inspection, Neighbour
from dynsim_gui.models.palette import ACCENT, BORDER, DIM, TEXT, WARN, category
from dynsim_gui.views.plot import Plot
from dynsim_gui.views.profile import ProfileView

ROW = 15
COLUMNS = 2


class Bars(QWidget):
    """The coordinates of a point, each with its number and a bar from zero; the longest bar is the largest |q_k|."""

    def __init__(self) -> None:
        super().__init__()
        self.values = np.empty(0)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))

    def show_values(self, values: np.ndarray) -> None:
        """(d,) coordinates."""
        self.values = values
        self.setFixedHeight(ROW * self._rows())
        self.update()

    def _rows(self) -> int:
        return math.ceil(len(self.values) / COLUMNS)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        finite = np.abs(self.values[np.isfinite(self.values)])
        largest = finite.max(initial=0.0) or 1.0
        rows, width = self._rows(), self.width() // COLUMNS
        for k, value in enumerate(self.values):
            cell = QRect(k // rows * width, k % rows * ROW, width - 8, ROW)
            self._paint(painter, cell, k, value, value / largest)

    def _paint(self, painter: QPainter, cell: QRect, k: int, value: float, part: float) -> None:
        digits = painter.fontMetrics().horizontalAdvance("0")
        painter.setPen(QColor(DIM))
        painter.drawText(cell, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, f"{k + 1}")
        painter.setPen(QColor(TEXT))
        painter.drawText(cell, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, short(value))
        bar = cell.adjusted(3 * digits, 4, -9 * digits, -4)
        middle, reach = bar.center().x(), bar.width() // 2
        painter.fillRect(middle, cell.top() + 1, 1, ROW - 2, QColor(BORDER))
        if np.isfinite(part):
            length = round(part * reach)
            painter.fillRect(
                min(middle, middle + length), bar.top(), abs(length), bar.height(), QColor(ACCENT if part > 0 else WARN)
            )


class InspectorView(QWidget):
    """The particle selected last.

    `particle_requested` tells the neighbour that was clicked, `trace_requested` the quantity whose curve is wanted.
    """

    particle_requested = Signal(int)
    trace_requested = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.hint = QLabel("Click a particle")
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hint.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        self.title, self.numbers, self.neighbours = QLabel(), QLabel(), QLabel()
        self.where, self.near = _heading(), _heading()
        self.bars, self.quantity = Bars(), QComboBox()
        for label in (self.title, self.numbers, self.neighbours):
            label.setTextFormat(Qt.TextFormat.RichText)
        self._fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
        self.neighbours.linkActivated.connect(lambda link: self.particle_requested.emit(int(link)))
        self.quantity.activated.connect(lambda _: self.trace_requested.emit(self.quantity.currentData()))
        self.plot = Plot()
        self.plot.setFixedHeight(110)
        self.plot.setMouseEnabled(x=False, y=False)
        self.curve = self.plot.plot(pen=pg.mkPen(ACCENT, width=1))
        self.profile = ProfileView()
        self.pages = QStackedWidget()
        self.pages.addWidget(self.hint)
        self.pages.addWidget(self._scrolled())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.pages)

    def _scrolled(self) -> QScrollArea:
        inner, area, chosen = QWidget(), QScrollArea(), QHBoxLayout()
        column = QVBoxLayout(inner)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(4)
        chosen.addWidget(_heading("its curve"))
        chosen.addWidget(self.quantity, 1)
        for item in (self.title, self.numbers, self.where, self.bars, self.profile):
            column.addWidget(item)
        column.addLayout(chosen)
        for item in (self.plot, self.near, self.neighbours):
            column.addWidget(item)
        column.addStretch(1)
        area.setWidget(inner)
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        return area

    def show_particle(self, inspection: Inspection | None) -> None:
        """A particle, or that none is selected."""
        self.pages.setCurrentIndex(inspection is not None)
        if inspection is None:
            return
        colour = category(inspection.subsystem)
        self.title.setText(
            f"<span style='color:{colour}'>●</span> <b>{escape(inspection.who)}</b> "
            f"<span style='color:{DIM}'>particle {inspection.particle:,}</span>"
        )
        rows = [(label, text) for label, text in inspection.identity]
        rows += [(n.label, short(n.value, 4)) for n in inspection.numbers]
        self.numbers.setText(self._table("".join(self._row(escape(a), escape(b)) for a, b in rows)))
        self.where.setText(f"q in {inspection.space}")
        self.bars.show_values(inspection.q)
        self.near.setText(f"nearest in {inspection.space}")
        self.near.setVisible(bool(inspection.neighbours))
        self.neighbours.setText(self._table("".join(self._neighbour(n) for n in inspection.neighbours)))

    def _table(self, rows: str) -> str:
        return f"<table width='100%' cellspacing='0' cellpadding='0'>{rows}</table>"

    def _row(self, left: str, right: str) -> str:
        return (
            f"<tr><td><span style='color:{DIM}'>{left}</span></td>"
            f"<td align='right' style='font-family:{self._fixed}'>{right}</td></tr>"
        )

    def _neighbour(self, n: Neighbour) -> str:
        link = f"<a href='{n.particle}' style='color:{TEXT};text-decoration:none'>{escape(n.who)}</a>"
        return self._row(f"<span style='color:{category(n.subsystem)}'>●</span> {link}", short(n.distance, 4))

    def show_quantities(self, quantities: Iterable[tuple[str, str]], chosen: str) -> None:
        """(name, label) of what a curve can be drawn of, and which it is now."""
        quantities = list(quantities)
        with QSignalBlocker(self.quantity):
            if quantities != [
                (self.quantity.itemData(i), self.quantity.itemText(i)) for i in range(len(self.quantity))
            ]:
                self.quantity.clear()
                for name, label in quantities:
                    self.quantity.addItem(label, name)
            self.quantity.setCurrentIndex(self.quantity.findData(chosen))

    def show_trace(self, steps: np.ndarray, values: np.ndarray) -> None:
        """(k,) values of the chosen quantity over the recorded frames."""
        self.curve.setData(*peaks(np.asarray(steps, float), np.asarray(values, float)))
        if len(steps):
            self.plot.span(float(steps[0]), max(float(steps[-1]), float(steps[0]) + 1))

    def cursor(self, step: float | None) -> None:
        """The step shown elsewhere."""
        self.plot.cursor(step)


def _heading(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label
