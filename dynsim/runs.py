"""Running: a scenario becomes a run folder, and a run folder goes on or branches off."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dynsim import checkpoint
from dynsim.errors import DynsimError, OptionError, ResourceError, RunFolderError
from dynsim.files import unwritable, write_atomically
from dynsim.interventions import Event
from dynsim.kernels.load import hardware
from dynsim.lock import Lock
from dynsim.preparing import done_before, portable, prepare, restored
from dynsim.progress import Progress
from dynsim.recording import Recording, new_trajectory, reopened_trajectory
from dynsim.runfolder import SCENARIO, TRAJECTORY, RunFolder, place
from dynsim.scenario import Scenario
from dynsim.sections import RunSection
from dynsim.simulation import Simulation
from dynsim.stopping import Interrupted, Stop
from dynsim.summary import Teller
from dynsim.trajectory.mending import Repaired
from dynsim.trajectory.mending import repair as mend
from dynsim.trajectory.reader import Trajectory
from dynsim.trajectory.writer import TrajectoryWriter
from dynsim.versions import version_of

__all__ = ["Interrupted", "branch", "reopen", "repair", "resume", "run", "smoke", "start"]


def smoke(scenario: Scenario) -> Scenario:
    """The same scenario capped to a few seconds: 30 steps, a frame every 10, at most 2000 training images."""
    cap: dict[str, Any] = {
        "run.steps": min(scenario.run.steps or 30, 30),
        "record.every": 10,
        "run.stop": {"time": 5.0},
    }
    if scenario.field.dataset in ("mnist", "fashion-mnist"):
        cap["field.samples"] = min(scenario.field.samples or 2000, 2000)
    if scenario.recipe.name != "direct":
        cap |= {"recipe.epochs": min(scenario.recipe.epochs, 1), "recipe.fit_steps": 20}
    return scenario.changed(**cap)


def run(scenario: Scenario, out: str | Path | None = None, progress: Teller | None = None) -> RunFolder:
    """Simulate a scenario from its beginning to its end into a new folder.

    Raises RunFolderError for a folder that exists or cannot be written, ResourceError, DataError, DivergenceError,
    Interrupted.
    """
    progress = progress or Progress(quiet=True)
    with Stop() as stop:
        with stop.at_once():
            simulation = _planned(scenario, out, progress)
        return _drive(_begun(simulation, scenario, out), progress, stop)


def start(scenario: Scenario, out: str | Path | None = None, progress: Teller | None = None) -> Recording:
    """A scenario at its beginning, recorded into a new folder; raises as `run` does."""
    return _begun(_planned(scenario, out, progress or Progress(quiet=True)), scenario, out)


def _planned(scenario: Scenario, out: str | Path | None, progress: Teller) -> Simulation:
    """Everything that takes its time, before there is a folder."""
    place(out, scenario.name)
    simulation = prepare(portable(scenario), progress)
    simulation.recorded_names()  # asks field and observables, so that they are compiled
    return simulation


def _begun(simulation: Simulation, scenario: Scenario, out: str | Path | None) -> Recording:
    folder = RunFolder.create(out, scenario.name)
    with ExitStack() as opened:
        lock = opened.enter_context(folder.lock())
        text = _write_scenario(simulation, folder)
        folder.log(f"run {scenario.name} seed {scenario.run.seed}, dynsim {version_of('dynsim')}")
        folder.log(_place(simulation))
        writer = opened.enter_context(new_trajectory(simulation, folder, text))
        recording = Recording(simulation, folder, lock, writer)
        opened.pop_all()
    return recording


def resume(path: str | Path, settings: Iterable[str] = (), progress: Teller | None = None) -> tuple[RunFolder, bool]:
    """Go on with a run folder to its end; returns it and whether there was anything left to do.

    More epochs or steps than before start a new learning event, so that the Eq. (10) limit opens again; a phase on
    weights or of a fit has its own length. Where the newest checkpoint is damaged, the one before it is taken.
    Raises ScenarioError for a setting that would make it another run, OptionError for fewer epochs or steps than a
    finished one has, RunFolderError where another process writes
    the folder, FileFormatError where no checkpoint is sound or the newest is of another scenario or version.
    """
    progress = progress or Progress(quiet=True)
    folder, settings = RunFolder.open(path), list(settings)
    if folder.summary is not None and not settings:
        return folder, False
    with Stop() as stop, ExitStack() as opened:
        lock = opened.enter_context(folder.lock())
        # Asked again: whoever had the lock may have ended the run meanwhile.
        finished = folder.summary is not None
        if finished and not settings:
            return folder, False
        stop.folder = folder.path
        with stop.at_once():
            state = restored(folder, settings, progress)
        if finished and (folder.checkpoint is None or state[0].done):
            _refuse_fewer(folder.scenario.run, state[0].scenario.run)
            return folder, False
        recording = _reopened(folder, lock, settings, *state)
        opened.pop_all()
        return _drive(recording, progress, stop), True


def _refuse_fewer(done: RunSection, asked: RunSection) -> None:
    for length in ("epochs", "steps"):
        before, now = getattr(done, length), getattr(asked, length)
        if before is not None and now is not None and now < before:
            raise OptionError(
                "a finished run does not become shorter",
                where="--set",
                given=f"run.{length}={now}",
                allowed=f"more than its {before:,} {length}",
            )


def reopen(path: str | Path, settings: Iterable[str] = (), progress: Teller | None = None) -> Recording:
    """A run folder from its newest sound checkpoint, finished or not; raises as `resume` does."""
    folder, settings = RunFolder.open(path), list(settings)
    with ExitStack() as opened:
        lock = opened.enter_context(folder.lock())
        state = restored(folder, settings, progress or Progress(quiet=True))
        recording = _reopened(folder, lock, settings, *state)
        opened.pop_all()
    return recording


def repair(path: str | Path) -> Repaired:
    """Close the trajectory of a run folder, or a trajectory file, that a killed writer left open.

    Raises RunFolderError while a process writes it, FileFormatError where a kill is not what ails it.
    """
    from dynsim.feed import trajectory_of  # with all that a window asks an engine, which no run needs

    file = trajectory_of(path)
    with RunFolder(file.parent).lock() if (file.parent / SCENARIO).is_file() else nullcontext():
        return mend(file)


PHASES = {"weights": "training on weights", "fit": "fitting the particles", "coordinates": "simulating"}


def _reopened(
    folder: RunFolder, lock: Lock, settings: list[str], simulation: Simulation, elapsed: float, text: str
) -> Recording:
    folder.log(f"resumed at step {simulation.system.step} of {simulation.total_steps} {' '.join(settings)}".rstrip())
    folder.log(_place(simulation))
    with ExitStack() as opened:
        writer = opened.enter_context(reopened_trajectory(simulation, folder, text))
        recording = Recording(simulation, folder, lock, writer, elapsed)
        if settings and simulation.system.step:
            recording.save()  # before the scenario says that the run is longer: its learning event is in no other place
        write_atomically(folder / SCENARIO, text.encode())
        opened.pop_all()
    return recording


def branch(source: str | Path, step: int, out: str | Path | None = None, progress: Teller | None = None) -> Recording:
    """A new run that begins as a copy of another's history and goes on from where that was when it reached `step`.

    The state is that of the nearest checkpoint before, replayed with all that was done to the other run; what was
    done at `step` itself is left out, as it is in the frame recorded there. Whoever still writes the other run
    must have saved it: only what is in its folder is known.

    Raises OptionError for a step that the run has not reached, RunFolderError, FileFormatError.
    """
    progress = progress or Progress(quiet=True)
    origin = RunFolder.open(source)
    with Trajectory(origin / TRAJECTORY) as past:
        events, last = _history(origin, past)
        if not 0 <= step <= last:
            raise OptionError("the run has not been there", where=str(source), given=step, allowed=f"0 ... {last}")
        begun = Scenario.from_text(past.scenario, where=str(past.path)).run
        plan = {"run.epochs": begun.epochs, "run.steps": begun.steps}
        simulation = prepare(portable(origin.scenario.changed(**plan)), progress)
        text = simulation.resolved.to_toml()
        earlier = [event for event in events if event[0] < step]
        _replay(simulation, origin, earlier, step, progress)
        folder = RunFolder.create(out, f"{simulation.scenario.name}-branch")
        with ExitStack() as opened:
            lock = opened.enter_context(folder.lock())
            write_atomically(folder / SCENARIO, text.encode())
            folder.log(f"branched from {origin.path} at step {step}")
            if not _as_recorded(simulation, past):
                folder.log("the replay differs from the recorded frame: another machine, device or version")
            writer = opened.enter_context(_copied(simulation, past, folder, text))
            recording = Recording(simulation, folder, lock, writer)
            opened.pop_all()
    try:
        for at, path in origin.checkpoints.items():
            if at <= step and done_before(path) <= len(earlier):
                shutil.copyfile(path, folder.numbered(at))
        simulation.branched(origin.path.resolve().name, step)
        recording.note()
        recording.save()
    except BaseException:
        recording.close()
        raise
    return recording


def _history(origin: RunFolder, past: Trajectory) -> tuple[list[Event], int]:
    """Everything that was done to a run, and the last step that its folder knows."""
    events, last = list(past.events), int(past.steps[-1]) if len(past) else 0
    if origin.checkpoint is not None:
        notes = checkpoint.peek(origin.checkpoint)
        known = events[: notes["logged"]] + checkpoint.pending_events(notes)
        events, last = max(events, known, key=len), max(last, notes["step"])
    return events, last


def _replay(simulation: Simulation, origin: RunFolder, events: list[Event], step: int, progress: Teller) -> None:
    """Bring a fresh simulation to `step` as the run got there, doing again what was done before."""
    for path in origin.checkpoints_until(step):
        try:
            # Not one that was saved after something had been done at this step.
            if done_before(path) <= len(events):
                checkpoint.load(path, simulation)
                break
        except checkpoint.DamagedCheckpointError:
            continue
    waiting = deque(events[simulation.logged + len(simulation.events) :])
    progress.phase("replaying", step, simulation.system.step)
    while simulation.system.step < step:
        while waiting and waiting[0][0] <= simulation.system.step:
            simulation.apply(waiting.popleft())
        simulation.step()
        progress.update(simulation.system.step, step, simulation.brief(simulation.last_row))
    simulation.stopped = ""


def _as_recorded(simulation: Simulation, past: Trajectory) -> bool:
    """Whether the positions are, bit by bit, those of the frame of this step, if there is one."""
    i = int(np.searchsorted(past.steps, simulation.system.step))
    if i == len(past) or past.steps[i] != simulation.system.step:
        return True
    return np.array_equal(simulation.look().properties["position"], past.frame(i).properties["position"])


def _copied(simulation: Simulation, past: Trajectory, folder: RunFolder, text: str) -> TrajectoryWriter:
    """A trajectory with all frames up to the simulation's step, which then only has left what is newer than they."""
    step, known = simulation.system.step, 0
    writer = new_trajectory(simulation, folder, text)
    try:
        for i in range(int(np.searchsorted(past.steps, step, "right"))):
            frame = past.frame(i)
            events = tuple(e for e in frame.events if e[0] < step)
            writer.write(replace(frame, events=events))
            known += len(events)
    except BaseException:
        writer.close()
        raise
    simulation.pending = [row for row in simulation.pending if row["step"] > writer.last_step]
    simulation.events = simulation.events[known - simulation.logged :]
    simulation.logged = known
    return writer


