"""Which form of a link is the quickest: dense W, its factors, or sorted L1 (Eq. 8-9).

A dense product costs M N a sample, one with factors (M + N) r, a sorted one H d (M + N) steps without BLAS. A cost
model says how long each takes, from what `machine` has measured once. However, below `WORTH_MEASURING`
multiply-adds nothing is measured, and W is multiplied as in training (`dynsim.signals.Weights`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dynsim.backend.machine import Machine, machine
from dynsim.backend.sorted import SortedLink
from dynsim.kernels.load import load_host
from dynsim.signals import Weights, link_weights
from dynsim.system.graph import Graph, Groups, Link, System
from dynsim.system.interaction import pairs
from dynsim.system.layers import Dense, Network

FORMS = ("dense", "factored", "sorted")
WORTH_MEASURING = 10_000_000  # multiply-adds of a dense product, less than a millisecond


class Classifier(Protocol):
    """What is needed of a `Model`."""

    @property
    def graph(self) -> Graph: ...
    @property
    def x(self) -> Groups: ...
    @property
    def network(self) -> Network: ...


@dataclass(frozen=True)
class Shape:
    """Of a link: sub-models M that emit and N that receive, and the axes H d of their particles."""

    rows: int
    columns: int
    axes: int

    @classmethod
    def of(cls, graph: Graph, link: Link) -> Shape:
        rows, columns = graph.shape(link)
        copies = graph.copies_of(link.source)
        return cls(rows, columns, graph.dim * (len(pairs(copies)[0]) if link.interactive else copies))


@dataclass(frozen=True)
class Factored:
    """Weights that are multiplied by way of their factors, whatever the batch."""

    weights: Weights

    def receive(self, emitted: np.ndarray) -> np.ndarray:
        """(B, M) -> (B, N)."""
        return self.weights.through_factors(emitted)


def forms_of(model: Classifier, link: Link) -> tuple[str, ...]:
    """The forms that a link has; a convolution's kernel is dense, and so are weights without particles."""
    if not isinstance(model.network.node_of(link.name).layer, Dense) or f"weight:{link.name}" in model.x:
        return ("dense",)
    is_sorted = link.metric == "l1" and link.medium is None
    return "dense", *(["factored"] if link.low_rank else []), *(["sorted"] if is_sorted else [])


def seconds(on: Machine, form: str, shape: Shape, batch: int) -> float:
    """What a prepared form takes for a batch."""
    if form == "sorted":
        return on.sorted_sums(batch, shape.rows, shape.columns, shape.axes)
    if form == "factored":
        return on.multiplied(batch, shape.rows, shape.axes) + on.multiplied(batch, shape.axes, shape.columns)
    return on.multiplied(batch, shape.rows, shape.columns)


def preparation(on: Machine, form: str, shape: Shape, low_rank: bool) -> float:
    """Seconds until a form is ready."""
    if form == "sorted":
        return on.sorting(shape.rows, shape.columns, shape.axes)
    if form == "factored":
        return 0.0
    if low_rank:
        return on.multiplied(shape.rows, shape.axes, shape.columns)
    return on.building(shape.rows, shape.columns, shape.axes)


def predicted(model: Classifier, batch: int, prepared: bool, device: str = "cpu") -> dict[str, dict[str, float]]:
    """link -> form -> seconds for a batch of n samples, for links that have more than one form.

    prepared : whether W, factors or orders are there; else the time until they are counts too.
    device : the reference has no forms to choose from.
    """
    found = {}
    for link in model.graph.links:
        forms, shape, n = forms_of(model, link), Shape.of(model.graph, link), batch * _places(model.network, link)
        if device != "reference" and len(forms) > 1 and n * shape.rows * shape.columns >= WORTH_MEASURING:
            on = machine(device)
            first = {f: 0.0 if prepared else preparation(on, f, shape, link.low_rank) for f in forms}
            found[link.name] = {form: first[form] + seconds(on, form, shape, n) for form in forms}
    return found


def _places(network: Network, link: Link) -> int:
    """How often a link carries signals for one sample: once, or for every token."""
    return math.prod(network.node_of(link.name).shape[:-1])


def quickest(model: Classifier, batch: int, prepared: bool, device: str = "cpu") -> dict[str, str]:
    """link -> the form that should be the quickest, where it matters."""
    return {name: min(of, key=of.__getitem__) for name, of in predicted(model, batch, prepared, device).items()}


def weights_in(model: Classifier, choice: Mapping[str, str], device: str = "cpu") -> dict[str, Any]:
    """Weights of every link in the form that `choice` says, for `predict_logits`.

    Where it says nothing they are as in training.
    """
    kernels, system = load_host(device), System(model.graph, model.x, {}, {}, {})
    return {k.name: _in_form(kernels, system, k, choice.get(k.name)) for k in model.graph.links}


def _in_form(kernels, system: System, link: Link, form: str | None) -> Any:
    if form == "sorted":
        return SortedLink.of(kernels, system, link)
    weights = link_weights(kernels, system, link)
    if form == "dense":
        return Weights(kernels.matmul, w=np.ascontiguousarray(weights.matrix()))
    return Factored(weights) if form == "factored" else weights
