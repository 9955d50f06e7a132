"""One timer for the whole window: the newest frame only, dirty visible views only, each at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, process_time

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from dynsim_gui.models.viewer import Viewer

TICK_MS = 16
# Share of one processor that the window may take, and how many times slower than is pleasant it may draw for that.
BUSY, SLOWEST = 0.5, 8.0


@dataclass
class Drawn:
    """A view and when it is to be drawn.

    draw : does it. seconds : between two drawings at least. version : what is drawn anew when it changes.
    """

    widget: QWidget
    draw: Callable[[], None]
    seconds: float
    version: Callable[[], object]
    last: float = field(default=-1e9)
    seen: object = None

    def due(self, now: float, pace: float) -> bool:
        """Visible, not drawn too recently, and something has changed."""
        if now - self.last < self.seconds * pace or self.widget.visibleRegion().isEmpty():
            return False
        return self.seen is None or self.version() != self.seen


class Refresh(QObject):
    """Polls the viewer and draws its views.

    `pace` is 1 where drawing is cheap; where it is not, all views are drawn so many times less often.
    """

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._drawn = viewer, list[Drawn]()
        self._always: list[Callable[[float], None]] = []
        self._last = perf_counter()
        self.pace = 1.0
        self._measured = (self._last, process_time())
        self._timer = QTimer(self)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self.tick)

    def add(self, widget: QWidget, draw: Callable[[], None], seconds: float, version: Callable[[], object]) -> None:
        """A view to keep up to date."""
        self._drawn.append(Drawn(widget, draw, seconds, version))

    def always(self, act: Callable[[float], None]) -> None:
        """Called at every tick with the time in seconds: for what asks rather than draws."""
        self._always.append(act)

    def start(self) -> None:
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()

    def _keep_pace(self, now: float) -> None:
        """Draw less often where drawing is dear (software OpenGL): the engine and the mouse need the processor too."""
        began, spent = self._measured
        if now - began < 0.4:
            return
        share = (process_time() - spent) / (now - began)
        self._measured = (now, process_time())
        if share > BUSY:
            self.pace = min(self.pace * 1.4, SLOWEST)
        elif share < 0.6 * BUSY:
            self.pace = max(self.pace / 1.2, 1.0)

    def tick(self) -> None:
        """Collect, then draw what is due."""
        now = perf_counter()
        self._viewer.poll(now - self._last)
        self._last = now
        self._keep_pace(now)
        for act in self._always:
            act(now)
        for view in self._drawn:
            if view.due(now, self.pace):
                view.seen, view.last = view.version(), now
                view.draw()
