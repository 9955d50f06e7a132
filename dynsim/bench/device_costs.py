"""What a call of a kernel costs a GPU at least, from the shapes of its arguments: bytes and operations.

Bytes are what must pass through the card's memory: every argument once, every result once.
Operations are counted as a card's peak counts them: a fused multiply-add is two, and so is any other instruction, which
takes as long; a root, exponential or division, of which an H100 starts an eighth as many, is sixteen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

ONE, ROOT = 2.0, 16.0  # operations of an instruction, of a special function
POWER = 2 * ROOT + ONE  # 2^(p log2 x)

# Of one coordinate in the sum s; of a distance from s, times mu; of a slope from s, times the stress; of a coordinate
# of the force
TERM = {"l1": 2 * ONE, "lp": ONE + POWER, "dot": ONE}
VALUE = {"l1": ONE, "squared": 2 * ONE, "dot": ONE, "lp": POWER + ONE}
SLOPE = {"l1": ONE, "squared": ONE, "dot": ONE, "lp": POWER + ONE, "reciprocal": ROOT + 5 * ONE}
PULL = {"l1": 5 * ONE, "dot": ONE, "lp": POWER + 3 * ONE}
SORT = 8 * 2 * 16  # bytes that a sort of 64-bit keys with their places moves, for each: 8 passes


@dataclass(frozen=True)
class Cost:
    """Bytes through memory, and operations."""

    bytes: float
    operations: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.bytes + other.bytes, self.operations + other.operations)

    def seconds(self, bandwidth: float, rate: float) -> float:
        """At least, at so many bytes and operations a second: memory and arithmetic work at the same time."""
        return max(self.bytes / bandwidth, self.operations / rate)


def cost(kernel: str, arguments: tuple[Any, ...], result: Any) -> Cost:
    """Of a call of a kernel of the facade, with what it answered."""
    arrays = arguments + (result if isinstance(result, tuple) else (result,))
    count = OPERATIONS.get(kernel, _each)
    return Cost(passed(arrays) + EXTRA.get(kernel, lambda *_: 0.0)(*arguments), count(*arguments))


def passed(arrays: Iterable[Any]) -> float:
    """Bytes of all that are arrays."""
    return float(sum(getattr(a, "nbytes", 0) for a in arrays))


def product(a: Any, b: Any) -> float:
    """Operations of a @ b."""
    return 2.0 * prod(a.shape) * (b.shape[-1] if b.ndim > 1 else 1)


def _each(*arguments: Any) -> float:
    """An instruction or two for every number of the largest argument."""
    return 2 * ONE * max((prod(a.shape) for a in arguments if hasattr(a, "shape")), default=0)


def _pairs(q_a: Any, q_b: Any) -> float:
    copies, M, _ = q_a.shape
    return float(copies * M * q_b.shape[1])


def _path_integral(metric: str, q_a: Any, q_b: Any, *_: Any) -> float:
    d = q_a.shape[-1]
    return _pairs(q_a, q_b) * (d * TERM.get(metric, 2 * ONE) + VALUE.get(metric, ROOT + 3 * ONE))


def _forces(metric: str, q_a: Any, q_b: Any, *_: Any) -> float:
    """Gathered once for each end of a link."""
    d = q_a.shape[-1]
    slope, pull = SLOPE.get(metric, ROOT + 2 * ONE), PULL.get(metric, 2 * ONE)
    return 2 * (_path_integral(metric, q_a, q_b) + _pairs(q_a, q_b) * (slope + d * pull))


def _medium(q_a: Any, q_b: Any, sources: Any, amplitudes: Any, width: float, ways: Any, *_: Any) -> float:
    """A bell for every path, node and particle of the medium."""
    return _pairs(q_a, q_b) * ways.size * len(sources) * (2 * ONE * q_a.shape[-1] + ROOT + 2 * ONE)


def _medium_forces(q_a: Any, q_b: Any, sources: Any, *rest: Any) -> float:
    """The bells three times, each with a pull of every coordinate."""
    bells = _medium(q_a, q_b, sources, *rest)
    return 3 * (bells + _pairs(q_a, q_b) * rest[2].size * len(sources) * (2 * ONE * q_a.shape[-1] + 3 * ONE))


def _field_at(points: Any, sources: Any, *_: Any) -> float:
    return float(len(points) * len(sources)) * (4 * ONE * points.shape[-1] + ROOT + ONE)


def _kick_drift(q: Any, *_: Any) -> float:
    return prod(q.shape[:-1]) * (12 * ONE * q.shape[-1] + 3 * ROOT)


def _convolve(x: Any, kernel: Any, stride: int = 1, padding: int = 0) -> float:
    height, width = ((n + 2 * padding - len(kernel)) // stride + 1 for n in x.shape[1:3])
    return 2.0 * len(x) * height * width * prod(kernel.shape)


def _convolve_back(feedback: Any, x: Any, kernel: Any, *_: Any) -> float:
    return 2 * 2.0 * prod(feedback.shape[:-1]) * prod(kernel.shape)


def _multiply_adds(x: Any, factor: float, summand: float, times: int) -> float:
    return 2.0 * times * x.size


OPERATIONS: dict[str, Callable[..., float]] = {
    "path_integral": _path_integral,
    "path_integral_forces": _forces,
    "mean_field": _medium,
    "mean_field_forces": _medium_forces,
    "field_at": _field_at,
    "kick_drift": _kick_drift,
    "matmul": product,
    "convolve": _convolve,
    "convolve_back": _convolve_back,
    "multiply_adds": _multiply_adds,
}
EXTRA: dict[str, Callable[..., float]] = {  # bytes beside arguments and results
    "occupied_cells": lambda q, delta: float(SORT * len(q)),
    "structural_entropy": lambda q, deltas: float(SORT * len(q) * len(deltas)),
}
