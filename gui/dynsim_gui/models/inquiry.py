"""Questions that are asked again and again while something is watched, without ever crowding the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynsim.commands import Question
from dynsim_gui.models.viewer import Viewer

# Answering may take this part of the engine's time.
SHARE = 0.1


class Inquiry:
    """One question about the frame shown.

    Parameters
    ----------
    question : makes it; None asks nothing now.
    taken : gets (answer, error).
    seconds : between two at least; longer where the answer takes long.
    """

    def __init__(
        self,
        viewer: Viewer,
        question: Callable[[], Question | None],
        taken: Callable[[Any, str], None],
        seconds: float,
    ) -> None:
        self._viewer, self._question, self._taken, self._seconds = viewer, question, taken, seconds
        self._pending = False
        self._epoch = 0
        self._next = 0.0
        self._about: tuple[int, int, int] | None = None

    def again(self) -> None:
        """Ask even about what was asked about before; an answer that is on its way is old."""
        self._about, self._pending = None, False
        self._epoch += 1
        self._next = 0.0

    def poll(self, now: float, wanted: bool) -> None:
        """Ask if it is time to, and if anything has changed."""
        shown = self._viewer.shown
        if not wanted or self._pending or now < self._next or shown is None:
            return
        about = self._now()
        question = self._question() if about != self._about else None
        if question is None:
            return
        self._about, self._pending, epoch = about, True, self._epoch
        self._viewer.ask(question, lambda value, error: self._answered(epoch, now, value, error))

    @property
    def current(self) -> bool:
        """Whether the last question was put after the last touch."""
        return self._about is not None and self._about[::2] == self._now()[::2]

    def _now(self) -> tuple[int, int, int]:
        """What is shown; a touch changes the answer, though not the step."""
        shown = self._viewer.shown
        return id(self._viewer.run), shown.step if shown is not None else -1, len(self._viewer.logged)

    def _answered(self, epoch: int, asked: float, value: Any, error: str) -> None:
        if epoch != self._epoch:
            return
        took = self._viewer.engine.answer_seconds if self._viewer.engine is not None else 0.0
        self._pending = False
        self._next = asked + max(self._seconds, took / SHARE if self._viewer.playing else 0.0)
        self._taken(value, error)
