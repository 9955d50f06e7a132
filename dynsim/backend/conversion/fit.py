"""A given matrix of weights as path integrals, Eq. (5), in float32 or with coordinates of few bits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dynsim.backend.conversion.compression import Encoded
from dynsim.backend.conversion.coordinates import (
    METRICS,
    Lattice,
    PathIntegrals,
    encode,
    numbers,
    settings_for,
    stored_bytes,
)
from dynsim.backend.conversion.descent import RATE, Target, Told, descend, finished, random_start, singular_start
from dynsim.backend.conversion.polishing import polish
from dynsim.errors import DataError, OptionError, ShapeError, unknown
from dynsim.kernels.load import load_host

__all__ = ["candidates", "fit_matrix", "numbers", "settings_for", "stored_bytes"]

STARTS = ("best", "random", "svd")
TRIAL = 0.25  # share of the steps after which the better start is known
POLISHED = 8  # bits up to which codes are searched after the descent
CANDIDATE_FORMS = (("reciprocal", 4), ("l2", 4), ("reciprocal", 6))
CANDIDATE_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25)


@dataclass(frozen=True)
class _Fit:
    start: str
    phi: PathIntegrals
    lattices: dict[str, Lattice] | None
    error: float


def fit_matrix(
    matrix: np.ndarray,
    *,
    metric: str = "l2",
    copies: int = 3,
    dim: int = 9,
    bits: int | None = None,
    steps: int = 1200,
    rate: float | None = None,
    start: str = "best",
    importance: np.ndarray | None = None,
    seed: int = 0,
    device: str = "cpu",
    told: Told | None = None,
) -> Encoded:
    """The stored form "dyn" whose path integrals approach W (M, N), that is least sum_ij s_i (W_ij - phi_ij)^2.

    Parameters
    ----------
    metric : of `coordinates.METRICS`; copies : H; dim : d.
    bits : of a coordinate, 4 ... 16, learned under that rounding; None for float32.
    rate : of Adam at the first step, in units of the coordinates (about 1); None for what was measured best.
    start : "random" points on a sphere, "svd" (see `singular_start`), or "best": both in short, the better in full.
    importance : s (M,) of the inputs, not negative.
    told : called now and then with (step, steps, relative error).

    The same bits for a seed, whatever the number of threads. `settings["relative_error"]` is |W - phi| / |W|, weighted
    by s where given; `settings["start"]` the start that won. Raises DataError for NaN or Inf, ShapeError for what is no
    matrix, OptionError for a setting out of range.
    """
    _check(metric, copies, dim, bits, steps, start)
    weights = _matrix(matrix)
    gain, target = _target(weights, importance, load_host(device))
    settings = {"copies": copies, "dim": dim}
    if gain == 0:
        phi = random_start(target, metric, seed=seed, **settings)
        lattices = bits and {s: Lattice.around(q, bits) for s, q in phi.q.items()}
        best = _Fit("random", phi, lattices or None, 0.0)
    else:
        run = _Runs(target, metric, settings, bits, rate, seed)
        best = run.best(steps, told) if start == "best" else run.one(start, steps, told)
    encoded = encode(weights.shape, best.phi, gain, best.lattices, bits)
    return replace(encoded, settings={**encoded.settings, "start": best.start, "relative_error": best.error})


@dataclass(frozen=True)
class _Runs:
    """Descents of one target from one start or another."""

    target: Target
    metric: str
    settings: dict[str, int]
    bits: int | None
    rate: float | None
    seed: int

    def best(self, steps: int, told: Told | None) -> _Fit:
        """Both starts for a share of the steps, the better one in full; what a trial found stays if it was better."""
        trials = [self.one(start, max(1, int(TRIAL * steps)), None) for start in ("random", "svd")]
        lead = min(trials, key=lambda f: f.error)
        return min([self.one(lead.start, steps, told), *trials], key=lambda f: f.error)

    def one(self, start: str, steps: int, told: Told | None) -> _Fit:
        """One descent, or its start where that was better (a matrix of low rank), polished."""
        first = self._first(start)
        rate = RATE[start] if self.rate is None else self.rate
        phi, lattices, error = descend(
            self.target, first, steps=steps, rate=rate, bits=self.bits, seed=self.seed, told=told
        )
        if self.bits is None:
            first = finished(self.target, first)
            least = self.target.error(first.matrix(self.target.kernels))
            phi, error = (first, least) if least < error else (phi, error)
        elif lattices is not None and self.bits <= POLISHED:
            phi, error = polish(self.target, phi, lattices, self.seed)
        return _Fit(start, phi, lattices, error)

    def _first(self, start: str) -> PathIntegrals:
        if start == "random":
            return random_start(self.target, self.metric, seed=self.seed, **self.settings)
        return singular_start(self.target, self.metric, **self.settings)


def candidates(
    matrix: np.ndarray,
    most_bytes: int,
    importance: np.ndarray | None = None,
    quick: bool = True,
    seed: int = 0,
) -> list[Encoded]:
    """Forms of one matrix worth offering to a knapsack, none above `most_bytes`, in rising bytes; empty if none fits.

    quick : fewer steps and sizes. Neither metric was better in 4 bits on everything that was measured: both are tried.
    """
    weights = _matrix(matrix)
    shares, steps = (CANDIDATE_SHARES[::2], 400) if quick else (CANDIDATE_SHARES, 1200)
    wanted = set()
    for metric, bits in CANDIDATE_FORMS:
        for share in shares:
            try:
                size = settings_for(weights.shape, bytes=int(share * most_bytes), bits=bits, metric=metric)
                wanted.add((metric, bits, *size))
            except OptionError:
                continue
    forms = [
        fit_matrix(
            weights,
            metric=metric,
            copies=copies,
            dim=dim,
            bits=bits,
            steps=steps,
            start="random" if quick else "best",
            importance=importance,
            seed=seed,
        )
        for metric, bits, copies, dim in sorted(wanted)
    ]
    return sorted(forms, key=lambda e: e.nbytes)


def _check(metric: str, copies: int, dim: int, bits: int | None, steps: int, start: str) -> None:
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, where="metric")
    if start not in STARTS:
        raise unknown("start", start, STARTS, where="start")
    for name, value, least in (("copies", copies, 1), ("dim", dim, 2), ("steps", steps, 1)):
        if value < least:
            raise OptionError("too few", where=name, given=value, allowed=f"{least} or more")
    if bits is not None and not 4 <= bits <= 16:
        raise OptionError(
            "not a width of coordinates", where="bits", given=bits, allowed="4 to 16, or none for float32"
        )


def _matrix(matrix: np.ndarray) -> np.ndarray:
    """(M, N) float64 of numbers that float32 can hold, checked."""
    with np.errstate(over="ignore"):
        weights = np.asarray(matrix).astype(np.float32).astype(np.float64)
    if weights.ndim != 2 or weights.size == 0:
        raise ShapeError("not a matrix of weights", given=f"shape {weights.shape}", allowed="(M, N) with M, N >= 1")
    if not np.isfinite(weights).all():
        bad = int((~np.isfinite(weights)).sum())
        raise DataError(
            "weights that are NaN or Inf", given=f"{bad} of {weights.size}", hint="repair the network first"
        )
    return weights


def _target(weights: np.ndarray, importance: np.ndarray | None, kernels) -> tuple[float, Target]:
    """(gain, target): the gain is the root mean square of W, which the target is divided by; 0 where nothing counts."""
    root = None if importance is None else _root(importance, len(weights))
    gain = float(np.sqrt(np.mean(np.square(weights))))
    values = (weights / (gain or 1)).astype(np.float32)
    target = Target(values, root, kernels)
    return (gain if np.any(target.weighted(values)) else 0.0), target


def _root(importance: np.ndarray, rows: int) -> np.ndarray:
    """(M, 1) float32 of mean square 1."""
    s = np.asarray(importance, np.float64)
    if s.shape != (rows,):
        raise ShapeError("not one importance an input", given=f"shape {s.shape}", allowed=f"({rows},)")
    if not (np.isfinite(s).all() and (s >= 0).all()):
        raise DataError("importance that is negative, NaN or Inf", where="importance")
    return np.sqrt(s / (s.mean() or 1))[:, None].astype(np.float32)
