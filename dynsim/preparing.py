"""A simulation that is ready to run: built and compiled, at its beginning or in the state of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynsim import checkpoint
from dynsim.errors import FileFormatError, OptionError, ScenarioError
from dynsim.importing import uncollected
from dynsim.kernels.load import compile_for
from dynsim.runfolder import SCENARIO, SUMMARY, RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.summary import Teller

# What may differ when a run goes on: its length, and how it is watched.
CHANGEABLE = (
    "run.epochs",
    "run.steps",
    "run.stop",
    "run.checkpoint",
    "run.checkpoint_steps",
    "run.device",
    "run.twin",
    "record.every",
)


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


def restored(folder: RunFolder, settings: list[str], progress: Teller) -> tuple[Simulation, float, str]:
    """The folder's simulation at its newest checkpoint, the seconds it had taken, and its scenario from the start."""
    before, scenario = folder.scenario, Scenario.load(folder / SCENARIO, settings)
    refuse_another(before, scenario)
    simulation, elapsed = prepare(portable(scenario), progress), 0.0
    text = simulation.resolved.to_toml()
    planned, longer = simulation.planned_steps(before), simulation.planned
    saved = _sound(folder, _resumable(folder, settings), simulation, progress)
    if saved is not None:
        elapsed, planned = saved.elapsed, saved.planned
    if settings:
        simulation.stopped = ""
    if longer != planned:
        simulation.total_steps = longer
    step = simulation.system.step
    if step and longer > max(step, planned) and simulation.phase.kind == "coordinates":
        simulation.learning_event(longer - step, "resumed with another length")
    return simulation, elapsed, text


def _resumable(folder: RunFolder, settings: list[str]) -> list[Path]:
    """Checkpoints to go on from, the best first.

    One of the last step, with no summary yet, has lost what the field said at that step: the steps before it are
    taken again, unless something was done to the run in between.
    """
    paths = folder.saved
    if settings or (folder / SUMMARY).is_file() or not paths:
        return paths
    with suppress(FileFormatError):
        last, *before = paths
        if checkpoint.peek(last)["stopped"] and all(done_before(p) == done_before(last) for p in before[:1]):
            step = checkpoint.peek(last)["step"]
            return [path for path in before if checkpoint.peek(path)["step"] < step]
    return paths


def _sound(folder: RunFolder, paths: list[Path], simulation: Simulation, progress: Teller) -> checkpoint.Saved | None:
    """Put the simulation into the state of the first checkpoint that is not damaged; None where there is none."""
    for path in paths:
        try:
            saved = checkpoint.load(path, simulation)
        except checkpoint.DamagedCheckpointError as error:
            damaged = error
            _say(folder, progress, f"{path.name} is damaged ({error.given}), so an older checkpoint is taken")
            continue
        folder.go_back_to(path)
        for name, wrote in saved.versions.items():
            _say(folder, progress, f"{path.name} was written with {name} {wrote}: the bits may come out otherwise")
        return saved
    if paths:
        damaged.hint = f"without {path.parent} the run begins anew"
        raise damaged
    return None


def _say(folder: RunFolder, progress: Teller, line: str) -> None:
    folder.log(line)
    progress.phase(line)


def done_before(path: Path) -> int:
    """How many events a checkpoint's state has behind it."""
    notes = checkpoint.peek(path)
    return notes["logged"] + len(notes["events"])


def portable(scenario: Scenario) -> Scenario:
    """Paths of data are made absolute: the run folder is another place than the scenario's."""
    named = {"field.dataset": scenario.field.dataset, "field.target": scenario.field.target}
    return scenario.changed(**absolute(scenario, {k: v for k, v in named.items() if v}))


def absolute(scenario: Scenario, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a scenario (dotted key -> value) in which the names of its data files hold from everywhere."""

    def names(key: str, value: Any) -> bool:
        return key in ("field.dataset", "field.target") and isinstance(value, str) and scenario.located(value).is_file()

    return {k: str(scenario.located(v)) if names(k, v) else v for k, v in settings.items()}


@uncollected()
def prepare(scenario: Scenario, progress: Teller) -> Simulation:
    progress.phase("building the system")
    simulation = Simulation(scenario)
    if not simulation.graph.particle_subsystems:
        raise OptionError("nothing here is a particle", where="system.metric", given=scenario.system.metric)
    progress.phase("compiling kernels (cached afterwards)")
    for metric in {k.metric for k in simulation.graph.links if k.kind.particles}:
        compile_for(simulation.kernels, metric, simulation.graph.dim, scenario.run.dtype)
    return simulation
