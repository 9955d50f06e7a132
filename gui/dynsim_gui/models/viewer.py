"""What the window shows: one run, the place in time, what is selected. State is announced, intentions are methods.

Nothing here waits: an engine works in a process of its own, and `poll` collects what has arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from psygnal import Signal

from dynsim import commands as c
from dynsim.engine import Callback, Engine
from dynsim.errors import DynsimError, OptionError
from dynsim.feed import Feed, FileFeed, LiveFeed, News, trajectory_of
from dynsim.frame import Frame
from dynsim.trajectory.admission import admit
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import QUANTITIES, Quantity, Scene, quantities, quantity
from dynsim_gui.models.history import FrameTable, History
from dynsim_gui.models.medium import interactive_of, medium_of
from dynsim_gui.models.playback import Playback
from dynsim_gui.models.run import BUSY, Run, Status, another_folder, last_checkpoint


class Viewer:
    """The one state of a window.

    Attributes
    ----------
    shown : the frame on the screen; `revision` grows with each.
    start : the first frame of the run that was seen.
    history, recorded : observables of the steps, and of the recorded frames.
    parameters : live parameters as the engine has them.
    selected : particles, the last one clicked last.
    """

    opened = Signal(Run)
    frame_changed = Signal()
    history_changed = Signal()
    events_changed = Signal()
    parameters_changed = Signal()
    selection_changed = Signal()
    refused = Signal(str)
    failed = Signal(str)

    def __init__(self, appearance: Appearance | None = None, playback: Playback | None = None) -> None:
        self.appearance, self.playback = appearance or Appearance(), playback or Playback()
        self.status = Status()
        self.engine: Engine | None = None
        self.feed: Feed | None = None
        self.run: Run | None = None
        self.shown: Frame | None = None
        self.start: Frame | None = None
        self.revision = 0
        self.history, self.recorded = History(), FrameTable()
        self.logged: list[tuple[int, str, str]] = []
        self.parameters: dict[str, Any] = {}
        self.selected: tuple[int, ...] = ()
        self.watched_too: frozenset[str] = frozenset()
        self._newest: Frame | None = None
        self._shown_index = -1
        self._plan: c.Plan | None = None
        self._gesture = 0
        for change in (self.playback.events.speed,):
            change.connect(lambda speed: self._send(c.Speed(speed)))
        self.appearance.events.colour_by.connect(lambda _: self.watch())

    # Opening -------------------------------------------------------------------------------------------------

    def open(self, plan: c.Plan, play: bool = False) -> None:
        """Open something that runs; what is open is saved and left. A path that only is to be looked at: `look`."""
        if isinstance(plan, c.Look):
            self.look(plan.path)
            return
        if isinstance(plan, c.Resume) and self.feed is not None and self.run is not None:
            # A file that is read cannot be opened for writing; what is on the screen stays there.
            self.feed.close()
            self.feed = None
        self._plan = plan
        self._set_phase("starting" if self.engine is None else "building")
        engine = self._ensure_engine()
        engine.send(c.Speed(self.playback.speed))
        engine.send(c.Watch(self._needed()))
        engine.send(c.Open(plan, play))

    def look(self, path: Path) -> None:
        """Replay a run folder or trajectory, finished or still being written.

        Raises what opening the file raises; what was open stays then.
        """
        admit(trajectory_of(path))
        feed = FileFeed(trajectory_of(path))
        self._leave_engine()
        self._plan = c.Look(path)
        folder = path if path.is_dir() else (path.parent if (path.parent / "scenario.toml").is_file() else None)
        run = Run(path.resolve().name, feed.cast, feed.scenario, folder, live=False, path=path.resolve())
        self._take_up(run, feed)
        self._set_phase("looking")
        self.playback.follow = True
        self.poll(0.0)
        if len(feed.steps):
            self.playback.seek(len(feed.steps) - 1, len(feed.steps))
            self.playback.follow = feed.growing
        # An engine answers questions about the frames, as soon as it has the data.
        self._ensure_engine().send(c.Open(c.Look(path)))

    def _ensure_engine(self) -> Engine:
        if self.engine is None:
            self.engine = Engine()
        return self.engine

    def _leave_engine(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def _take_up(self, run: Run, feed: Feed) -> None:
        if self.feed is not None:
            self.feed.close()
        self.feed, self.run = feed, run
        if self.appearance.colour_by not in quantities(run.cast):
            self.appearance.colour_by = Appearance.colour_by
        self.shown = self.start = self._newest = None
        self.history, self.recorded, self.logged = History(), FrameTable(), []
        self.selected, self._shown_index = (), -1
        self.playback.follow, self.playback.playing, self.playback.index = True, False, 0
        self.status.step = self.status.total = 0
        self.status.rate, self.status.note, self.status.until = 0.0, "", ""
        self.opened.emit(run)
        self.selection_changed.emit()
        self.events_changed.emit()

    def close(self) -> None:
        """End the engine, close the files."""
        self._leave_engine()
        if self.feed is not None:
            self.feed.close()
            self.feed = None

    # Time ----------------------------------------------------------------------------------------------------

    def poll(self, seconds: float) -> None:
        """Collect what has arrived; `seconds` have passed since the last poll."""
        engine = self.engine
        for message in engine.poll() if engine is not None else ():
            # What is heard may lead to another engine, or to none.
            if self.engine is engine:
                self._hear(message)
        if engine is not None and self.engine is engine and engine.lost:
            self._engine_lost()
        if self.feed is not None:
            self._take(self.feed.poll())
            self.playback.advance(seconds, len(self.feed.steps))
            self._choose()

    def _take(self, news: News) -> None:
        if news.frame is not None:
            self._newest = news.frame
            if self.start is None:
                self.start = self.feed.frame(0) if len(self.feed.steps) else news.frame
            if self.run is not None and not self.run.live:
                self.status.step = news.frame.step
        changed = False
        if news.history:
            changed = self.history.extend(news.history) or changed
        if news.scalars:
            changed = self.recorded.extend(news.scalars) or changed
        if news.history or news.scalars:
            self.history_changed.emit()
        if news.events:
            self.logged += news.events
            self.events_changed.emit()

    def _choose(self) -> None:
        """Which frame is to be shown now."""
        if self.playback.follow:
            if self._newest is not None and self._newest is not self.shown:
                self._shown_index = -1
                self._show(self._newest)
        elif self.playback.index != self._shown_index and self.playback.index < len(self.feed.steps):
            self._shown_index = self.playback.index
            self._show(self.feed.frame(self.playback.index))

    def _show(self, frame: Frame) -> None:
        self.shown = frame
        self.revision += 1
        self.frame_changed.emit()

    # What the engine says --------------------------------------------------------------------------------------

    def _hear(self, message: Any) -> None:
        if isinstance(message, c.Opened):
            self._opened(message)
        elif isinstance(message, c.Report):
            self._reported(message)
        elif isinstance(message, c.Refused):
            if self.status.phase in BUSY:
                self._set_phase("empty" if self.run is None else ("paused" if self.run.live else "looking"))
            if self.feed is None and self.run is not None and self.run.folder is not None:
                self.look(self.run.folder)
            self.refused.emit(message.message)
        elif isinstance(message, c.Failed):
            self._set_phase("failed", message.message.splitlines()[0])
            self._look_back()
            self.failed.emit(f"{message.message}\n{self._what_is_left()}")

    def _opened(self, opened: c.Opened) -> None:
        if not opened.live:
            # The engine behind a replay: it only answers questions.
            assert self.run is not None
            self.run = replace(
                self.run,
                classes=opened.classes,
                input_shape=opened.input_shape,
                high=opened.high,
                links=opened.links,
            )
            self.opened.emit(self.run)
            return
        title = opened.folder.name if opened.folder is not None else "run"
        run = Run(
            title,
            opened.cast,
            opened.scenario,
            opened.folder,
            live=True,
            path=opened.folder,
            classes=opened.classes,
            input_shape=opened.input_shape,
            high=opened.high,
            links=opened.links,
        )
        self._take_up(run, LiveFeed(opened))
        self.watch()
        self._set_phase("paused")

    def _reported(self, report: c.Report) -> None:
        if report.phase in BUSY:
            self._set_phase(report.phase, report.note)
            return
        if self.run is None or not self.run.live or not isinstance(self.feed, LiveFeed):
            return
        self.feed.take(report)
        self.status.step, self.status.total, self.status.rate = report.step, report.total, report.rate
        self.status.until, self.status.part = report.until, report.part
        self._set_phase(report.phase, report.note)
        if report.parameters != self.parameters:
            self.parameters = dict(report.parameters)
            self.parameters_changed.emit()

    def _engine_lost(self) -> None:
        """Its process has ended: the window stays, and so does what was recorded."""
        engine, self.engine = self.engine, None
        assert engine is not None
        engine.close(1.0)
        code = engine.exit_code
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self._set_phase("crashed", f"the engine has ended ({how})")
        if isinstance(self.feed, LiveFeed):
            self.feed.release()
        self._look_back()
        self.failed.emit(f"The engine's process has ended ({how}). {self._what_is_left()}")

    def _look_back(self) -> None:
        """Nothing is left to follow: the last recorded frame is shown."""
        if self.feed is not None and len(self.feed.steps):
            self.playback.seek(len(self.feed.steps) - 1, len(self.feed.steps))

    def _what_is_left(self) -> str:
        """What can be done after an engine is lost."""
        step = last_checkpoint(self.run.folder) if self.run is not None else None
        if step is None:
            return "The recorded frames can still be looked at; there is no checkpoint yet."
        return f"The recorded frames can still be looked at; the last checkpoint is of step {step:,}."

    def _set_phase(self, phase: str, note: str = "") -> None:
        self.status.phase, self.status.note = phase, note

    # Intentions ------------------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether there is an engine that can step."""
        return self.run is not None and self.run.live and self.engine is not None and self.status.phase != "failed"

    @property
    def growing(self) -> bool:
        """Whether what is shown is a file that another process is writing."""
        return self.feed is not None and self.feed.growing

    @property
    def playing(self) -> bool:
        """Whether what is shown moves by itself."""
        return self.playback.playing if not self.playback.follow else self.status.phase == "running"

    def play(self) -> None:
        """The engine while following it, else the recorded frames."""
        if self.playback.follow and self.live:
            self._send(c.Play())
        elif self.feed is not None and len(self.feed.steps):
            frames = len(self.feed.steps)
            if self.playback.follow or self.playback.index >= frames - 1:
                self.playback.seek(0, frames)
            self.playback.playing = True

    def pause(self) -> None:
        """Of what plays now."""
        if self.playback.follow:
            self._send(c.Pause())
        else:
            self.playback.playing = False

    def toggle(self) -> None:
        """Play or pause."""
        self.pause() if self.playing else self.play()

    def step(self, n: int) -> None:
        """One step on (the engine's, while following it) or one recorded frame on or back."""
        self.playback.playing = False
        if self.playback.follow and n > 0 and self.live:
            self._send(c.Step(n))
            return
        frames = len(self.feed.steps) if self.feed is not None else 0
        at = frames - 1 if self.playback.follow else self.playback.index
        newest = self._newest.step if self._newest is not None else -1
        between = self.playback.follow and frames and newest > int(self.feed.steps[-1])
        self.playback.seek(at + n + (1 if between else 0), frames)

    def seek(self, index: int) -> None:
        """Look at a recorded frame; the engine goes on."""
        self.playback.seek(index, len(self.feed.steps) if self.feed is not None else 0)

    def seek_step(self, step: int) -> None:
        """Look at the recorded frame nearest to a step."""
        if self.feed is not None and len(self.feed.steps):
            self.seek(int(np.abs(self.feed.steps - step).argmin()))

    def go_live(self) -> None:
        """Follow the newest frame."""
        self.playback.playing, self.playback.follow = False, True

    def reset(self) -> None:
        """The scenario from its beginning, paused, in a new run folder; for a replay the first frame."""
        if self.run is not None and self.run.live:
            plan = self._plan
            if not isinstance(plan, c.New | c.Text):
                plan = c.Text(self.run.scenario, name=self.run.title, beside=self.run.folder)
            self.open(replace(plan, folder=another_folder(plan.folder)))
        else:
            self.playback.playing = False
            self.seek(0)

    def branch(self) -> None:
        """Continue from the frame that is shown, as a new run."""
        if self.run is not None and self.run.folder is not None and self.shown is not None:
            self.open(c.Branch(self.run.folder, self.shown.step), play=True)

    def recover(self) -> None:
        """After a crash or a blow-up: the same run from its last checkpoint."""
        if self.run is not None and self.run.folder is not None:
            self.open(c.Resume(self.run.folder))

    def set_parameter(self, key: str, value: Any) -> None:
        """From the next step on."""
        self._send(c.SetParameter(key, value))

    def kick(self, strength: float) -> None:
        """A learning event."""
        self._send(c.Kick(strength))

    def save(self) -> None:
        """A checkpoint now."""
        self._send(c.Save())

    def stop_when(self, condition: str) -> None:
        """Pause when it comes true; "" never."""
        self._send(c.Breakpoint(condition.strip() or None))

    def begin_gesture(self) -> None:
        """Moves from here on are undone together."""
        self._gesture += 1

    def move(self, particle: int, position: np.ndarray) -> None:
        """Put a particle elsewhere in R^d."""
        if self.live:
            self.playback.follow = True
            self._send(c.Move(particle, tuple(float(v) for v in position), self._gesture))

    def undo(self) -> None:
        """Take the last gesture back."""
        self._send(c.Undo())

    def select(self, particle: int | None, add: bool = False) -> None:
        """One particle, one more, or none; raises OptionError for one that is not there."""
        if particle is not None and (self.run is None or not 0 <= particle < self.run.cast.n):
            there = f"0 ... {self.run.cast.n - 1}" if self.run is not None else "nothing is open"
            raise OptionError("no such particle", given=particle, allowed=there)
        if particle is None:
            chosen: tuple[int, ...] = ()
        elif add:
            others = tuple(p for p in self.selected if p != particle)
            chosen = others if particle in self.selected else (*others, particle)
        else:
            chosen = (particle,)
        if chosen != self.selected:
            self.selected = chosen
            self.watch()
            self.selection_changed.emit()

    def watch(self) -> None:
        """Tell the engine what its frames must carry for what is shown."""
        self._send(c.Watch(self._needed()))

    def _needed(self) -> tuple[str, ...]:
        cast = self.run.cast if self.run is not None else None
        needed = set(quantity(self.appearance.colour_by, cast).needs) | self.watched_too
        if self.selected:
            needed |= {n for q in QUANTITIES.values() for n in q.needs}
        return tuple(sorted(needed & cast.widths.keys() if cast is not None else needed))

    def ask(self, question: c.Question, answered: Callback) -> None:
        """Put a question about what is shown."""
        if self.engine is None or self.run is None:
            answered(None, "the engine is gone")
            return
        if self.shown is not None and (not self.playback.follow or not self.run.live):
            question = replace(question, frame=self._bare(self.shown))
        self.engine.ask(question, answered)

    @staticmethod
    def _bare(frame: Frame) -> Frame:
        """Only what decides how a frame classifies."""
        kept = {k: v for k, v in frame.properties.items() if k == "position" or ":" in k}
        return Frame(frame.step, frame.time, np.zeros((0, 3), np.float32), kept, {})

    def traceable(self, quantity: Quantity) -> bool:
        """Whether a quantity of one particle can be followed over the recorded frames."""
        return self.feed is not None and all(self.feed.records(p) for p in quantity.needs or ("position",))

    def trace(self, quantity: Quantity, particle: int) -> tuple[np.ndarray, np.ndarray]:
        """(k,) steps and (k,) values of a quantity of one particle over the recorded frames."""
        assert self.feed is not None
        name = (quantity.needs or ("position",))[0]
        steps, values = self.feed.trace(particle, name)
        if name == "position":
            values = np.linalg.norm(values - values[:1], axis=1)
        elif values.ndim == 2:
            values = np.linalg.norm(values, axis=1)
        if quantity.name == "speed":
            limit = np.array([self.recorded.value_at("speed_limit", s) for s in steps])
            values = np.divide(values, limit, out=values.astype(float), where=limit > 0)
        return steps, values

    def scene(self) -> Scene | None:
        """What quantities look at."""
        if self.shown is None or self.run is None:
            return None
        run = self.run
        options = medium_of(run.scenario), interactive_of(run.scenario)
        return Scene(run.cast, self.shown, run.classes, run.links, self.start, *options)

    def _send(self, command: Any) -> None:
        if self.engine is not None and (self.run is not None and self.run.live):
            self.engine.send(command)


def attempt(act: Callable[[], None], say: Callable[[str], None]) -> None:
    """Do something that a person asked for; what is wrong with it is said, not raised."""
    try:
        act()
    except (DynsimError, OSError) as error:
        say(str(error))
