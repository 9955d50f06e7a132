"""One timer for the whole window: the newest frame only, dirty visible views only, each at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QWidget

from dynsim_gui.models.viewer import Viewer

TICK_MS = 16


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

    def due(self, now: float) -> bool:
        """Visible, not drawn too recently, and something has changed."""
        if now - self.last < self.seconds or not self.widget.isVisible():
            return False
        return self.seen is None or self.version() != self.seen


class Refresh(QObject):
    """Polls the viewer and draws its views."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._drawn = viewer, list[Drawn]()
        self._always: list[Callable[[float], None]] = []
        self._last = perf_counter()
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

    def tick(self) -> None:
        """Collect, then draw what is due."""
        now = perf_counter()
        self._viewer.poll(now - self._last)
        self._last = now
        for act in self._always:
            act(now)
        for view in self._drawn:
            if view.due(now):
                view.seen, view.last = view.version(), now
                view.draw()
