"""Which stored form each layer gets: the knapsack of a budget, and what every method alone would have reached.

The error of a layer is its squared relative error, sum_ij s_i (W_ij - W'_ij)^2 / sum_ij s_i W_ij^2, with the importance
s of its inputs where data are given and s = 1 where not: the share of noise in the layer's output. To first order these
shares add up along the network, whatever the scale of a layer; their sum over the layers is what a budget minimises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.budget import choose
from dynsim.backend.conversion.compression import Encoded, weighted_error
from dynsim.backend.conversion.jobs import Job, results
from dynsim.backend.conversion.layouts import Layout
from dynsim.backend.conversion.networks import Layer, Network
from dynsim.backend.conversion.plan import METHODS, Settings, too_small

CRITERION = "sum over the layers of the squared relative error, sum s (W - W')^2 / sum s W^2"
KEEP = "keep"


@dataclass(frozen=True)
class Option:
    """One way to store a layer.

    Attributes
    ----------
    method : its name; `keep` for the tensor as it is.
    nbytes : what it costs.
    error : squared relative error, weighted where data are given.
    relative : relative error of the weights, unweighted: |W - W'| / |W|.
    """

    method: str
    nbytes: int
    error: float
    relative: float
    layout: Layout | None = None
    encoded: Encoded | None = None


def options(
    network: Network, planned: Sequence[tuple[Layer, int, Job]], folder: Path
) -> tuple[dict[str, list[Option]], float]:
    """All ways to store each layer, by its name, and the seconds that it took to find them."""
    found: dict[str, list[Option]] = {}
    total = 0.0
    for layer, j, job in planned:
        keep = Option(KEEP, network.tensors[layer.name].nbytes, 0.0, 0.0)
        mine = found.setdefault(layer.name, [keep])
        zero = np.zeros_like(job.matrix)
        plain = weighted_error(job.matrix, zero) or 1.0
        weighted = weighted_error(job.matrix, zero, job.importance) or 1.0
        candidates, seconds = results(job, folder)
        total += seconds
        for c in candidates:
            relative = float(np.sqrt(c.plain / plain))
            nbytes, error = c.encoded.nbytes, c.weighted / weighted
            mine.append(Option(job.method, nbytes, error, relative, layer.layouts[j], c.encoded))
    return found, total


def chosen(network: Network, found: Mapping[str, list[Option]], settings: Settings) -> dict[str, Option]:
    """The option of each layer; raises OptionError for a budget that nothing fits."""
    budget = settings.budget(network)
    if budget is None:
        return {name: _fixed(mine) for name, mine in found.items()}
    room = budget - _kept(network, found)
    least = sum(min(o.nbytes for o in mine) for mine in found.values())
    if least > room:
        raise too_small(network, budget, budget - room + least)
    picks = [_knapsack(found, room, None), *(_knapsack(found, room, m) for m in settings.methods)]
    return min((p for p in picks if p is not None), key=total_error)


def alone(network: Network, found: Mapping[str, list[Option]], settings: Settings, room: int) -> dict[str, Any]:
    """What each method reaches by itself within as many bytes for the layers; it may keep layers as they are."""
    reached: dict[str, Any] = {}
    for method in settings.methods:
        pick = _knapsack(found, room, method)
        if pick is None:
            least = sum(min(o.nbytes for o in _of(mine, method)) for mine in found.values())
            reached[method] = {"fits": False, "least_bytes": _kept(network, found) + least}
        else:
            nbytes = _kept(network, found) + sum(o.nbytes for o in pick.values())
            reached[method] = {"fits": True, "bytes": nbytes, "total_error": total_error(pick)}
    return reached


def total_error(pick: Mapping[str, Option]) -> float:
    """The criterion."""
    return sum(o.error for o in pick.values())


def won(pick: Mapping[str, Option]) -> dict[str, list[str]]:
    """The layers that each method got."""
    return {m: names for m in METHODS if (names := [n for n, o in pick.items() if o.method == m])}


def _kept(network: Network, found: Mapping[str, list[Option]]) -> int:
    return network.nbytes - sum(network.tensors[name].nbytes for name in found)


def _fixed(mine: list[Option]) -> Option:
    """Without a budget: the layout with the least error times bytes; the tensor itself where no form is smaller."""
    smaller = [o for o in mine if o.encoded is not None and o.nbytes < mine[0].nbytes]
    return min(smaller, key=lambda o: o.error * o.nbytes, default=mine[0])


def _of(mine: list[Option], method: str | None) -> list[Option]:
    return [o for o in mine if method is None or o.method in (method, KEEP)]


def _knapsack(found: Mapping[str, list[Option]], room: int, method: str | None) -> dict[str, Option] | None:
    """The best within some bytes, of all methods or one; None where nothing fits."""
    allowed = {name: _of(mine, method) for name, mine in found.items()}
    if sum(min(o.nbytes for o in mine) for mine in allowed.values()) > room:
        return None
    picks = choose([[(o.nbytes, o.error) for o in mine] for mine in allowed.values()], room)
    return {name: mine[k] for (name, mine), k in zip(allowed.items(), picks)}
