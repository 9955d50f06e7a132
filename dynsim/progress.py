"""What a person sees while it runs: a live bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from time import monotonic
from types import TracebackType
from typing import Any

LOG = logging.getLogger("dynsim")


class Progress:
    """Phases, and steps within a phase, with rate, remaining time and the latest numbers.

    Parameters
    ----------
    quiet : print nothing.
    interval : seconds between two plain lines, or two redraws of the bar.
    """

    def __init__(self, quiet: bool = False, interval: float | None = None) -> None:
        self.quiet = quiet
        self.live = not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.interval = interval if interval is not None else (0.1 if self.live else 5.0)
        self._phase = self._unit = ""
        self._bar: Any = None
        self._task: Any = None
        self._first = self._began = self._start = self._last = 0.0
        self._seen: dict[str, float] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end_phase()

    def phase(self, name: str, total: int = 0, done: int = 0, unit: str = "steps") -> None:
        """Begin a phase; with a total, of so many `unit`, it has a bar that starts at `done`."""
        self._end_phase()
        self._phase, self._unit = name, unit
        self._first, self._last = done, 0.0
        self._began = self._start = monotonic()
        self._seen = {}
        if self.quiet:
            return
        if self.live and total:
            self._open_bar(name, total, done)
        else:
            self._line(name if not total else f"{name}: {total - done} {unit}")

    def update(self, step: int, total: int, numbers: Mapping[str, float]) -> None:
        """The phase is at `step` of `total`, with numbers by short labels; cheap to call at every step."""
        now = monotonic()
        self._seen.update(numbers)
        if not self._last and self._unit == "steps" and step < total:
            # The first step may also have compiled: the rate is that of the others.
            self._first, self._start, self._last = step, now, now
            return
        if self.quiet or (now - self._last < self.interval and step < total):
            return
        self._last = now
        rate = (step - self._first) / max(now - self._start, 1e-9)
        left = (total - step) / rate if rate else float("inf")
        known = "  ".join(f"{label} {value:.4g}" for label, value in self._seen.items() if value == value)
        text = f"{rate:7.{1 if rate >= 1 else 3}f} {self._unit}/s  ETA {clock(left)}  {known}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=text)
        else:
            self._line(f"{self._phase} {step}/{total} {text}")

    def note(self, text: str) -> None:
        """Something that happened, on lines of its own above the bar; nothing when quiet."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif not self.quiet:
            self._line(text)

    def _open_bar(self, name: str, total: int, done: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
        )
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._bar.start()
        self._task = self._bar.add_task(name, total=total, completed=done, numbers="")

    def _end_phase(self) -> None:
        if self._phase:
            LOG.debug("%s took %.2f s", self._phase, monotonic() - self._began)
            self._phase = ""
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def counted(number: int, what: str) -> str:
    """So many of a thing, as a person says it."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def clock(seconds: float) -> str:
    """Seconds as [H:]MM:SS."""
    if seconds == float("inf"):
        return "--:--"
    minutes, s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes:02d}:{s:02d}"
