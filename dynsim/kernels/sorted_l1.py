"""Sorted inference, Eq. (8)-(9): R_j = sum_i E_i sum_k c_k |a_ki - b_kj| without building the M x N path integrals.

Along one axis k the sources lie in an order that fixed coordinates fix once. With S0 and S1, the sums of E_i and
E_i a_ki over the r sources that are not beyond b_kj, Eq. (9) is

    sum_i E_i |a_ki - b_kj| = 2 (b_kj S0 - S1) - (b_kj T0 - T1),   T0, T1 : the same sums over all sources.

One query takes running sums along the order and reads them at the ranks r, O(K (M + N)). Many walk along one merged
order of sources and targets instead, with the sums of `LANES` queries side by side. S0 begins at -T0 / 2, the same
for all axes, so that only the moments T1 / 2 are left to add at the end. Sums are in float64.

a : (K, M) axes of the sources, K = H d; b : (K, N) of the targets; c : (K,) gain mu_h; emitted : (B, M).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit

from .lanes import load, load_doubles, multiply_add, spread, store
from .sharing import share
from .specialised import aligned

LANES = 32  # queries of a block
WORTH_A_BLOCK = 12  # queries that take as long one by one as a block does
PARTS = 2  # of the axes, for one query on several threads
LINE = 16  # numbers of a cache line
STEP = 16  # multiply-adds that take as long as one source or target
_compile = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, cache=True)
# Running sums are one long chain: a fused multiply-add would make each of its links 4 cycles instead of 2.
_chain = njit(nogil=True, error_model="numpy", fastmath={"nsz"}, cache=True)
_inline = njit(inline="always")


def prefix_order(a, b):
    """(order (K, M), a in that order, ranks (K, N) of the targets: how many sources are not beyond them)."""
    order = np.argsort(a, axis=1, kind="stable")
    along = np.take_along_axis(a, order, axis=1)
    ranks = np.stack([np.searchsorted(row, x, side="right") for row, x in zip(along, b)])
    index = np.uint16 if max(a.shape[1], b.shape[1]) < 1 << 16 else np.uint32  # half the traffic where it suffices
    return order.astype(index), along, ranks.astype(index)


def merged_steps(a, b):
    """(sources, targets, x, z), each (K, steps): along each axis source i at x comes next, then target j at z.

    A step without a source has i = M, one without a target j = N, so that no branch has to be guessed.
    """
    steps = [_steps(*axis) for axis in zip(a, b)]
    longest = max(len(of[0]) for of in steps)
    blank = a.shape[1], b.shape[1], 0, 0
    padded = ([np.pad(row, (0, longest - len(row)), constant_values=v) for row, v in zip(of, blank)] for of in steps)
    return tuple(np.stack(rows) for rows in zip(*padded))


def _steps(a, b):
    M, N = len(a), len(b)
    both = np.concatenate([a, b])
    order = np.argsort(both, kind="stable")
    target = order >= M
    begins = ~target  # a target shares the step of a source right before it
    begins[1:] |= target[:-1]
    begins[:1] = True
    step = np.cumsum(begins) - 1
    sources, targets = np.full(step[-1] + 1, M, np.uint32), np.full(step[-1] + 1, N, np.uint32)
    x, z = np.zeros(len(sources), both.dtype), np.zeros(len(sources), both.dtype)
    sources[step[~target]], targets[step[target]] = order[~target], order[target] - M
    x[step[~target]], z[step[target]] = both[order[~target]], both[order[target]]
    return sources, targets, x, z


def shares(batch):
    """(blocks, queries left) of a batch: fewer than a block are taken one by one, unless a block is as quick."""
    blocks, left = divmod(batch, LANES)
    return (blocks, left) if left < WORTH_A_BLOCK else (blocks + 1, 0)


def receive_singly(prefix, b, c, emitted):
    """(B, N) received signals in the type of `emitted`, a query at a time; prefix : of `prefix_order`."""
    (K, N), B = b.shape, len(emitted)
    parts = min(K, PARTS) if B == 1 else 1
    y, received = np.ascontiguousarray(emitted), np.empty((B, N), emitted.dtype)
    sums, moments = np.empty((B, parts, N)), np.empty((B, parts))
    work = partial(_singly, *prefix, b, c, y, sums, moments)  # type: ignore[call-arg]
    share(work, B * parts, B * K * (y.shape[1] + N) * STEP)
    _add_up(sums, moments, received)
    return received


def receive_in_blocks(merged, c, N, emitted):
    """(B, N) received signals in the type of `emitted`, `LANES` queries at a time; merged : of `merged_steps`."""
    received = np.empty((len(emitted), N), emitted.dtype)
    work = partial(_in_blocks, *merged, c, np.ascontiguousarray(emitted), received)  # type: ignore[call-arg]
    share(work, -(-len(emitted) // LANES), len(emitted) * merged[0].size)
    return received


@_compile
def _singly(order, along, ranks, b, c, emitted, sums, moments, first, step):
    B, parts, N = sums.shape
    K, M = order.shape
    table = np.empty((M + 1, 2))
    for task in range(first, B * parts, step):
        query, part = task // parts, task % parts
        y, r = emitted[query], sums[query, part]
        total = _total(y)
        moments[query, part] = 0.0
        for j in range(N):
            r[j] = 0.0
        for k in range(part, K, parts):
            # Eq. (9), T0 taken off beforehand, T1 at the end: it leaves one product a target
            _scan(order[k], along[k], y, 2 * c[k], -c[k] * total, table)
            _read(table, ranks[k], b[k], r)
            moments[query, part] += 0.5 * table[M, 1]


@_compile
def _total(y):
    total = 0.0
    for i in range(len(y)):
        total += np.float64(y[i])
    return total


@_chain
def _scan(order, along, y, factor, start, table):
    """table[r] = start + S0, and S1, of r sources times a factor; side by side they are one cache line a target."""
    s0, s1 = start, 0.0
    table[0, 0], table[0, 1] = s0, s1
    for i in range(len(order)):
        e = factor * np.float64(y[order[i]])
        s0 += e
        s1 += e * along[i]
        table[i + 1, 0] = s0
        table[i + 1, 1] = s1


@_compile
def _read(table, ranks, b, r):
    for j in range(len(ranks)):
        r[j] += b[j] * table[ranks[j], 0] - table[ranks[j], 1]


@_compile
def _add_up(sums, moments, received):
    B, parts, N = sums.shape
    for query in range(B):
        r = sums[query, 0]
        for part in range(1, parts):
            other = sums[query, part]
            for j in range(N):
                r[j] += other[j]
        moment = moments[query].sum()
        for j in range(N):
            received[query, j] = r[j] + moment


@_compile
def _in_blocks(sources, targets, x, z, c, emitted, received, first, step):
    (B, M), N = emitted.shape, received.shape[1]
    y, totals = np.zeros((M + 1, LANES), emitted.dtype), aligned(LANES, c)
    moments, r = aligned(LANES, c), aligned((N + 1) * LANES, c)
    for block in range(first, (B + LANES - 1) // LANES, step):
        queries = slice(block * LANES, min(B, (block + 1) * LANES))
        _transpose(emitted[queries], y)
        totals[:] = 0.0
        moments[:] = 0.0
        r[:] = 0.0
        for i in range(M):
            for lane in range(LANES):
                totals[lane] += y[i, lane]
        for k in range(len(c)):
            _walk(sources[k], targets[k], x[k], z[k], c[k], y.reshape(y.size), totals, moments, r)
        _transpose_back(r.reshape(N + 1, LANES), moments, received[queries])


@_compile
def _walk(sources, targets, x, z, c, y, totals, moments, r):
    """Eq. (9) for one axis and two vectors of queries, p and q; S0 and S1 stay in registers. y, r : flat."""
    half, next_half = spread(-0.5), LANES // 2
    once, minus_twice = spread(c), spread(-2 * c)
    p_0, q_0 = half * load(totals, 0), half * load(totals, next_half)
    p_1 = q_1 = p_0 - p_0
    for n in range(len(sources)):
        i, j = LANES * np.intp(sources[n]), LANES * np.intp(targets[n])
        a, twice_b = spread(np.float64(x[n])), spread(2 * c * np.float64(z[n]))
        p, q = load_doubles(y, i), load_doubles(y, i + next_half)
        p_0, q_0 = p_0 + p, q_0 + q
        p_1, q_1 = multiply_add(p, a, p_1), multiply_add(q, a, q_1)
        store(r, j, multiply_add(minus_twice, p_1, multiply_add(twice_b, p_0, load(r, j))))
        store(r, j + next_half, multiply_add(minus_twice, q_1, multiply_add(twice_b, q_0, load(r, j + next_half))))
    store(moments, 0, multiply_add(once, p_1, load(moments, 0)))
    store(moments, next_half, multiply_add(once, q_1, load(moments, next_half)))


@_inline
def _transpose(rows, columns):
    """columns[i, lane] = rows[lane, i], a cache line of each row at a time."""
    lanes, M = rows.shape
    for i_0 in range(0, M, LINE):
        for lane in range(lanes):
            for i in range(i_0, min(M, i_0 + LINE)):
                columns[i, lane] = rows[lane, i]


@_inline
def _transpose_back(columns, moments, rows):
    lanes, N = rows.shape
    for j_0 in range(0, N, LINE):
        for lane in range(lanes):
            for j in range(j_0, min(N, j_0 + LINE)):
                rows[lane, j] = columns[j, lane] + moments[lane]
