"""SIGINT and SIGTERM: at once where nothing can be lost, else after the step that is being taken.

A step in which a kernel is compiled takes its time: it is given up after a second, and its state before it kept.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dynsim.errors import DynsimError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ALARM = getattr(signal, "SIGALRM", None)  # none on Windows, where a step is always finished
PATIENCE, INSISTENCE = 1.0, 0.1


# Signals that came while a program was being loaded: what they raise may be caught by whatever is imported just then.
_early: list[int] = []


def end(number: int, frame: Any) -> None:
    """The handler of a command: ends it with 128 + number; a `Stop` that is entered later hears of it all the same."""
    _early.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


class Interrupted(DynsimError):
    """A signal asked to stop.

    Attributes
    ----------
    number : of the signal; a command ends with 128 + number.
    """

    def __init__(self, number: int, folder: Path | None = None) -> None:
        self.number = number
        super().__init__(
            f"stopped by {signal.Signals(number).name}",
            where=str(folder) if folder else None,
            hint=f"dynsim resume {folder}" if folder else None,
        )


class Stop:
    """Hears the signals while it is entered (in the main thread); a second one ends the process at once.

    Attributes
    ----------
    folder : what can be resumed, None where nothing has begun.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._number = _early[-1] if _early else 0
        self._at_once = self._in_time = False
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self._number:
            raise Interrupted(self._number, self.folder)

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number != 0

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises Interrupted wherever the program is: for building, compiling and evaluating."""
        self._at_once = True
        try:
            self.check()
            yield
        except KeyboardInterrupt:
            self.check()
            raise
        finally:
            self._at_once = False
        self.check()

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Inside, KeyboardInterrupt is raised a second after a signal: for what leaves nothing half done then."""
        self._in_time = True
        try:
            yield
        finally:
            self._in_time = False

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in SIGNALS}
            if ALARM is not None:
                self._before[ALARM] = signal.signal(ALARM, self._insist)
        return self

    def __exit__(self, *error: object) -> None:
        if ALARM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: Any) -> None:
        self._number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._at_once:
            raise KeyboardInterrupt  # compilers catch every Exception
        if ALARM in self._before:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE, INSISTENCE)

    def _insist(self, number: int, frame: Any) -> None:
        if self._in_time:
            raise KeyboardInterrupt
