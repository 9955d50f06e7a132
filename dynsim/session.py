"""The far side of an engine: a process that simulates, takes commands and sends reports; it owns the loop.

It records what it does into a run folder as `dynsim run` does, and puts frames for the screen into shared memory.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from dynsim import commands as c
from dynsim import runs
from dynsim.backend.questions import answer
from dynsim.conditions import Condition
from dynsim.errors import DynsimError, OptionError
from dynsim.feed import trajectory_of
from dynsim.outbox import Outbox
from dynsim.recording import Recording
from dynsim.ring import FrameRing
from dynsim.runfolder import SCENARIO, RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import LIVE_PARAMETERS, Simulation
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory

# Position and velocity of a particle.
Motion = tuple[tuple[float, ...], tuple[float, ...]]
REPORT_SECONDS = 0.05
# Rows of history in one report at most: a report that fits a pipe is sent at once.
REPORT_ROWS = 400
IDLE_SECONDS = 0.2
# A window is closed, and an engine killed, more often than a headless run: checkpoints come closer to each other.
CHECKPOINT_SECONDS = 10.0


def serve(pipe: Connection) -> None:
    """Entry of the engine's process: until the other side closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the window's business
    session = Session(pipe)
    try:
        session.run()
    finally:
        session.leave()


class Phases:
    """Takes the place of a progress bar while something is being opened."""

    quiet = True

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def phase(self, name: str, total: int = 0, done: int = 0) -> None:
        self._outbox.put(c.Report(phase="compiling" if name.startswith("compiling") else "building", note=name))

    def update(self, step: int, total: int, numbers: Mapping[str, float]) -> None:
        """Steps that are replayed on the way to a branch."""


