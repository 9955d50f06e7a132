"""Running: a scenario becomes a run folder, and a run folder goes on."""

from __future__ import annotations

import json
import platform
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dynsim import checkpoint
from dynsim.backend.cost import cost
from dynsim.backend.formats import save_model
from dynsim.backend.inference import Model
from dynsim.backend.rivals import dense_twin
from dynsim.errors import DynsimError, OptionError, ScenarioError
from dynsim.fields.target import TargetField
from dynsim.kernels.load import compile_for, thread_count
from dynsim.progress import Progress
from dynsim.runfolder import CHECKPOINT, MODEL, SCENARIO, SUMMARY, TRAJECTORY, RunFolder, refuse_existing
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import parameters
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
    return scenario.changed(**cap)


def run(scenario: Scenario, out: str | Path | None = None, progress: Progress | None = None) -> RunFolder:
    """Simulate a scenario from its beginning into a new folder.

    Raises RunFolderError for an existing folder, ResourceError, DataError, DivergenceError, Interrupted.
    """
    progress = progress or Progress(quiet=True)
    started = perf_counter()
    if out is not None:
        refuse_existing(Path(out))
    simulation = _prepare(_portable(scenario), progress)
    folder = RunFolder.create(out, scenario.name)
    _write_scenario(simulation, folder)
    folder.log(f"run {scenario.name} seed {scenario.run.seed}, dynsim {version_of('dynsim')}")
    return _drive(simulation, folder, progress, started)


def resume(path: str | Path, settings: Iterable[str] = (), progress: Progress | None = None) -> tuple[RunFolder, bool]:
    """Go on with a run folder; returns it and whether there was anything left to do.

    More epochs or steps than before start a new learning event, so that the Eq. (10) limit opens again.
    Raises ScenarioError for a setting that would make it another run.
    """
    progress = progress or Progress(quiet=True)
    folder, settings = RunFolder.open(path), list(settings)
    before, finished = folder.scenario, folder.summary
    scenario = Scenario.load(folder / SCENARIO, settings)
    refuse_another(before, scenario)
    saved = folder.checkpoint
    if finished is not None and (not settings or saved is None):
        return folder, False
    started, elapsed = perf_counter(), 0.0
    simulation = _prepare(_portable(scenario), progress)
    if saved is not None:
        elapsed = checkpoint.load(saved, simulation)
    step = simulation.system.step
    if step >= simulation.total_steps and finished is not None:
        return folder, False
    if step and simulation.total_steps > max(step, simulation.planned_steps(before)):
        simulation.learning_event(simulation.total_steps - step, "resumed with another length")
    folder.log(f"resumed at step {step} of {simulation.total_steps} {' '.join(settings)}".rstrip())
    (folder / SUMMARY).unlink(missing_ok=True)
    _write_scenario(simulation, folder)
    return _drive(simulation, folder, progress, started - elapsed), True


# What may differ when a run goes on: its length, and how it is watched.
CHANGEABLE = ("run.epochs", "run.steps", "run.stop", "run.checkpoint", "run.device", "run.twin", "record.every")


