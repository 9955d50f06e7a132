# mypy: disable-error-code="operator,call-arg"
# (numba types the simulator's indices, not those of a kernel)
"""Forces of the path integrals on a GPU: gathered, not scattered.

A block owns some rows and runs over all columns, once for each end of the link, so that no sum depends on the order of
threads and equal runs give equal bits.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import cuda

from . import scalar
from .device import TYPES, blocks, contiguous, kernel, xp
from .path_integral_cuda import constants_of, inline, term, value

ROWS, LANES = 32, 8  # of a block: rows, and threads that share the columns of a row
COLUMNS = 32  # that it takes to shared memory at a time
THREADS, SHARE = ROWS * LANES, COLUMNS // LANES  # of a block; columns of a lane

slope = inline(scalar.slope)
direction = inline(scalar.direction)


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """(on q_a, on q_b, on mu, on gain, on eps), Eq. (6); see `reference.path_integral_forces`."""
    dtype, mu = q_a.dtype, xp.asarray(mu, np.float64)
    q_a, q_b, stress = contiguous(dtype, q_a, q_b, stress)
    constants = constants_of(metric, eps, p, dtype)
    on_a, totals = _gathered(metric, q_a, q_b, stress, constants)
    on_b, _ = _gathered(metric, q_b, q_a, xp.ascontiguousarray(stress.T), constants)  # every metric is symmetric
    of_value, of_slope = totals.sum(axis=1).T
    coefficients = (gain * mu).astype(dtype)[:, None, None]
    softened = metric in scalar.SOFTENED
    on_gain = (mu * of_value).sum().astype(dtype)
    on_eps = (gain * eps * (mu * of_slope).sum()).astype(dtype) if softened else xp.zeros((), dtype)
    return on_a * coefficients, on_b * coefficients, (gain * of_value).astype(dtype), on_gain, on_eps


def _kept(metric, dtype):
    """Coordinates that a thread keeps in registers, with their forces; more of them take further blocks."""
    most = 32 if dtype == np.float32 else 12
    return most // 2 if metric == "lp" else most


def _gathered(metric, q_a, q_b, stress, constants):
    """Forces (H, M, d) on the first end for mu = g = 1, and (H, blocks, 2) sums of F f and F slope."""
    H, M, d = q_a.shape
    chunks, rows = blocks(d, _kept(metric, q_a.dtype)), blocks(M, ROWS)
    on_a = xp.empty((H, M, d), q_a.dtype)
    totals = xp.empty((H, rows, 2), np.float64)
    pulled = _pulled(metric, d, blocks(d, chunks), str(q_a.dtype))
    pulled[(rows, H, chunks), (LANES, ROWS)](q_a, q_b, stress, *constants, on_a, totals)
    return on_a, totals


@kernel
def _pulled(metric, d, width, dtype):
    """Kernel of Eq. (6), line 1: a block is a copy h and some rows; its lanes share the columns of a row."""
    METRIC, D, W, TYPE = scalar.CODES[metric], d, width, TYPES[dtype]
    STRIDE = COLUMNS + 1  # against conflicts of memory banks

    def pulled(q_a, q_b, stress, softening, p, one, huge, on_a, totals):
        tile = cuda.shared.array((W, STRIDE), TYPE)
        parts = cuda.shared.array((ROWS, LANES), TYPE)
        sums = cuda.shared.array((THREADS, 2), numba.float64)
        a = cuda.local.array(W, TYPE)
        force = cuda.local.array(W, TYPE)
        s = cuda.local.array(SHARE, TYPE)
        M, N = q_a.shape[1], q_b.shape[1]
        lane, row = cuda.threadIdx.x, cuda.threadIdx.y
        h, mine = cuda.blockIdx.y, cuda.blockIdx.z * W
        i = cuda.blockIdx.x * ROWS + row
        safe = min(i, M - 1)
        of_value, of_slope = 0.0, 0.0
        for k in range(W):
            force[k] = one - one
        for j_0 in range(0, N, COLUMNS):
            for c in range(SHARE):
                s[c] = one - one
            for turn in range((D + W - 1) // W):
                # the chunk whose forces are wanted comes last, to be still there
                chunk = (cuda.blockIdx.z + 1 + turn) % ((D + W - 1) // W)
                cuda.syncthreads()
                for t in range(row * LANES + lane, W * COLUMNS, THREADS):
                    place, k = t // W, t % W
                    column = min(j_0 + place, N - 1)
                    tile[k, place] = q_b[h, column, chunk * W + k] if chunk * W + k < D else one - one
                cuda.syncthreads()
                for k in range(W):
                    a[k] = q_a[h, safe, chunk * W + k] if chunk * W + k < D else one - one
                for c in range(SHARE):
                    for k in range(W):
                        s[c] += term(METRIC, a[k], tile[k, lane + c * LANES], p)
            for c in range(SHARE):
                j = j_0 + lane + c * LANES
                if i < M and j < N:
                    f = stress[i, j]
                    of_value += f * value(METRIC, s[c], softening, p, one)
                    f *= slope(METRIC, s[c], softening, p, one, huge)
                    of_slope += f
                    for k in range(W):
                        force[k] += f * direction(METRIC, a[k], tile[k, lane + c * LANES], p, one, huge)
        for k in range(W):
            cuda.syncthreads()
            parts[row, lane] = force[k]
            cuda.syncthreads()
            if lane == 0 and i < M and mine + k < D:
                whole = parts[row, 0]
                for c in range(1, LANES):
                    whole += parts[row, c]
                on_a[h, i, mine + k] = whole
        t = row * LANES + lane
        sums[t, 0], sums[t, 1] = of_value, of_slope
        half = THREADS // 2
        while half > 0:
            cuda.syncthreads()
            if t < half:
                sums[t, 0] += sums[t + half, 0]
                sums[t, 1] += sums[t + half, 1]
            half //= 2
        if t == 0 and cuda.blockIdx.z == 0:
            totals[h, cuda.blockIdx.x, 0], totals[h, cuda.blockIdx.x, 1] = sums[0, 0], sums[0, 1]

    return pulled
