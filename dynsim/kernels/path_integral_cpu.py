"""The path integral, Eq. (5), on CPU threads: fused, tiled, with the same bits for any number of threads."""

from __future__ import annotations

import functools

import numpy as np

from . import scalar
from .sharing import share
from .specialised import COLUMNS, chunks, constants, named, sums, too_narrow, value

ROWS = 32  # of a tile


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N), Eq. (5); see `reference.path_integral`."""
    (_, M, d), N = q_a.shape, q_b.shape[1]
    if too_narrow(M, N):  # every metric is symmetric
        return np.ascontiguousarray(path_integral(metric, q_b, q_a, mu, gain, eps, p).T)
    dtype = q_a.dtype
    w = np.empty((M, N), dtype)
    coefficients = (gain * np.asarray(mu, np.float64)).astype(dtype)
    columns_last = np.ascontiguousarray(q_b.swapaxes(1, 2), dtype)
    arguments = np.ascontiguousarray(q_a), columns_last, coefficients, *constants(metric, eps, p, dtype), w
    tasks = -(-M // ROWS) * -(-N // COLUMNS)
    share(functools.partial(_forward(metric, d), *arguments), tasks, q_a.size * N)
    return w


@functools.cache
def _forward(metric, d):
    """Kernel of Eq. (5): a task is a tile of W, summed over the copies h in a private buffer."""
    METRIC = scalar.CODES[metric]
    CHUNKS, WIDTH = chunks(d)

    def forward(q_a, q_b, mu, softening, p, one, huge, w, first, step):
        H, M, D = q_a.shape
        N = q_b.shape[2]
        across = (N + COLUMNS - 1) // COLUMNS
        for task in range(first, (M + ROWS - 1) // ROWS * across, step):
            i_0 = task // across * ROWS
            j_0 = task % across * COLUMNS
            rows, n = min(ROWS, M - i_0), min(COLUMNS, N - j_0)
            a = np.zeros(4 * CHUNKS * WIDTH, q_a.dtype)
            y = np.zeros(CHUNKS * WIDTH * COLUMNS, q_a.dtype)
            s = np.zeros(4 * COLUMNS, q_a.dtype)
            tile = np.zeros((rows + 3) * COLUMNS, q_a.dtype)
            for h in range(H):
                for k in range(D):
                    for j in range(n):
                        y[k * COLUMNS + j] = q_b[h, k, j_0 + j]
                for i in range(0, rows, 4):
                    for k in range(D):
                        for r in range(4):
                            a[4 * k + r] = q_a[h, i_0 + min(i + r, rows - 1), k]
                    sums(METRIC, CHUNKS, WIDTH, a, y, s, n, p)
                    four = tile[i * COLUMNS : (i + 4) * COLUMNS]
                    for j in range(3 * COLUMNS + n):
                        four[j] += mu[h] * value(METRIC, s[j], softening, p, one)
            for i in range(rows):
                for j in range(n):
                    w[i_0 + i, j_0 + j] = tile[i * COLUMNS + j]

    return named(forward, metric, d)
