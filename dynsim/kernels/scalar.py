"""The scalar bodies of the kernels: one coordinate, one distance, one slope. One source for all devices.

Plain functions that a compiler inlines (`numba.njit` on a CPU, `cuda.jit` on a GPU). `metric` is one of the
codes below and a constant where it is compiled, so only one branch is left. `one` is 1 and `huge` the inverse
of the smallest normal number, both in the type of the arrays: a literal would turn float32 arithmetic into
float64. Formulas: `reference.metric_value` and `reference.metric_gradient`.
"""

import math

L1, L2, LP, SQUARED, RECIPROCAL, PLUMMER, DOT = range(7)
CODES = {
    "l1": L1,
    "l2": L2,
    "lp": LP,
    "squared": SQUARED,
    "reciprocal": RECIPROCAL,
    "plummer": PLUMMER,
    "dot": DOT,
}
SOFTENED = ("l2", "plummer", "reciprocal")  # functions of |v|^2 + eps^2
DEGREES = {"reciprocal": -1}  # of homogeneity in v and eps, where it is not 1 (and forces are no products)


def term(metric, a, b, p):
    """What one pair of coordinates adds to the sum s that the metric is a function of."""
    if metric == DOT:
        return a * b
    if metric == L1:
        return abs(a - b)
    if metric == LP:
        return abs(a - b) ** p
    return (a - b) * (a - b)


def value(metric, s, softening, p, one):
    """f from the sum s; `softening` is eps^2, for l2 and plummer at least 1 / `huge`: 0 has no inverse."""
    if metric == L2 or metric == PLUMMER:  # noqa: SIM109
        # x * (1 / sqrt(x)), not sqrt(x): compilers have a fast reciprocal root that needs no ninf flag.
        return (s + softening) * (one / math.sqrt(s + softening))
    if metric == RECIPROCAL:
        return one / math.sqrt(s + softening)
    if metric == LP:
        return s ** (one / p)
    if metric == SQUARED:
        return s / (one + one)
    return s


def slope(metric, s, softening, p, one, huge):
    """c in df/da = c * direction; for the softened metrics also df/deps = c * eps."""
    if metric == L2 or metric == PLUMMER:  # noqa: SIM109
        return one / math.sqrt(s + softening)
    if metric == RECIPROCAL:
        r = one / math.sqrt(s + softening)
        return -r * r * r
    if metric == LP:
        # f^(1-p) = s^(1/p-1); where s is zero or underflows there is no direction.
        return s ** (one / p - one) if s * huge > one else s - s
    return one


def direction(metric, a, b, p, one, huge):
    """The coordinate of (df/da) / slope; that of df/db is its negative, or a for dot."""
    v = a - b
    if metric == DOT:
        return b
    if metric == L1:
        # sign(v), 0 at 0: clamping takes half the time of two comparisons in SIMD, and keeps NaN.
        v = v * huge
        v = one if v > one else v
        return -one if v < -one else v
    if metric == LP:
        return math.copysign(abs(v) ** (p - one), v) if a != b else v
    return v
