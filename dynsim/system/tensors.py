"""Tensors as signals, "Converting general tensor data flow into signals" (Fig. 3): one sub-model for every entry, which
emits its value and its position; slices along an axis that are alike need no sub-models of their own.

A sample is a tensor X of rank r and shape (d_1, ..., d_r); a batch is (B, d_1, ..., d_r). All is dimensionless.
"""

from __future__ import annotations

import math

import numpy as np

from dynsim.errors import ShapeError

Partition = tuple[int, ...]
CHUNK = 1024  # samples at a time, so that memory stays small
BORDER = 1e-3  # of a bin


def positions(shape: tuple[int, ...]) -> np.ndarray:
    """(prod d_k, r) positional features of all entries, the last axis fastest; each coordinate runs from -1 to 1.

    Index i of an axis of d slices stands at 2 i / (d - 1) - 1, and at 0 where d is 1. However, Fig. 3 appends the
    bare indices [0, 0], [0, 1], ...: ours have the size of the scaled values beside them whatever d is.
    """
    axes = [np.linspace(-1, 1, d) if d > 1 else np.zeros(1) for d in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(math.prod(shape), len(shape))


def as_signals(x: np.ndarray, layer: float | None = None) -> np.ndarray:
    """(B, d_1, ..., d_r) -> (B, 1 + r, prod d_k): the signals of R^(1+r) of all entries' sub-models, value first.

    With `layer`, one more component tells from which layer they come: R^(r+2).
    """
    return with_features(x, features(x.shape[1:], layer).astype(x.dtype))


def features(shape: tuple[int, ...], layer: float | None = None) -> np.ndarray:
    """(prod d_k, r) positions, or (prod d_k, r + 1) with the layer as the last."""
    grid = positions(shape)
    return grid if layer is None else np.column_stack([grid, np.full(len(grid), layer)])


def with_features(x: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Values (B, ...) of N entries and their features (N, f) -> signals (B, 1 + f, N)."""
    values = x.reshape(len(x), 1, -1)
    return np.concatenate([values, np.broadcast_to(features.T, (len(x), *features.T.shape))], axis=1)


def symmetric_kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p | q) + KL(q | p) in nats, over the last axis of distributions."""
    from scipy.special import rel_entr  # slow to import, and few runs need it

    return (rel_entr(p, q) + rel_entr(q, p)).sum(axis=-1)


def histograms(x: np.ndarray, bins: int = 16) -> np.ndarray:
    """(n, d_1, ..., d_r) -> (d_1, ..., d_r, bins): how the values of every entry are distributed over the samples.

    Bins are equal parts of the range of all values; one count is added to each, so that no divergence is infinite.
    Values on the border of two bins, as pixels are, belong to the upper one however they are rounded.
    """
    low, high = float(x.min()), float(x.max())
    scale = bins / (high - low) if high > low else 0.0
    entries = math.prod(x.shape[1:])
    counts = np.ones(entries * bins)
    for start in range(0, len(x), CHUNK):
        bin_of = np.minimum(((x[start : start + CHUNK] - low) * scale + BORDER).astype(np.intp), bins - 1)
        counts += np.bincount((bin_of.reshape(-1, entries) + bins * np.arange(entries)).ravel(), minlength=len(counts))
    return (counts / (len(x) + bins)).reshape(*x.shape[1:], bins)


def divergences(distributions: np.ndarray, axis: int) -> np.ndarray:
    """(d_k, d_k) symmetric KL divergence between the slices V[y] of one axis, the mean over their entries.

    distributions : (d_1, ..., d_r, bins), see `histograms`.
    """
    slices = np.moveaxis(distributions, axis, 0)
    slices = slices.reshape(len(slices), -1, slices.shape[-1])
    return np.array([symmetric_kl(slices, one).mean(axis=1) for one in slices])


def alike(x: np.ndarray, threshold: float, bins: int = 16) -> tuple[Partition, ...]:
    """For each axis of the samples x (n, d_1, ..., d_r), the number of the group to which each of its slices belongs.

    In order of their index slices join the first group whose first slice is closer than `threshold` nats, or found
    one. However, print compares "the components of V_x" and drops an axis as a whole: here entries are compared one
    by one over the dataset, and slices go together wherever some are alike; one group is print's case.

    Raises ShapeError where a sample has no axes.
    """
    if x.ndim < 2:
        raise ShapeError("only samples with axes have slices", where="field.reduce", given=x.shape)
    distributions = histograms(x, bins)
    return tuple(_groups(divergences(distributions, axis) < threshold) for axis in range(x.ndim - 1))


def _groups(close: np.ndarray) -> Partition:
    leaders: list[int] = []
    numbers = []
    for y in range(len(close)):
        near = [k for k, leader in enumerate(leaders) if close[y, leader]]
        if not near:
            leaders.append(y)
        numbers.append(near[0] if near else len(leaders) - 1)
    return tuple(numbers)


def reduced_shape(partitions: tuple[Partition, ...]) -> tuple[int, ...]:
    """Groups along every axis: how many sub-models are left."""
    return tuple(max(groups) + 1 for groups in partitions)


def averaging(groups: Partition, dtype: np.dtype) -> np.ndarray:
    """(d, g): column k averages the slices of group k."""
    member = np.equal.outer(np.asarray(groups), np.arange(max(groups) + 1)).astype(dtype)
    return member / member.sum(axis=0)


def reduced(x: np.ndarray, partitions: tuple[Partition, ...]) -> np.ndarray:
    """(B, d_1, ..., d_r) -> (B, g_1, ..., g_r): the mean of the slices of every group."""
    return _along_axes(x, [averaging(groups, x.dtype) for groups in partitions])


def spread(y: np.ndarray, partitions: tuple[Partition, ...]) -> np.ndarray:
    """(B, g_1, ..., g_r) -> (B, d_1, ..., d_r): the transpose of `reduced`, for feedback."""
    return _along_axes(y, [averaging(groups, y.dtype).T for groups in partitions])


def _along_axes(x: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    for axis, matrix in enumerate(matrices, start=1):
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ np.asarray(matrix, like=x), -1, axis)
    return np.ascontiguousarray(x, like=x)
