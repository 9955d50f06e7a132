"""Values that stand for many numbers: Lloyd's algorithm on the line, and the scales that compressors share."""

from __future__ import annotations

import numpy as np


def short(x: np.ndarray) -> np.ndarray:
    """In float16, where it holds them to 0.1 %, else in float32."""
    with np.errstate(over="ignore"):
        half = np.asarray(x).astype(np.float16)
    return half if np.allclose(half, x, rtol=1e-3, atol=0) else np.asarray(x).astype(np.float32)


def row_weights(matrix: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """(M, 1) importance of mean 1."""
    if importance is None or not importance.mean() > 0:
        return np.ones((len(matrix), 1))
    return (importance / importance.mean())[:, None].astype(np.float64)


def column_gain(matrix: np.ndarray, columns: bool) -> np.ndarray:
    """(1, N) root mean squares of the columns, as they are stored, or (1, 0) where they are not."""
    if not columns:
        return np.zeros((1, 0), dtype=np.float16)
    rms = np.sqrt(np.square(matrix.astype(np.float64)).mean(axis=0, keepdims=True))
    gain = short(rms)  # which has no room for the smallest numbers
    return np.where(gain > 0, gain, gain.dtype.type(1))


def scale_of(gain: np.ndarray) -> np.ndarray:
    return gain.astype(np.float64) if gain.size else np.ones((1, 1))


def lloyd(x: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The `count` values, ascending, of least weighted square distance to x (n,): Lloyd's, from two starts."""
    order = np.argsort(x)
    x, weights = x[order], np.maximum(weights[order], 1e-12)
    mass, moment = (np.concatenate([[0.0], np.cumsum(a)]) for a in (weights, weights * x))
    best, found = np.inf, x[:1]
    for values in (_spread(x, weights, count), x[(2 * np.arange(count) + 1) * len(x) // (2 * count)]):
        for _ in range(100):
            edges = np.concatenate([[0], np.searchsorted(x, (values[1:] + values[:-1]) / 2), [len(x)]])
            m, f = np.diff(mass[edges]), np.diff(moment[edges])
            moved = np.sort(np.divide(f, m, out=values.copy(), where=m > 0))
            if np.array_equal(moved, values):
                break
            values = moved
        error = -np.sum(np.divide(f * f, m, out=np.zeros(count), where=m > 0))
        if error < best:
            best, found = error, values
    return found


def _spread(x: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Levels as dense as the third root of the weight there, the best for many of them (Panter, Dite 1951)."""
    span = x[-1] - x[0]
    bins = np.minimum(512 * ((x - x[0]) / span), 511).astype(np.int64) if span > 0 else np.zeros(len(x), dtype=np.int64)
    dense = np.concatenate([[0.0], np.cumsum(np.cbrt(np.bincount(bins, weights, 512)))])
    return x[0] + span * np.interp((np.arange(count) + 0.5) / count * dense[-1], dense, np.arange(513) / 512)


def nearest(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.searchsorted((values[1:] + values[:-1]) / 2, x)
