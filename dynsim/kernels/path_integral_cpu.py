"""The path integral, Eq. (5), on CPU threads: four rows and LANES columns at a time, summed over copies in registers.

Metrics of |a - b|^2 in many dimensions take it as |b|^2 - 2 a.b + |a|^2, one multiply-add a coordinate where a
difference takes two operations; where particles nearly meet that sum cancels, and differences are taken instead.
"""

from __future__ import annotations

import functools

import numpy as np

from . import scalar
from .distances_cpu import NEAR, centre_of, laid_out
from .factored import factors
from .lanes import BYTES, all_above, load, spread, spread_at, store
from .products_cpu import matmul
from .sharing import share
from .specialised import compiled, constants, inlined, named, term, too_narrow, value

ROWS = 64  # of a task
EXPAND_FROM = 6  # dimensions; below it differences are as fast
OPERATIONS = 2  # multiply-adds that take as long as one coordinate of a pair, its part of f included


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N), Eq. (5); see `reference.path_integral`."""
    (_, M, d), N = q_a.shape, q_b.shape[1]
    dtype = q_a.dtype
    coefficients = (gain * np.asarray(mu, np.float64)).astype(dtype)
    if metric in ("squared", "dot"):
        return _closed_form(metric, q_a, q_b, coefficients)
    if too_narrow(M, N):  # every metric is symmetric
        return np.ascontiguousarray(path_integral(metric, q_b, q_a, mu, gain, eps, p).T)
    w = np.empty((M, N), dtype)
    width = BYTES // dtype.itemsize
    softening, p, one, _ = constants(metric, eps, p, dtype)
    expanded = _expands(metric, d)
    q_a, q_b = np.ascontiguousarray(q_a), np.ascontiguousarray(q_b, dtype)
    centre = centre_of(q_b) if expanded else np.zeros((q_b.shape[0], 1, d), dtype)
    left, _ = laid_out(q_a, centre, 1, expanded, width)
    right, bound = laid_out(q_b, centre, -2, expanded, width)
    arguments = q_a, q_b, left, right, bound, coefficients, softening, p, one, dtype.type(NEAR), w
    work = functools.partial(_forward(metric, d), *arguments)
    share(work, -(-M // ROWS) * -(-N // width), OPERATIONS * q_a.size * N)
    return w


def _closed_form(metric, q_a, q_b, coefficients):
    """W = A B^T; where particles nearly meet its error is a rounding of their squares, about the cloud's centre."""
    if metric == "squared":
        centre = centre_of(q_b)
        q_a, q_b = q_a - centre, q_b - centre
    with np.errstate(invalid="ignore"):  # of Inf
        a, b = factors(metric, q_a, q_b, coefficients)
        return matmul(a, b.T)


def _expands(metric, d):
    """Whether |a - b|^2 is taken as |b|^2 - 2 a.b + |a|^2."""
    return metric in scalar.SOFTENED and d >= EXPAND_FROM


@inlined
def _sums(metric, d, width, left, a, right, b, p, s0, s1, s2, s3):
    """s_r + sum_k term(a_rk, b_k) of four rows, entries from left[a] and right[b] on."""
    for k in range(d):
        y = load(right, b + k * width)
        s0 += term(metric, spread_at(left, a + k * width), y, p)
        s1 += term(metric, spread_at(left, a + k * width + 1), y, p)
        s2 += term(metric, spread_at(left, a + k * width + 2), y, p)
        s3 += term(metric, spread_at(left, a + k * width + 3), y, p)
    return s0, s1, s2, s3


@inlined
def _expanded(d, width, left, a, right, b, p):
    """|b|^2 + |a|^2 - 2 a.b of four rows."""
    squares = load(right, b + d * width)
    s0, s1 = squares + spread_at(left, a + d * width), squares + spread_at(left, a + d * width + 1)
    s2, s3 = squares + spread_at(left, a + d * width + 2), squares + spread_at(left, a + d * width + 3)
    return _sums(scalar.DOT, d, width, left, a, right, b, p, s0, s1, s2, s3)


