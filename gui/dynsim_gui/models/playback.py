"""Where in time the window looks: at the engine, or at a recorded frame that may be played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor


@dataclass
class Playback:
    """The place in time.

    Attributes
    ----------
    follow : the newest frame is shown; otherwise recorded frame `index`.
    playing : recorded frames go by at `rate` a second (while following, the engine plays, not this).
    loop : after the last recorded frame comes the first.
    rate : recorded frames per second.
    speed : the engine's steps per second, None for free.
    """

    follow: bool = True
    index: int = 0
    playing: bool = False
    loop: bool = False
    rate: float = 30.0
    speed: float | None = 30.0

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    _owed: float = 0.0

    def seek(self, index: int, frames: int) -> None:
        """Look at a recorded frame (cut to those that are there)."""
        if frames:
            self.index = min(max(index, 0), frames - 1)
            self.follow = False

    def advance(self, seconds: float, frames: int) -> None:
        """Time goes by; at the end it stops or begins again."""
        if not self.playing or self.follow or not frames:
            return
        # A long pause of the screen must not become a leap of many frames.
        self._owed += min(seconds, 0.25) * self.rate
        whole, self._owed = divmod(self._owed, 1.0)
        index = self.index + int(whole)
        if index >= frames - 1 and not self.loop:
            self.index, self.playing = frames - 1, False
        else:
            self.index = index % frames
