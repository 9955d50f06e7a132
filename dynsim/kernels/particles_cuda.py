# mypy: disable-error-code="operator,call-arg,call-overload"
# (numba types the simulator's indices, not those of a kernel)
"""The step of particles on a GPU, one pass over memory; contract and formulas: `particles`."""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import cuda

from .device import THREADS, TYPES, blocks, kernel, xp

SUMS = 6


def kick_drift(q, v, force, mass, keep, kick, dt, longest, work):
    """(q', v', work', left, sums); see `particles.kick_drift`."""
    dtype, d = q.dtype, q.shape[-1]
    n = q.size // d
    flat = [xp.ascontiguousarray(a.reshape(n, d)) for a in (q, v, force)]
    each = [_spread(a, q, width) for a, width in ((mass, 1), (keep, d), (longest, 1))]
    new_q, new_v = xp.empty((n, d), dtype), xp.empty((n, d), dtype)
    left, done = xp.empty(n, dtype), xp.empty(n, dtype)
    sums = xp.empty((SUMS, blocks(n, THREADS)), np.float64)
    steps = dtype.type(kick), dtype.type(dt), dtype.type(1)
    outputs = new_q, new_v, done, left, sums
    _moved(d, str(dtype))[blocks(n, THREADS), THREADS](
        *flat, *each, *steps, xp.ascontiguousarray(work.reshape(n)), *outputs
    )
    shape = q.shape[:-1]
    return new_q.reshape(q.shape), new_v.reshape(q.shape), done.reshape(shape), left.reshape(shape), sums.sum(axis=1)


def _spread(a, q, width):
    """What is one for all, of a particle or of every coordinate, as (n or 1, d or 1) to be read with strides of 0."""
    a = xp.asarray(a, q.dtype)
    if a.size == 1:
        return a.reshape(1, 1)
    shape = (*q.shape[:-1], a.shape[-1] if width > 1 else 1)
    whole = a if a.shape == shape else xp.array(xp.broadcast_to(a, shape))
    return xp.ascontiguousarray(whole.reshape(-1, shape[-1]))


@kernel
def _moved(d, dtype):
    """Kernel: a thread moves a particle, a block adds up what its particles did."""
    D, TYPE = d, TYPES[dtype]

    def moved(q, v, force, mass, keep, longest, kick, dt, one, work, new_q, new_v, done, left, sums):
        parts = cuda.shared.array((SUMS, THREADS), numba.float64)
        wanted = cuda.local.array(D, TYPE)
        block, lane = cuda.blockIdx.x, cuda.threadIdx.x
        i = block * THREADS + lane
        inside = i < q.shape[0]
        before = damped = kicked = limited = way = one - one
        reached = 0.0
        if inside:
            m = mass[i if mass.shape[0] > 1 else 0, 0]
            k = i if keep.shape[0] > 1 else 0
            for c in range(D):
                old = v[i, c]
                slower = keep[k, c if keep.shape[1] > 1 else 0] * old
                w = slower + kick * force[i, c] / m
                before += old * old
                damped += slower * slower
                kicked += w * w
                wanted[c] = w
            cap = longest[i if longest.shape[0] > 1 else 0, 0]
            speed = math.sqrt(kicked)
            factor = cap / speed if speed > cap else one
            reached = 1.0 if speed > cap else 0.0
            power = one - one
            for c in range(D):
                u = factor * wanted[c]
                power += force[i, c] * u
                limited += u * u
                new_v[i, c] = u
                new_q[i, c] = q[i, c] + dt * u
            done[i] = work[i] + dt * power
            left[i] = factor
            way = dt * factor * speed
            before, damped, kicked, limited = 0.5 * m * before, 0.5 * m * damped, 0.5 * m * kicked, 0.5 * m * limited
        parts[0, lane], parts[1, lane], parts[2, lane] = before, damped, kicked
        parts[3, lane], parts[4, lane], parts[5, lane] = limited, way, reached
        half = THREADS // 2
        while half > 0:
            cuda.syncthreads()
            if lane < half:
                for k in range(SUMS):
                    parts[k, lane] += parts[k, lane + half]
            half //= 2
        if lane == 0:
            for k in range(SUMS):
                sums[k, block] = parts[k, 0]

    return moved
