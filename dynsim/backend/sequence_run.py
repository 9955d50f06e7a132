"""What a run on a sequence has reached: R^2 on the training part and on what was held out, its rivals beside it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from dynsim import checkpoint
from dynsim.errors import RunFolderError
from dynsim.fields.sequence import SequenceField, scores
from dynsim.runfolder import RunFolder
from dynsim.sequences import r_squared, rivals
from dynsim.simulation import Simulation
from dynsim.system.graph import System, parameters


def rival_rows(field: SequenceField, system: System) -> dict[str, dict[str, Any]]:
    """Rival -> what it reaches and costs, as a summary has it; none where no past drives the sequence."""
    rows = {}
    started = perf_counter()
    for name, rival in rivals(field.task, parameters(system.x)).items():
        price = {"parameters": rival.parameters, "bytes": rival.parameters * field.task.targets.itemsize}
        rows[name] = {"final": scores(field.task, rival.answers), **price, "macs": rival.parameters}
        rows[name]["wall_s"] = perf_counter() - started
        started = perf_counter()
    return rows


def evaluate_sequence(folder: RunFolder) -> dict[str, Any]:
    """R^2, also of every column that is asked for, and the rivals of a run, at its newest checkpoint.

    Raises RunFolderError where nothing was learned, or there is no checkpoint yet.
    """
    if folder.checkpoint is None:
        raise RunFolderError("no checkpoint yet", where=str(folder.path), hint=f"dynsim resume {folder.path}")
    simulation = Simulation(folder.scenario)
    checkpoint.load(folder.checkpoint, simulation)
    field, system = simulation.field, simulation.system
    if not isinstance(field, SequenceField):
        raise RunFolderError("nothing was learned here", where=str(folder.path), hint=f"dynsim info {folder.path}")
    started = perf_counter()
    answers = field.answers(system)
    seconds = perf_counter() - started
    others = rival_rows(field, system)
    return {
        "run": str(folder.path),
        "sequence": folder.scenario.field.dataset,
        "ticks": len(field.task),
        "held_out": len(field.task) - field.task.cut,
        **scores(field.task, answers),
        "r2_by_column": by_column(field, answers),
        "parameters": parameters(system.x),
        "values": field.task.targets.size,
        "macs": field.macs(system),
        "inference_us_per_tick": 1e6 * seconds / len(field.task),
        "rivals": {name: row["final"] | {"parameters": row["parameters"]} for name, row in others.items()},
    }


def by_column(field: SequenceField, answers: np.ndarray) -> list[float]:
    """R^2 of every column, over what was held out, or over all where nothing was."""
    task = field.task
    part = slice(task.cut if task.cut < len(task) else 0, None)
    target, answer = task.targets[part], answers[part]
    known = ~np.isnan(answer).any(axis=1)
    return [r_squared(target[known, k, None], answer[known, k, None]) for k in range(target.shape[1])]


def print_sequence(result: dict[str, Any]) -> None:
    """The same for a person."""
    from rich.console import Console  # what a run has no use for
    from rich.table import Table

    console = Console()
    held = f", {result['held_out']} of them held out" if result["held_out"] else ""
    title = f"R² on {result['sequence']}: {result['ticks']} ticks{held}"
    table = Table(title=title, title_justify="left")
    for k, name in enumerate(("", "training part", "held out", "parameters")):
        table.add_column(name, justify="right" if k else "left")
    for name, row in {"DyN": result, **result["rivals"]}.items():
        table.add_row(name, _number(row["r2_train"]), _number(row["r2_test"]), f"{row['parameters']:,}")
    console.print(table)
    columns, part = ", ".join(map(_number, result["r2_by_column"])), "held out, " if result["held_out"] else ""
    console.print(f"{part}column by column: {columns}", highlight=False)
    console.print(
        f"{result['parameters']:,} numbers for {result['values']:,} values; {result['macs']:,} MACs and "
        f"{result['inference_us_per_tick']:.0f} us a tick",
        highlight=False,
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if value == value else "-"
