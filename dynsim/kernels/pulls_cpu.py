"""The steps of the forces' kernel: four rows meet a tile of columns, in lanes.

A tile is laid out coordinate by coordinate, COLUMNS numbers each, padded to whole vectors by its last column, whose
stress is 0 there. What is a `phase` is inlined by LLVM, which compiles four times faster than Numba's own inlining.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import scalar
from .lanes import chosen, load, multiply_add, spread, spread_at, store, total
from .specialised import FAST, compiled, slope, term

COLUMNS = 1248  # of a tile, at most: four rows of it in the first cache; not a power of 2, or its rows meet in a set
L1, LP, RECIPROCAL = scalar.L1, scalar.LP, scalar.RECIPROCAL

phase = njit(nogil=True, fastmath=FAST, error_model="numpy", forceinline=True)


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
def sums_of(metric, d, width, a, y, j, p, s0, s1, s2, s3):
    """s_r + sum_k term(a_rk, y_k) of four rows and the columns from j on."""
    for k in range(d):
        b = load(y, k * COLUMNS + j)
        s0 += term(metric, spread_at(a, 4 * k), b, p)
        s1 += term(metric, spread_at(a, 4 * k + 1), b, p)
        s2 += term(metric, spread_at(a, 4 * k + 2), b, p)
        s3 += term(metric, spread_at(a, 4 * k + 3), b, p)
    return s0, s1, s2, s3


@phase
def weigh(metric, g, j, s0, s1, s2, s3, softening, p, one, huge):
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
def pull(metric, width, a, k, y, g, back, begin, end, p, one):
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
def multiply(width, a, k, y, g, back, n):
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
def meet(metric, d, width, a, y, j_0, g, back, softening, p, one, huge, pulls):
    """Four rows and a vector of columns by differences: as `pull`, to back and pulls[4 k + r]; takes g, returns G."""
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


@compiled
def take_stress(stress, i, end, j_0, n, padded, g, zero):
    """Four rows and n columns of the stress to g; 0 in what is beyond."""
    for r in range(4):
        row, g_r = stress[min(i + r, end - 1), j_0 : j_0 + n], g[r * COLUMNS : (r + 1) * COLUMNS]
        here = n if i + r < end else 0
        for j in range(here):
            g_r[j] = row[j]
        for j in range(here, padded):
            g_r[j] = zero


@compiled
def take_columns(q_b, origin, unit, j_0, n, padded, y):
    """n columns to y, in units from the origin; the last one repeated."""
    for k in range(len(q_b)):
        b, y_k = q_b[k, j_0 : j_0 + n], y[k * COLUMNS : (k + 1) * COLUMNS]
        centre = origin[k]
        for j in range(n):
            y_k[j] = (b[j] - centre) * unit
        for j in range(n, padded):
            y_k[j] = y_k[n - 1]


@compiled
def take_rows(q_a, origin, unit, i, end, a):
    """Four rows to a, in units from the origin; the last one repeated."""
    for r in range(4):
        row = q_a[min(i + r, end - 1)]
        for k in range(len(row)):
            a[4 * k + r] = (row[k] - origin[k]) * unit


@compiled
def give_columns(b, centre, y, sums, back, out):
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


@compiled
def expand_columns(right, d, n, width, squares, bound):
    """|b|^2 of n columns, and the largest of each vector; NaN stays."""
    _squares(right, d, COLUMNS, n, squares)
    for j in range(n):
        if j % width == 0 or not squares[j] <= bound[j // width]:
            bound[j // width] = squares[j]


@compiled
def expand_rows(left, d, squares, minus):
    """|a|^2 and -2 a of four rows."""
    _squares(left, d, 4, 4, squares)
    for r in range(4 * d):
        minus[r] = -(left[r] + left[r])