def refuse_another(before: Scenario, after: Scenario) -> None:
    """Raises ScenarioError if a resumed run would not be the same run."""
    old, new = (s.model_dump(mode="json") for s in (before, after))
    changed = [
        f"{table}.{key}"
        for table in ("system", "field", "dynamics", "run", "record")
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


def _write_scenario(simulation: Simulation, folder: RunFolder) -> None:
    text = simulation.resolved.to_toml()
    checkpoint.write_atomically(folder / SCENARIO, text.encode())


def _portable(scenario: Scenario) -> Scenario:
    """Paths of data are made absolute: the run folder is another place than the scenario's."""
    named = {"field.dataset": scenario.field.dataset, "field.target": scenario.field.target}
    files = {k: v for k, v in named.items() if isinstance(v, str) and v and scenario.located(v).is_file()}
    return scenario.changed(**{k: str(scenario.located(v)) for k, v in files.items()})


def _prepare(scenario: Scenario, progress: Progress) -> Simulation:
    progress.phase("building the system")
    simulation = Simulation(scenario)
    if not simulation.graph.particle_subsystems:
        raise OptionError("nothing here is a particle", where="system.metric", given=scenario.system.metric)
    progress.phase("compiling kernels (cached afterwards)")
    for metric in {k.metric for k in simulation.graph.links if k.kind.particles}:
        compile_for(simulation.kernels, metric, simulation.graph.dim, scenario.run.dtype)
    return simulation


def _drive(simulation: Simulation, folder: RunFolder, progress: Progress, started: float) -> RunFolder:
    """From where the simulation is to its end, into the folder: trajectory, checkpoints, model, summary."""
    first, begun = simulation.system.step, perf_counter()
    with _stop_requested() as stop, _writer(simulation, folder) as writer:
        progress.phase("simulating", simulation.total_steps, first)
        try:
            _simulate(simulation, folder, writer, progress, started, stop)
        except DynsimError as error:
            folder.log(f"stopped: {error}")
            raise
    rate = (simulation.system.step - first) / (perf_counter() - begun)
    folder.log(f"done at step {simulation.system.step}: {simulation.stopped or 'all steps done'}")
    progress.phase("evaluating")
    summary = summarise(simulation, perf_counter() - started, rate)
    if simulation.data is not None:
        save_model(Model.of(simulation), folder / MODEL)
        if simulation.scenario.run.twin is not None:
            summary["twin"] = train_twin(simulation, progress)
    checkpoint.write_atomically(folder / SUMMARY, (json.dumps(_plain(summary), indent=2) + "\n").encode())
    return folder


def _simulate(
    simulation: Simulation,
    folder: RunFolder,
    writer: TrajectoryWriter,
    progress: Progress,
    started: float,
    stop: list[int],
) -> None:
    """The loop; `stop` fills when a signal asks to end."""

    def save() -> float:
        # The checkpoint must not know of frames that the file does not hold yet.
        writer.flush()
        checkpoint.save(folder / CHECKPOINT, simulation, perf_counter() - started)
        return perf_counter()

    if simulation.system.step == 0:
        writer.write(simulation.frame())
    saved = perf_counter()
    while not simulation.done:
        simulation.step()
        scalars: Mapping[str, float] = simulation.pending[-1]
        if simulation.frame_due:
            frame = simulation.frame()
            writer.write(frame)
            scalars = frame.scalars
        progress.update(simulation.system.step, simulation.total_steps, scalars)
        if stop:
            save()
            raise Interrupted(stop[0], folder.path)
        if perf_counter() - saved > simulation.scenario.run.checkpoint:
            saved = save()
    save()


@contextmanager
def _writer(simulation: Simulation, folder: RunFolder) -> Iterator[TrajectoryWriter]:
    """The trajectory, new or continued behind the step of the checkpoint."""
    path, step = folder / TRAJECTORY, simulation.system.step
    if step and path.is_file():
        with TrajectoryWriter.append_to(path, step) as writer:
            yield writer
        return
    path.unlink(missing_ok=True)
    scenario = simulation.scenario
    of_frame, of_step = simulation.recorded_names()
    with TrajectoryWriter(
        path,
        simulation.cast,
        properties=("position", *scenario.record.properties),
        observables=of_frame,
        step_observables=of_step,
        law=scenario.dynamics.law,
        compression=None if scenario.record.compression == "none" else scenario.record.compression,
        parameters={
            "scenario": scenario.to_toml(),
            "seed": str(scenario.run.seed),
            "versions": json.dumps(versions(), sort_keys=True),
            "threads": str(thread_count(simulation.kernels)),
        },
    ) as writer:
        yield writer


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


def summarise(simulation: Simulation, wall_s: float, steps_per_s: float) -> dict[str, Any]:
    """The final numbers of a run, as summary.json holds them."""
    scenario, system = simulation.scenario, simulation.system
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "seed": scenario.run.seed,
        "device": simulation.kernels.__name__.rsplit(".", 1)[-1],
        "threads": thread_count(simulation.kernels),
        "versions": versions(),
        "steps": system.step,
        "stopped": simulation.stopped or "all steps done",
        "wall_s": wall_s,
        "steps_per_s": steps_per_s,
        "final": _final(simulation),
    }
    if simulation.data is not None:
        price = cost(Model.of(simulation))
        summary |= asdict(price)
    else:
        stored = sum(a.nbytes for a in system.x.values())
        summary |= {"parameters": parameters(system.x), "bytes": stored, "macs": 0, "build_macs": 0}
    summary["observables"] = simulation.scalars()
    return summary


def _final(simulation: Simulation) -> dict[str, float | None]:
    """Losses and accuracies over whole parts of the data; for a target, its loss and relative error."""
    if simulation.data is None:
        field = simulation.field
        result: dict[str, float | None] = {"train_loss": simulation.response.loss if simulation.response else None}
        result |= {"train_accuracy": None, "test_accuracy": None}
        if isinstance(field, TargetField):
            weights = all_weights(simulation.kernels, simulation.system)
            result["relative_error"] = field.relative_error(weights[field.link.name].matrix())
        return result
    train, test = simulation.evaluate("train"), simulation.evaluate("test")
    result = {
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
    }
    if len(simulation.data.validation):
        result["validation_accuracy"] = simulation.evaluate("validation").accuracy
    return result


def train_twin(simulation: Simulation, progress: Progress) -> dict[str, Any]:
    """Train the weight-based network of equal widths on the same batches; its numbers for the final table."""
    started = perf_counter()
    twin = dense_twin(simulation)
    progress.phase("training the dense twin", twin.total_steps)
    while not twin.done:
        twin.step()
        progress.update(twin.system.step, twin.total_steps, twin.pending[-1])
    return asdict(cost(Model.of(twin))) | {"final": _final(twin), "wall_s": perf_counter() - started}


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    packages = ("dynsim", "numpy", "scipy", "numba", "h5py")
    return {"python": platform.python_version()} | {name: version_of(name) for name in packages}


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """JSON has no NaN and no Infinity: they become null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
