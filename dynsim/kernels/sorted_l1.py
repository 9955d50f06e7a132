"""Sorted inference, Eq. (8)-(9): R_j = sum_i E_i sum_k c_k |a_ki - b_kj| without building the M x N path integrals.

Along one axis k the sources lie in an order that fixed coordinates fix once. With S0 and S1, the sums of E_i and
E_i a_ki over the r sources that are not beyond b_kj, Eq. (9) is

    sum_i E_i |a_ki - b_kj| = 2 (b_kj S0 - S1) - (b_kj T0 - T1),   T0, T1 : the same sums over all sources.

One query takes running sums along the order and reads them at the ranks r, O(K (M + N)). Many take one merged order of
sources and targets instead and keep the running sums of `LANES` queries in registers. Sums are in float64.

a : (K, M) axes of the sources, K = H d; b : (K, N) of the targets; c : (K,) gain mu_h; emitted : (B, M).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numba import njit

from .sharing import share

LANES = 32  # queries of a block
WORTH_A_BLOCK = 24  # queries that take as long one by one as a block does
PARTS = 4  # of the axes, for one query on several threads
LINE = 16  # numbers of a cache line
_compile = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}, cache=True)
_inline = njit(inline="always")


def prefix_order(a, b):
    """(order (K, M), a in that order, ranks (K, N) of the targets: how many sources are not beyond them)."""
    order = np.argsort(a, axis=1, kind="stable")
    along = np.take_along_axis(a, order, axis=1)
    ranks = np.stack([np.searchsorted(row, x, side="right") for row, x in zip(along, b)])
    return order.astype(np.uint32), along, ranks.astype(np.uint32)


def merged_order(a, b):
    """(events (K, M + N): i of a source or M + j of a target, their coordinates in that order)."""
    both = np.concatenate([a, b], axis=1)
    events = np.argsort(both, axis=1, kind="stable")
    return events.astype(np.uint32), np.take_along_axis(both, events, axis=1)


def receive_singly(prefix, b, c, emitted):
    """(B, N) float64 received signals, a query at a time; prefix : of `prefix_order`."""
    (K, N), B = b.shape, len(emitted)
    parts = min(K, PARTS) if B == 1 else 1
    sums = np.empty((B, parts, N))
    work = partial(_singly, *prefix, b, c, np.ascontiguousarray(emitted), sums)  # type: ignore[call-arg]
    share(work, B * parts, B * K * (emitted.shape[1] + N) * 8)
    return sums.sum(axis=1)


def receive_in_blocks(merged, b, c, emitted):
    """(B, N) received signals in the type of `emitted`, `LANES` queries at a time; merged : of `merged_order`."""
    received = np.empty((len(emitted), b.shape[1]), emitted.dtype)
    work = partial(_in_blocks, *merged, c, c @ b, np.ascontiguousarray(emitted), received)  # type: ignore[call-arg]
    share(work, -(-len(emitted) // LANES), len(emitted) * merged[0].size)
    return received


@_compile
def _singly(order, along, ranks, b, c, emitted, sums, first, step):
    B, parts, N = sums.shape
    K, M = order.shape
    below, moment = np.zeros(M + 1), np.zeros(M + 1)
    for task in range(first, B * parts, step):
        query, part = task // parts, task % parts
        y, r = emitted[query], sums[query, part]
        for j in range(N):
            r[j] = 0.0
        for k in range(K * part // parts, K * (part + 1) // parts):
            o, x, at, q = order[k], along[k], ranks[k], b[k]
            s0 = s1 = 0.0
            for i in range(M):
                e = np.float64(y[o[i]])
                s0 += e
                s1 += e * x[i]
                below[i + 1] = s0
                moment[i + 1] = s1
            # Eq. (9), half the totals taken off first: it leaves one product a target
            twice, half0, half1 = 2 * c[k], 0.5 * s0, 0.5 * s1
            for j in range(N):
                r[j] += twice * (q[j] * (below[at[j]] - half0) - (moment[at[j]] - half1))


@_compile
def _in_blocks(events, values, c, offset, emitted, received, first, step):
    (B, M), N = emitted.shape, received.shape[1]
    y, r = np.zeros((M, LANES), emitted.dtype), np.empty((N, LANES))
    s0, s1, moment = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    for block in range(first, (B + LANES - 1) // LANES, step):
        queries = slice(block * LANES, min(B, (block + 1) * LANES))
        _transpose(emitted[queries], y)
        r[:] = 0.0
        moment[:] = 0.0
        for k in range(len(events)):
            s0[:] = 0.0
            s1[:] = 0.0
            twice, order, along = 2 * c[k], events[k], values[k]
            for n in range(M + N):
                event, x = order[n], np.float64(along[n])
                if event < M:
                    for lane in range(LANES):
                        e = y[event, lane]
                        s0[lane] += e
                        s1[lane] += e * x
                else:
                    j = event - np.uint32(M)
                    for lane in range(LANES):
                        r[j, lane] += twice * (x * s0[lane] - s1[lane])
            for lane in range(LANES):
                moment[lane] += c[k] * s1[lane]
        # Eq. (9): what the totals take off is the same T0 for every axis
        for j in range(N):
            for lane in range(LANES):
                r[j, lane] += moment[lane] - offset[j] * s0[lane]
        _transpose_back(r, received[queries])


@_inline
def _transpose(rows, columns):
    """columns[i, lane] = rows[lane, i], a cache line of each row at a time."""
    lanes, M = rows.shape
    for i_0 in range(0, M, LINE):
        for lane in range(lanes):
            for i in range(i_0, min(M, i_0 + LINE)):
                columns[i, lane] = rows[lane, i]


@_inline
def _transpose_back(columns, rows):
    lanes, N = rows.shape
    for j_0 in range(0, N, LINE):
        for lane in range(lanes):
            for j in range(j_0, min(N, j_0 + LINE)):
                rows[lane, j] = columns[j, lane]
