"""Which stored form each layer gets so that all fit into a budget of bytes: a knapsack with one choice a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.errors import OptionError

_CELLS = 4096  # of the grid of bytes
_ROUNDS = 60  # of bisection on the price of a byte

Option = tuple[int, float]  # bytes, error


def choose(
    options: Sequence[Sequence[Option]], budget: int, methods: Sequence[Sequence[str]] | None = None
) -> list[int]:
    """The index of one (bytes, error) option per layer, of least total error with total bytes within the budget.

    Exact where the budget is at most 4096 bytes above the smallest total; elsewhere the better of the Lagrangian's
    choice and of dynamic programming on bytes rounded up to a grid, each improved by exchanges between two layers.
    With the method of each option, also never worse than any one method used in all layers, chosen in the same way.
    Raises OptionError for a layer without options and for a budget below the smallest total.
    """
    if not all(len(layer) for layer in options):
        raise OptionError("a layer without a stored form", given=[len(layer) for layer in options], where="options")
    found = [_solve([_front(layer, range(len(layer))) for layer in options], budget)]
    for name in sorted({name for layer in methods or () for name in layer}):
        only = [[i for i, n in enumerate(layer) if n == name] for layer in methods or ()]
        if all(only) and sum(min(layer[i][0] for i in some) for layer, some in zip(options, only)) <= budget:
            found.append(_solve([_front(layer, some) for layer, some in zip(options, only)], budget))
    return min(found, key=lambda picks: float(sum(layer[i][1] for layer, i in zip(options, picks))))


@dataclass(frozen=True)
class _Front:
    """The options of a layer of which no smaller one is as good: bytes rise, errors fall."""

    index: list[int]
    size: np.ndarray
    error: np.ndarray


def _front(layer: Sequence[Option], allowed: Sequence[int]) -> _Front:
    best: list[int] = []
    for i in sorted(allowed, key=lambda i: layer[i]):
        if not best or layer[i][1] < layer[best[-1]][1]:
            best.append(i)
    return _Front(best, np.array([layer[i][0] for i in best]), np.array([layer[i][1] for i in best], dtype=np.float64))


def _solve(fronts: list[_Front], budget: int) -> list[int]:
    smallest = sum(int(f.size[0]) for f in fronts)
    if budget < smallest:
        raise OptionError(
            "the budget is smaller than the smallest form of all layers",
            where="budget",
            given=f"{budget} bytes",
            allowed=f"{smallest} bytes or more",
        )
    found = [_improved(fronts, start(fronts, budget), budget) for start in (_lagrangian, _on_grid)]
    best = min(found, key=lambda at: sum(f.error[k] for f, k in zip(fronts, at)))
    return [f.index[k] for f, k in zip(fronts, best)]


def _bytes(fronts: list[_Front], at: Sequence[int]) -> int:
    return sum(int(f.size[k]) for f, k in zip(fronts, at))


def _lagrangian(fronts: list[_Front], budget: int) -> list[int]:
    """The least error + price x bytes in each layer, at the lowest price of a byte that fits."""
    best = [len(f.index) - 1 for f in fronts]
    if _bytes(fronts, best) <= budget:
        return best
    best = [0] * len(fronts)
    scale = max(float(np.ptp(f.error)) for f in fronts)
    low, high = 1e-15 * scale, 2 * scale
    for _ in range(_ROUNDS):
        price = float(np.sqrt(low * high))
        tried = [int(np.argmin(f.error + price * f.size)) for f in fronts]
        if _bytes(fronts, tried) <= budget:
            best, high = tried, price
        else:
            low = price
    return best


def _improved(fronts: list[_Front], at: list[int], budget: int) -> list[int]:
    """The largest gains from changing one layer, or two of which one pays for the other, until there are none."""
    at = list(at)
    while True:
        left = budget - _bytes(fronts, at)
        gain, change = max(
            (_exchange(fronts, at, a, b, left) for a in range(len(at)) for b in range(a + 1)), key=lambda x: x[0]
        )
        if gain <= 1e-12 * sum(abs(float(f.error[k])) for f, k in zip(fronts, at)):
            return at
        for k, position in change.items():
            at[k] = position


def _exchange(fronts: list[_Front], at: list[int], a: int, b: int, left: int) -> tuple[float, dict[int, int]]:
    """The largest gain from new options of layers a and b (perhaps the same) in their bytes and those left."""
    f, g = fronts[a], fronts[b]
    if a == b:
        k = int(np.searchsorted(f.size, f.size[at[a]] + left, side="right")) - 1
        return float(f.error[at[a]] - f.error[k]), {a: k}
    room = f.size[at[a]] + g.size[at[b]] + left
    partner = np.searchsorted(g.size, room - f.size, side="right") - 1
    total = np.where(partner >= 0, f.error + g.error[partner], np.inf)
    k = int(total.argmin())
    return float(f.error[at[a]] + g.error[at[b]] - total[k]), {a: k, b: int(partner[k])}


def _on_grid(fronts: list[_Front], budget: int) -> list[int]:
    """Dynamic programming over the bytes above the smallest total, rounded up to at most 4096 cells."""
    room = min(budget, sum(int(f.size[-1]) for f in fronts)) - _bytes(fronts, [0] * len(fronts))
    cell = max(1, -(-room // _CELLS))
    cells = room // cell
    more = [-(-(f.size - f.size[0]) // cell) for f in fronts]
    best, picked = np.zeros(cells + 1), np.zeros((len(fronts), cells + 1), dtype=np.int64)
    for layer, f in enumerate(fronts):
        table = np.full(cells + 1, np.inf)
        for k in np.flatnonzero(more[layer] <= cells):
            skip = int(more[layer][k])
            tried = best[: cells + 1 - skip] + f.error[k]
            better = tried < table[skip:]
            table[skip:][better], picked[layer, skip:][better] = tried[better], k
        best = table
    at, spent = [0] * len(fronts), int(best.argmin())
    for layer in range(len(fronts) - 1, -1, -1):
        at[layer] = int(picked[layer, spent])
        spent -= int(more[layer][at[layer]])
    return at
