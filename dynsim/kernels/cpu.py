"""The kernels on CPU threads (Numba): fused, tiled, with the same bits for any number of threads.

Work is cut into tasks that depend on shapes only; a task writes its own part, and parts are summed in a
fixed order afterwards. Inside a task four rows meet a tile of columns, SIMD over the columns, all buffers
private and contiguous: with array slices as targets LLVM would not vectorise, because they might overlap.

Each (metric, d) is one specialisation, cached on disk. It is a closure over integers only, because Numba
cannot cache a closure over compiled functions (numba issue 6264), under a name of its own, because equal
names from different processes collide in the cache (numba issue 10486).
"""

from __future__ import annotations

import functools
import inspect
import zlib
from itertools import pairwise

import numpy as np
import threadpoolctl
from numba import get_num_threads, njit

from . import scalar
from .images import pool  # noqa: F401
from .images_cpu import norm_back, patches, patches_back, pool_back, products, scaled, squares, sums  # noqa: F401
from .medium_cpu import field_at, mean_field, mean_field_forces  # noqa: F401
from .sharing import WORTH_A_THREAD, share

FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}  # no nnan, no ninf: NaN and Inf must stay visible
ROWS, COLUMNS = 32, 512  # of a tile; a row of a tile starts at r * COLUMNS
IN_REGISTERS = 12  # coordinates summed at a time; more of them spill
SCALAR_LANES = 32  # fewer columns than this do not fill the SIMD lanes
TASKS = 64  # wanted at least, when there are rows enough
PRODUCT_BLOCKS, BLOCK_SIDE = 8, 64  # of a matrix product: at most so many, at least so wide
DOT = scalar.DOT

_compile = njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
_inline = njit(inline="always")
_term = _inline(scalar.term)
_value = _inline(scalar.value)
_slope = _inline(scalar.slope)
_direction = _inline(scalar.direction)
# Numba's cache sees changes of this file only, so the scalar bodies are part of each kernel's name.
_BODIES = f"{zlib.crc32(inspect.getsource(scalar).encode()):08x}"


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N), Eq. (5); see `reference.path_integral`."""
    (_, M, d), N = q_a.shape, q_b.shape[1]
    if _too_narrow(M, N):  # every metric is symmetric
        return np.ascontiguousarray(path_integral(metric, q_b, q_a, mu, gain, eps, p).T)
    dtype = q_a.dtype
    w = np.empty((M, N), dtype)
    coefficients = (gain * np.asarray(mu, np.float64)).astype(dtype)
    columns_last = np.ascontiguousarray(q_b.swapaxes(1, 2), dtype)
    constants = _constants(metric, eps, p, dtype)
    arguments = np.ascontiguousarray(q_a), columns_last, coefficients, *constants, w
    tasks = -(-M // ROWS) * -(-N // COLUMNS)
    share(functools.partial(_forward(metric, d), *arguments), tasks, q_a.size * N)
    return w


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """(on q_a, on q_b, on mu, on gain, on eps), Eq. (6); see `reference.path_integral_forces`."""
    (H, M, d), N = q_a.shape, q_b.shape[1]
    if _too_narrow(M, N):
        on_b, on_a, *others = path_integral_forces(metric, q_b, q_a, mu, gain, eps, p, stress.T)
        return on_a, on_b, *others
    dtype, mu = q_a.dtype, np.asarray(mu, np.float64)
    block = _rows_per_task(H, M)
    blocks = -(-M // block)
    on_a = np.zeros((H, M, d), dtype)
    on_b = np.empty((blocks, H, N, d), dtype)
    totals = np.empty((blocks, H, 2))
    arrays = (np.ascontiguousarray(x, dtype) for x in (q_a, q_b, stress))
    arguments = *arrays, *_constants(metric, eps, p, dtype), block, on_a, on_b, totals
    share(functools.partial(_forces(metric, d), *arguments), H * blocks, q_a.size * N)
    of_value, of_slope = totals.sum(0).T
    coefficients = (gain * mu).astype(dtype)[:, None, None]
    on_a *= coefficients
    softened = metric in ("l2", "plummer", "reciprocal")
    on_eps = gain * eps * (mu * of_slope).sum() if softened else 0.0
    on_mu = (gain * of_value).astype(dtype)
    return on_a, on_b.sum(0) * coefficients, on_mu, dtype.type((mu * of_value).sum()), dtype.type(on_eps)


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    q = np.ascontiguousarray(q)
    slots = 1 << (2 * len(q)).bit_length()
    return _count_cells(q, q.dtype.type(delta), np.full(slots, -1))


def histogram(q, delta, first, shape):
    """Counts, int64 of `shape` (k,), of points q (n, k) in the cells floor(q / delta) from cell `first` (k,) on;
    see `reference.histogram`."""
    q = np.ascontiguousarray(q)
    counts = np.zeros(shape, np.int64)
    _count_inside(q, q.dtype.type(delta), np.asarray(first, np.int64), np.asarray(shape, np.int64), counts.reshape(-1))
    return counts


def project_points(positions, matrix, width, height):
    """Where points are seen: (xy (n, 2) float32, depth (n,) float32, visible (n,) bool);
    see `reference.project_points`."""
    n = len(positions)
    xy, depth, visible = np.empty((n, 2), np.float32), np.empty(n, np.float32), np.empty(n, np.bool_)
    matrix = np.ascontiguousarray(matrix, np.float64)
    _project(np.ascontiguousarray(positions), matrix, float(width), float(height), xy, depth, visible)
    return xy, depth, visible


def matmul(a, b):
    """a @ b with the same bits for any number of threads, once `limit_blas_threads` has been called."""
    M, N = len(a), b.shape[1]
    blocks = min(PRODUCT_BLOCKS, M * N * len(b) // WORTH_A_THREAD, max(M, N) // BLOCK_SIDE)
    if blocks < 2:
        return np.matmul(a, b)
    out = np.empty((M, N), np.result_type(a, b))
    edges = [max(M, N) * k // blocks for k in range(blocks + 1)]
    cuts = [slice(*pair) for pair in pairwise(edges)]

    def multiply(first, step):
        for cut in cuts[first::step]:
            if M >= N:
                np.matmul(a[cut], b, out=out[cut])
            else:
                np.matmul(a, b[:, cut], out=out[:, cut])

    share(multiply, blocks, M * N * len(b))
    return out


def thread_count():
    """How many threads share the work."""
    return get_num_threads()


def limit_blas_threads():
    """One BLAS thread a call, for the whole process: `matmul` brings its own, with reproducible bits."""
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")


def _too_narrow(rows, columns):
    return columns < min(rows, SCALAR_LANES)


def _rows_per_task(H, M):
    """Rows of one task of the forces, a multiple of 4; from shapes alone, so that sums keep their order."""
    blocks = max(1, min(-(-TASKS // H), M // ROWS))
    return 4 * -(-M // (4 * blocks))


def _constants(metric, eps, p, dtype):
    """softening, p, one, huge in the arrays' type."""
    tiny = np.finfo(dtype).tiny
    # l2 with eps 0: f(0) = sqrt(tiny) rather than 0 makes u(0) = 0 / f, without a branch
    softening = max(eps**2, tiny) if metric in ("l2", "plummer") else eps**2
    return dtype.type(softening), dtype.type(p), dtype.type(1), 1 / tiny


