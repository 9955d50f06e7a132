"""Sequences to learn, in which time counts: what is drawn from formulas, what the user brings; and their rivals.

A sequence is an array (L, K): K numbers at each of L ticks. A `Task` says what drives a system at every tick and what
it should answer, both scaled by the training part, which comes first in time; nothing after `cut` is ever trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynsim.datafiles import read_matrix
from dynsim.errors import DataError, unknown

DRIVES = ("past", "clock", "none")


def _random(seed: int) -> np.random.Generator:
    """A stream of their own: those of datasets are 1 and 2, those of the engine start at 16."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, 3]))


def sines(seed: int, length: int, waves: int = 4) -> np.ndarray:
    """(length, waves): sine k has a random phase and k + 1/4 ... k + 3/4 periods in the whole length."""
    rng = _random(seed)
    periods = np.arange(1, waves + 1) + rng.uniform(-0.25, 0.25, waves)
    phases = rng.uniform(0, 2 * np.pi, waves)
    return np.sin(2 * np.pi * np.arange(length)[:, None] * periods / length + phases)


def lorenz(seed: int, length: int, dt: float = 0.05) -> np.ndarray:
    """(length, 3): Lorenz' x, y, z at s = 10, r = 28, b = 8/3, every `dt`, from a random start on its attractor.

    Source: Lorenz, J. Atmos. Sci. 20 (1963) 130. Runge and Kutta's fourth order in ten steps a `dt`.
    """
    state = [float(k) for k in np.array([1.0, 1.0, 25.0]) + _random(seed).standard_normal(3)]
    inner, skipped = 10, 400
    result = np.empty((length, 3))
    for t in range(-skipped, length):
        if t >= 0:
            result[t] = state
        for _ in range(inner):
            state = _runge_kutta(_lorenz_rate, state, dt / inner)
    return result


def _lorenz_rate(state: list[float]) -> list[float]:
    x, y, z = state
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


def _runge_kutta(rate: Callable[[list[float]], list[float]], state: list[float], dt: float) -> list[float]:
    def beyond(step: float, slope: list[float]) -> list[float]:
        return [q + step * v for q, v in zip(state, slope)]

    a = rate(state)
    b = rate(beyond(dt / 2, a))
    c = rate(beyond(dt / 2, b))
    d = rate(beyond(dt, c))
    return [q + dt / 6 * (k + 2 * l + 2 * m + n) for q, k, l, m, n in zip(state, a, b, c, d)]


GENERATORS: dict[str, Callable[[int, int], np.ndarray]] = {"sines": sines, "lorenz": lorenz}
NAMES = tuple(GENERATORS)


def load(source: str | Path, seed: int = 0, length: int = 512, waves: int = 4) -> np.ndarray:
    """A sequence (L, K) by its name, or from a .npy, .npz or .csv, a row a tick; float64.

    Parameters
    ----------
    length, waves : of what is drawn; a file has its own.

    Raises OptionError for an unknown name, DataError for a file that is no matrix of finite numbers.
    """
    if Path(source).suffix:
        return read_matrix(Path(source))
    if source not in GENERATORS:
        raise unknown("sequence", str(source), (*NAMES, "or a path"))
    return sines(seed, length, waves) if source == "sines" else GENERATORS[str(source)](seed, length)


@dataclass(frozen=True)
class Task:
    """What drives a system, and what it should answer.

    Attributes
    ----------
    inputs : (L, K_in), None where nothing drives it. targets : (L, K_out).
    cut : ticks of the training part; the rest is held out.
    ahead : by how many ticks the targets lie ahead of the inputs.
    known : (L, K_out), the targets' own numbers at the tick at which they are to be foretold; None without a past.
    """

    inputs: np.ndarray | None
    targets: np.ndarray
    cut: int
    ahead: int = 0
    known: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        *,
        drive: str,
        held_out: float = 0.0,
        ahead: int = 1,
        observed: Sequence[int] | None = None,
        predicted: Sequence[int] | None = None,
        dtype: str = "float64",
    ) -> Task:
        """What a sequence (L, K) asks for.

        Parameters
        ----------
        drive : "past": its own numbers, and what comes `ahead` ticks later is asked for; "clock": sine and cosine that
            turn once in the training part; "none": nothing.
        held_out : fraction at the end that is not trained on.
        observed, predicted : columns that drive and that are asked for; all by default.

        Raises OptionError for an unknown drive, DataError where too little is left or a column is not there.
        """
        if drive not in DRIVES:
            raise unknown("drive", drive, DRIVES, where="sequence.drive")
        length = len(values) - (ahead if drive == "past" else 0)
        cut = length - round(held_out * length)
        if cut < 2:
            raise DataError("too short a sequence", given=f"{len(values)} ticks", allowed="2 or more to train on")
        _check_columns(values.shape[1], observed, predicted)
        spread = values[:cut].std(axis=0)
        scaled = ((values - values[:cut].mean(axis=0)) / np.where(spread == 0, 1, spread)).astype(dtype)
        asked = scaled if predicted is None else scaled[:, predicted]
        if drive == "past":
            past = scaled if observed is None else scaled[:, observed]
            return cls(past[:length], asked[ahead:], cut, ahead, asked[:length])
        angle = 2 * np.pi * np.arange(length) / cut
        clock = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(dtype)
        return cls(clock if drive == "clock" else None, asked, cut)


def _check_columns(columns: int, *chosen: Sequence[int] | None) -> None:
    for k in (k for some in chosen for k in some or ()):
        if not 0 <= k < columns:
            raise DataError("no such column", where="sequence", given=k, allowed=f"0 ... {columns - 1}")


def r_squared(target: np.ndarray, answer: np.ndarray) -> float:
    """1 - sum (T - y)^2 / sum (T - mean of T)^2 over all ticks and columns; NaN where the target never changes."""
    off = np.square(target - answer, dtype=np.float64).sum()
    spread = np.square(target - target.mean(axis=0), dtype=np.float64).sum()
    return float(1 - off / spread) if spread > 0 else float("nan")


# Rivals ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rival:
    """Another way to answer a task: answers (L, K), NaN where it has none, and the numbers that it was fitted with."""

    answers: np.ndarray
    parameters: int


def rivals(task: Task, parameters: int) -> dict[str, Rival]:
    """What a system of so many parameters has to beat; nothing where no past drives it.

    "persistence": what is now stays; "ridge AR": an autoregression with about as many numbers.
    """
    if task.known is None:
        return {}
    lags = lags_for(task, parameters)
    return {"persistence": Rival(task.known, 0), f"ridge AR, {lags} lags": ridge(task, lags)}


def lags_for(task: Task, parameters: int) -> int:
    """How many lags give a linear model about as many numbers as `parameters`; 1 at least."""
    assert task.inputs is not None
    per_lag = task.inputs.shape[1] * task.targets.shape[1]
    return max(1, min(round((parameters - task.targets.shape[1]) / per_lag), task.cut // 4))


def ridge(task: Task, lags: int, strength: float = 1e-6) -> Rival:
    """An autoregression on the last `lags` inputs and a constant, fitted to the training part.

    strength : of the ridge, relative to the mean square of a column.
    """
    assert task.inputs is not None
    columns = [np.roll(task.inputs, k, axis=0) for k in range(lags)]
    X = np.concatenate([*columns, np.ones((len(task), 1))], axis=1).astype(np.float64)
    train = slice(lags - 1, task.cut)
    gram = X[train].T @ X[train]
    gram += strength * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.solve(gram, X[train].T @ task.targets[train])
    answers = X @ weights
    answers[: lags - 1] = np.nan
    return Rival(answers, weights.size)
