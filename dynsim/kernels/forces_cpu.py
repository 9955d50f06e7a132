"""The forces of path integrals, Eq. (6), on CPU threads: distances recomputed, the same bits for any number of threads.

A task, one copy h and a block of rows, takes four rows and a tile of columns at a time: first the stress times the
slope, G_ij = F_ij f'(s_ij), then coordinate by coordinate the pulls. Tasks depend on shapes only; each writes its own
part, and parts are summed in a fixed order. For metrics of |a - b|^2 in many dimensions both steps are products, one
multiply-add a coordinate where a difference takes two operations:

    |a - b|^2 = |a|^2 + |b|^2 - 2 a.b        sum_j G_ij (a_i - b_j) = a_i sum_j G_ij - sum_j G_ij b_j

Where particles nearly meet both cancel, and differences are taken instead. No metric needs a sum for F.f: all are
homogeneous, so that by Euler's theorem it is the virial, sum of position times force, over their degree.
"""

from __future__ import annotations

import functools

import numpy as np

from . import pulls_cpu, scalar
from .distances_cpu import NEAR, centre_of
from .factored import dense_forces
from .lanes import BYTES, all_above, load, spread, total
from .products_cpu import matmul
from .pulls_cpu import (
    COLUMNS,
    expand_columns,
    expand_rows,
    give_columns,
    meet,
    multiply,
    pull,
    sums_of,
    take_columns,
    take_rows,
    take_stress,
    weigh,
)
from .sharing import share
from .specialised import aligned, constants, named, too_narrow

STRESS_BYTES = 1 << 20  # of a task's rows, all copies in turn, so that the second cache still has them
PARTS_BYTES = 6 << 20  # of the forces on columns, one part for each block of rows
TASKS = 16  # wanted at least
EXPAND_FROM = 6  # dimensions; below it too many pairs are near
OPERATIONS = 4  # multiply-adds that take as long as one coordinate of a pair, there and back
DOT = scalar.DOT


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
    if metric in scalar.SOFTENED:  # |v|^2 + eps^2 is what the metric is homogeneous in
        of_value = virial + float(constants(metric, eps, p, dtype)[0]) * of_slope
        on_eps = gain * eps * (mu * of_slope).sum()
    of_value = of_value / scalar.DEGREES.get(metric, 1)
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
    share(functools.partial(_forces(metric, d), *arguments), H * blocks, OPERATIONS * q_a.size * N)
    virial, of_slope = totals.sum(0).T
    return on_a, np.ascontiguousarray(on_b.sum(0).swapaxes(1, 2)), virial, of_slope


def _rows_per_task(H, M, N, d, itemsize):
    """Rows of one task, a multiple of 4; from shapes alone, so that sums keep their order."""
    blocks = min(-(-M * N * itemsize // STRESS_BYTES), PARTS_BYTES // (H * N * d * itemsize))
    return 4 * -(-M // (4 * max(blocks, -(-TASKS // H))))


@functools.cache
def _forces(metric, d):
    """Kernel of Eq. (6) for mu = g = 1: a task is a copy h and a block of rows; on_b and totals are its own."""
    METRIC, EXPANDED, WEIGHED = scalar.CODES[metric], metric in scalar.SOFTENED and d >= EXPAND_FROM, metric != "l1"

    def forces(
        q_a, q_b, centre, stress, unit, softening, p, one, huge, near, block, on_a, on_b, totals, first, step
    ):  # fmt: skip
        (H, M, _), N, width = q_a.shape, q_b.shape[2], BYTES // q_a.itemsize
        zero = one - one
        zeros, ones = spread(zero), spread(one)
        softenings, powers, huges = spread(softening), spread(p), spread(huge)
        across = -(-N // ((N + COLUMNS - 1) // COLUMNS))
        origin = np.zeros(d, q_a.dtype)
        a, left, minus = aligned(4 * d, q_a), aligned(4 * d + 4, q_a), aligned(4 * d, q_a)
        y, right = aligned(d * COLUMNS, q_a), aligned(d * COLUMNS + COLUMNS, q_a)
        back, g = aligned(d * COLUMNS + COLUMNS, q_a), aligned(4 * COLUMNS, q_a)
        a_squares, b_squares = aligned(4, q_a), aligned(COLUMNS, q_a)
        bound, near_pulls = aligned(COLUMNS // width, q_a), aligned(4 * d, q_a)
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
                take_columns(q_b[h], origin, unit, j_0, n, padded, y)
                if EXPANDED:
                    take_columns(q_b[h], centre[h], unit, j_0, n, padded, right)
                    expand_columns(right, d, padded, width, b_squares, bound)
                for i in range(begin, end, 4):
                    rows = min(4, end - i)
                    take_rows(q_a[h], origin, unit, i, end, a)
                    take_stress(stress, i, end, j_0, n, padded, g, zero)
                    weights = zeros
                    if EXPANDED:
                        take_rows(q_a[h], centre[h], unit, i, end, left)
                        expand_rows(left, d, a_squares, minus)
                        a_0, a_1, a_2, a_3 = a_squares[0], a_squares[1], a_squares[2], a_squares[3]
                        for j in range(0, padded, width):
                            s = load(b_squares, j)
                            s0, s1, s2, s3 = sums_of(
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
                                weigh(METRIC, g, j, s0, s1, s2, s3, softenings, powers, ones, huges)
                            else:
                                of_slope += meet(
                                    METRIC, d, width, a, y, j, g, back, softening, p, one, huge, near_pulls
                                )  # fmt: skip
                                for k in range(d):
                                    for r in range(rows):
                                        on_a[h, i + r, k] += near_pulls[4 * k + r]
                        sums = multiply(width, left, d, right, g, back, padded)
                        for k in range(d):
                            pulls = multiply(width, left, k, right, g, back, padded)
                            for r in range(rows):
                                on_a[h, i + r, k] += sums[r] * left[4 * k + r] - pulls[r]
                        of_slope += sums[0] + sums[1] + sums[2] + sums[3]
                    else:
                        if WEIGHED:
                            for j in range(0, padded, width):
                                s0, s1, s2, s3 = sums_of(METRIC, d, width, a, y, j, powers, zeros, zeros, zeros, zeros)
                                weights += weigh(METRIC, g, j, s0, s1, s2, s3, softenings, powers, ones, huges)
                        for k in range(d):
                            pulls = pull(METRIC, width, a, k, y, g, back, 0, padded, powers, ones)
                            for r in range(rows):
                                on_a[h, i + r, k] += pulls[r]
                    of_slope += total(weights)
                for k in range(d):
                    virial += give_columns(
                        q_b[h, k, j_0 : j_0 + n], centre[h, k], right[k * COLUMNS :], back[d * COLUMNS :],
                        back[k * COLUMNS :], on_b[part, h, k, j_0 : j_0 + n],
                    )  # fmt: skip
            for i in range(begin, end):
                for k in range(d):
                    virial += on_a[h, i, k] * (q_a[h, i, k] - centre[h, k])
            totals[part, h, 0], totals[part, h, 1] = virial, of_slope

    return named(forces, metric, d, pulls_cpu)
