"""Curves over the steps of a run: one small plot per panel, a common axis of steps, a cursor at the step shown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QScrollArea, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from dynsim.panels import Panel
from dynsim_gui.models.curves import Line, Smoothed, available, histogram, peaks, short, shown_first, within
from dynsim_gui.models.history import FrameTable, History, table_of, write_csv
from dynsim_gui.models.palette import ACCENT, CANVAS, DIM, rgb
from dynsim_gui.views.panel_menu import PanelMenu
from dynsim_gui.views.plot import Plot

PLOT_HEIGHT = 108
FAINT = 0.35  # how much of their colour raw values keep behind their average


def _faint(colour: str) -> tuple[int, ...]:
    """Opaque: a translucent line would be dense again where it crosses itself."""
    return tuple(round(FAINT * c + (1 - FAINT) * ground) for c, ground in zip(rgb(colour), rgb(CANVAS)))


class PanelView(QWidget):
    """A header with the names and values of the curves outside the plot, and the plot."""

    def __init__(self, panel: Panel, bottom: str = "step") -> None:
        super().__init__()
        self.panel = panel
        self.title = QLabel(f"<b>{escape(panel.title)}</b>&nbsp; <span style='color:{DIM}'>{escape(panel.unit)}</span>")
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.log = QCheckBox("log")
        self.log.setToolTip("Logarithmic vertical axis")
        self.plot = Plot(bottom)
        self.plot.setFixedHeight(PLOT_HEIGHT)
        self._lay_out()
        self._items: dict[str, tuple[Line, pg.PlotDataItem, pg.PlotDataItem | None]] = {}
        self._averages: dict[str, Smoothed] = {}
        self._drawn: tuple | None = None
        self.log.toggled.connect(lambda on: self.plot.setLogMode(x=None, y=on))
        self.log.setChecked(panel.log)

    def _lay_out(self) -> None:
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(6, 4, 6, 4)
        column.setSpacing(2)
        for label in (self.title, self.legend):  # a narrow dock cuts words, not the plot
            policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            policy.setHeightForWidth(label.wordWrap())  # or else what is wrapped would be cut off
            label.setSizePolicy(policy)
        self.plot.setMinimumWidth(0)
        row.addWidget(self.title, 1)
        row.addWidget(self.log)
        column.addLayout(row)
        column.addWidget(self.legend)
        column.addWidget(self.plot)

    def show_curves(self, curves: Sequence[Line]) -> None:
        """Exactly these curves."""
        if [curve for curve, _, _ in self._items.values()] == list(curves):
            return
        self.plot.getPlotItem().clearPlots()
        self._items = {curve.name: self._made(curve) for curve in curves}
        self._averages = {name: Smoothed(name) for name, (_, _, raw) in self._items.items() if raw is not None}
        self._drawn = None

    def _made(self, curve: Line) -> tuple[Line, pg.PlotDataItem, pg.PlotDataItem | None]:
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
            label = escape(f"{'╌╌' if curve.dashed else '━'} {curve.label}").replace(" ", "&nbsp;")
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
        """Bars of (n,) numbers or of the lengths of (n, d) vectors, and in words what they leave out."""
        h = histogram(np.linalg.norm(values, axis=1) if values.ndim == 2 else values)
        self.plot.setLogMode(x=h.log, y=None)
        self._bars.setData(h.edges, h.counts)
        edges = np.log10(h.edges) if h.log else h.edges
        self.plot.setXRange(edges[0], edges[-1], padding=0.02)
        notes = [f"{h.total:,} particles", f"{h.zeros / max(h.total, 1):.1%} zero"]
        notes += [f"{h.invalid:,} not finite"] if h.invalid else []
        notes += ["logarithmic bins"] if h.log else []
        self.legend.setText(f"<span style='color:{DIM}'>{' · '.join(notes)}</span>")


class CurvesView(QWidget):
    """All panels, those chosen shown. A plot is made when it is first shown; only what is on the screen is drawn.

    `seek_requested` tells the step that was clicked, `panels_changed` that other panels were chosen.

    Attributes
    ----------
    panels : title -> view of those that were shown so far.
    """

    seek_requested = Signal(int)
    panels_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history, self._frames = History(), FrameTable()
        self._offered: tuple[Panel, ...] = ()
        self._widths: Collection[str] = ()
        self._properties: Mapping[str, np.ndarray] = {}
        self._span: tuple[float, float] | None = None
        self._step: float | None = None
        self._listed: tuple | None = None
        # What a person has ticked and unticked; of the others the first panels are shown.
        self._ticked: dict[str, bool] = {}
        self._able: dict[str, Panel] = {}
        self._titles: tuple[str, ...] = ()
        self.panels: dict[str, PanelView] = {}
        # once the layout has settled, other plots may have come into sight
        self._settled = QTimer(self, singleShot=True, interval=0)
        self._settled.timeout.connect(self._draw)
        self._lay_out()
        self._list_panels()

    def _lay_out(self) -> None:
        self.chooser, self.whole = QToolButton(), QToolButton()
        self.menu = PanelMenu(self.chooser)
        self.menu.toggled.connect(self._tick)
        self.chooser.setText("Panels ")
        self.chooser.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.chooser.setMenu(self.menu)
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
        self._stack = QVBoxLayout(inner)
        self._stack.setContentsMargins(0, 0, 0, 0)
        self._stack.setSpacing(2)
        self._stack.addWidget(self.note)
        self._stack.addStretch(1)
        self.area.setWidget(inner)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.verticalScrollBar().valueChanged.connect(self._draw)
        inner.installEventFilter(self)
        return self.area

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() in (QEvent.Type.Resize, QEvent.Type.LayoutRequest, QEvent.Type.Show):
            self._settled.start()
        return super().eventFilter(watched, event)

    # Choosing --------------------------------------------------------------------------------------------------

    def offer(self, panels: Sequence[Panel], properties: Collection[str]) -> None:
        """What a run declares about its numbers, and the per-particle observables that its frames can carry."""
        self._offered, self._widths, self._properties = tuple(panels), tuple(properties), {}
        self._listed = None
        self._list_panels()

    def chosen(self) -> list[str]:
        """Titles of the panels that are wanted, whether or not they have something to show."""
        first = shown_first(self._offered) & self._able.keys()
        return [title for title in self._titles if self._ticked.get(title, title in first)]

    def watched(self) -> frozenset[str]:
        """Per-particle observables that chosen histograms are drawn of."""
        chosen = [self._able[title] for title in self.chosen() if title in self._able]
        return frozenset(p.source for p in chosen if p.per_particle)

    def choose(self, titles: Iterable[str]) -> None:
        """Exactly these panels; of titles that are unknown so far, as soon as there are such."""
        self._ticked = dict.fromkeys(self._titles, False) | dict.fromkeys(titles, True)
        self._chosen_anew()

    def _tick(self, title: str, on: bool) -> None:
        self._ticked[title] = on
        self._chosen_anew()

    def _chosen_anew(self) -> None:
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
        able, reasons = available(self._offered, names, valueless, self._widths)
        self._able, self._titles = {title: panel for title, (panel, _) in able.items()}, (*able, *reasons)
        chosen = self.chosen()
        scalars = [title for title, panel in self._able.items() if not panel.per_particle]
        self.menu.offer(scalars, [title for title in able if title not in scalars], reasons)
        self.menu.tick(chosen)
        ready = {t for t, p in self._able.items() if not p.per_particle or p.source in self._properties}
        self._show_only({title: able[title] for title in chosen if title in ready})
        self._explain(bool(names or self._properties), {t: r for t, r in reasons.items() if t in chosen})

    def _show_only(self, panels: Mapping[str, tuple[Panel, tuple[Line, ...]]]) -> None:
        """Exactly these, in this order."""
        for view in self.panels.values():
            view.hide()
        for place, (title, (panel, curves)) in enumerate(panels.items()):
            view = self._view(title, panel)
            self._stack.insertWidget(place, view)
            view.show()
            if not panel.per_particle:
                view.show_curves(curves)

    def _view(self, title: str, panel: Panel) -> PanelView:
        view = self.panels.get(title)
        if view is not None and view.panel == panel:
            return view
        if view is not None:
            view.deleteLater()
        view = self.panels[title] = HistogramView(panel) if panel.per_particle else PanelView(panel)
        if not panel.per_particle:
            view.plot.clicked.connect(lambda x: self.seek_requested.emit(max(0, round(x))))
            view.plot.spanned.connect(lambda low, high: self.show_span((low, high)))
            view.plot.unspanned.connect(lambda: self.show_span(None))
        return view

    def _explain(self, something: bool, missing: Mapping[str, str]) -> None:
        said = [f"{title}: {reason}" for title, reason in missing.items()]
        if not something:
            said = ["Nothing recorded yet: curves appear with the first step."]
        elif not self.chosen():
            said = ["No panel is chosen."]
        self.note.setText("\n".join(said))
        self.note.setVisible(bool(said))

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

    def histograms(self, properties: Mapping[str, np.ndarray]) -> None:
        """Per-particle observable -> (n,) or (n, d) numbers, of the frame shown."""
        self._properties = {name: properties[name] for name in self._widths if name in properties}
        self._list_panels()
        for view in self.panels.values():
            if view.panel.per_particle and not view.isHidden() and not view.visibleRegion().isEmpty():
                view.show_values_of(self._properties[view.panel.source])

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
                view.show_values_of(self._properties[view.panel.source])
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
