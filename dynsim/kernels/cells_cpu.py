"""Cells of particles on one CPU thread: how many each holds, and histograms."""

from __future__ import annotations

import numpy as np
from numba import njit


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    q = np.ascontiguousarray(q)
    slots = 1 << (2 * len(q)).bit_length()
    return _count_cells(q, q.dtype.type(delta), np.full(slots, -1))


def histogram(q, delta, first, shape):
    """Counts, int64 of `shape` (k,), of points q (n, k) in the cells floor(q / delta) from cell `first` (k,) on;
    see `reference.histogram`."""
    q = np.ascontiguousarray(q)
    counts = np.zeros(shape, np.int64)
    _count_inside(q, q.dtype.type(delta), np.asarray(first, np.int64), np.asarray(shape, np.int64), counts.reshape(-1))
    return counts


@njit(nogil=True, cache=True, error_model="numpy")
def _count_cells(q, delta, slots):
    """Open addressing: a slot holds the first particle of its cell; cells are compared, not only hashes."""
    n, d = q.shape
    hashes = np.empty(n, np.uint64)
    counts = np.zeros(n, np.int64)
    for i in range(n):
        code = np.uint64(0x9E3779B97F4A7C15)
        for k in range(d):
            code ^= np.uint64(np.int64(np.floor(q[i, k] / delta)))
            code *= np.uint64(0xBF58476D1CE4E5B9)
            code ^= code >> np.uint64(29)
        hashes[i] = code
    last = np.uint64(slots.size - 1)
    for i in range(n):
        slot = hashes[i] & last
        while slots[slot] >= 0 and not _same_cell(q, delta, hashes, slots[slot], i):
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0:
            slots[slot] = i
        counts[slots[slot]] += 1
    return counts[counts > 0]


@njit(nogil=True, cache=True, error_model="numpy")
def _same_cell(q, delta, hashes, i, j):
    if hashes[i] != hashes[j]:
        return False
    for k in range(q.shape[1]):  # noqa: SIM110
        if np.floor(q[i, k] / delta) != np.floor(q[j, k] / delta):
            return False
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _count_inside(q, delta, first, shape, counts):
    for i in range(q.shape[0]):
        flat = np.int64(0)
        inside = True
        for k in range(q.shape[1]):
            cell = np.float64(np.floor(q[i, k] / delta)) - first[k]
            if not (cell >= 0 and cell < shape[k]):  # NaN is in no cell
                inside = False
                break
            flat = flat * shape[k] + np.int64(cell)
        if inside:
            counts[flat] += 1
