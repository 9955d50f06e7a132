"""Where frames come from: one protocol, three sources: a live engine, a file (finished or being written), memory.

Whoever shows frames polls a feed and asks it for recorded frames by number; seeking never stops an engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np

from dynsim.commands import Opened, Report
from dynsim.frame import Cast, Frame
from dynsim.lock import is_held
from dynsim.ring import FrameRing
from dynsim.trajectory import flags
from dynsim.trajectory.reader import Trajectory

Event = tuple[int, str, str]
# Seconds between two looks at a file that is being written; its writer flushes five times a second.
FILE_PERIOD = 0.05
# Seconds without a new frame after which a writer is looked for, and after which it is taken for dead where the file
# system has no locks, which would tell.
WRITER_PERIOD, WRITER_SILENCE = 1.0, 120.0


@dataclass(frozen=True)
class News:
    """What a feed has learned since it was last polled.

    Attributes
    ----------
    frame : the newest one, if it is new.
    history : observables of the steps since, as in Frame.
    scalars : (k,) step and name -> (k,) of the recorded frames since, under "step" and the observables' names.
    events : since.
    """

    frame: Frame | None = None
    history: Mapping[str, np.ndarray] = field(default_factory=dict)
    scalars: Mapping[str, np.ndarray] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    def __bool__(self) -> bool:
        return self.frame is not None or bool(self.history) or bool(self.scalars) or bool(self.events)


class Feed(Protocol):
    """A source of frames.

    Attributes
    ----------
    cast : the particles. scenario : as TOML text, "" where unknown.
    steps : (n,) int64 of the recorded frames, rising.
    growing : whether somebody else is writing it.
    """

    cast: Cast
    scenario: str
    growing: bool

    @property
    def steps(self) -> np.ndarray: ...

    def poll(self) -> News:
        """What is new; cheap, to be called at every redraw."""
        ...

    def frame(self, i: int) -> Frame:
        """Recorded frame `i`; raises IndexError."""
        ...

    def records(self, name: str) -> bool:
        """Whether recorded frames carry a per-particle property."""
        ...

    def trace(self, particle: int, name: str, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """(k,) steps and (k, ...) a property of one particle at up to `most` recorded frames, spread evenly."""
        ...

    def close(self) -> None: ...


class MemoryFeed:
    """Frames in memory, as a notebook or a test has them: all are news at the first poll."""

    growing = False

    def __init__(self, cast: Cast, frames: Sequence[Frame] = (), scenario: str = "") -> None:
        self.cast, self.scenario = cast, scenario
        self.frames = list(frames)
        self._told = 0

    @property
    def steps(self) -> np.ndarray:
        return np.array([f.step for f in self.frames], np.int64)

    def frame(self, i: int) -> Frame:
        return self.frames[i]

    def poll(self) -> News:
        new, self._told = self.frames[self._told :], len(self.frames)
        if not new:
            return News()
        return News(
            frame=new[-1],
            history=_joined([f.history for f in new if f.history]),
            scalars=_joined(
                [{"step": np.array([f.step])} | {k: np.array([v]) for k, v in f.scalars.items()} for f in new]
            ),
            events=tuple(e for f in new for e in f.events),
        )

    def records(self, name: str) -> bool:
        return bool(self.frames) and name in self.frames[0].properties

    def trace(self, particle: int, name: str, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        rows = np.unique(np.linspace(0, len(self.frames) - 1, min(most, len(self.frames))).round().astype(int))
        values = [self.frames[i].properties[name][particle] for i in rows]
        return self.steps[rows], np.array(values)

    def close(self) -> None:
        """Nothing to let go of."""


class FileFeed:
    """A trajectory file. One that is being written is followed through SWMR; nothing else differs.

    Attributes
    ----------
    growing : whether a living writer has it open.
    killed : whether its writer has ended without closing it.
    planned : steps that the run asked for at its start, None where the file does not say.

    Raises what `Trajectory` raises.
    """

    def __init__(self, path: str | Path, period: float = FILE_PERIOD) -> None:
        self._trajectory = Trajectory(path)
        self.cast, self.scenario = self._trajectory.cast, self._trajectory.scenario
        self._period, self._looked = period, -np.inf
        self._frames = self._rows = self._events = 0
        self._steps = np.zeros(0, np.int64)
        self.planned = _number(self._trajectory.parameters.get("steps", ""))
        self._path, self._grew = Path(path), monotonic()
        self._looked_for_writer = self._grew
        self.growing = self._has_writer()

    @property
    def killed(self) -> bool:
        return not self.growing and flags.is_open(self._path)

    @property
    def steps(self) -> np.ndarray:
        return self._steps

    def frame(self, i: int) -> Frame:
        return self._trajectory.frame(i)

    def records(self, name: str) -> bool:
        return self._trajectory.records(name)

    def trace(self, particle: int, name: str, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        return self._trajectory.trace(particle, name, most)

    def poll(self) -> News:
        if monotonic() - self._looked < self._period:
            return News()
        file, before = self._trajectory, self._frames
        self._frames, self._looked = file.refresh(), monotonic()
        self._watch_writer(self._frames > before)
        if self._frames < before:  # a killed run goes on from a checkpoint: it has been taken back
            self._steps = self._steps[: self._frames]
            self._rows, self._events = (min(*pair) for pair in zip((self._rows, self._events), file.rows))
            return News()
        history = file.history_from(self._rows)
        events = file.events_from(self._events)
        self._rows += len(history.get("step", ()))
        self._events += len(events)
        if self._frames == before:
            return News(history=history, events=events)
        scalars = file.observables_from(before)
        self._steps = np.concatenate([self._steps, scalars["step"]])
        return News(file.frame(self._frames - 1), history, scalars, events)

    def _watch_writer(self, more: bool) -> None:
        """Whether it still grows: its writer closes it at the end, and one that was killed holds no lock."""
        now = monotonic()
        if more:
            self._grew = self._looked_for_writer = now
            self.growing = self.growing or self._has_writer()
        elif self.growing and now - self._looked_for_writer > WRITER_PERIOD:
            self._looked_for_writer = now
            self.growing = self._has_writer()

    def _has_writer(self) -> bool:
        if not flags.is_open(self._path):
            return False
        held = is_held(self._path)
        return monotonic() - self._grew < WRITER_SILENCE if held is None else held

    def close(self) -> None:
        self._trajectory.close()


class LiveFeed:
    """A running engine: newest frames from shared memory, curves from its reports, the past from its file.

    `take` hands over what the engine's reports say.
    """

    growing = False

    def __init__(self, opened: Opened) -> None:
        if opened.ring is None or opened.trajectory is None:
            raise ValueError("nothing runs here: read the file")
        self.cast, self.scenario = opened.cast, opened.scenario
        self._ring: FrameRing | None = FrameRing(opened.cast, opened.ring)
        self._seen = 0
        self._scalars: Mapping[str, float] = {}
        self._past = FileFeed(opened.trajectory, period=0.2)
        before = self._past.poll()  # a resumed run and a branch have a past
        self._recorded = [before.scalars] if before.scalars else []
        self._history = [before.history] if before.history else []
        self._events = list(before.events)

    @property
    def steps(self) -> np.ndarray:
        return self._past.steps

    def frame(self, i: int) -> Frame:
        return self._past.frame(i)

    def records(self, name: str) -> bool:
        return self._past.records(name)

    def trace(self, particle: int, name: str, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        return self._past.trace(particle, name, most)

    def take(self, report: Report) -> None:
        """What an engine reports becomes news."""
        self._scalars = dict(self._scalars) | dict(report.scalars)
        if report.history:
            self._history.append(report.history)
        self._events += report.events

    def poll(self) -> News:
        frame = self._ring.newest(self._seen) if self._ring is not None else None
        if frame is not None:
            self._seen = frame.revision
            frame = replace(frame, scalars=self._scalars)
        self._recorded.append(self._past.poll().scalars)
        recorded, self._recorded = [t for t in self._recorded if t], []
        history, self._history = self._history, []
        events, self._events = tuple(self._events), []
        return News(frame, _joined(history), _joined(recorded), events)

    def release(self) -> None:
        """The engine was killed: its shared memory is removed, its file stays open."""
        if self._ring is not None:
            self._ring.close(remove=True)
            self._ring = None

    def close(self) -> None:
        if self._ring is not None:
            self._ring.close()
        self._past.close()


def trajectory_of(path: str | Path) -> Path:
    """The trajectory file that a path means: a file itself, or the one in a run folder."""
    path = Path(path)
    return path / "trajectory.h5" if path.is_dir() else path


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _joined(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Tables below each other; a column that one of them lacks is NaN there."""
    if not tables:
        return {}
    names = list(dict.fromkeys(name for t in tables for name in t))
    rows = [len(t["step"]) for t in tables]
    return {
        n: np.concatenate([np.asarray(t[n], float) if n in t else np.full(k, np.nan) for t, k in zip(tables, rows)])
        for n in names
    }
