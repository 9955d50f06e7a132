"""Curves over the steps of a run: one small plot per panel, a common axis of steps, a cursor at the step shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QAction, QColor, QPalette, QWheelEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QGraphicsSceneResizeEvent,
    QHBoxLayout,
    QLabel,
    QMenu,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from dynsim_gui.models.curves import (
    PANELS,
    Curve,
    Panel,
    Smoothed,
    available,
    histogram,
    log_ticks,
    peaks,
    short,
    tick_labels,
    tidy,
    within,
)
from dynsim_gui.models.history import FrameTable, History, table_of, write_csv
from dynsim_gui.models.palette import ACCENT, BORDER, CANVAS, DIM, TEXT, rgb

AXIS_WIDTH, AXIS_HEIGHT = 50, 18
PLOT_HEIGHT = 108
FAINT = 0.35  # how much of their colour raw values keep behind their average
SHOWN_FIRST = ("Loss", "Accuracy", "Structural entropy", "LapCurSE", "Energy", "Λ")


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
        super().__init__(background=CANVAS, axisItems={side: ShortAxis(side) for side in ("left", "bottom")})
        item = self.getPlotItem()
        item.hideButtons()
        item.setMenuEnabled(False)
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


def _faint(colour: str) -> tuple[int, ...]:
    """Opaque: a translucent line would be dense again where it crosses itself."""
    return tuple(round(FAINT * c + (1 - FAINT) * ground) for c, ground in zip(rgb(colour), rgb(CANVAS)))


class PanelView(QWidget):
    """A header with the names and values of the curves outside the plot, and the plot."""

    def __init__(self, panel: Panel, bottom: str = "step") -> None:
        super().__init__()
        self.panel = panel
        self.title = QLabel(f"<b>{panel.title}</b>&nbsp; <span style='color:{DIM}'>{escape(panel.unit)}</span>")
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.log = QCheckBox("log")
        self.log.setToolTip("Logarithmic vertical axis")
        self.plot = Plot(bottom)
        self.plot.setFixedHeight(PLOT_HEIGHT)
        self._lay_out()
        self._items: dict[str, tuple[Curve, pg.PlotDataItem, pg.PlotDataItem | None]] = {}
        self._averages: dict[str, Smoothed] = {}
        self._drawn: tuple | None = None
        self.log.toggled.connect(lambda on: self.plot.setLogMode(x=None, y=on))
        self.log.setChecked(panel.log)

    def _lay_out(self) -> None:
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(2)
        for label in (self.title, self.legend):  # a narrow dock cuts words, not the plot
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.plot.setMinimumWidth(0)
        row.addWidget(self.title, 1)
        row.addWidget(self.log)
        column.addLayout(row)
        column.addWidget(self.legend)
        column.addWidget(self.plot)

    def show_curves(self, curves: Iterable[Curve]) -> None:
        """Exactly these curves."""
        self.plot.getPlotItem().clearPlots()
        self._items = {curve.name: self._made(curve) for curve in curves}
        self._averages = {name: Smoothed(name) for name, (_, _, raw) in self._items.items() if raw is not None}
        self._drawn = None

    def _made(self, curve: Curve) -> tuple[Curve, pg.PlotDataItem, pg.PlotDataItem | None]:
        raw = self.plot.plot(pen=pg.mkPen(_faint(curve.colour), width=1)) if curve.smooth else None
        style = Qt.PenStyle.DashLine if curve.dashed else Qt.PenStyle.SolidLine
        return curve, self.plot.plot(pen=pg.mkPen(curve.colour, width=1, style=style)), raw

    def refresh(self, history: History, frames: FrameTable, span: tuple[float, float]) -> None:
        """Draw the steps of `span`, if anything has changed since the last time."""
        state = history.revision, frames.revision, span
        if state == self._drawn:
            return
        self._drawn = state
        for name, (_, line, raw) in self._items.items():
            table = table_of(name, history, frames)
            rows = within(table.steps, span)
            if raw is not None:
                raw.setData(*peaks(table.steps[rows], table.column(name)[rows]))
            line.setData(*peaks(table.steps[rows], self._values(name, table)[rows]))
        self.plot.span(*span)

    def _values(self, name: str, table: History) -> np.ndarray:
        return self._averages[name].update(table) if name in self._averages else table.column(name)

    def show_values(self, history: History, frames: FrameTable, step: float) -> None:
        """Names, colours and values at a step."""
        parts = []
        for name, (curve, _, _) in self._items.items():
            table = table_of(name, history, frames)
            row = int(np.searchsorted(table.steps, step, "right")) - 1
            value = self._values(name, table)[row] if row >= 0 else np.nan
            label = f"{'╌╌' if curve.dashed else '━'} {curve.label}".replace(" ", "&nbsp;")
            parts.append(f"<span style='color:{curve.colour}'>{label}</span>&nbsp;{short(value)}")
        self.legend.setText(" &nbsp; ".join(parts))


class HistogramView(PanelView):
    """The distribution of a per-particle property over the particles."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, bottom=panel.title)
        self.log.hide()
        self.plot.setMouseEnabled(x=False, y=False)
        self._bars = self.plot.plot(stepMode="center", fillLevel=0, pen=ACCENT, brush=QColor(ACCENT).darker(250))

    def show_values_of(self, values: np.ndarray) -> None:
        """Bars, and in words what they leave out."""
        h = histogram(values)
        self.plot.setLogMode(x=h.log, y=None)
        self._bars.setData(h.edges, h.counts)
        edges = np.log10(h.edges) if h.log else h.edges
        self.plot.setXRange(edges[0], edges[-1], padding=0.02)
        notes = [f"{h.total:,} particles", f"{h.zeros / max(h.total, 1):.1%} zero"]
        notes += [f"{h.invalid:,} not finite"] if h.invalid else []
        notes += ["logarithmic bins"] if h.log else []
        self.legend.setText(f"<span style='color:{DIM}'>{' · '.join(notes)}</span>")


