"""A plot over the steps of a run: short numbers at its axes, a line at the step shown, clicks that ask for a step."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QGraphicsSceneResizeEvent

from dynsim_gui.models.curves import log_ticks, tick_labels, tidy
from dynsim_gui.models.palette import BORDER, CANVAS, DIM, TEXT

AXIS_WIDTH, AXIS_HEIGHT = 50, 18


class ShortAxis(pg.AxisItem):
    """An axis with short numbers (12.5k, 2e-5); a horizontal one has its name in the corner below the vertical one."""

    def __init__(self, orientation: str) -> None:
        super().__init__(orientation, pen=BORDER, textPen=DIM)
        self.enableAutoSIPrefix(False)
        self.setStyle(tickLength=-4, maxTickLevel=0, tickTextOffset=4)
        if orientation == "left":
            self.setWidth(AXIS_WIDTH)
        else:
            self.setHeight(AXIS_HEIGHT)

    def resizeEvent(self, event: QGraphicsSceneResizeEvent | None = None) -> None:
        super().resizeEvent(event)
        if self.orientation == "bottom" and self.label is not None:
            self.label.setPos(-AXIS_WIDTH, -2)

    def logTickValues(self, low: float, high: float, size: float, ticks: list) -> list[tuple[None, list[float]]]:
        return [(None, log_ticks(low, high, most=max(2, int(size / 24 if self.orientation == "left" else size / 60))))]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:
        return [tidy(10.0**v) for v in values] if self.logMode else tick_labels(values, spacing)


class Plot(pg.PlotWidget):
    """Curves over steps. The wheel scrolls the list of plots; with Ctrl it zooms the steps, as dragging moves them.

    `clicked` tells the x of a click, `spanned` the range of x that a person chose, `unspanned` a double click.
    """

    clicked = Signal(float)
    spanned = Signal(float, float)
    unspanned = Signal()

    def __init__(self, bottom: str = "step") -> None:
        axes = {side: ShortAxis(side) for side in ("left", "bottom")}
        super().__init__(background=CANVAS, axisItems=axes, enableMenu=False)
        item = self.getPlotItem()
        item.hideButtons()
        item.setLabel("bottom", bottom, color=DIM)
        item.showGrid(x=True, y=True, alpha=0.15)
        item.setMouseEnabled(x=True, y=False)
        item.setAutoVisible(y=True)
        item.getViewBox().disableAutoRange("x")
        item.getViewBox().sigRangeChangedManually.connect(lambda _: self.spanned.emit(*item.viewRange()[0]))
        self._span = None
        self.line = pg.InfiniteLine(pen=pg.mkPen(TEXT, width=1), movable=False)
        self.line.hide()
        item.addItem(self.line, ignoreBounds=True)
        self.scene().sigMouseClicked.connect(self._mouse_clicked)

    def span(self, low: float, high: float) -> None:
        """Show the steps from ... to."""
        if (low, high) != self._span:
            self._span = low, high
            self.setXRange(low, high, padding=0)

    def cursor(self, step: float | None) -> None:
        """Put the line at a step; None hides it."""
        self.line.setVisible(step is not None)
        if step is not None:
            self.line.setValue(step)

    def _mouse_clicked(self, event) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if event.double():
            self.unspanned.emit()
        else:
            self.clicked.emit(self.getPlotItem().getViewBox().mapSceneToView(event.scenePos()).x())

    def wheelEvent(self, event: QWheelEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().wheelEvent(event)
        else:
            event.ignore()
