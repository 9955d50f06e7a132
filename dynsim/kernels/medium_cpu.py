"""The global field along straight paths on CPU threads (Numba); contract and formulas: `medium`."""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import njit

from .lanes import widest
from .medium import field_at  # noqa: F401
from .sharing import share

TASKS = 64  # at most; a task is a block of rows, cut from shapes alone, so that sums keep their order

FAST = {"reassoc", "contract", "arcp"}  # no nnan, no ninf: NaN and Inf must stay visible


def _compile(function):
    return njit(nogil=True, cache=True, error_model="numpy", fastmath=FAST)(function)


def mean_field(q_a, q_b, sources, amplitudes, width, ways, weights):
    """int_0^1 n(v(t)) dt of every path, (P, M, N); see `medium.mean_field`."""
    (P, M, _), N = q_a.shape, q_b.shape[1]
    arrays = _arrays(q_a.dtype, q_a, q_b, sources, amplitudes, ways, weights)
    fields = np.empty((P, M, N), q_a.dtype)
    work = functools.partial(_mean_field, *arrays, _rate(width, q_a.dtype), _block(P * M), fields)
    share(work, _blocks(P * M), P * M * N * len(ways) * sources.size)
    return fields


def mean_field_forces(q_a, q_b, sources, amplitudes, width, ways, weights, stress):
    """(on q_a, on q_b, on sources, on amplitudes); see `medium.mean_field_forces`."""
    (P, M, d), N = q_a.shape, q_b.shape[1]
    arrays = _arrays(q_a.dtype, q_a, q_b, sources, amplitudes, ways, weights, stress)
    blocks = _blocks(P * M)
    on_a = np.zeros((P, M, d), q_a.dtype)
    on_b = np.zeros((blocks, P, N, d))
    on_sources, on_amplitudes = np.zeros((blocks, *sources.shape)), np.zeros((blocks, len(sources)))
    rate = _rate(width, q_a.dtype)
    outputs = on_a, on_b, on_sources, on_amplitudes
    work = functools.partial(_mean_field_forces, *arrays, rate, _block(P * M), *outputs)
    share(work, blocks, 2 * P * M * N * len(ways) * sources.size)
    on_a *= 2 * rate
    summed = [part.sum(axis=0).astype(q_a.dtype) for part in (on_b, on_sources, on_amplitudes)]
    return on_a, summed[0] * (2 * rate), summed[1] * (2 * rate), summed[2]


def _arrays(dtype, *arrays):
    return tuple(np.ascontiguousarray(a, dtype) for a in arrays)


def _rate(width, dtype):
    """1 / (2 width^2) in the type of the arrays."""
    return dtype.type(0.5 / width**2)


def _block(rows):
    return -(-rows // TASKS)


def _blocks(rows):
    return -(-rows // _block(rows))


@_compile
def _mean_field(q_a, q_b, sources, amplitudes, ways, weights, rate, block, fields, first, step):
    widest()
    P, M, D = q_a.shape
    v = np.empty(D, q_a.dtype)
    for task in range(first, (P * M + block - 1) // block, step):
        for row in range(task * block, min((task + 1) * block, P * M)):
            p, i = row // M, row % M
            for j in range(q_b.shape[1]):
                total = rate - rate
                for s in range(ways.size):
                    for c in range(D):
                        v[c] = q_a[p, i, c] + ways[s] * (q_b[p, j, c] - q_a[p, i, c])
                    for k in range(sources.shape[0]):
                        square = rate - rate
                        for c in range(D):
                            square += (v[c] - sources[k, c]) * (v[c] - sources[k, c])
                        total += weights[s] * amplitudes[k] * math.exp(-rate * square)
                fields[p, i, j] = total


@_compile
def _mean_field_forces(
    q_a,
    q_b,
    sources,
    amplitudes,
    ways,
    weights,
    stress,
    rate,
    block,
    on_a,
    on_b,
    on_sources,
    on_amplitudes,
    first,
    step,
):
    P, M, D = q_a.shape
    v, ahead = np.empty(D, q_a.dtype), np.empty(D)
    for task in range(first, (P * M + block - 1) // block, step):
        for row in range(task * block, min((task + 1) * block, P * M)):
            p, i = row // M, row % M
            for j in range(q_b.shape[1]):
                for s in range(ways.size):
                    for c in range(D):
                        v[c] = q_a[p, i, c] + ways[s] * (q_b[p, j, c] - q_a[p, i, c])
                        ahead[c] = 0.0
                    for k in range(sources.shape[0]):
                        square = rate - rate
                        for c in range(D):
                            square += (v[c] - sources[k, c]) * (v[c] - sources[k, c])
                        pulled = stress[p, i, j] * weights[s] * math.exp(-rate * square)
                        on_amplitudes[task, k] += pulled
                        for c in range(D):
                            slope = pulled * amplitudes[k] * (v[c] - sources[k, c])
                            on_sources[task, k, c] += slope
                            ahead[c] -= slope
                    for c in range(D):
                        on_a[p, i, c] += (1 - ways[s]) * ahead[c]
                        on_b[task, p, j, c] += ways[s] * ahead[c]