def _place(simulation: Simulation) -> str:
    """On what it runs, in a line."""
    facts = hardware(simulation.kernels, simulation.scenario.run.device)
    return ", ".join(f"{name}: {value}" for name, value in facts.items())


def _write_scenario(simulation: Simulation, folder: RunFolder) -> str:
    text = simulation.resolved.to_toml()
    write_atomically(folder / SCENARIO, text.encode())
    return text


def _drive(recording: Recording, progress: Teller, stop: Stop) -> RunFolder:
    """From where a recording is to its end."""
    folder = recording.folder
    stop.folder = folder.path
    try:
        with recording:
            _simulate(recording, progress, stop)
            recording.finish(progress, within=stop.at_once())
    except DynsimError as error:
        with suppress(OSError):
            folder.log(f"stopped: {error}")
        if isinstance(error, RunFolderError):
            error.hint = ", then: ".join(filter(None, (error.hint, f"dynsim resume {folder.path}")))
        raise
    except MemoryError as error:  # of the processor's memory or of a card's
        folder.log(f"stopped: out of memory: {error}")
        hint = f"on another device, as in: dynsim resume {folder.path} --set run.device=cpu, or a smaller scenario"
        raise ResourceError("memory ran out", where=str(folder.path), given=str(error), hint=hint) from error
    except OSError as error:
        raise unwritable(Path(error.filename or folder.path), error) from error
    return folder


def _simulate(recording: Recording, progress: Teller, stop: Stop) -> None:
    """The loop, until the end or a signal."""
    simulation, phase = recording.simulation, None
    while not simulation.done:
        if stop.asked:
            recording.save()
            stop.check()
        if phase != simulation.phase:
            phase = simulation.phase
            last = phase.start + phase.steps == simulation.planned
            end = simulation.total_steps if last else phase.start + phase.steps
            progress.phase(PHASES[phase.kind], end, simulation.system.step)
        try:
            frame = recording.step(stop)
        except KeyboardInterrupt:
            continue  # broken off, as it was asked for
        scalars = frame.scalars if frame is not None else simulation.last_row
        progress.update(simulation.system.step, end, simulation.brief(scalars))