class Session:
    """One engine: at any time it has at most one simulation open."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._outbox = pipe, Outbox(pipe)
        self._recording: Recording | None = None
        self._simulation: Simulation | None = None
        self._ring: FrameRing | None = None
        self._phase = "paused"
        self._note = ""
        self._steps_asked = 0
        self._watch = c.Watch()
        self._speed: float | None = None
        self._due = self._shown = self._reported = self._saved = 0.0
        self._may_report, self._changed = True, True
        self._rows: list[Mapping[str, float]] = []
        self._events: list[tuple[int, str, str]] = []
        self._moves: list[tuple[int, int, Motion]] = []
        self._condition: Condition | None = None
        self._rate = _Rate()

    def run(self) -> None:
        """Serve until the pipe is closed."""
        while True:
            try:
                while self._pipe.poll(self._patience()):
                    self._obey(self._pipe.recv())
            except (EOFError, OSError):
                return
            if self._phase == "running" and monotonic() >= self._due:
                self._advance()
            self._tell()

    def leave(self) -> None:
        """Save and close what is open, as well as it can be: its folder may have been removed."""
        recording, self._recording, self._simulation = self._recording, None, None
        self._phase = "paused"
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if recording is None:
            return
        with suppress(OSError), recording:
            if recording.simulation.system.step:
                recording.save()

    # Time ----------------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        """Seconds to wait for a command now: none while a step is due."""
        if self._phase == "running":
            return min(max(0.0, self._due - monotonic()), REPORT_SECONDS)
        return REPORT_SECONDS if self._rows or self._changed else IDLE_SECONDS

    def _advance(self) -> None:
        recording = self._recording
        assert recording is not None
        self._due = max(self._due + 1 / self._speed, monotonic() - 0.1) if self._speed else 0.0
        try:
            recording.step()
            if monotonic() - self._saved > CHECKPOINT_SECONDS:
                recording.save()
                self._saved = monotonic()
        except (DynsimError, OSError) as error:
            self._fail(error)
            return
        simulation = recording.simulation
        self._note_row(simulation)
        if self._steps_asked:
            self._steps_asked -= 1
            if not self._steps_asked:
                self._phase = "paused"
        if simulation.done:
            self._try_to_finish(recording)
        elif self._condition is not None and self._condition.holds(self._scalars(simulation)):
            # Once: whoever plays on wants to see what comes after.
            self._phase, self._note, self._condition = "paused", f"breakpoint: {self._condition}", None
        self._changed = True

    def _note_row(self, simulation: Simulation) -> None:
        """The observables of the step just done, for the curves."""
        self._rows.append(simulation.last_row)
        self._rate.count(simulation.system.step)

    @staticmethod
    def _scalars(simulation: Simulation) -> dict[str, float]:
        """What a condition can speak of."""
        return {"step": simulation.system.step, "time": simulation.system.time} | dict(simulation.look().scalars)

    def _try_to_finish(self, recording: Recording) -> None:
        try:
            self._finish(recording)
        except (DynsimError, OSError) as error:
            self._fail(error)

    def _finish(self, recording: Recording) -> None:
        self._phase, self._note = "done", recording.simulation.stopped
        self._outbox.put(c.Report(phase="evaluating", step=recording.simulation.system.step))
        recording.finish(Phases(self._outbox), twin=False)

    def _fail(self, error: Exception) -> None:
        """A blow-up, a full disk, a folder that is gone: what was recorded stays, and can be looked at."""
        recording, self._recording = self._recording, None
        self._phase, self._note = "failed", str(error).splitlines()[0]
        folder = recording.folder.path if recording is not None else None
        if recording is not None:
            with suppress(OSError), recording:
                recording.folder.log(f"stopped: {error}")
        self._outbox.put(c.Failed(str(error), folder))

    # Commands ------------------------------------------------------------------------------------------------

    def _obey(self, command: Any) -> None:
        try:
            _HANDLERS[type(command)](self, command)
        except (DynsimError, OSError) as error:
            self._outbox.put(c.Refused(str(error)))

    def _open(self, command: c.Open) -> None:
        plan, phases = command.plan, Phases(self._outbox)
        if isinstance(plan, c.Look):
            simulation = _looked_at(plan.path)
            self._replace(simulation, None, plan.path)
            return
        # What is open stays until the other has been opened, unless they share a folder.
        if isinstance(plan, c.Resume | c.Branch):
            RunFolder.open(plan.folder if isinstance(plan, c.Resume) else plan.source)  # or else nothing is left
        left = isinstance(plan, c.Resume | c.Branch) and self._recording is not None
        if left:
            self.leave()
        try:
            recording = _opened(plan, phases)
        except (DynsimError, OSError) as error:
            if not left:
                raise
            self._fail(error)
            return
        self._replace(recording.simulation, recording, None)
        if command.play:
            self._play(c.Play())

    def _replace(self, simulation: Simulation, recording: Recording | None, looked_at: Path | None) -> None:
        self.leave()
        self._simulation, self._recording, self._saved = simulation, recording, monotonic()
        self._phase = "looking" if recording is None else ("done" if simulation.done else "paused")
        self._rows, self._events, self._moves, self._note = [], [], [], ""
        self._steps_asked, self._rate = 0, _Rate()
        if recording is not None:
            self._ring = FrameRing(simulation.cast)
        self._outbox.put(self._described(simulation, recording, looked_at))
        self._show(simulation)
        self._changed = True

    def _described(self, simulation: Simulation, recording: Recording | None, path: Path | None) -> c.Opened:
        folder = recording.folder.path.resolve() if recording is not None else path
        trajectory = trajectory_of(folder) if folder is not None else None
        data = simulation.data
        return c.Opened(
            cast=simulation.cast,
            scenario=simulation.resolved.to_toml(),
            folder=folder,
            trajectory=trajectory,
            ring=self._ring.name if self._ring is not None else None,
            classes=tuple(data.classes) if data is not None else (),
            input_shape=data.input_shape if data is not None else (),
            live=recording is not None,
            high=data.high if data is not None else 1.0,
            links=tuple((k.name, k.source, k.target, k.metric) for k in simulation.graph.links if k.kind.particles),
        )

    def _running(self) -> Recording:
        if self._recording is None:
            raise OptionError("nothing is running here", hint="open a scenario, or continue from a recorded frame")
        return self._recording

    def _play(self, _: c.Play) -> None:
        simulation = self._running().simulation
        if simulation.done:
            simulation.extend(simulation.planned_steps(simulation.scenario))
        self._phase, self._note, self._steps_asked, self._due = "running", "", 0, monotonic()
        self._changed = True

    def _pause(self, _: c.Pause) -> None:
        if self._phase == "running":
            self._phase, self._changed = "paused", True

    def _step(self, command: c.Step) -> None:
        self._play(c.Play())
        self._steps_asked = max(1, command.n)

    def _pace(self, command: c.Speed) -> None:
        if command.rate is not None and not command.rate > 0:
            raise OptionError("not a speed", given=command.rate, allowed="steps per second above 0, or None")
        self._speed, self._due = command.rate, monotonic()

    def _set(self, command: c.SetParameter) -> None:
        self._touch(lambda simulation: simulation.set_parameter(command.key, command.value))

    def _kick(self, command: c.Kick) -> None:
        self._touch(lambda simulation: simulation.kick(command.strength))

    def _move(self, command: c.Move) -> None:
        simulation = self._running().simulation
        before = simulation.motion_of(command.particle)
        self._touch(lambda s: s.move(command.particle, command.position))
        # Only where a gesture began is needed to undo it.
        if not any(g == command.gesture and p == command.particle for g, p, _ in self._moves):
            self._moves.append((command.gesture, command.particle, before))

    def _undo(self, _: c.Undo) -> None:
        if not self._moves:
            raise OptionError("nothing to undo", hint="drag a particle first")
        gesture = self._moves[-1][0]
        while self._moves and self._moves[-1][0] == gesture:
            self._touch(partial(_put_back, self._moves.pop()))

    def _touch(self, act: Callable[[Simulation], None]) -> None:
        """Do something to the simulation, log it, show it."""
        recording = self._running()
        simulation = recording.simulation
        known = len(simulation.events)
        act(simulation)
        self._events += simulation.events[known:]
        if self._phase == "done" and not simulation.done:
            self._phase = "paused"
        if self._phase != "running":
            recording.note()
            self._show(simulation)
        self._changed = True

    def _break(self, command: c.Breakpoint) -> None:
        known = self._scalars(self._running().simulation)
        self._condition = Condition.of(command.condition, known) if command.condition else None
        self._changed = True

    def _save(self, _: c.Save) -> None:
        self._running().save()

    def _look(self, command: c.Watch) -> None:
        self._watch = command
        if self._simulation is not None and self._phase != "running":
            self._show(self._simulation)

    def _seen(self, _: c.Seen) -> None:
        self._may_report = True

    def _answer(self, command: c.Ask) -> None:
        begun = monotonic()
        try:
            if self._simulation is None:
                raise OptionError("nothing is open", hint="open a scenario or a run")
            frame = command.question.frame
            system = self._simulation.state_at(frame) if frame is not None else None
            value = answer(self._simulation, command.question, system)
            self._outbox.put(c.Answer(command.id, value, seconds=monotonic() - begun))
        except DynsimError as error:
            self._outbox.put(c.Answer(command.id, error=str(error)))

    # Telling -------------------------------------------------------------------------------------------------

    def _show(self, simulation: Simulation) -> None:
        if self._ring is not None:
            self._ring.publish(simulation.look(self._watch.properties))
            self._shown = monotonic()

    def _tell(self) -> None:
        simulation, now = self._simulation, monotonic()
        if simulation is None:
            return
        moved = self._phase == "running" or self._changed
        if moved and self._recording is not None and now - self._shown >= 1 / self._watch.rate:
            self._show(simulation)
        due = now - self._reported >= REPORT_SECONDS or (self._changed and self._phase != "running")
        if self._may_report and due and (moved or self._rows or self._events):
            self._report(simulation, now)

    def _report(self, simulation: Simulation, now: float) -> None:
        rows, self._rows = self._rows[:REPORT_ROWS], self._rows[REPORT_ROWS:]
        events, self._events = tuple(self._events), []
        if self._phase != "running" and not self._rows:
            self._show(simulation)  # the frame of the last step belongs to the last report
        self._may_report, self._changed, self._reported = False, False, now
        self._outbox.put(
            c.Report(
                phase=self._phase,
                step=simulation.system.step,
                total=simulation.total_steps,
                rate=self._rate.of(now) if self._phase == "running" else 0.0,
                scalars=self._scalars(simulation),
                history=_columns(rows),
                events=events,
                parameters=live_parameters(simulation),
                note=self._note,
                until=str(self._condition or ""),
                part=PARTS[simulation.phase.kind] if simulation.scenario.recipe.name != "direct" else "",
            )
        )


_HANDLERS: dict[type, Any] = {
    c.Open: Session._open,
    c.Play: Session._play,
    c.Pause: Session._pause,
    c.Step: Session._step,
    c.Speed: Session._pace,
    c.SetParameter: Session._set,
    c.Kick: Session._kick,
    c.Move: Session._move,
    c.Undo: Session._undo,
    c.Breakpoint: Session._break,
    c.Save: Session._save,
    c.Watch: Session._look,
    c.Seen: Session._seen,
    c.Ask: Session._answer,
}

PARTS = {
    "weights": "weights train, the particles wait",
    "fit": "the particles are fitted to the weights",
    "coordinates": "the particles learn",
}


class _Rate:
    """Steps per second over the last second."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def count(self, step: int) -> None:
        now = monotonic()
        self._marks.append((now, step))
        while now - self._marks[0][0] > 1.0 and len(self._marks) > 2:
            self._marks.pop(0)

    def of(self, now: float) -> float:
        if len(self._marks) < 2:
            return 0.0
        (t0, s0), (_, s1) = self._marks[0], self._marks[-1]
        return (s1 - s0) / max(now - t0, 1e-9)


