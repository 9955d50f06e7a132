"""Cells of particles on a GPU: how many each holds, their structural entropy, and histograms, all exact.

A cell's code is its number among the occupied box's, told apart by sorting.
"""

from __future__ import annotations

import numpy as np

from .device import to_host, xp

CODES = 2**62  # that an int64 is trusted to hold


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    cells = xp.floor(q / q.dtype.type(delta)).astype(np.int64)
    cells -= cells.min(axis=0)  # wraps around where they span more than an int64, and stays one to one
    cells = cells.view(np.uint64)
    code, size = xp.zeros(len(q), np.uint64), 1
    for k, last in enumerate(cells.max(axis=0).tolist()):
        column, width = cells[:, k], last + 1
        if size * width > CODES:  # what is there is numbered anew
            code, size = _numbered(code)
            column, width = _numbered(column)
        code, size = code * np.uint64(width) + column, size * width
    return xp.unique(code, return_counts=True)[1].astype(np.int64)


def _numbered(code):
    """Codes from 0 on without gaps, and how many there are."""
    found, number = xp.unique(code, return_inverse=True)
    return number.astype(np.uint64), len(found)


def structural_entropy(q, deltas):
    """psi(delta) in nats, (k,) float64 on the host, of points q (n, d) for sides of cells `deltas` (k,): Eq. (13)."""
    shares = (occupied_cells(q, q.dtype.type(delta)) / len(q) for delta in deltas)
    psi = [-(pr * xp.log(pr)).sum() for pr in shares]
    # Eq. (13); the maximum of log(count) = 0 keeps a single cell from giving -0.0
    return np.maximum(to_host(psi), 0.0)


def histogram(q, delta, first, shape):
    """Counts, int64 of `shape` (k,), of points q (n, k) in the cells floor(q / delta) from cell `first` (k,) on;
    see `reference.histogram`."""
    cells = xp.floor(q.T / q.dtype.type(delta)).astype(np.float64) - xp.asarray(first, np.float64).reshape(-1, 1)
    sizes = xp.asarray(shape).reshape(-1, 1)
    inside = ((cells >= 0) & (cells < sizes)).all(axis=0)
    flat = xp.zeros(int(inside.sum()), np.int64)
    for size, cell in zip(shape, cells[:, inside].astype(np.int64)):
        flat = flat * size + cell
    return xp.bincount(flat, minlength=int(np.prod(shape))).astype(np.int64).reshape(shape)
