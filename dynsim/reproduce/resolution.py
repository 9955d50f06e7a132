"""Networks at every resolution delta of Eq. (12): accuracy, psi and LapCurSE, of trained and untrained coordinates.

One delta for all coordinates, a fraction of their whole range, so that the truncated model is that of the cells of
Eq. (13): Sec. 4.3's q(delta). The deltas are the 40 of LapCurSE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.quantise import quantise
from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.observables.curvature import FRACTIONS, lapcurse_curve
from dynsim.reproduce.study import Sample, Unit
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups, System

ROUNDINGS = ("floor", "round")
PARTS = ("validation", "test")
_MNIST = ("mnist_mlp", {"run.epochs": 8, "field.validation": 0.1, "system.metric": "l2", "system.copies": 4})
_DIGITS = ("quickstart", {"field.validation": 0.2, "system.copies": 4, "run.twin": None})
# name -> (scenario, settings); the last two have few images and learn them by heart, so that there is overfitting.
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "MNIST, 2 layers": (_MNIST[0], _MNIST[1] | {"system.layers": [784, 10]}),
    "digits, 2 layers": (_DIGITS[0], _DIGITS[1] | {"system.layers": ["auto", "auto"]}),
    "MNIST, 3 layers": (_MNIST[0], _MNIST[1] | {"system.layers": [784, 64, 10]}),
    "MNIST, 3 layers, 1,000 images": (
        _MNIST[0],
        _MNIST[1] | {"system.layers": [784, 64, 10], "field.samples": 1500, "field.validation": 0.33, "run.epochs": 60},
    ),
    "digits, 3 layers, 300 images": (_DIGITS[0], _DIGITS[1] | {"field.samples": 600, "field.validation": 0.5}),
}
TWO_LAYERS = tuple(name for name in NETS if "2 layers" in name)
QUICK = {"field.samples": 600, "run.epochs": 1}
ALL = tuple(range(len(FRACTIONS)))  # the deltas, by their numbers
FEW = ALL[::6]


def net_units(names: Iterable[str], seeds: int, quick: bool) -> list[Unit]:
    """Every net and seed."""
    units = []
    for name in names:
        scenario, settings = NETS[name]
        units += [delta_unit(unit_name(name, seed), scenario, settings, seed, quick) for seed in range(seeds)]
    return units


def delta_unit(name: str, scenario: str, settings: Mapping[str, Any], seed: int, quick: bool) -> Unit:
    """A net trained from scratch, then truncated; a quick one learns next to nothing and is truncated seven times."""
    chosen, few = (FEW, QUICK) if quick else (ALL, {})
    said = {"scenario": scenario, "settings": dict(settings) | few, "seed": seed, "chosen": list(chosen)}
    return Unit(name, at_every_delta, said)


def unit_name(net: str, seed: int) -> str:
    """Of the files of a net."""
    return f"deltas {net} {seed}"


def at_every_delta(
    folder: Path, scenario: str, seed: int, settings: dict[str, Any], chosen: Sequence[int]
) -> dict[str, Any]:
    """A net trained from scratch, then truncated at the chosen deltas."""
    return measured(*trained(scenario, seed, settings), chosen)


def trained(scenario: str, seed: int, settings: Mapping[str, Any]) -> tuple[Simulation, System]:
    """A run at its end, and its untrained system."""
    asked = {"run.seed": seed, "record.observables": []} | dict(settings)
    simulation = Simulation(Scenario.load(scenario).changed(**asked))
    untrained = simulation.system
    while not simulation.done:
        simulation.step()
    return simulation, untrained


def measured(simulation: Simulation, untrained: System, chosen: Sequence[int]) -> dict[str, Any]:
    """Accuracies untruncated and at the chosen deltas, psi and LapCurSE there, "expected" the mean of all, and the
    null control of these."""
    deltas = FRACTIONS[list(chosen)].tolist()
    system, kernels = simulation.system, simulation.kernels
    numbers: dict[str, Any] = {
        "particles": system.graph.particles,
        "parameters": cost(Model.of(simulation)).parameters,
        "deltas": deltas,
    }
    for name, state in (("", system), ("_null", untrained)):
        _, psi, lapcurse = lapcurse_curve(kernels, cloud(state))
        numbers |= {f"{k}{name}": a[list(chosen)].tolist() for k, a in (("psi", psi), ("lapcurse", lapcurse))}
        numbers[f"expected{name}"] = float(lapcurse.mean())
    parts = [p for p in PARTS if simulation.data is not None and len(simulation.data.part(p))]
    for part in parts:
        numbers[f"{part}_accuracy"] = simulation.evaluate(part).accuracy
        for rounding in ROUNDINGS:
            states = (system.replace(x=truncated(system.x, d, rounding)) for d in deltas)
            numbers[f"{rounding} {part}"] = [simulation.evaluate(part, s).accuracy for s in states]
    return numbers


def cloud(system: System) -> np.ndarray:
    """(n, d) all coordinates, from the least of them on, so that the cells of psi are those of Eq. (12)."""
    q = _coordinates(system.x).reshape(-1, system.graph.dim)
    return q - q.min()


def truncated(x: Groups, delta: float, rounding: str) -> Groups:
    """All coordinates together on the levels of Eq. (12)."""
    coarse, result, start = quantise(_coordinates(x), delta, rounding), dict(x), 0
    for key in _keys(x):
        result[key] = coarse[start : start + x[key].size].reshape(x[key].shape)
        start += x[key].size
    return result


def _keys(x: Groups) -> list[str]:
    return [k for k in x if k.startswith("q:")]


def _coordinates(x: Groups) -> np.ndarray:
    return np.concatenate([x[k].ravel() for k in _keys(x)])


def spearman(a: Iterable[float], b: Iterable[float]) -> float:
    """Rank correlation; 0 where either is constant."""
    from scipy.stats import spearmanr  # slow to import

    first, second = np.asarray(list(a)), np.asarray(list(b))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def spearman_given(a: Iterable[float], b: Iterable[float], known: Iterable[float]) -> float:
    """Partial rank correlation of a and b: what is left of it among equals in a third; 0 where that explains either."""
    ab, ak, bk = spearman(a, b), spearman(a, known), spearman(b, known)
    left = (1 - ak**2) * (1 - bk**2)
    return (ab - ak * bk) / left**0.5 if left > 1e-12 else 0.0


def half_width(sample: Sample) -> float:
    """Half of the 95 % interval of a mean, by Student's t; infinite for one value."""
    from scipy.stats import t

    n = len(sample.values)
    return float(t.ppf(0.975, n - 1)) * sample.deviation / n**0.5 if n > 1 else float("inf")


def sign_of(sample: Sample) -> int:
    """1 or -1 where the 95 % interval of the mean lies on one side of 0, else 0."""
    return 0 if abs(sample.mean) <= half_width(sample) else (1 if sample.mean > 0 else -1)
