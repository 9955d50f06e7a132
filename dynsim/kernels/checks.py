"""Every kernel of a device against the reference on fresh random input, which `dynsim doctor` shows.

A kernel is called twice, the second time with its new arrays full of NaN: what it does not write is seen, and
the bits of both calls must be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import reference

TOLERANCE = 2e-5  # of float32, over the size of a result
USUAL, TINY = 37, 3  # of the arrays; the simulator computes a thousand pairs a second
EXACT = ("occupied_cells", "histogram", "structural_entropy")  # cells are found in the type of the arrays
UNORDERED = ("occupied_cells",)

Arguments = tuple[Any, ...]
Cases = Iterator[tuple[str, Arguments]]


@dataclass(frozen=True)
class Check:
    """What came of a kernel on one input.

    Attributes
    ----------
    kernel, case : "path_integral", "l2".
    difference : from the reference in float64, over its size; NaN where it could not be taken.
    error : what is wrong, or "".
    """

    kernel: str
    case: str
    difference: float
    error: str = ""


def check(kernels: Any, n: int = USUAL, names: Iterable[str] = ()) -> Iterator[Check]:
    """The named kernels of a device, or all, with arrays of about this size."""
    for name in names or CASES:
        for case, arguments in CASES[name](np.random.default_rng(), n):
            yield _checked(kernels, name, case, arguments)


def worst(found: Iterable[Check]) -> dict[str, Check]:
    """The worst of each kernel's checks."""
    result: dict[str, Check] = {}
    for it in found:
        known = result.get(it.kernel)
        if known is None or (not known.error and (it.error or it.difference > known.difference)):
            result[it.kernel] = it
    return result


def _checked(kernels: Any, name: str, case: str, arguments: Arguments) -> Check:
    wanted = getattr(reference, name)(*(arguments if name in EXACT else _wide(arguments)))
    try:
        call = getattr(kernels, name)
        first = _parts(kernels, call(*_put(kernels, arguments)))
        with poisoned(getattr(kernels, "xp", np)):
            second = _parts(kernels, call(*_put(kernels, arguments)))
    except Exception as error:  # whatever a device may raise: the other kernels are looked at all the same
        return Check(name, case, np.nan, f"{case}: {type(error).__name__}: {error}")
    mine, again, theirs = (
        [np.sort(a) for a in p] if name in UNORDERED else p for p in (first, second, _parts(None, wanted))
    )
    # what is summed over all of an argument has the error of its terms, however much of them cancels
    least = 1 if name in EXACT else max(a.size for a in arguments if isinstance(a, np.ndarray))
    difference = max((_difference(a, b, least**0.5) for a, b in zip(mine, theirs, strict=True)), default=0.0)
    return Check(name, case, difference, _fault(case, difference, mine, again))


def _fault(case: str, difference: float, first: list[np.ndarray], second: list[np.ndarray]) -> str:
    if not difference <= TOLERANCE:
        return f"{case}: DIFFERS by {difference:.0e}, allowed {TOLERANCE:.0e}"
    if any(a.tobytes() != b.tobytes() for a, b in zip(first, second, strict=True)):
        return f"{case}: DIFFERS from call to call, or leaves numbers unwritten"
    return ""


def _difference(mine: np.ndarray, theirs: np.ndarray, least: float) -> float:
    """Over the norm of theirs, which counts as no less than this."""
    if mine.shape != theirs.shape:
        return np.inf
    mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
    return float(np.linalg.norm(mine - theirs) / max(float(np.linalg.norm(theirs)), least))


def _wide(arguments: Arguments) -> Arguments:
    """The same numbers in float64."""
    return tuple(a.astype(np.float64) if _is_float(a) else a for a in arguments)


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype == np.float32


def _put(kernels: Any, arguments: Arguments) -> Arguments:
    """Arrays where the kernels work."""
    there = iter(kernels.to_device([a for a in arguments if isinstance(a, np.ndarray)]))
    return tuple(next(there) if isinstance(a, np.ndarray) else a for a in arguments)


def _parts(kernels: Any, result: Any) -> list[np.ndarray]:
    """A result, one array or several, as arrays of the host; what is None is left out."""
    parts = [a for a in (result if isinstance(result, tuple) else (result,)) if a is not None]
    return [np.asarray(a) for a in (parts if kernels is None else kernels.to_host(parts))]


@contextmanager
def poisoned(xp: Any) -> Iterator[None]:
    """New arrays of a namespace, NumPy or CuPy, hold NaN, or the largest integer.

    Kernels must have been compiled before: Numba knows NumPy's functions by themselves.
    """
    before = xp.empty, xp.empty_like

    def filled(make: Callable[..., Any]) -> Callable[..., Any]:
        def empty(*args: Any, **kwargs: Any) -> Any:
            a = make(*args, **kwargs)
            if a.dtype.kind in "fiu":
                a.fill(np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).max)
            return a

        return empty

    xp.empty, xp.empty_like = map(filled, before)
    try:
        yield
    finally:
        xp.empty, xp.empty_like = before


# What each kernel is given: (rng, size) -> (case, arguments), ... -------------------------------------------------


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _link(rng: np.random.Generator, n: int, d: int) -> Arguments:
    """q_a, q_b, mu of three copies; a pair is at one place, where there is no direction."""
    q_a, q_b = _normal(rng, 3, n, d), _normal(rng, 3, n + 16, d)
    q_b[:, 0] = q_a[:, 0]
    return q_a, q_b, _normal(rng, 3)


