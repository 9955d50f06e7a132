"""The forces of path integrals, Eq. (6), on CPU threads: distances recomputed, the same bits for any number of threads.

A task, one copy h and a block of rows, takes four rows and a tile of columns at a time: first the stress times the
slope, G_ij = F_ij f'(s_ij), then coordinate by coordinate the pulls. Tasks depend on shapes only; each writes its own
part, and parts are summed in a fixed order. For metrics of |a - b|^2 in many dimensions both steps are products, one
multiply-add a coordinate where a difference takes two operations:

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b        sum_j G_ij (a_i - b_j) = a_i sum_j G_ij - sum_j G_ij b_j

Where particles nearly meet both cancel, and differences are taken instead. No metric needs a sum for F.f: all are
homogeneous, so that by Euler's theorem it is the virial, sum of position times force.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import njit

from . import scalar
from .distances_cpu import NEAR, centre_of
from .factored import dense_forces
from .lanes import BYTES, all_above, chosen, load, multiply_add, spread, spread_at, store, total
from .products_cpu import matmul
from .sharing import share
from .specialised import FAST, compiled, constants, named, slope, term, too_narrow

COLUMNS = 1248  # of a tile, at most: four rows of it in the first cache; not a power of 2, or its rows meet in a set
STRESS_BYTES = 1 << 20  # of a task's rows, all copies in turn, so that the second cache still has them
PARTS_BYTES = 6 << 20  # of the forces on columns, one part for each block of rows
TASKS = 16  # wanted at least
EXPAND_FROM = 6  # dimensions; below it too many pairs are near
SOFTENED = ("l2", "plummer", "reciprocal")
L1, LP, RECIPROCAL, DOT = scalar.L1, scalar.LP, scalar.RECIPROCAL, scalar.DOT

phase = njit(
    nogil=True, fastmath=FAST, error_model="numpy", forceinline=True
)  # by LLVM: compiles 4x faster than by Numba


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """(on q_a, on q_b, on mu, on gain, on eps), Eq. (6); see `reference.path_integral_forces`."""
    (_, M, _), N, dtype = q_a.shape, q_b.shape[1], q_a.dtype
    if metric in ("squared", "dot"):
        link = metric, q_a, q_b, np.asarray(mu, dtype), dtype.type(gain)
        with np.errstate(invalid="ignore"):  # of Inf
            *parts, on_gain, on_eps = dense_forces(*link, np.asarray(stress, dtype), matmul)
        return *parts, dtype.type(on_gain), dtype.type(on_eps)
    if too_narrow(M, N):  # every metric is symmetric
        on_b, on_a, *others = path_integral_forces(metric, q_b, q_a, mu, gain, eps, p, stress.T)
        return on_a, on_b, *others
    on_a, on_b, virial, of_slope = _pulls(metric, q_a, q_b, eps, p, stress)
    mu = np.asarray(mu, np.float64)
    of_value, on_eps = virial, 0.0
    if metric in SOFTENED:  # |v|^2 + eps^2 is what the metric is homogeneous in
        of_value = virial + float(constants(metric, eps, p, dtype)[0]) * of_slope
        on_eps = gain * eps * (mu * of_slope).sum()
    if metric == "reciprocal":  # of degree -1
        of_value = -of_value
    coefficients = (gain * mu).astype(dtype)[:, None, None]
    on_a *= coefficients
    on_b *= coefficients
    on_mu = (gain * of_value).astype(dtype)
    return on_a, on_b, on_mu, dtype.type((mu * of_value).sum()), dtype.type(on_eps)


def _pulls(metric, q_a, q_b, eps, p, stress):
    """(on q_a, on q_b, virial (H,), sum of the weighted stress (H,)) for mu = g = 1."""
    (H, M, d), N, dtype = q_a.shape, q_b.shape[1], q_a.dtype
    block = _rows_per_task(H, M, N, d, dtype.itemsize)
    blocks = -(-M // block)
    on_a = np.zeros((H, M, d), dtype)
    on_b = np.empty((blocks, H, d, N), dtype)
    totals = np.empty((blocks, H, 2))
    # sign(v) is v within -1 and 1 in units so small that no two coordinates differ by less.
    unit = dtype.type(2.0 ** (np.finfo(dtype).maxexp // 2) if metric == "l1" else 1)
    arrays = (np.ascontiguousarray(x, dtype) for x in (q_a, q_b.swapaxes(1, 2), centre_of(q_b)[:, 0], stress))
    arguments = *arrays, unit, *constants(metric, eps, p, dtype), dtype.type(NEAR), block, on_a, on_b, totals
    share(functools.partial(_forces(metric, d), *arguments), H * blocks, q_a.size * N)
    virial, of_slope = totals.sum(0).T
    return on_a, np.ascontiguousarray(on_b.sum(0).swapaxes(1, 2)), virial, of_slope


def _rows_per_task(H, M, N, d, itemsize):
    """Rows of one task, a multiple of 4; from shapes alone, so that sums keep their order."""
    blocks = min(-(-M * N * itemsize // STRESS_BYTES), PARTS_BYTES // (H * N * d * itemsize))
    return 4 * -(-M // (4 * max(blocks, -(-TASKS // H))))


@phase
def _slope(metric, s, softening, p, one, huge):
    """`scalar.slope`, of lanes."""
    if metric == LP:
        return chosen(s * huge, one, s ** (one / p - one), s - s)
    r = one / math.sqrt(s + softening)
    return r * r * (one - one - r) if metric == RECIPROCAL else r


@phase
def _direction(metric, a, b, p, one):
    """`scalar.direction`, of lanes; for l1 in small units."""
    v = a - b
    zero = one - one
    if metric == L1:
        v = chosen(v, one, one, v)
        return chosen(zero - one, v, zero - one, v)
    if metric == LP:
        power = abs(v) ** (p - one)
        return chosen(v, zero, power, chosen(zero, v, zero - power, v))
    return v


@phase
def _sums(metric, d, width, a, y, j, p, s0, s1, s2, s3):
    """s_r + sum_k term(a_rk, y_k) of four rows and the columns from j on."""
    for k in range(d):
        b = load(y, k * COLUMNS + j)
        s0 += term(metric, spread_at(a, 4 * k), b, p)
        s1 += term(metric, spread_at(a, 4 * k + 1), b, p)
        s2 += term(metric, spread_at(a, 4 * k + 2), b, p)
        s3 += term(metric, spread_at(a, 4 * k + 3), b, p)
    return s0, s1, s2, s3


@phase
def _weigh(metric, g, j, s0, s1, s2, s3, softening, p, one, huge):
    """Multiply the stress g of the columns from j on by the slopes; return their sums."""
    g0 = load(g, j) * _slope(metric, s0, softening, p, one, huge)
    g1 = load(g, COLUMNS + j) * _slope(metric, s1, softening, p, one, huge)
    g2 = load(g, 2 * COLUMNS + j) * _slope(metric, s2, softening, p, one, huge)
    g3 = load(g, 3 * COLUMNS + j) * _slope(metric, s3, softening, p, one, huge)
    _store_rows(g, j, g0, g1, g2, g3)
    return g0 + g1 + g2 + g3


@phase
def _store_rows(g, j, g0, g1, g2, g3):
    store(g, j, g0)
    store(g, COLUMNS + j, g1)
    store(g, 2 * COLUMNS + j, g2)
    store(g, 3 * COLUMNS + j, g3)


@phase
def _pull(metric, width, a, k, y, g, back, begin, end, p, one):
    """Coordinate k of four rows and the columns from begin to end: adds u to back[k, j], returns its sums over j."""
    a0, a1, a2, a3 = spread_at(a, 4 * k), spread_at(a, 4 * k + 1), spread_at(a, 4 * k + 2), spread_at(a, 4 * k + 3)
    p0 = p1 = p2 = p3 = one - one
    for j in range(begin, end, width):
        b = load(y, k * COLUMNS + j)
        g0, g1, g2, g3 = load(g, j), load(g, COLUMNS + j), load(g, 2 * COLUMNS + j), load(g, 3 * COLUMNS + j)
        u0, u1 = _direction(metric, a0, b, p, one), _direction(metric, a1, b, p, one)
        u2, u3 = _direction(metric, a2, b, p, one), _direction(metric, a3, b, p, one)
        p0, p1 = multiply_add(g0, u0, p0), multiply_add(g1, u1, p1)
        p2, p3 = multiply_add(g2, u2, p2), multiply_add(g3, u3, p3)
        sums = multiply_add(g1, u1, multiply_add(g0, u0, load(back, k * COLUMNS + j)))
        store(back, k * COLUMNS + j, multiply_add(g3, u3, multiply_add(g2, u2, sums)))
    return total(p0), total(p1), total(p2), total(p3)


@compiled
def _multiply(width, a, k, y, g, back, n):
    """Coordinate k of four rows and n columns: adds sum_r g_rj a_r to back[k, j], returns sum_j g_rj y_j."""
    a0, a1, a2, a3 = spread_at(a, 4 * k), spread_at(a, 4 * k + 1), spread_at(a, 4 * k + 2), spread_at(a, 4 * k + 3)
    p0 = p1 = p2 = p3 = spread(a[0] - a[0])
    for j in range(0, n, width):
        b = load(y, k * COLUMNS + j)
        g0, g1, g2, g3 = load(g, j), load(g, COLUMNS + j), load(g, 2 * COLUMNS + j), load(g, 3 * COLUMNS + j)
        p0 += g0 * b
        p1 += g1 * b
        p2 += g2 * b
        p3 += g3 * b
        store(back, k * COLUMNS + j, load(back, k * COLUMNS + j) + g0 * a0 + g1 * a1 + g2 * a2 + g3 * a3)
    return total(p0), total(p1), total(p2), total(p3)


@compiled
def _meet(metric, d, width, a, y, j_0, g, back, softening, p, one, huge, pulls):
    """Four rows and a vector of columns by differences: as `_pull`, to back and pulls[4 k + r]; takes g, returns G."""
    s = np.empty(width, a.dtype)
    of_slope = one - one
    pulls[:] = of_slope
    for r in range(4):
        g_r = g[r * COLUMNS + j_0 : r * COLUMNS + j_0 + width]
        s[:] = one - one
        for k in range(d):
            b = y[k * COLUMNS + j_0 : k * COLUMNS + j_0 + width]
            for j in range(width):
                s[j] += (a[4 * k + r] - b[j]) ** 2
        for j in range(width):
            s[j] = g_r[j] * slope(metric, s[j], softening, p, one, huge)
            of_slope += s[j]
            g_r[j] = one - one
        for k in range(d):
            b = y[k * COLUMNS + j_0 : k * COLUMNS + j_0 + width]
            back_k = back[k * COLUMNS + j_0 : k * COLUMNS + j_0 + width]
            for j in range(width):
                u = s[j] * (a[4 * k + r] - b[j])
                pulls[4 * k + r] += u
                back_k[j] += u
    return of_slope


@phase
def _buffer(size, like):
    """Zeros that start at a line of the cache: vectors that straddle two lines take twice as long to load."""
    numbers = np.zeros(size + BYTES // like.itemsize, like.dtype)
    start = -numbers.ctypes.data % BYTES // like.itemsize
    return numbers[start : start + size]


@compiled
def _take_stress(stress, i, end, j_0, n, padded, g, zero):
    """Four rows and n columns of the stress to g; 0 in what is beyond."""
    for r in range(4):
        row, g_r = stress[min(i + r, end - 1), j_0 : j_0 + n], g[r * COLUMNS : (r + 1) * COLUMNS]
        here = n if i + r < end else 0
        for j in range(here):
            g_r[j] = row[j]
        for j in range(here, padded):
            g_r[j] = zero


@compiled
def _take_columns(q_b, origin, unit, j_0, n, padded, y):
    """n columns to y, in units from the origin; the last one repeated."""
    for k in range(len(q_b)):
        b, y_k = q_b[k, j_0 : j_0 + n], y[k * COLUMNS : (k + 1) * COLUMNS]
        centre = origin[k]
        for j in range(n):
            y_k[j] = (b[j] - centre) * unit
        for j in range(n, padded):
            y_k[j] = y_k[n - 1]


@compiled
def _take_rows(q_a, origin, unit, i, end, a):
    """Four rows to a, in units from the origin; the last one repeated."""
    for r in range(4):
        row = q_a[min(i + r, end - 1)]
        for k in range(len(row)):
            a[4 * k + r] = (row[k] - origin[k]) * unit


@compiled
def _give_columns(b, centre, y, sums, back, out):
    """The force on coordinate b of columns to out; returns its virial. Without products the sums are 0."""
    virial = centre - centre
    for j in range(len(b)):
        force = sums[j] * y[j] - back[j]
        out[j] = force
        virial += force * (b[j] - centre)
    return virial


@compiled
def _squares(x, d, stride, n, squares):
    for j in range(n):
        squares[j] = x[j] * x[j]
    for k in range(1, d):
        for j in range(n):
            squares[j] += x[k * stride + j] * x[k * stride + j]


@functools.cache
def _forces(metric, d):
    """Kernel of Eq. (6) for mu = g = 1: a task is a copy h and a block of rows; on_b and totals are its own."""
    METRIC, EXPANDED, WEIGHED = scalar.CODES[metric], metric in SOFTENED and d >= EXPAND_FROM, metric != "l1"

    def forces(
        q_a, q_b, centre, stress, unit, softening, p, one, huge, near, block, on_a, on_b, totals, first, step
    ):  # fmt: skip
        (H, M, _), N, width = q_a.shape, q_b.shape[2], BYTES // q_a.itemsize
        zero = one - one
        zeros, ones = spread(zero), spread(one)
        softenings, powers, huges = spread(softening), spread(p), spread(huge)
        across = -(-N // ((N + COLUMNS - 1) // COLUMNS))
        origin = np.zeros(d, q_a.dtype)
        a, left, minus = _buffer(4 * d, q_a), _buffer(4 * d + 4, q_a), _buffer(4 * d, q_a)
        y, right = _buffer(d * COLUMNS, q_a), _buffer(d * COLUMNS + COLUMNS, q_a)
        back, g = _buffer(d * COLUMNS + COLUMNS, q_a), _buffer(4 * COLUMNS, q_a)
        a_squares, b_squares = _buffer(4, q_a), _buffer(COLUMNS, q_a)
        bound, near_pulls = _buffer(COLUMNS // width, q_a), _buffer(4 * d, q_a)
        left[4 * d :] = one
        right[d * COLUMNS :] = one
        for task in range(first, H * ((M + block - 1) // block), step):
            part, h = task // H, task % H
            begin, end = part * block, min((part + 1) * block, M)
            virial = of_slope = 0.0
            for j_0 in range(0, N, across):
                n = min(across, N - j_0)
                padded = (n + width - 1) // width * width
                back[:] = zero
                _take_columns(q_b[h], origin, unit, j_0, n, padded, y)
                if EXPANDED:
                    _take_columns(q_b[h], centre[h], unit, j_0, n, padded, right)
                    _squares(right, d, COLUMNS, padded, b_squares)
                    for j in range(padded):
                        if j % width == 0 or not b_squares[j] <= bound[j // width]:
                            bound[j // width] = b_squares[j]
                for i in range(begin, end, 4):
                    rows = min(4, end - i)
                    _take_rows(q_a[h], origin, unit, i, end, a)
                    _take_stress(stress, i, end, j_0, n, padded, g, zero)
                    weights = zeros
                    if EXPANDED:
                        _take_rows(q_a[h], centre[h], unit, i, end, left)
                        _squares(left, d, 4, 4, a_squares)
                        for r in range(4 * d):
                            minus[r] = -(left[r] + left[r])
                        a_0, a_1, a_2, a_3 = a_squares[0], a_squares[1], a_squares[2], a_squares[3]
                        for j in range(0, padded, width):
                            s = load(b_squares, j)
                            s0, s1, s2, s3 = _sums(
                                DOT, d, width, minus, right, j, powers,
                                s + spread(a_0), s + spread(a_1), s + spread(a_2), s + spread(a_3),
                            )  # fmt: skip
                            limit = bound[j // width]
                            if (
                                all_above(s0, spread(near * (a_0 + limit)))
                                and all_above(s1, spread(near * (a_1 + limit)))
                                and all_above(s2, spread(near * (a_2 + limit)))
                                and all_above(s3, spread(near * (a_3 + limit)))
                            ):
                                _weigh(METRIC, g, j, s0, s1, s2, s3, softenings, powers, ones, huges)
                            else:
                                of_slope += _meet(
                                    METRIC, d, width, a, y, j, g, back, softening, p, one, huge, near_pulls
                                )  # fmt: skip
                                for k in range(d):
                                    for r in range(rows):
                                        on_a[h, i + r, k] += near_pulls[4 * k + r]
                        sums = _multiply(width, left, d, right, g, back, padded)
                        for k in range(d):
                            pulls = _multiply(width, left, k, right, g, back, padded)
                            for r in range(rows):
                                on_a[h, i + r, k] += sums[r] * left[4 * k + r] - pulls[r]
                        of_slope += sums[0] + sums[1] + sums[2] + sums[3]
                    else:
                        if WEIGHED:
                            for j in range(0, padded, width):
                                s0, s1, s2, s3 = _sums(METRIC, d, width, a, y, j, powers, zeros, zeros, zeros, zeros)
                                weights += _weigh(METRIC, g, j, s0, s1, s2, s3, softenings, powers, ones, huges)
                        for k in range(d):
                            pulls = _pull(METRIC, width, a, k, y, g, back, 0, padded, powers, ones)
                            for r in range(rows):
                                on_a[h, i + r, k] += pulls[r]
                    of_slope += total(weights)
                for k in range(d):
                    virial += _give_columns(
                        q_b[h, k, j_0 : j_0 + n], centre[h, k], right[k * COLUMNS :], back[d * COLUMNS :],
                        back[k * COLUMNS :], on_b[part, h, k, j_0 : j_0 + n],
                    )  # fmt: skip
            for i in range(begin, end):
                for k in range(d):
                    virial += on_a[h, i, k] * (q_a[h, i, k] - centre[h, k])
            totals[part, h, 0], totals[part, h, 1] = virial, of_slope

    return named(forces, metric, d)
