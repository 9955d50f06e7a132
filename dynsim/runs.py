"""Running: a scenario becomes a run folder, and a run folder goes on or branches off."""

from __future__ import annotations

import shutil
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dynsim import checkpoint
from dynsim.errors import DynsimError, OptionError, ScenarioError
from dynsim.interventions import Event
from dynsim.kernels.load import compile_for
from dynsim.progress import Progress
from dynsim.recording import Recording, new_trajectory, reopened_trajectory
from dynsim.runfolder import SCENARIO, TRAJECTORY, RunFolder, refuse_existing
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.summary import Teller, version_of
from dynsim.trajectory.reader import Trajectory
from dynsim.trajectory.writer import TrajectoryWriter


class Interrupted(DynsimError):
    """A signal asked the run to stop; its step was finished and a checkpoint written."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}", where=str(folder), hint=f"dynsim resume {folder}")


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

    Raises RunFolderError for an existing folder, ResourceError, DataError, DivergenceError, Interrupted.
    """
    progress = progress or Progress(quiet=True)
    return _drive(start(scenario, out, progress), progress)


def start(scenario: Scenario, out: str | Path | None = None, progress: Teller | None = None) -> Recording:
    """A scenario at its beginning, recorded into a new folder; raises as `run` does."""
    if out is not None:
        refuse_existing(Path(out))
    simulation = _prepare(_portable(scenario), progress or Progress(quiet=True))
    folder = RunFolder.create(out, scenario.name)
    text = _write_scenario(simulation, folder)
    folder.log(f"run {scenario.name} seed {scenario.run.seed}, dynsim {version_of('dynsim')}")
    return Recording(simulation, folder, new_trajectory(simulation, folder, text))


def resume(path: str | Path, settings: Iterable[str] = (), progress: Teller | None = None) -> tuple[RunFolder, bool]:
    """Go on with a run folder to its end; returns it and whether there was anything left to do.

    More epochs or steps than before start a new learning event, so that the Eq. (10) limit opens again; a phase on
    weights or of a fit has its own length.
    Raises ScenarioError for a setting that would make it another run.
    """
    progress = progress or Progress(quiet=True)
    folder, settings = RunFolder.open(path), list(settings)
    finished = folder.summary is not None
    if finished and not settings:
        return folder, False
    state = _restored(folder, settings, progress)
    if finished and (folder.checkpoint is None or state[0].done):
        return folder, False
    return _drive(_reopened(folder, settings, *state), progress), True


def reopen(path: str | Path, settings: Iterable[str] = (), progress: Teller | None = None) -> Recording:
    """A run folder from its newest checkpoint, finished or not; raises as `resume` does."""
    folder, settings = RunFolder.open(path), list(settings)
    return _reopened(folder, settings, *_restored(folder, settings, progress or Progress(quiet=True)))


PHASES = {"weights": "training on weights", "fit": "fitting the particles", "coordinates": "simulating"}
# What may differ when a run goes on: its length, and how it is watched.
CHANGEABLE = ("run.epochs", "run.steps", "run.stop", "run.checkpoint", "run.device", "run.twin", "record.every")


def refuse_another(before: Scenario, after: Scenario) -> None:
    """Raises ScenarioError if a resumed run would not be the same run."""
    old, new = (s.model_dump(mode="json") for s in (before, after))
    changed = [
        f"{table}.{key}"
        for table in ("system", "field", "dynamics", "recipe", "merge", "run", "record")
        for key in old[table]
        if old[table][key] != new[table][key] and f"{table}.{key}" not in CHANGEABLE
    ]
    if changed:
        raise ScenarioError(
            f"{', '.join(changed)} cannot change when a run goes on",
            where="--set",
            allowed=", ".join(CHANGEABLE),
            hint="start a new run",
        )


def _restored(folder: RunFolder, settings: list[str], progress: Teller) -> tuple[Simulation, float, str]:
    """The folder's simulation at its newest checkpoint, the seconds it had taken, and its scenario from the start."""
    before, scenario = folder.scenario, Scenario.load(folder / SCENARIO, settings)
    refuse_another(before, scenario)
    simulation, elapsed = _prepare(_portable(scenario), progress), 0.0
    text = simulation.resolved.to_toml()
    planned, longer = simulation.planned_steps(before), simulation.planned
    if folder.checkpoint is not None:
        elapsed = checkpoint.load(folder.checkpoint, simulation)
    if longer != planned:
        simulation.total_steps = longer
    step = simulation.system.step
    if step and longer > max(step, planned) and simulation.phase.kind == "coordinates":
        simulation.learning_event(longer - step, "resumed with another length")
    return simulation, elapsed, text


