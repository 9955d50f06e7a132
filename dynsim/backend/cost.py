"""What a classifier costs: numbers trained, bytes stored, multiply-accumulates of one prediction."""

from __future__ import annotations

from dataclasses import dataclass

from dynsim.backend.formats import payload
from dynsim.backend.inference import Model
from dynsim.system.graph import Graph, Link, parameters


@dataclass(frozen=True)
class Cost:
    """parameters : trained numbers that prediction needs (coordinates, mu, gains, eps, biases, kept weights).
    bytes : all stored arrays, scaling included, without the file's header.
    macs : multiply-accumulates per sample, as evaluated with path integrals at hand (low rank: in factored form).
    build_macs : multiply-accumulates to compute the path integrals once.
    """

    parameters: int
    bytes: int
    macs: int
    build_macs: int


def cost(model: Model) -> Cost:
    """The cost of a model."""
    graph = model.graph
    return Cost(
        parameters=parameters(model.x),
        bytes=sum(a.nbytes for a in payload(model).values()),
        macs=sum(_link_macs(graph, k) for k in graph.links),
        build_macs=sum(_build_macs(graph, k) for k in graph.links),
    )


def _link_macs(graph: Graph, link: Link) -> int:
    rows, columns = graph.shape(link)
    if not link.kind.low_rank:
        return rows * columns
    rank = graph.copies * graph.dim + (2 if link.metric == "squared" else 0)
    return (rows + columns) * rank


def _build_macs(graph: Graph, link: Link) -> int:
    rows, columns = graph.shape(link)
    return rows * columns * graph.copies * graph.dim if link.kind.particles and not link.kind.low_rank else 0
