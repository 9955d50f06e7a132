"""Runs of which Fig. 6 is made: where particles go, window by window, against steps in random directions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.observables.entropy import relative_entropy
from dynsim.observables.local_entropy import density_ascent, downhill, random_directions
from dynsim.reproduce.study import Unit, save_arrays
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

WINDOWS = 80  # of a run
SPACES = ("view", "R^d")
PERIODS = ("early", "later")
MEASURES = ("denser", "denser_control", "gradient", "gradient_control", "leaving")
CELLS = {"view": 0.25, "R^d": 1.0}  # sides, in standard deviations of the coordinates
_MLP = {"system.layers": [784, 128, 10], "system.copies": 8, "system.metric": "l2", "run.epochs": 4, "run.twin": None}
WELL = {"dynamics.confinement": 0.02}
# name -> (scenario, settings)
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "moons": ("moons", {}),
    "moons, confined": ("moons", WELL),
    "mnist_mlp": ("mnist_mlp", _MLP),
    "mnist_mlp, confined": ("mnist_mlp", _MLP | WELL),
}


def units(seeds: int, quick: bool) -> list[Unit]:
    """Every run and seed."""
    made = []
    for name, (scenario, settings) in RUNS.items():
        few = {"field.samples": 1280, "run.epochs": 2} if quick and "run.epochs" in settings else {}
        said = {"name": name, "scenario": scenario, "settings": settings | few}
        made += [Unit(unit_name(name, s), moves, said | {"seed": s}) for s in range(seeds)]
    return made


def unit_name(run: str, seed: int) -> str:
    """Of the files of a run."""
    return f"moves {run} {seed}"


def moves(folder: Path, name: str, scenario: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """A run in windows: the measures of every space and period, psi at both ends, and places for a map."""
    asked = {"run.seed": seed, "record.observables": []} | settings
    simulation = Simulation(Scenario.load(scenario).changed(**asked))
    rng, project = np.random.default_rng(seed), simulation.projection.T
    window = max(1, simulation.total_steps // WINDOWS)
    states = list(_states(simulation, window))
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for (step, q), (_, later) in zip(states, states[1:]):
        when = PERIODS[step * 10 >= simulation.total_steps]
        for space, points, moved in (("view", q @ project, (later - q) @ project), ("R^d", q, later - q)):
            found.setdefault((space, when), []).append(_measured(points, moved, CELLS[space] * float(q.std()), rng))
    numbers: dict[str, Any] = {"test_accuracy": simulation.evaluate("test").accuracy}
    for (space, when), rows in found.items():
        numbers |= {f"{space} {when} {k}": v for k, v in zip(MEASURES, np.nanmean(rows, axis=0).tolist())}
    for when, (_, q) in (("start", states[0]), ("end", states[-1])):
        for space, points in (("view", q @ project), ("R^d", q)):
            side = CELLS[space] * float(q.std())
            numbers[f"{space} psi {when}"] = relative_entropy(simulation.kernels, points, side)
    _save_map(folder, unit_name(name, seed), states)
    return numbers


def _states(simulation: Simulation, window: int) -> Iterator[tuple[int, np.ndarray]]:
    """(step, q (n, d)) at the start of every window and at the end."""
    dim = simulation.graph.dim
    while True:
        blocks = [simulation.system.x[f"q:{s.name}"].reshape(-1, dim) for s in simulation.graph.particle_subsystems]
        yield simulation.system.step, np.concatenate(blocks)
        if simulation.done:
            return
        for _ in range(window):
            if not simulation.done:
                simulation.step()


def _measured(q: np.ndarray, moved: np.ndarray, side: float, rng: np.random.Generator) -> tuple[float, ...]:
    """The measures of a window, in the order of `MEASURES`."""
    control = random_directions(moved, rng)
    leaving, denser = downhill(q, moved, side)
    gradients = density_ascent(q, moved, side, rng), density_ascent(q, control, side, rng)
    return denser, downhill(q, control, side).denser, *gradients, leaving


def _save_map(folder: Path, name: str, states: list[tuple[int, np.ndarray]]) -> None:
    """Two axes at the start, after a twentieth of the run, at its middle and at its end."""
    chosen = [states[k] for k in (0, max(1, len(states) // 20), len(states) // 2, -1)]
    places = np.stack([q[:, :2] for _, q in chosen])
    steps, side = np.array([step for step, _ in chosen]), np.array([CELLS["view"] * float(states[0][1].std())])
    save_arrays(folder, name, {"places": places, "steps": steps, "side": side})
