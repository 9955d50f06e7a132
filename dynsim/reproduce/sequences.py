"""Eq. (2) on sequences: a bank of sines, driven Lorenz against its rivals, and Appendix J's ways of updating."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.fields.sequence import SequenceField, scores
from dynsim.reproduce import picture
from dynsim.reproduce.study import Sample, Study, Unit
from dynsim.reproduce.table import Table, judged, paired
from dynsim.scenario import Scenario
from dynsim.sequences import rivals
from dynsim.simulation import Simulation
from dynsim.system.graph import System, parameters

Found = Mapping[str, Mapping[str, Any]]
AHEAD = (1, 3, 5, 8)
LORENZ_TICK = 0.05  # units of Lorenz' time
CHAIN: dict[str, Any] = {"system.layers": ["auto", 12, 12], "system.links": [[0, 1], [1, 2], [1, 1], [2, 2]]}
VARIANTS: dict[str, dict[str, Any]] = {
    "sequential": {"system.delays": [0, 0, 1, 1]},
    "simultaneous": {"system.delays": [0, 0, 1, 1], "sequence.updates": "simultaneous"},
    "2 ticks a link": {"system.delays": [2, 2, 2, 2]},
    "4 ticks a link": {"system.delays": [4, 4, 4, 4]},
}
FEW = {"run.steps": 8, "sequence.length": 160}


def answered(folder: Path, scenario: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """100 R^2 of a trained system, of its rivals, and of its control: untrained, with the best read-out."""
    simulation = Simulation(Scenario.load(scenario).changed(**{"run.seed": seed, "record.observables": []} | settings))
    field, start = simulation.field, simulation.system
    assert isinstance(field, SequenceField)
    while not simulation.done:
        simulation.step()
    size = parameters(simulation.system.x)
    numbers: dict[str, Any] = {"parameters": size, "values": field.task.targets.size}
    ours = {"": field.scores(simulation.system), "_untrained": scores(field.task, untrained(field, start))}
    for name, rival in rivals(field.task, size).items():
        short = name.partition(",")[0]
        ours[f"_{short}"] = scores(field.task, rival.answers)
        numbers[f"parameters_{short}"] = rival.parameters
    for name, found in ours.items():
        numbers |= {f"{part.partition('_')[0]}{name}_{part.partition('_')[2]}": 100 * r2 for part, r2 in found.items()}
    return numbers


def untrained(field: SequenceField, start: System, strength: float = 1e-6) -> np.ndarray:
    """Answers (L, K) of a system as it was drawn, its read-out fitted to the training part by ridge regression."""
    key = f"readout:{field.answering}"
    size = len(start.x[key]) - 1
    emitted = field.answers(start.replace(x=start.x | {key: np.eye(size + 1, size)}))
    features = np.concatenate([emitted, np.ones((len(emitted), 1))], axis=1)
    known = ~np.isnan(emitted).any(axis=1) & (np.arange(len(emitted)) < field.task.cut)
    gram = features[known].T @ features[known]
    gram += strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    return features @ np.linalg.solve(gram, features[known].T @ field.task.targets[known])


def sequences(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Both tasks and the ways of updating; every seed draws another sequence and another system."""
    few = FEW if quick else {}
    units = [Unit(f"sines-{s}", answered, _said("sine_bank", s, few)) for s in range(seeds)]
    for s in range(seeds):
        units += [Unit(f"lorenz-{a}-{s}", answered, _said("lorenz", s, {"sequence.ahead": a} | few)) for a in AHEAD]
        units += [Unit(f"updates-{v}-{s}", answered, _said("lorenz", s, CHAIN | x | few)) for v, x in VARIANTS.items()]
    found = study.run("sequences", units)
    tables = [_sines(found, seeds), _lorenz(found, seeds), _updates(found, seeds)]
    _draw(study.folder, found, seeds)
    return tables


