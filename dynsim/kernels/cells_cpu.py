"""Cells of particles on CPU threads (Numba): how many each holds, their structural entropy, and histograms.

Cells are told apart by 64-bit codes. Where the cells of all coordinates fit into one code, equal codes are equal cells;
where they do not, a code is a hash and equal ones have their cells compared. Codes are dealt to parts by their first
bits, so that the table of a part stays in the cache.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import njit

from .lanes import widest
from .sharing import share

ROWS = 64  # of a block of codes
PARTS = 4  # bits of a code; more parts cost more to deal than their smaller tables save
ONE_PART = 1 << 15  # particles whose table fits into the cache as it is
OPERATIONS = 4  # for a particle and delta, and for each of its coordinates

_compile = njit(nogil=True, cache=True, error_model="numpy")


def structural_entropy(q, deltas):
    """psi(delta) in nats, Eq. (13), (k,) float64 for sides of cells `deltas` (k,); see `reference`."""
    q = np.ascontiguousarray(q)
    psi = np.empty(len(deltas))
    work = functools.partial(_entropies, q.reshape(-1), q.shape[1], _reach(q), np.asarray(deltas, q.dtype), psi)
    share(work, len(psi), len(psi) * q.size * OPERATIONS)
    return psi


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    q = np.ascontiguousarray(q)
    counts = _occupied_cells(q.reshape(-1), q.shape[1], _reach(q), q.dtype.type(delta))
    return counts[counts > 0].astype(np.int64)


def _reach(q):
    """Largest coordinate without its sign; NaN where there is one."""
    return max(q.max(), -q.min()) if q.size else q.dtype.type(0)


def histogram(q, delta, first, shape):
    """Counts, int64 of `shape` (k,), of points q (n, k) in the cells floor(q / delta) from cell `first` (k,) on;
    see `reference.histogram`."""
    shape, counts = np.asarray(shape, np.int64), np.zeros(shape, np.int64)
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1)
    flat = np.ascontiguousarray(q).reshape(-1)
    _count_inside(flat, q.dtype.type(delta), np.asarray(first), shape, strides, counts.reshape(-1))
    return counts


@_compile
def _entropies(q, d, reach, deltas, psi, first, step):
    n = q.size // d
    room = _room(n)
    for k in range(first, psi.size, step):
        counts = _count_cells(q, d, reach, deltas[k], *room)
        total = 0.0
        for count in counts:
            if count > 1:
                total += count * math.log(count)
        # Eq. (13); the maximum keeps a single cell from a rounding error below 0
        psi[k] = max(0.0, math.log(n) - total / n)


@_compile
def _occupied_cells(q, d, reach, delta):
    return _count_cells(q, d, reach, delta, *_room(q.size // d))


@_compile
def _room(n):
    """Codes as they come and as they are dealt, whose the dealt ones are, and counts: one piece of memory, which the
    allocator keeps for the next call, where it would give several back and have every page cleared again."""
    room = np.empty(3 * n, np.uint64)
    halves = room[2 * n :].view(np.int32)
    return room[:n], room[n : 2 * n], halves[:n], halves[n:]


@_compile
def _count_cells(q, d, reach, delta, codes, dealt, rows, counts):
    """(n,) particles of a cell in the place of its first particle, among the dealt ones, 0 in the places of others."""
    ends = np.zeros(1 << PARTS if codes.size > ONE_PART else 1, np.int64)
    width = 63 // d  # bits for the cells of a coordinate
    exact = width > 0 and reach / delta < (1 << (width - 1)) - 1
    _encode(q, d, delta, _places(d, width) if exact else _multipliers(d), codes, ends)
    largest = ends.max()
    _deal(codes, ends, dealt, rows)
    table = np.empty(_slots(largest), np.uint64)
    for p in range(ends.size):
        start, end = ends[p - 1] if p else 0, ends[p]
        part = slice(start, end)
        _tally(q, d, delta, exact, dealt[part], rows[part], table[: _slots(end - start)], counts[part])
    return counts


@_compile
def _slots(n):
    """A power of 2 that leaves half of the slots or more empty."""
    slots = 4
    while slots < 2 * n:
        slots *= 2
    return slots


@_compile
def _places(d, width):
    places = np.empty(d, np.int64)
    for k in range(d):
        places[k] = np.int64(1) << (width * k)
    return places


@_compile
def _multipliers(d):
    """Odd numbers without a pattern."""
    found = np.empty(d, np.int64)
    code = np.uint64(0x9E3779B97F4A7C15)
    for k in range(d):
        code *= np.uint64(0xBF58476D1CE4E5B9)
        code ^= code >> np.uint64(31)
        found[k] = np.int64(code | np.uint64(1))
    return found


@_compile
def _encode(q, d, delta, factors, codes, sizes):
    """Codes, mixed one to one from sum_k factor_k cell_k, and how many there are of each part."""
    widest()
    factor, term = np.empty(ROWS * d, np.int64), np.empty(ROWS * d, np.int64)
    for r in range(ROWS):
        factor[r * d : (r + 1) * d] = factors
    for start in range(0, codes.size, ROWS):
        rows = codes[start : start + ROWS]
        block = q[start * d : (start + rows.size) * d]
        for j in range(block.size):
            term[j] = np.int64(np.floor(block[j] / delta)) * factor[j]
        for r in range(rows.size):
            total = np.int64(0)
            for k in range(d):
                total += term[r * d + k]
            code = np.uint64(total) * np.uint64(0x9E3779B97F4A7C15)
            code ^= code >> np.uint64(32)
            code *= np.uint64(0xBF58476D1CE4E5B9)
            rows[r] = code
            sizes[_part(code, sizes.size)] += 1


@_compile
def _part(code, parts):
    return code >> np.uint64(64 - PARTS) if parts > 1 else np.uint64(0)


@_compile
def _deal(codes, ends, dealt, rows):
    """Codes and their particles, part after part; `ends` comes as sizes of the parts and goes as their ends."""
    start = 0
    for p in range(ends.size):
        size = ends[p]
        ends[p] = start
        start += size
    for i in range(codes.size):
        p = _part(codes[i], ends.size)
        at = ends[p]
        dealt[at], rows[at] = codes[i], i
        ends[p] = at + 1


@_compile
def _tally(q, d, delta, exact, codes, rows, table, counts):
    """Open addressing; a slot holds half a code and who was first to have it, 0 while it is empty."""
    last, low = np.uint64(table.size - 1), np.uint64(0xFFFFFFFF)
    table[:] = 0
    for i in range(codes.size):
        slot, half = codes[i] & last, codes[i] & ~low
        counts[i] = 1
        while table[slot] != 0:
            if table[slot] & ~low == half:
                first = np.int64(table[slot] & low) - 1
                if codes[first] == codes[i] and (exact or _same_cell(q, d, delta, rows[first], rows[i])):
                    counts[first] += 1
                    counts[i] = 0
                    break
            slot = (slot + np.uint64(1)) & last
        if counts[i] == 1:
            table[slot] = half | np.uint64(i + 1)


@_compile
def _same_cell(q, d, delta, i, j):
    for k in range(d):  # noqa: SIM110
        if np.floor(q[i * d + k] / delta) != np.floor(q[j * d + k] / delta):
            return False
    return True


@_compile
def _count_inside(q, delta, first, shape, strides, counts):
    widest()
    d, outside = shape.size, -np.int64(counts.size)
    low, number, stride = np.empty(ROWS * d), np.empty(ROWS * d), np.empty(ROWS * d, np.int64)
    term = np.empty(ROWS * d, np.int64)
    for r in range(ROWS):
        row = slice(r * d, (r + 1) * d)
        low[row], number[row], stride[row] = first, shape, strides
    for start in range(0, q.size, term.size):
        block = q[start : start + term.size]
        for j in range(block.size):
            cell = np.float64(np.floor(block[j] / delta)) - low[j]
            term[j] = np.int64(cell) * stride[j] if cell >= 0 and cell < number[j] else outside  # so is NaN
        for r in range(block.size // d):
            flat = term[r * d]
            for k in range(1, d):
                flat += term[r * d + k]
            if flat >= 0:
                counts[flat] += 1