def _reopened(folder: RunFolder, settings: list[str], simulation: Simulation, elapsed: float, text: str) -> Recording:
    folder.log(f"resumed at step {simulation.system.step} of {simulation.total_steps} {' '.join(settings)}".rstrip())
    recording = Recording(simulation, folder, reopened_trajectory(simulation, folder, text), elapsed)
    if settings and simulation.system.step:
        recording.save()  # before the scenario says that the run is longer: its learning event is in no other place
    checkpoint.write_atomically(folder / SCENARIO, text.encode())
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
        simulation = _prepare(_portable(origin.scenario.changed(**plan)), progress)
        text = simulation.resolved.to_toml()
        earlier = [event for event in events if event[0] < step]
        _replay(simulation, origin, earlier, step, progress)
        folder = RunFolder.create(out, f"{simulation.scenario.name}-branch")
        checkpoint.write_atomically(folder / SCENARIO, text.encode())
        folder.log(f"branched from {origin.path} at step {step}")
        if not _as_recorded(simulation, past):
            folder.log("the replay differs from the recorded frame: another machine, device or version")
        recording = Recording(simulation, folder, _copied(simulation, past, folder, text))
    try:
        for at, path in origin.checkpoints.items():
            if at <= step and _done_before(path) <= len(earlier):
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


def _done_before(path: Path) -> int:
    """How many events a checkpoint's state has behind it."""
    notes = checkpoint.peek(path)
    return notes["logged"] + len(notes["events"])


def _replay(simulation: Simulation, origin: RunFolder, events: list[Event], step: int, progress: Teller) -> None:
    """Bring a fresh simulation to `step` as the run got there, doing again what was done before."""
    path = origin.checkpoint_before(step)
    if path is not None and _done_before(path) > len(events):  # saved after something had been done at this step
        path = origin.checkpoint_before(step - 1)
    if path is not None:
        checkpoint.load(path, simulation)
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


def _write_scenario(simulation: Simulation, folder: RunFolder) -> str:
    text = simulation.resolved.to_toml()
    checkpoint.write_atomically(folder / SCENARIO, text.encode())
    return text


def _portable(scenario: Scenario) -> Scenario:
    """Paths of data are made absolute: the run folder is another place than the scenario's."""
    named = {"field.dataset": scenario.field.dataset, "field.target": scenario.field.target}
    files = {k: v for k, v in named.items() if isinstance(v, str) and v and scenario.located(v).is_file()}
    return scenario.changed(**{k: str(scenario.located(v)) for k, v in files.items()})


def _prepare(scenario: Scenario, progress: Teller) -> Simulation:
    progress.phase("building the system")
    simulation = Simulation(scenario)
    if not simulation.graph.particle_subsystems:
        raise OptionError("nothing here is a particle", where="system.metric", given=scenario.system.metric)
    progress.phase("compiling kernels (cached afterwards)")
    for metric in {k.metric for k in simulation.graph.links if k.kind.particles}:
        compile_for(simulation.kernels, metric, simulation.graph.dim, scenario.run.dtype)
    return simulation


def _drive(recording: Recording, progress: Teller) -> RunFolder:
    """From where a recording is to its end."""
    folder = recording.folder
    with recording:
        try:
            with _stop_requested() as stop:
                _simulate(recording, progress, stop)
        except DynsimError as error:
            folder.log(f"stopped: {error}")
            raise
        recording.finish(progress)
    return folder


def _simulate(recording: Recording, progress: Teller, stop: list[int]) -> None:
    """The loop; `stop` fills when a signal asks to end."""
    simulation, phase = recording.simulation, None
    while not simulation.done:
        if phase != simulation.phase:
            phase = simulation.phase
            last = phase.start + phase.steps == simulation.planned
            end = simulation.total_steps if last else phase.start + phase.steps
            progress.phase(PHASES[phase.kind], end, simulation.system.step)
        frame = recording.step()
        scalars = frame.scalars if frame is not None else simulation.last_row
        progress.update(simulation.system.step, end, simulation.brief(scalars))
        if stop:
            recording.save()
            raise Interrupted(stop[0], recording.folder.path)


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that a first SIGINT or SIGTERM fills; a second one ends at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    old = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, old[signal.Signals(number)])

    for s in old:
        signal.signal(s, note)
    try:
        yield received
    finally:
        for s, handler in old.items():
            signal.signal(s, handler)
