"""Following a run from outside, headless: the feed that the window attaches with, told line by line."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from dynsim.errors import DynsimError
from dynsim.feed import Event, FileFeed, News, trajectory_of
from dynsim.runfolder import LOG, SCENARIO, RunFolder

PERIOD = 1.0
# Lines over which the rate is taken.
_SPAN = 10


@dataclass(frozen=True)
class Told:
    """Where a run is.

    Attributes
    ----------
    step, time : of the newest step known; time is dimensionless. total : steps planned, None where unknown.
    scalars : the latest value of every observable. events : since the last line.
    rate : steps per second, None before it can be known. ended : how the run ended, "" while it runs.
    """

    step: int
    time: float
    total: int | None = None
    scalars: Mapping[str, float] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    rate: float | None = None
    ended: str = ""

    @property
    def eta(self) -> float | None:
        """Seconds left, None where unknown."""
        if not self.rate or self.total is None or self.ended:
            return None
        return max(self.total - self.step, 0) / self.rate


def follow(path: str | Path, period: float = PERIOD) -> Iterator[Told]:
    """What a run folder or trajectory tells, at most once every `period` seconds, until the run has ended.

    One that has ended is told once. Raises what opening a trajectory raises.
    """
    path = Path(path)
    feed = FileFeed(trajectory_of(path), period=0.0)
    try:
        teller = _Teller(feed.planned)
        while True:
            growing = feed.growing  # before the poll, so that what was written last is seen
            teller.hear(feed.poll())
            if not growing:
                yield teller.tell(_end_of(path, feed))
                return
            if teller.has_news:
                yield teller.tell()
            sleep(period)
    finally:
        feed.close()


class _Teller:
    """Gathers news into lines."""

    def __init__(self, planned: int | None) -> None:
        self._total = planned
        self._step, self._time = 0, 0.0
        self._scalars: dict[str, float] = {}
        self._events: list[Event] = []
        self._marks: deque[tuple[float, int]] = deque(maxlen=_SPAN)
        self.has_news = True

    def hear(self, news: News) -> None:
        for table in (news.scalars, news.history):
            if table:
                self._scalars |= {name: float(column[-1]) for name, column in table.items()}
                self._step = max(self._step, int(table["step"][-1]))
                self._time = max(self._time, float(table["time"][-1]))
        for event in news.events:
            self._total = _longer(self._total, event)
        self._events += news.events
        self.has_news = self.has_news or bool(news)
        self._marks.append((monotonic(), self._step))

    def tell(self, ended: str = "") -> Told:
        scalars = {name: value for name, value in self._scalars.items() if name not in ("step", "time")}
        events, self._events, self.has_news = tuple(self._events), [], False
        return Told(self._step, self._time, self._total, scalars, events, self._rate(), ended)

    def _rate(self) -> float | None:
        (begun, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / (now - begun) if last > first else None


def _longer(total: int | None, event: Event) -> int | None:
    """Steps planned after an event."""
    step, kind, detail = event
    if total is None or kind not in ("extend", "learning"):
        return total
    try:
        said = json.loads(detail)
        return total + int(said["steps"]) if kind == "extend" else max(total, step + int(said["span"]))
    except (ValueError, KeyError, TypeError):
        return total


def _end_of(path: Path, feed: FileFeed) -> str:
    """How a run that runs no more has ended."""
    folder = path if path.is_dir() else path.parent
    if feed.killed:
        again = f"dynsim resume {folder}" if (folder / SCENARIO).is_file() else f"dynsim repair {path}"
        return f"killed: the file was not closed; {again}"
    if not (folder / SCENARIO).is_file():
        return "ended"
    try:
        summary = RunFolder.open(folder).summary
        return f"finished: {summary['stopped']}" if summary else f"stopped: {_last_word(folder)}"
    except (DynsimError, OSError, ValueError, KeyError, TypeError):
        return "stopped"


def _last_word(folder: Path) -> str:
    lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
    told = [line.split("  ", 1)[-1].removeprefix("stopped: ") for line in lines if line[:4].isdigit()]
    return told[-1] if told else f"dynsim resume {folder}"
