"""The course of a watched network: what it reached, D and its controls at some steps, and how these go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dynsim.reproduce import watched
from dynsim.reproduce.resolution import spearman, spearman_given
from dynsim.reproduce.study import Sample, Unit

# What is compared: the discrepancy, and what it may only repeat.
RANKED = {
    "D": "discrepancy",
    "D, Procrustes g": "turned",
    "norm of W": "norm",
    "D of shuffled weights": "shuffled",
    "stable rank": "stable_rank",
    "D / std W": "shape",
}
SAME = 0.05  # of a rank correlation: less is no difference


def training_units(name: str, seeds: int, quick: bool, hows: Sequence[str], epochs: int) -> list[Unit]:
    """Training and measurement of a network, for every seed and way."""
    settings: dict[str, Any] = {"field.samples": 1024} if quick and name != "attention" else {}
    settings |= {"field.validation": 0.08} if name == "lenet" else {}
    learn = {"name": name, "epochs": min(epochs, 3) if quick else epochs, "looks": 2 if quick else 12}
    if quick and name == "mnist_mlp":
        settings |= {"system.layers": [784, 32, 10]}
    fit = {"steps": 30} if quick else {}
    units = []
    for seed in range(seeds):
        for how in hows:
            source = watched.watched_name(name, how, seed)
            units.append(Unit(source, watched.trained, learn | {"seed": seed, "settings": settings, "how": how}))
            units.append(Unit(f"d-{source}", watched.measured, {"source": source, "fit": fit}, (source,)))
    return units


class Course:
    """What a network went through, for one way of training: numbers (checkpoints,) of every seed."""

    def __init__(self, found: Mapping[str, Any], name: str, how: str, seeds: int) -> None:
        sources = [watched.watched_name(name, how, s) for s in range(seeds)]
        self.reached = [found[s]["checkpoints"] for s in sources]
        self.rows = [found[f"d-{s}"]["rows"] for s in sources]
        self.layers = found[sources[0]]["links"]

    def accuracy(self, part: str = "validation") -> np.ndarray:
        """(seeds, checkpoints) in per cent."""
        return 100 * self.of(f"{part}_accuracy")

    def of(self, key: str) -> np.ndarray:
        """(seeds, checkpoints) of what was reached."""
        return np.array([[row[key] for row in rows] for rows in self.reached])

    def measure(self, key: str, layer: str = "all") -> np.ndarray:
        """(seeds, checkpoints) of D or one of its controls."""
        return np.array([[row[layer][key] for row in rows] for rows in self.rows])

    def rank(self, key: str, against: np.ndarray, layer: str = "all") -> Sample:
        """Spearman's correlation over the checkpoints, seed by seed."""
        return Sample(tuple(map(spearman, self.measure(key, layer), against)))

    def rank_at_equal_norm(self, against: np.ndarray, layer: str = "all") -> Sample:
        """What is left of that of D among states of equal norm: partial rank correlation."""
        return Sample(
            tuple(map(spearman_given, self.measure("discrepancy", layer), against, self.measure("norm", layer)))
        )


def told(what: str, course: Course, against: np.ndarray, layer: str = "all") -> str:
    """A sentence on a correlation, and on whether D says more than the best of its controls."""
    rho = {name: course.rank(k, against, layer) for name, k in RANKED.items()}
    controls = {name: rho[name] for name in ("norm of W", "D of shuffled weights")}
    best = max(controls, key=lambda name: controls[name].mean)
    gain = rho["D"].mean - controls[best].mean
    holds = "holds" if rho["D"].mean > 0.5 else "does not hold"
    more = "D says more than it" if gain > SAME else "D says no more than that"
    left = course.rank_at_equal_norm(against, layer)
    said = f"{what}: {holds} (rho {rho['D']}); that of {best} is {controls[best]}: {more}."
    return f"{said} At equal norm rho {left} is left."
