"""The forces of path integrals, Eq. (6), on CPU threads: distances recomputed, the same bits for any number of threads.

Work is cut into tasks that depend on shapes only; a task writes its own part, and parts are summed in a fixed order.
"""

from __future__ import annotations

import functools

import numpy as np

from . import scalar
from .sharing import share
from .specialised import COLUMNS, chunks, constants, direction, inlined, named, slope, sums, too_narrow, value

ROWS = 32  # of a task, at least
TASKS = 64  # wanted at least, when there are rows enough
DOT = scalar.DOT


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """(on q_a, on q_b, on mu, on gain, on eps), Eq. (6); see `reference.path_integral_forces`."""
    (H, M, d), N = q_a.shape, q_b.shape[1]
    if too_narrow(M, N):
        on_b, on_a, *others = path_integral_forces(metric, q_b, q_a, mu, gain, eps, p, stress.T)
        return on_a, on_b, *others
    dtype, mu = q_a.dtype, np.asarray(mu, np.float64)
    block = _rows_per_task(H, M)
    blocks = -(-M // block)
    on_a = np.zeros((H, M, d), dtype)
    on_b = np.empty((blocks, H, N, d), dtype)
    totals = np.empty((blocks, H, 2))
    arrays = (np.ascontiguousarray(x, dtype) for x in (q_a, q_b, stress))
    arguments = *arrays, *constants(metric, eps, p, dtype), block, on_a, on_b, totals
    share(functools.partial(_forces(metric, d), *arguments), H * blocks, q_a.size * N)
    of_value, of_slope = totals.sum(0).T
    coefficients = (gain * mu).astype(dtype)[:, None, None]
    on_a *= coefficients
    softened = metric in ("l2", "plummer", "reciprocal")
    on_eps = gain * eps * (mu * of_slope).sum() if softened else 0.0
    on_mu = (gain * of_value).astype(dtype)
    return on_a, on_b.sum(0) * coefficients, on_mu, dtype.type((mu * of_value).sum()), dtype.type(on_eps)


def _rows_per_task(H, M):
    """Rows of one task of the forces, a multiple of 4; from shapes alone, so that sums keep their order."""
    blocks = max(1, min(-(-TASKS // H), M // ROWS))
    return 4 * -(-M // (4 * blocks))


@inlined
def _weigh(metric, s, g, rows, n, softening, p, one, huge):
    """Multiply the stress g by the slope in place; return (sum g f, sum g slope)."""
    of_value = of_slope = 0.0
    for r in range(rows):
        g_r, s_r = g[r * COLUMNS : (r + 1) * COLUMNS], s[r * COLUMNS : (r + 1) * COLUMNS]
        value_sum = slope_sum = one - one
        for j in range(n):
            value_sum += g_r[j] * value(metric, s_r[j], softening, p, one)
            g_r[j] = g_r[j] * slope(metric, s_r[j], softening, p, one, huge)
            slope_sum += g_r[j]
        of_value += value_sum
        of_slope += slope_sum
    return of_value, of_slope


@inlined
def _pull(metric, a, y, back, g, n, p, one, huge):
    """One coordinate of four rows a[r]: forces on the columns added to back[j], on the rows returned in a."""
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    p0 = p1 = p2 = p3 = one - one
    for j in range(n):
        g0, g1, g2, g3 = g[j], g[COLUMNS + j], g[2 * COLUMNS + j], g[3 * COLUMNS + j]
        u0 = g0 * direction(metric, a0, y[j], p, one, huge)
        u1 = g1 * direction(metric, a1, y[j], p, one, huge)
        u2 = g2 * direction(metric, a2, y[j], p, one, huge)
        u3 = g3 * direction(metric, a3, y[j], p, one, huge)
        p0 += u0
        p1 += u1
        p2 += u2
        p3 += u3
        if metric == DOT:
            back[j] += g0 * a0 + g1 * a1 + g2 * a2 + g3 * a3
        else:
            back[j] -= u0 + u1 + u2 + u3
    a[0], a[1], a[2], a[3] = p0, p1, p2, p3


@functools.cache
def _forces(metric, d):
    """Kernel of Eq. (6) for mu = g = 1: a task is a copy h and a block of rows; on_b and sums are its own."""
    METRIC = scalar.CODES[metric]
    CHUNKS, WIDTH = chunks(d)

    def forces(q_a, q_b, stress, softening, p, one, huge, block, on_a, on_b, totals, first, step):
        H, M, D = q_a.shape
        N = q_b.shape[1]
        for task in range(first, H * ((M + block - 1) // block), step):
            part, h = task // H, task % H
            end = min((part + 1) * block, M)
            a = np.zeros(4 * CHUNKS * WIDTH, q_a.dtype)
            y = np.zeros(CHUNKS * WIDTH * COLUMNS, q_a.dtype)
            back = np.zeros(CHUNKS * WIDTH * COLUMNS, q_a.dtype)
            s = np.zeros(4 * COLUMNS, q_a.dtype)
            g = np.zeros(4 * COLUMNS, q_a.dtype)
            of_value = of_slope = 0.0
            for j_0 in range(0, N, COLUMNS):
                n = min(COLUMNS, N - j_0)
                for k in range(D):
                    for j in range(n):
                        y[k * COLUMNS + j] = q_b[h, j_0 + j, k]
                        back[k * COLUMNS + j] = one - one
                for i in range(part * block, end, 4):
                    rows = min(4, end - i)
                    for r in range(4):
                        row = min(i + r, end - 1)
                        weight = one if r < rows else one - one
                        for k in range(D):
                            a[4 * k + r] = q_a[h, row, k]
                        for j in range(n):
                            g[r * COLUMNS + j] = weight * stress[row, j_0 + j]
                    sums(METRIC, CHUNKS, WIDTH, a, y, s, n, p)
                    value_sum, slope_sum = _weigh(METRIC, s, g, rows, n, softening, p, one, huge)
                    of_value += value_sum
                    of_slope += slope_sum
                    for k in range(D):
                        y_k = y[k * COLUMNS : (k + 1) * COLUMNS]
                        back_k = back[k * COLUMNS : (k + 1) * COLUMNS]
                        a_k = a[4 * k : 4 * k + 4]
                        _pull(METRIC, a_k, y_k, back_k, g, n, p, one, huge)
                        for r in range(rows):
                            on_a[h, i + r, k] += a_k[r]
                for j in range(n):
                    for k in range(D):
                        on_b[part, h, j_0 + j, k] = back[k * COLUMNS + j]
            totals[part, h, 0], totals[part, h, 1] = of_value, of_slope

    return named(forces, metric, d)
