"""The decision regions of a 2-D problem."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QRectF, Qt, Signal
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from dynsim.commands import BoundaryMap
from dynsim_gui.models import palette
from dynsim_gui.models.classifier import boundary_picture, class_names, interpolate, misclassified, percent

_NAMED = 3  # classes listed under the pointer


class BoundaryView(QWidget):
    """Class colours by probability, a line where the class changes, the test samples over them.

    `picked` : (1, 2) float32, a place in the plane that was clicked.
    """

    picked = Signal(object)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._map: BoundaryMap | None = None
        self._classes: tuple[str, ...] = ()
        self.plot = pg.PlotWidget()
        self._image = pg.ImageItem(axisOrder="row-major")
        self._points = pg.ScatterPlotItem(size=6, pen=pg.mkPen(palette.CANVAS))
        self._rings = pg.ScatterPlotItem(size=12, pen=pg.mkPen(palette.TEXT), brush=None)
        self.legend, self.readout = QLabel(), QLabel()
        for label in (self.legend, self.readout):
            label.setWordWrap(True)
        self.readout.setTextFormat(Qt.TextFormat.PlainText)
        self._lay_out()
        self.clear()

    def show_boundary(self, boundary: BoundaryMap, classes: Sequence) -> None:
        """A map with its samples; the zoom stays while the same plane is shown."""
        moved = self._map is None or not np.array_equal(self._map.x, boundary.x)
        self._map, self._classes = boundary, class_names(classes)
        self._image.setImage(boundary_picture(boundary), autoLevels=False, levels=(0, 255))
        self._image.setRect(_extent(boundary))
        self._show_points(boundary)
        if moved or not np.array_equal(self._rows, boundary.y):
            self.plot.getViewBox().setRange(_extent(boundary), padding=0)
        self._rows = boundary.y

    def clear(self) -> None:
        """No map has arrived."""
        self._map, self._rows = None, None
        self._image.clear()
        self._points.clear()
        self._rings.clear()
        self.legend.setText("No map has arrived yet.")
        self.readout.setText(_HINT)

    def probabilities_at(self, x: float, y: float) -> str:
        """The most probable classes at a place, as text."""
        p = interpolate(self._map, np.array(x), np.array(y))
        best = np.argsort(-p, kind="stable")[:_NAMED]
        return ", ".join(f"{self._classes[c]}: {percent(p[c])}" for c in best)

    def changeEvent(self, event) -> None:
        if event.type() == QEvent.Type.PaletteChange:
            self._take_colours()
        super().changeEvent(event)

    def leaveEvent(self, event) -> None:
        self.readout.setText(_HINT)

    def _lay_out(self) -> None:
        item = self.plot.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
        for thing in (self._image, self._points, self._rings):
            item.addItem(thing)
        item.setLabel("bottom", "x1")
        item.setLabel("left", "x2")
        self.plot.setMinimumSize(200, 200)
        self.plot.scene().sigMouseMoved.connect(self._hovered)
        self.plot.scene().sigMouseClicked.connect(self._clicked)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.addWidget(self.legend)
        column.addWidget(self.plot, 1)
        column.addWidget(self.readout)
        self._take_colours()

    def _take_colours(self) -> None:
        colours = self.palette()
        self.plot.setBackground(colours.color(QPalette.ColorRole.Base))
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
            axis.setPen(colours.color(QPalette.ColorRole.PlaceholderText))
            axis.setTextPen(colours.color(QPalette.ColorRole.Text))

    def _show_points(self, b: BoundaryMap) -> None:
        brushes = [_BRUSHES[k % len(_BRUSHES)] for k in b.labels]
        self._points.setData(b.points[:, 0], b.points[:, 1], brush=brushes)
        wrong = misclassified(b)
        self._rings.setData(b.points[wrong, 0], b.points[wrong, 1])
        names = " &nbsp; ".join(_dot(k) + escape(name) for k, name in enumerate(self._classes))
        self.legend.setText(f"{names} &nbsp; ○ wrong: {wrong.sum()} of {len(wrong)} test samples, step {b.step:,}")

    def _place(self, scene_point) -> tuple[float, float] | None:
        if self._map is None or not self.plot.getViewBox().sceneBoundingRect().contains(scene_point):
            return None
        point = self.plot.getViewBox().mapSceneToView(scene_point)
        return point.x(), point.y()

    def _hovered(self, scene_point) -> None:
        place = self._place(scene_point)
        self.readout.setText(f"({place[0]:.2f}, {place[1]:.2f})   {self.probabilities_at(*place)}" if place else _HINT)

    def _clicked(self, event) -> None:
        place = self._place(event.scenePos())
        if place and event.button() == Qt.MouseButton.LeftButton:
            self.picked.emit(np.array([place], np.float32))


_HINT = "A click sends that point through the network."
_BRUSHES = [pg.mkBrush(colour) for colour in palette.CATEGORIES]


def _dot(category: int) -> str:
    return f'<span style="color:{palette.category(category)}">●</span>&nbsp;'


def _extent(b: BoundaryMap) -> QRectF:
    return QRectF(b.x[0], b.y[0], b.x[-1] - b.x[0], b.y[-1] - b.y[0])