def _opened(plan: c.Plan, phases: Phases) -> Recording:
    """A simulation that records into its run folder."""
    if isinstance(plan, c.New):
        return runs.start(Scenario.load(plan.scenario, plan.settings), plan.folder, phases)
    if isinstance(plan, c.Text):
        path = (plan.beside or Path()) / f"{plan.name}.toml"
        return runs.start(Scenario.from_text(plan.toml, where=plan.name, path=path), plan.folder, phases)
    if isinstance(plan, c.Resume):
        return runs.reopen(plan.folder, (), phases)
    if isinstance(plan, c.Branch):
        return runs.branch(plan.source, plan.step, plan.folder, phases)
    raise OptionError("not a plan", given=plan)


def _looked_at(path: Path) -> Simulation:
    """A run folder or trajectory whose frames can be asked about; nothing of it moves."""
    folder = path if path.is_dir() else path.parent
    if trajectory_of(path).is_file():
        admit(trajectory_of(path))
    if (folder / SCENARIO).is_file():
        return Simulation(RunFolder.open(folder).scenario)
    with Trajectory(trajectory_of(path)) as trajectory:
        return Simulation(Scenario.from_text(trajectory.scenario, where=str(path), path=folder / "scenario.toml"))


def live_parameters(simulation: Simulation) -> dict[str, Any]:
    """What can be changed while it runs, as it is now."""
    dynamics, field = simulation.scenario.dynamics, simulation.scenario.field
    tables = {"dynamics": dynamics, "field": field}
    return {key: getattr(tables[key.split(".")[0]], key.split(".")[1]) for key in LIVE_PARAMETERS}


def _put_back(move: tuple[int, int, Motion], simulation: Simulation) -> None:
    _, particle, (position, velocity) = move
    simulation.move(particle, position, velocity)


def _columns(rows: list[Mapping[str, float]]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(n for row in rows for n in row)
    return {n: np.array([row.get(n, np.nan) for row in rows], float) for n in names}