def _chunks(d):
    """(number, width) of the groups of coordinates that are summed in registers."""
    number = -(-d // IN_REGISTERS)
    return number, -(-d // number)


def _named(function, metric, d):
    name = f"{function.__name__}_{metric}_{d}_{_BODIES}"
    function.__name__ = function.__qualname__ = name
    return _compile(function)


@_inline
def _sums(metric, chunks, width, a, y, s, n, p):
    """s[r, j] = sum_k term(a[k, r], y[k, j]) for four rows r and n columns j."""
    for c in range(chunks):
        for j in range(n):
            if c == 0:
                s0 = s1 = s2 = s3 = a[0] - a[0]
            else:
                s0, s1, s2, s3 = s[j], s[COLUMNS + j], s[2 * COLUMNS + j], s[3 * COLUMNS + j]
            for k in range(c * width, (c + 1) * width):
                b = y[k * COLUMNS + j]
                s0 += _term(metric, a[4 * k], b, p)
                s1 += _term(metric, a[4 * k + 1], b, p)
                s2 += _term(metric, a[4 * k + 2], b, p)
                s3 += _term(metric, a[4 * k + 3], b, p)
            s[j], s[COLUMNS + j], s[2 * COLUMNS + j], s[3 * COLUMNS + j] = s0, s1, s2, s3


@_inline
def _weigh(metric, s, g, rows, n, softening, p, one, huge):
    """Multiply the stress g by the slope in place; return (sum g f, sum g slope)."""
    of_value = of_slope = 0.0
    for r in range(rows):
        g_r, s_r = g[r * COLUMNS : (r + 1) * COLUMNS], s[r * COLUMNS : (r + 1) * COLUMNS]
        value_sum = slope_sum = one - one
        for j in range(n):
            value_sum += g_r[j] * _value(metric, s_r[j], softening, p, one)
            g_r[j] = g_r[j] * _slope(metric, s_r[j], softening, p, one, huge)
            slope_sum += g_r[j]
        of_value += value_sum
        of_slope += slope_sum
    return of_value, of_slope


@_inline
def _pull(metric, a, y, back, g, n, p, one, huge):
    """One coordinate of four rows a[r]: forces on the columns added to back[j], on the rows returned in a."""
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    p0 = p1 = p2 = p3 = one - one
    for j in range(n):
        g0, g1, g2, g3 = g[j], g[COLUMNS + j], g[2 * COLUMNS + j], g[3 * COLUMNS + j]
        u0 = g0 * _direction(metric, a0, y[j], p, one, huge)
        u1 = g1 * _direction(metric, a1, y[j], p, one, huge)
        u2 = g2 * _direction(metric, a2, y[j], p, one, huge)
        u3 = g3 * _direction(metric, a3, y[j], p, one, huge)
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
def _forward(metric, d):
    """Kernel of Eq. (5): a task is a tile of W, summed over the copies h in a private buffer."""
    METRIC = scalar.CODES[metric]
    CHUNKS, WIDTH = _chunks(d)

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
                    _sums(METRIC, CHUNKS, WIDTH, a, y, s, n, p)
                    four = tile[i * COLUMNS : (i + 4) * COLUMNS]
                    for j in range(3 * COLUMNS + n):
                        four[j] += mu[h] * _value(METRIC, s[j], softening, p, one)
            for i in range(rows):
                for j in range(n):
                    w[i_0 + i, j_0 + j] = tile[i * COLUMNS + j]

    return _named(forward, metric, d)


@functools.cache
def _forces(metric, d):
    """Kernel of Eq. (6) for mu = g = 1: a task is a copy h and a block of rows; on_b and sums are its own."""
    METRIC = scalar.CODES[metric]
    CHUNKS, WIDTH = _chunks(d)

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
                    _sums(METRIC, CHUNKS, WIDTH, a, y, s, n, p)
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

    return _named(forces, metric, d)


@njit(nogil=True, cache=True, error_model="numpy")
def _count_cells(q, delta, slots):
    """Open addressing: a slot holds the first particle of its cell; cells are compared, not only hashes."""
    n, d = q.shape
    hashes = np.empty(n, np.uint64)
    counts = np.zeros(n, np.int64)
    for i in range(n):
        code = np.uint64(0x9E3779B97F4A7C15)
        for k in range(d):
            code ^= np.uint64(np.int64(np.floor(q[i, k] / delta)))
            code *= np.uint64(0xBF58476D1CE4E5B9)
            code ^= code >> np.uint64(29)
        hashes[i] = code
    last = np.uint64(slots.size - 1)
    for i in range(n):
        slot = hashes[i] & last
        while slots[slot] >= 0 and not _same_cell(q, delta, hashes, slots[slot], i):
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0:
            slots[slot] = i
        counts[slots[slot]] += 1
    return counts[counts > 0]


@njit(nogil=True, cache=True, error_model="numpy")
def _same_cell(q, delta, hashes, i, j):
    if hashes[i] != hashes[j]:
        return False
    for k in range(q.shape[1]):  # noqa: SIM110
        if np.floor(q[i, k] / delta) != np.floor(q[j, k] / delta):
            return False
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _count_inside(q, delta, first, shape, counts):
    for i in range(q.shape[0]):
        flat = np.int64(0)
        inside = True
        for k in range(q.shape[1]):
            cell = np.float64(np.floor(q[i, k] / delta)) - first[k]
            if not (cell >= 0 and cell < shape[k]):  # NaN is in no cell
                inside = False
                break
            flat = flat * shape[k] + np.int64(cell)
        if inside:
            counts[flat] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _project(positions, m, width, height, xy, depth, visible):
    for i in range(positions.shape[0]):
        x, y, z = np.float64(positions[i, 0]), np.float64(positions[i, 1]), np.float64(positions[i, 2])
        w = x * m[0, 3] + y * m[1, 3] + z * m[2, 3] + m[3, 3]
        scale = 1 / w if w > 0 else np.nan
        across = (x * m[0, 0] + y * m[1, 0] + z * m[2, 0] + m[3, 0]) * scale
        up = (x * m[0, 1] + y * m[1, 1] + z * m[2, 1] + m[3, 1]) * scale
        away = (x * m[0, 2] + y * m[1, 2] + z * m[2, 2] + m[3, 2]) * scale
        xy[i, 0], xy[i, 1], depth[i] = (1 + across) / 2 * width, (1 - up) / 2 * height, away
        visible[i] = abs(across) <= 1 and abs(up) <= 1 and abs(away) <= 1
