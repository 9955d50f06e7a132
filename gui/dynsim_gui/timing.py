"""The timeline and the viewer: place in time, speed, marks of events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from dynsim_gui.actions import update

if TYPE_CHECKING:
    from dynsim_gui.window import Window

# What a log entry is called on the timeline.
WORDS = {
    "set": "set",
    "kick": "kick",
    "move": "drag",
    "learning": "learning event",
    "extend": "goes on",
    "branch": "branch",
}


class Timing:
    """Tells the timeline what the viewer shows, and the viewer what the timeline's controls ask for."""

    def __init__(self, window: Window) -> None:
        self._window, self._viewer, self._timeline = window, window.viewer, window.timeline
        self._marked: tuple[int, int] = (-1, -1)
        timeline, viewer = self._timeline, self._viewer
        timeline.seeked.connect(viewer.seek)
        timeline.speed_changed.connect(self._set_speed)

    @property
    def version(self) -> tuple:
        """Changes when the timeline is to be drawn anew."""
        viewer, p = self._viewer, self._viewer.playback
        frames = len(viewer.feed.steps) if viewer.feed is not None else 0
        speed = p.speed if self._engine_speed else p.rate
        status = viewer.status
        return (
            frames,
            viewer.revision,
            p.follow,
            p.playing,
            p.loop,
            speed,
            status.phase,
            status.step,
            len(viewer.logged),
            viewer.growing,
        )

    def draw(self) -> None:
        """The place in time, as it is."""
        viewer, p, timeline = self._viewer, self._viewer.playback, self._timeline
        frames = len(viewer.feed.steps) if viewer.feed is not None else 0
        step = viewer.shown.step if viewer.shown is not None else 0
        timeline.show_range(frames, viewer.status.step or step, viewer.status.total)
        timeline.show_position(frames - 1 if p.follow else p.index, step)
        timeline.show_playing(viewer.playing)
        timeline.show_live(viewer.live or viewer.growing, p.follow)
        timeline.show_loop(p.loop)
        timeline.show_speed(p.speed if self._engine_speed else p.rate, self._engine_speed)
        if (frames, len(viewer.logged)) != self._marked:
            self._marked = (frames, len(viewer.logged))
            timeline.show_events(self._marks())
        update(self._window.actions_, viewer)

    @property
    def _engine_speed(self) -> bool:
        """Whether the speed is the engine's, in steps, or the playback's, in frames."""
        return self._viewer.playback.follow and self._viewer.live

    def _marks(self) -> list[tuple[int, str, str]]:
        feed = self._viewer.feed
        if feed is None or not len(feed.steps):
            return []
        at = np.minimum(np.searchsorted(feed.steps, [e[0] for e in self._viewer.logged]), len(feed.steps) - 1)
        return [
            (int(i), kind, f"step {step:,}: {said(kind, detail)}")
            for i, (step, kind, detail) in zip(at, self._viewer.logged)
        ]

    def _set_speed(self, speed: float | None) -> None:
        p = self._viewer.playback
        if self._engine_speed:
            p.speed = speed
        elif speed is not None:
            p.rate = speed

    def change_speed(self, factor: float | None) -> None:
        """So many times as fast; None is free."""
        p = self._viewer.playback
        if not self._engine_speed:
            p.rate = min(max(p.rate * (factor or 1.0), 1.0), 240.0)
        elif factor is None:
            p.speed = None
        else:
            p.speed = min(max((p.speed or self._viewer.status.rate or 30.0) * factor, 0.5), 1e5)


def said(kind: str, detail: str) -> str:
    """A logged event in words."""
    try:
        values = json.loads(detail)
    except ValueError:
        return f"{WORDS.get(kind, kind)} {detail}"
    if kind == "set":
        return f"{values['key']} = {values['value']}"
    if kind == "kick":
        return f"kick {values['strength']:g}"
    if kind == "move":
        return f"particle {values['particle']} dragged"
    return WORDS.get(kind, kind)
