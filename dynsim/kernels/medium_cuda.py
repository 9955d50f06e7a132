# mypy: disable-error-code="operator,call-arg,call-overload"
# (numba types the simulator's indices, not those of a kernel)
"""The global field along straight paths on a GPU; contract and formulas: `medium`.

Everything is gathered: a block owns an end of a path or a particle of the medium and runs over all that touches it, so
that no sum depends on the order of threads.
"""

from __future__ import annotations

import math

import numba
from numba import cuda

from .device import THREADS, TYPES, blocks, contiguous, kernel, xp
from .medium import field_at  # noqa: F401

SIDE = 16  # threads along each side of a block of mean fields


def mean_field(q_a, q_b, sources, amplitudes, width, ways, weights):
    """int_0^1 n(v(t)) dt of every path, (P, M, N); see `medium.mean_field`."""
    (P, M, d), N = q_a.shape, q_b.shape[1]
    arrays = contiguous(q_a.dtype, q_a, q_b, sources, amplitudes, ways, weights)
    fields = xp.empty((P, M, N), q_a.dtype)
    grid = blocks(N, SIDE), blocks(M, SIDE), P
    _fields(d, str(q_a.dtype))[grid, (SIDE, SIDE)](*arrays, _rate(width, q_a.dtype), fields)
    return fields


def mean_field_forces(q_a, q_b, sources, amplitudes, width, ways, weights, stress):
    """(on q_a, on q_b, on sources, on amplitudes); see `medium.mean_field_forces`."""
    dtype, d, rate = q_a.dtype, q_a.shape[2], _rate(width, q_a.dtype)
    q_a, q_b, sources, amplitudes, ways, weights, stress = contiguous(
        dtype, q_a, q_b, sources, amplitudes, ways, weights, stress
    )
    medium = sources, amplitudes
    on_a, on_b = xp.empty(q_a.shape, dtype), xp.empty(q_b.shape, dtype)
    ends = _ends(d, str(dtype))
    ends[q_a.shape[1::-1], THREADS](q_a, q_b, *medium, ways, weights, stress, rate, on_a)
    # the same paths, walked from their other end
    turned = xp.ascontiguousarray(stress.swapaxes(1, 2))
    ends[q_b.shape[1::-1], THREADS](q_b, q_a, *medium, 1 - ways, weights, turned, rate, on_b)
    on_sources, on_amplitudes = xp.empty(sources.shape, dtype), xp.empty(len(amplitudes), dtype)
    outputs = on_sources, on_amplitudes
    _medium(d, str(dtype))[len(sources), THREADS](q_a, q_b, *medium, ways, weights, stress, rate, *outputs)
    return on_a, on_b, on_sources, on_amplitudes


def _rate(width, dtype):
    """1 / (2 width^2) in the type of the arrays."""
    return dtype.type(0.5 / width**2)


@cuda.jit(device=True, inline="always")
def _block_sum(parts, lane, mine):
    """The sum over the threads of a block, in the order of a tree; every thread calls it.

    parts : shared memory, a float64 for each thread, a power of two.
    """
    cuda.syncthreads()
    parts[lane] = mine
    half = parts.shape[0] // 2
    while half > 0:
        cuda.syncthreads()
        if lane < half:
            parts[lane] += parts[lane + half]
        half //= 2
    cuda.syncthreads()
    return parts[0]


@kernel
def _fields(d, dtype):
    """Kernel of the mean field: a thread is a path."""
    D, TYPE = d, TYPES[dtype]

    def fields(q_a, q_b, sources, amplitudes, ways, weights, rate, out):
        v = cuda.local.array(D, TYPE)
        p = cuda.blockIdx.z
        i = cuda.blockIdx.y * SIDE + cuda.threadIdx.y
        j = cuda.blockIdx.x * SIDE + cuda.threadIdx.x
        if i < q_a.shape[1] and j < q_b.shape[1]:
            total = rate - rate
            for s in range(ways.shape[0]):
                for c in range(D):
                    v[c] = q_a[p, i, c] + ways[s] * (q_b[p, j, c] - q_a[p, i, c])
                for k in range(sources.shape[0]):
                    square = rate - rate
                    for c in range(D):
                        square += (v[c] - sources[k, c]) * (v[c] - sources[k, c])
                    total += weights[s] * amplitudes[k] * math.exp(-rate * square)
            out[p, i, j] = total

    return fields


@kernel
def _ends(d, dtype):
    """Kernel of the forces on the first ends: a block is an end, its threads share the paths from it."""
    D, TYPE = d, TYPES[dtype]

    def ends(q_a, q_b, sources, amplitudes, ways, weights, stress, rate, on_a):
        parts = cuda.shared.array(THREADS, numba.float64)
        v = cuda.local.array(D, TYPE)
        ahead = cuda.local.array(D, numba.float64)
        i, p, lane = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
        for c in range(D):
            ahead[c] = 0.0
        for j in range(lane, q_b.shape[1], THREADS):
            for s in range(ways.shape[0]):
                for c in range(D):
                    v[c] = q_a[p, i, c] + ways[s] * (q_b[p, j, c] - q_a[p, i, c])
                for k in range(sources.shape[0]):
                    square = rate - rate
                    for c in range(D):
                        square += (v[c] - sources[k, c]) * (v[c] - sources[k, c])
                    slope = stress[p, i, j] * weights[s] * amplitudes[k] * math.exp(-rate * square)
                    for c in range(D):
                        ahead[c] -= (1 - ways[s]) * slope * (v[c] - sources[k, c])
        for c in range(D):
            whole = _block_sum(parts, lane, ahead[c])
            if lane == 0:
                on_a[p, i, c] = 2 * rate * whole

    return ends


@kernel
def _medium(d, dtype):
    """Kernel of the forces on the medium: a block is one of its particles, its threads share all paths."""
    D, TYPE = d, TYPES[dtype]

    def medium(q_a, q_b, sources, amplitudes, ways, weights, stress, rate, on_sources, on_amplitudes):
        parts = cuda.shared.array(THREADS, numba.float64)
        v = cuda.local.array(D, TYPE)
        ahead = cuda.local.array(D, numba.float64)
        (P, M), N = q_a.shape[:2], q_b.shape[1]
        k, lane = cuda.blockIdx.x, cuda.threadIdx.x
        on_amplitude = 0.0
        for c in range(D):
            ahead[c] = 0.0
        for path in range(lane, P * M * N, THREADS):
            p, i, j = path // (M * N), path // N % M, path % N
            for s in range(ways.shape[0]):
                square = rate - rate
                for c in range(D):
                    v[c] = q_a[p, i, c] + ways[s] * (q_b[p, j, c] - q_a[p, i, c]) - sources[k, c]
                    square += v[c] * v[c]
                pulled = stress[p, i, j] * weights[s] * math.exp(-rate * square)
                on_amplitude += pulled
                for c in range(D):
                    ahead[c] += pulled * amplitudes[k] * v[c]
        whole = _block_sum(parts, lane, on_amplitude)
        if lane == 0:
            on_amplitudes[k] = whole
        for c in range(D):
            whole = _block_sum(parts, lane, ahead[c])
            if lane == 0:
                on_sources[k, c] = 2 * rate * whole

    return medium
