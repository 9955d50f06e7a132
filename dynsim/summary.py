"""The final numbers of a run, as summary.json holds them."""

from __future__ import annotations

from dataclasses import asdict
from time import perf_counter
from typing import Any, Protocol

from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.backend.sequence_run import rival_rows
from dynsim.backend.twin import dense_twin
from dynsim.fields.sequence import SequenceField, TickField
from dynsim.fields.target import TargetField
from dynsim.kernels.load import hardware, thread_count
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import parameters
from dynsim.versions import versions


class Teller(Protocol):
    """Who is told how far a run is, as `dynsim.progress.Progress` is."""

    def phase(self, name: str, total: int = 0, done: int = 0) -> None: ...

    def update(self, step: int, total: int, numbers: Any) -> None: ...


def summarise(simulation: Simulation, wall_s: float, steps_per_s: float) -> dict[str, Any]:
    """The final numbers of a run, as summary.json holds them."""
    scenario, system = simulation.scenario, simulation.system
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "seed": scenario.run.seed,
        "device": simulation.kernels.__name__.rsplit(".", 1)[-1],
        "hardware": hardware(simulation.kernels, scenario.run.device),
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
    if isinstance(simulation.field, SequenceField):
        summary |= {"macs": simulation.field.macs(system), "rivals": rival_rows(simulation.field, system)}
    summary["observables"] = simulation.scalars()
    return summary


def _final(simulation: Simulation) -> dict[str, float | None]:
    """Losses and accuracies over whole parts of the data; for a target, its loss and relative error."""
    if simulation.data is None:
        field = simulation.field
        result: dict[str, float | None] = {"train_loss": _loss(simulation)}
        result |= {"train_accuracy": None, "test_accuracy": None}
        if isinstance(field, TargetField):
            weights = all_weights(simulation.kernels, simulation.system)
            result["relative_error"] = field.relative_error(weights[field.link.name].matrix())
        if isinstance(field, SequenceField):
            result |= field.scores(simulation.system)
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


def _loss(simulation: Simulation) -> float | None:
    """The energy of the last step; None where nothing is compared with anything."""
    if simulation.response is None or isinstance(simulation.field, TickField):
        return None
    return simulation.response.loss


def train_twin(simulation: Simulation, progress: Teller) -> dict[str, Any]:
    """Train the weight-based network of equal widths on the same batches; its numbers for the final table."""
    started = perf_counter()
    twin = dense_twin(simulation)
    progress.phase("training the dense twin", twin.total_steps)
    while not twin.done:
        twin.step()
        progress.update(twin.system.step, twin.total_steps, twin.brief(twin.last_row))
    return asdict(cost(Model.of(twin))) | {"final": _final(twin), "wall_s": perf_counter() - started}