def _said(scenario: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {"scenario": scenario, "seed": seed, "settings": settings}


def _sample(found: Found, name: str, seeds: int, key: str) -> Sample:
    return Sample(tuple(found[f"{name}-{s}"][key] for s in range(seeds)))


def _sines(found: Found, seeds: int) -> Table:
    one, ours = found["sines-0"], _sample(found, "sines", seeds, "r2_train")
    control = _sample(found, "sines", seeds, "r2_untrained_train")
    table = Table(
        "sequences-sines",
        f"A bank of sines from nothing but Eq. (2), {seeds} seeds, 100 R²",
        "Pei & Wang, ICML 2023, Eq. (2)",
        "Scenario sine_bank: no input. The control is the system as it was drawn, with the best linear read-out.",
        ("system", "numbers", "values of the bank", "100 R²"),
        [("trained", one["parameters"], one["values"], ours), ("untrained", one["parameters"], one["values"], control)],
    )
    fewer = "fewer" if one["parameters"] < one["values"] else "not fewer"
    table.verdict = [
        judged("100 R² of the bank", ours, 99.0, ""),
        f"{one['parameters']:,} numbers for {one['values']:,} values: {fewer}.",
        f"Trained minus untrained, seed by seed: {paired(ours, control)}.",
    ]
    return table


RIVALS = {"ridge AR": "r2_ridge AR_test", "persistence": "r2_persistence_test", "untrained": "r2_untrained_test"}


def _lorenz(found: Found, seeds: int) -> Table:
    one = found[f"lorenz-{AHEAD[0]}-0"]
    table = Table(
        "sequences-lorenz",
        f"Lorenz' system foretold from its past, {seeds} seeds, 100 R² on the held-out quarter",
        "Pei & Wang, ICML 2023, Eq. (2)",
        f"Scenario lorenz, {one['parameters']:,} numbers; ridge AR on the last inputs, {one['parameters_ridge AR']:,}. "
        "Untrained: the system as it was drawn, with the best linear read-out of the training part.",
        ("ahead, units of time", "DyN", *RIVALS),
    )
    for ahead in AHEAD:
        ours = _sample(found, f"lorenz-{ahead}", seeds, "r2_test")
        others = {name: _sample(found, f"lorenz-{ahead}", seeds, key) for name, key in RIVALS.items()}
        table.rows.append((f"{ahead * LORENZ_TICK:g}", ours, *others.values()))
        said = ", ".join(f"{_verdict(paired(ours, other))} {name}" for name, other in others.items())
        table.verdict.append(f"{ahead * LORENZ_TICK:g} ahead: {said}.")
    return table


def _verdict(ahead: Sample) -> str:
    """Whether a difference seed by seed is one."""
    if abs(ahead.mean) <= ahead.deviation:
        return f"level with ({ahead})"
    return f"{'beats' if ahead.mean > 0 else 'loses to'} ({ahead})"


def _updates(found: Found, seeds: int) -> Table:
    table = Table(
        "sequences-updates",
        f"Delay along links, and sequential against simultaneous updates: Lorenz, {seeds} seeds, 100 R²",
        "Pei & Wang, ICML 2023, Appendix J",
        "Input, 12 and 12 sub-models in a chain, the two feeding themselves; otherwise as the scenario lorenz. "
        "Sequential: a signal crosses the chain in one tick. Simultaneous: a tick a link.",
        ("updates", "training part", "held out"),
    )
    samples = {v: _sample(found, f"updates-{v}", seeds, "r2_test") for v in VARIANTS}
    for name, held in samples.items():
        table.rows.append((name, _sample(found, f"updates-{name}", seeds, "r2_train"), held))
    first, *others = samples
    table.verdict = [f"{v}: {_verdict(paired(samples[v], samples[first]))} {first} updates." for v in others]
    return table


def _draw(folder: Path, found: Found, seeds: int) -> None:
    keys = {"DyN": "r2_test"} | RIVALS
    curves = {n: [_sample(found, f"lorenz-{a}", seeds, k) for a in AHEAD] for n, k in keys.items()}
    picture.series(
        folder / "sequences-lorenz.png",
        [a * LORENZ_TICK for a in AHEAD],
        curves,
        ("ahead, units of Lorenz' time", "100 R², held out"),
        "Lorenz' system foretold from its past: Eq. (2) and its rivals",
        dashed=tuple(RIVALS),
        lowest=-150.0,
    )