@inlined
def _store_rows(flat, start, stride, w0, w1, w2, w3):
    store(flat, start, w0)
    store(flat, start + stride, w1)
    store(flat, start + 2 * stride, w2)
    store(flat, start + 3 * stride, w3)


@inlined
def _put(w, tile, i, j, w0, w1, w2, w3):
    """Four rows into w at (i, j), by way of the tile (4, width) where they reach beyond it."""
    (M, N), width = w.shape, tile.size // 4
    if i + 4 <= M and j + width <= N:
        _store_rows(w.reshape(w.size), i * N + j, N, w0, w1, w2, w3)
    else:
        _store_rows(tile, 0, width, w0, w1, w2, w3)
        for r in range(min(4, M - i)):
            for c in range(min(width, N - j)):
                w[i + r, j + c] = tile[r * width + c]


@compiled
def _mend(q_a, q_b, h, i, j, limits, tile):
    """Entries of the tile (4, width) at (i, j) that are not above the limit of their row, from differences instead."""
    (_, M, D), N = q_a.shape, q_b.shape[1]
    width = tile.size // 4
    for r in range(4):
        row = min(i + r, M - 1)
        for c in range(width):
            if not tile[r * width + c] > limits[r]:
                column = min(j + c, N - 1)
                s = tile.dtype.type(0)
                for k in range(D):
                    v = q_a[h, row, k] - q_b[h, column, k]
                    s += v * v
                tile[r * width + c] = s


@functools.cache
def _forward(metric, d):
    """Kernel of Eq. (5): a task is a group of columns and a block of rows."""
    METRIC, EXPANDED = scalar.CODES[metric], _expands(metric, d)
    ENTRIES = d + EXPANDED

    def forward(q_a, q_b, left, right, bound, mu, softening, p, one, near, w, first, step):
        (M, N), H = w.shape, mu.size
        width = BYTES // w.itemsize
        blocks = (M + ROWS - 1) // ROWS
        tile, limits = np.empty(4 * width, w.dtype), np.empty(4, w.dtype)
        zeros, ones, softenings, powers = spread(one - one), spread(one), spread(softening), spread(p)
        for task in range(first, blocks * ((N + width - 1) // width), step):
            columns, i_0 = task // blocks, task % blocks * ROWS
            for i in range(i_0, min(i_0 + ROWS, M), 4):
                w0 = w1 = w2 = w3 = zeros
                for h in range(H):
                    a = (i // width * H + h) * ENTRIES * width + i % width
                    b = (columns * H + h) * ENTRIES * width
                    if EXPANDED:
                        s0, s1, s2, s3 = _expanded(d, width, left, a, right, b, powers)
                        for r in range(4):
                            limits[r] = near * (left[a + d * width + r] + bound[columns * H + h])
                        if not (
                            all_above(s0, spread_at(limits, 0))
                            and all_above(s1, spread_at(limits, 1))
                            and all_above(s2, spread_at(limits, 2))
                            and all_above(s3, spread_at(limits, 3))
                        ):
                            _store_rows(tile, 0, width, s0, s1, s2, s3)
                            _mend(q_a, q_b, h, i, columns * width, limits, tile)
                            s0, s1 = load(tile, 0), load(tile, width)
                            s2, s3 = load(tile, 2 * width), load(tile, 3 * width)
                    else:
                        s0, s1, s2, s3 = _sums(METRIC, d, width, left, a, right, b, powers, zeros, zeros, zeros, zeros)
                    m = spread_at(mu, h)
                    w0 += m * value(METRIC, s0, softenings, powers, ones)
                    w1 += m * value(METRIC, s1, softenings, powers, ones)
                    w2 += m * value(METRIC, s2, softenings, powers, ones)
                    w3 += m * value(METRIC, s3, softenings, powers, ones)
                _put(w, tile, i, columns * width, w0, w1, w2, w3)

    return named(forward, metric, d)
