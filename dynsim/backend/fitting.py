"""Training for an estimator: one pass after the other, the best state kept; nothing is chosen on test data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sklearn.model_selection import train_test_split

from dynsim.errors import DataError
from dynsim.fields.data import LearningData, Part, Scaling
from dynsim.simulation import Simulation


@dataclass(frozen=True)
class Patience:
    """Stop after `passes` passes over the data of which none raised the validation score by more than `tol`."""

    passes: int
    tol: float


@dataclass
class Course:
    """How a training went: mean training loss, and validation score where there is one, of every pass."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


def learning_data(
    X: np.ndarray, y: np.ndarray, classes: tuple, validation: float, seed: int, scaling: Scaling | None = None
) -> LearningData:
    """Arrays in memory as parts; the validation part is drawn with `seed`, from every class where each has enough.

    Parameters
    ----------
    X : (n, features). y : labels (n,) in 0 ... classes - 1, or targets (n, outputs).
    validation : fraction held out, 0 for none.
    scaling : of an earlier training; None takes it from the training part.

    Raises DataError where a part would be empty.
    """
    X = np.ascontiguousarray(X, np.float32)
    kept, held = np.arange(len(X)), np.arange(0)
    if validation > 0:
        kept, held = _split(y, validation, seed)
    scaling = Scaling.of(X[kept], centred=True) if scaling is None else scaling
    train, chosen, none = (Part(scaling(X[part]), y[part]) for part in (kept, held, kept[:0]))
    return LearningData(train, chosen, none, scaling, classes, X.shape[1:], float(X.max(initial=0.0)) or 1.0)


def _split(y: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    n = len(y)
    held = math.ceil(fraction * n)
    if held >= n:
        raise DataError("too few samples to hold a validation part out", given=f"n_samples = {n}", allowed="2 or more")
    counts = np.unique(y, return_counts=True)[1] if y.ndim == 1 else np.zeros(1)
    enough = counts.min() >= 2 and min(held, n - held) >= len(counts)
    kept, chosen = train_test_split(np.arange(n), test_size=held, random_state=seed, stratify=y if enough else None)
    return np.sort(kept), chosen


def train(
    simulation: Simulation,
    score: Callable[[Simulation], float] | None = None,
    patience: Patience | None = None,
    tell: Callable[[Course], None] | None = None,
) -> Course:
    """Step to the end of a simulation, or until patience ends; it is left in its best state, without score the last.

    Parameters
    ----------
    score : of the validation part, larger is better; asked after every pass.
    tell : called after every pass.

    Raises DivergenceError.
    """
    course, best, at_best, waited = Course(), -math.inf, simulation.system, 0
    while not simulation.done:
        course.losses.append(_one_pass(simulation))
        if score is not None:
            reached = score(simulation)
            course.scores.append(reached)
            waited = 0 if patience is None or reached > best + patience.tol else waited + 1
            if reached >= best:
                best, at_best = reached, simulation.system
        if tell is not None:
            tell(course)
        if patience is not None and waited >= patience.passes:
            break
    if score is not None:
        simulation.system = at_best
    return course


def _one_pass(simulation: Simulation) -> float:
    losses = []
    for _ in range(simulation.field.steps_per_epoch):
        if simulation.done:
            break
        simulation.step()
        losses.append(simulation.response.loss if simulation.response else math.nan)
    simulation.pending.clear()
    return float(np.mean(losses))