class CurvesView(QWidget):
    """All panels, those chosen shown. Only what is on the screen is drawn.

    `seek_requested` tells the step that was clicked, `panels_changed` that other panels were chosen.
    """

    seek_requested = Signal(int)
    panels_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history, self._frames = History(), FrameTable()
        self._properties: dict[str, np.ndarray] = {}
        self._span: tuple[float, float] | None = None
        self._step: float | None = None
        self._listed: tuple | None = None
        self._chosen = set(SHOWN_FIRST)
        self.panels = {p.title: HistogramView(p) if p.per_particle else PanelView(p) for p in PANELS}
        self._menu_actions: dict[str, QAction] = {}
        # once the layout has settled, other plots may have come into sight
        self._settled = QTimer(self, singleShot=True, interval=0)
        self._settled.timeout.connect(self._draw)
        self._lay_out()
        for title, view in self.panels.items():
            self._connect(title, view)
        self._list_panels()

    def _lay_out(self) -> None:
        self.chooser, self.whole = QToolButton(), QToolButton()
        self.chooser.setText("Panels ")
        self.chooser.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.chooser.setMenu(QMenu(self.chooser))
        self.whole.setText("All steps")
        self.whole.setToolTip("Show the whole run, as a double click does. Ctrl and wheel zoom, dragging moves.")
        self.whole.clicked.connect(lambda: self.show_span(None))
        row, column = QHBoxLayout(), QVBoxLayout(self)
        row.setContentsMargins(6, 4, 6, 0)
        row.addWidget(self.chooser)
        row.addStretch(1)
        row.addWidget(self.whole)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self._scrolled(), 1)

    def _scrolled(self) -> QScrollArea:
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setMargin(8)
        self.note.setForegroundRole(QPalette.ColorRole.PlaceholderText)
        inner, self.area = QWidget(), QScrollArea()
        stack = QVBoxLayout(inner)
        stack.setContentsMargins(0, 0, 0, 0)
        stack.setSpacing(2)
        for view in self.panels.values():
            stack.addWidget(view)
        stack.addWidget(self.note)
        stack.addStretch(1)
        self.area.setWidget(inner)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.verticalScrollBar().valueChanged.connect(self._draw)
        inner.installEventFilter(self)
        return self.area

    def _connect(self, title: str, view: PanelView) -> None:
        action = self.chooser.menu().addAction(title)
        action.setCheckable(True)
        action.triggered.connect(lambda on: self.choose(self._chosen | {title} if on else self._chosen - {title}))
        self._menu_actions[title] = action
        if not view.panel.per_particle:
            view.plot.clicked.connect(lambda x: self.seek_requested.emit(max(0, round(x))))
            view.plot.spanned.connect(lambda low, high: self.show_span((low, high)))
            view.plot.unspanned.connect(lambda: self.show_span(None))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest, QEvent.Type.Show):
            self._settled.start()
        return super().eventFilter(watched, event)

    # Choosing --------------------------------------------------------------------------------------------------

    def chosen(self) -> list[str]:
        """Titles of the panels that are wanted, whether or not they have something to show."""
        return [title for title in self.panels if title in self._chosen]

    def choose(self, titles: Iterable[str]) -> None:
        """Exactly these panels; unknown titles are left out."""
        self._chosen = set(titles) & self.panels.keys()
        self._listed = None
        self._list_panels()
        self.panels_changed.emit()

    def _list_panels(self) -> None:
        """Which panels can be shown is asked again only if other names are recorded."""
        history, frames = self._history, self._frames
        names = tuple(dict.fromkeys((*history.names, *frames.names)))
        valueless = frozenset(n for n in names if n in table_of(n, history, frames).valueless)
        state = names, valueless, tuple(self._properties)
        if state == self._listed:
            return
        self._listed = state
        panels, reasons = available(names, valueless, self._properties)
        able = {p.title: p for p in panels}
        for title, view in self.panels.items():
            action = self._menu_actions[title]
            action.setEnabled(title in able)
            action.setChecked(title in self._chosen)
            action.setText(title if title in able else f"{title}: {reasons[title]}")
            view.setVisible(title in able and title in self._chosen)
            if title in able and not view.panel.per_particle:
                view.show_curves(able[title].curves)
        self._explain(bool(names or self._properties), reasons)

    def _explain(self, something: bool, reasons: Mapping[str, str]) -> None:
        missing = [f"{title}: {reason}" for title, reason in reasons.items() if title in self._chosen]
        if not something:
            missing = ["Nothing recorded yet: curves appear with the first step."]
        elif not self._chosen:
            missing = ["No panel is chosen."]
        self.note.setText("\n".join(missing))
        self.note.setVisible(bool(missing))

    # Showing ---------------------------------------------------------------------------------------------------

    def refresh(self, history: History, frames: FrameTable) -> None:
        """Show what has been recorded; costs next to nothing where nothing is new."""
        if history is not self._history or frames is not self._frames:
            self._history, self._frames, self._listed, self._span = history, frames, None, None
        self._list_panels()
        self._draw()

    def cursor(self, step: float | None) -> None:
        """The step shown elsewhere: a line in every plot and the values in the headers; None is the newest."""
        if step != self._step:
            self._step = step
            self._draw()

    def histogram(self, values: np.ndarray | None, name: str = "lambda") -> None:
        """(n,) values of a per-particle property of the frame shown; None where a frame has none."""
        known = {} if values is None else {name: values}
        self._properties = {k: v for k, v in self._properties.items() if k != name} | known
        self._list_panels()
        for view in self.panels.values():
            if values is not None and view.panel.per_particle == name and not view.visibleRegion().isEmpty():
                view.show_values_of(values)

    def show_span(self, span: tuple[float, float] | None) -> None:
        """The steps from ... to in every plot; None shows the whole run and follows it."""
        self._span = span
        self._draw()

    def export_csv(self, path: str | Path) -> None:
        """Everything recorded as one table; raises OSError."""
        write_csv(path, self._history, self._frames)

    def _draw(self) -> None:
        step = self._last_step() if self._step is None else self._step
        span = self._whole_span() if self._span is None else self._span
        for view in self.panels.values():
            if view.isHidden() or view.visibleRegion().isEmpty():
                continue
            if view.panel.per_particle:
                view.show_values_of(self._properties[view.panel.per_particle])
                continue
            view.refresh(self._history, self._frames, span)
            view.plot.cursor(self._step)
            view.show_values(self._history, self._frames, step)

    def _last_step(self) -> float:
        return float(np.nanmax([self._history.last_step, self._frames.last_step, -1.0]))

    def _whole_span(self) -> tuple[float, float]:
        firsts = [table.steps[0] for table in (self._history, self._frames) if len(table)]
        first = float(min(firsts, default=0.0))
        return first, max(self._last_step(), first + 1)