def _path_integrals(rng: np.random.Generator, n: int) -> Cases:
    for metric in reference.METRICS:
        yield metric, (metric, *_link(rng, n, 9 if n > TINY else 2), 1.3, 0.1, 3.0)


def _forces(rng: np.random.Generator, n: int) -> Cases:
    for case, arguments in _path_integrals(rng, n):
        yield case, (*arguments, _normal(rng, n, n + 16))


def _cloud(rng: np.random.Generator, n: int) -> Cases:
    for delta in (1.0, 0.5, 1e-9):  # the last one's cells do not fit into 63 bits
        yield f"delta {delta:g}", (_normal(rng, 30 * n, 9), delta)


def _entropies(rng: np.random.Generator, n: int) -> Cases:
    yield "two delta", (_normal(rng, 30 * n, 9), (1.0, 0.5))


def _histograms(rng: np.random.Generator, n: int) -> Cases:
    yield "plane", (_normal(rng, 30 * n, 2), 0.5, (-2, -3), (5, 6))


def _views(rng: np.random.Generator, n: int) -> Cases:
    matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 3]], np.float64)
    yield "from outside", (_normal(rng, n, 3) / 2, matrix, 640, 480)


def _products(rng: np.random.Generator, n: int) -> Cases:
    yield "odd sizes", (_normal(rng, n, n + 4), _normal(rng, n + 4, n + 2))


def _multiply_adds(rng: np.random.Generator, n: int) -> Cases:
    yield "19 times", (_normal(rng, 30 * n), 0.7, -0.2, 19)


def _convolutions(rng: np.random.Generator, n: int) -> Cases:
    side = min(n, 12) + 2
    for stride, padding in ((1, 2), (2, 0)):
        yield f"stride {stride}", (_normal(rng, 3, side, side + 1, 2), _normal(rng, 3, 3, 2, 4), stride, padding)


def _convolutions_back(rng: np.random.Generator, n: int) -> Cases:
    for case, (x, kernel, stride, padding) in _convolutions(rng, n):
        there = reference.convolve(x, kernel, stride, padding).shape
        yield case, (_normal(rng, *there), x, kernel, stride, padding)


def _pools(rng: np.random.Generator, n: int) -> Cases:
    for largest in (True, False):
        yield "largest" if largest else "mean", (_normal(rng, 3, n + 2, n + 3, 2), 2, largest)


def _pools_back(rng: np.random.Generator, n: int) -> Cases:
    for case, (x, size, largest) in _pools(rng, n):
        y, place = reference.pool(x, size, largest)
        yield case, (_normal(rng, *y.shape), place, x.shape, size)


def _rows(count: int, columns: int) -> Callable[[np.random.Generator, int], Cases]:
    """`count` arrays (n, 30), and `columns` arrays (30,)."""

    def cases(rng: np.random.Generator, n: int) -> Cases:
        yield "rows", tuple(_normal(rng, n, 30) for _ in range(count)) + tuple(_normal(rng, 30) for _ in range(columns))

    return cases


def _ways(rng: np.random.Generator, n: int) -> Cases:
    nodes, weights = (a.astype(np.float32) for a in np.polynomial.legendre.leggauss(3))
    q_a, q_b, sources, amplitudes = (_normal(rng, *s) for s in ((2, n, 3), (2, n + 2, 3), (n + 1, 3), (n + 1,)))
    yield "three nodes", (q_a, q_b, sources, amplitudes, 0.7, 0.5 + nodes / 2, weights / 2)


def _ways_back(rng: np.random.Generator, n: int) -> Cases:
    for case, arguments in _ways(rng, n):
        yield case, (*arguments, _normal(rng, 2, n, n + 2))


def _points(rng: np.random.Generator, n: int) -> Cases:
    yield "points", (_normal(rng, n, 3), _normal(rng, n + 1, 3), _normal(rng, n + 1), 0.7)


def _steps(rng: np.random.Generator, n: int) -> Cases:
    """Of particles with their own masses, friction of each coordinate and limit, or one for all."""
    shape = 2, 2 * n, 3
    q, v, force = (_normal(rng, *shape) for _ in range(3))
    each = rng.random((2, 2 * n, 1), np.float32)
    work = _normal(rng, 2, 2 * n)
    yield "each its own", (q, v, force, 0.5 + each, rng.random(shape, np.float32), 0.3, 0.2, each, work)
    alike = np.full((1, 1, 1), 0.7, np.float32)
    yield "one for all", (q, v, force, alike, np.float32(0.9), 0.3, 0.2, np.float32(1.5), work)


def _numbers(rng: np.random.Generator, n: int) -> Cases:
    yield "normal", (_normal(rng, 30 * n),)


CASES: dict[str, Callable[[np.random.Generator, int], Cases]] = {
    "path_integral": _path_integrals,
    "path_integral_forces": _forces,
    "kick_drift": _steps,
    "mean_field": _ways,
    "mean_field_forces": _ways_back,
    "field_at": _points,
    "occupied_cells": _cloud,
    "structural_entropy": _entropies,
    "histogram": _histograms,
    "project_points": _views,
    "matmul": _products,
    "erf": _numbers,
    "expit": _numbers,
    "multiply_adds": _multiply_adds,
    "convolve": _convolutions,
    "convolve_back": _convolutions_back,
    "pool": _pools,
    "pool_back": _pools_back,
    "sums": _rows(1, 0),
    "squares": _rows(1, 1),
    "scaled": _rows(1, 3),
    "products": _rows(2, 1),
    "norm_back": _rows(2, 4),
}
