# mypy: disable-error-code="operator,call-arg"
# (numba types the simulator's indices, not those of a kernel)
"""The kernels on an NVIDIA GPU: numba.cuda on CuPy arrays, the same functions and contracts as `reference`.

Arrays live on the device and stay there. A path integral is a tile of W to a block of threads, each with a square of it
in registers. Forces are gathered, not scattered: a block owns some rows and runs over all columns, once for each end of
the link, so that no sum depends on the order of threads and equal runs give equal bits. The scalar bodies are those
of the CPU. On numba's simulator (NUMBA_ENABLE_CUDASIM=1) the same code runs on NumPy arrays.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
from numba import cuda

from . import scalar
from .device import SIMULATED, TYPES, xp
from .medium_cuda import field_at, mean_field, mean_field_forces  # noqa: F401
from .particles_cuda import kick_drift  # noqa: F401

SIDE = 16  # threads along each side of a block of the path integral
EACH = 4  # rows and columns of its square that a thread keeps
TILE = SIDE * EACH
ROWS, LANES = 32, 8  # of a block of the forces: rows, and threads that share the columns of a row
COLUMNS = 32  # that it takes to shared memory at a time
THREADS, SHARE = ROWS * LANES, COLUMNS // LANES  # of a block; columns of a lane
DEEPEST = 32  # coordinates of a tile of the path integral

_inline = cuda.jit(device=True, inline="always")
_term = _inline(scalar.term)
_value = _inline(scalar.value)
_slope = _inline(scalar.slope)
_direction = _inline(scalar.direction)


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N), Eq. (5); see `reference.path_integral`."""
    (_, M, d), N = q_a.shape, q_b.shape[1]
    w = xp.empty((M, N), q_a.dtype)
    coefficients = xp.asarray(gain * xp.asarray(mu, np.float64), q_a.dtype)
    arrays = (xp.ascontiguousarray(q_a), xp.ascontiguousarray(q_b, q_a.dtype), coefficients)
    grid = -(-N // TILE), -(-M // TILE)
    _forward(metric, d, str(q_a.dtype))[grid, (SIDE, SIDE)](*arrays, *_constants(metric, eps, p, q_a.dtype), w)
    return w


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """(on q_a, on q_b, on mu, on gain, on eps), Eq. (6); see `reference.path_integral_forces`."""
    dtype, mu = q_a.dtype, xp.asarray(mu, np.float64)
    q_a, q_b, stress = (xp.ascontiguousarray(a, dtype) for a in (q_a, q_b, stress))
    constants = _constants(metric, eps, p, dtype)
    on_a, totals = _gathered(metric, q_a, q_b, stress, constants)
    on_b, _ = _gathered(metric, q_b, q_a, xp.ascontiguousarray(stress.T), constants)  # every metric is symmetric
    of_value, of_slope = totals.sum(axis=1).T
    coefficients = (gain * mu).astype(dtype)[:, None, None]
    softened = metric in ("l2", "plummer", "reciprocal")
    on_eps = gain * eps * float((mu * of_slope).sum()) if softened else 0.0
    on_gain = dtype.type(float((mu * of_value).sum()))
    return on_a * coefficients, on_b * coefficients, (gain * of_value).astype(dtype), on_gain, dtype.type(on_eps)


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    cells = xp.floor(q / q.dtype.type(delta)).astype(np.int64)
    cells -= cells.min(axis=0)
    key, size = xp.zeros(len(q), np.int64), 1
    for k, width in enumerate(int(w) + 1 for w in cells.max(axis=0)):
        if size * width >= 2**62:  # cells are numbered anew before their numbers overflow
            found, key = xp.unique(key, return_inverse=True)
            size = len(found)
        key, size = key * width + cells[:, k], size * width
    return xp.unique(key, return_counts=True)[1].astype(np.int64)


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


def matmul(a, b):
    """a @ b by cuBLAS: the same bits on the same device."""
    return a @ b


def thread_count():
    """How many multiprocessors share the work."""
    return 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def _constants(metric, eps, p, dtype):
    """softening, p, one, huge in the arrays' type."""
    tiny = np.finfo(dtype).tiny
    softening = max(eps**2, tiny) if metric in ("l2", "plummer") else eps**2
    return dtype.type(softening), dtype.type(p), dtype.type(1), dtype.type(1 / tiny)


def _kept(metric, dtype):
    """Coordinates that a thread keeps in registers, with their forces; more of them take further blocks."""
    most = 32 if dtype == np.float32 else 12
    return most // 2 if metric == "lp" else most


def _gathered(metric, q_a, q_b, stress, constants):
    """Forces (H, M, d) on the first end for mu = g = 1, and (H, blocks, 2) sums of F f and F slope."""
    H, M, d = q_a.shape
    chunks, rows = -(-d // _kept(metric, q_a.dtype)), -(-M // ROWS)
    on_a = xp.empty((H, M, d), q_a.dtype)
    totals = xp.empty((H, rows, 2), np.float64)
    kernel = _pulled(metric, d, -(-d // chunks), str(q_a.dtype))
    kernel[(rows, H, chunks), (LANES, ROWS)](q_a, q_b, stress, *constants, on_a, totals)
    return on_a, totals


@functools.cache
def _forward(metric, d, dtype):
    """Kernel of Eq. (5): a block is a tile of W, summed over the copies h in registers."""
    METRIC, D, TYPE = scalar.CODES[metric], d, TYPES[dtype]
    DEEP = min(d, DEEPEST)
    CHUNKS = -(-d // DEEP)

    def forward(q_a, q_b, mu, softening, p, one, huge, w):
        a_tile = cuda.shared.array((DEEP, TILE), TYPE)
        b_tile = cuda.shared.array((DEEP, TILE), TYPE)
        s = cuda.local.array((EACH, EACH), TYPE)
        total = cuda.local.array((EACH, EACH), TYPE)
        H, M, N = q_a.shape[0], q_a.shape[1], q_b.shape[1]
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        i_0, j_0 = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE
        for r in range(EACH):
            for c in range(EACH):
                total[r, c] = one - one
        for h in range(H):
            for r in range(EACH):
                for c in range(EACH):
                    s[r, c] = one - one
            for chunk in range(CHUNKS):
                first = chunk * DEEP
                for t in range(y * SIDE + x, DEEP * TILE, SIDE * SIDE):
                    place, k = t // DEEP, t % DEEP
                    known = first + k < D
                    i, j = min(i_0 + place, M - 1), min(j_0 + place, N - 1)
                    a_tile[k, place] = q_a[h, i, first + k] if known else one - one
                    b_tile[k, place] = q_b[h, j, first + k] if known else one - one
                cuda.syncthreads()
                for k in range(DEEP):
                    for r in range(EACH):
                        a = a_tile[k, y + r * SIDE]
                        for c in range(EACH):
                            s[r, c] += _term(METRIC, a, b_tile[k, x + c * SIDE], p)
                cuda.syncthreads()
            for r in range(EACH):
                for c in range(EACH):
                    total[r, c] += mu[h] * _value(METRIC, s[r, c], softening, p, one)
        for r in range(EACH):
            i = i_0 + y + r * SIDE
            for c in range(EACH):
                j = j_0 + x + c * SIDE
                if i < M and j < N:
                    w[i, j] = total[r, c]

    return cuda.jit(fastmath=True)(forward)


@functools.cache
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
                        s[c] += _term(METRIC, a[k], tile[k, lane + c * LANES], p)
            for c in range(SHARE):
                j = j_0 + lane + c * LANES
                if i < M and j < N:
                    f = stress[i, j]
                    of_value += f * _value(METRIC, s[c], softening, p, one)
                    f *= _slope(METRIC, s[c], softening, p, one, huge)
                    of_slope += f
                    for k in range(W):
                        force[k] += f * _direction(METRIC, a[k], tile[k, lane + c * LANES], p, one, huge)
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

    return cuda.jit(fastmath=True)(pulled)
