"""What a classifier costs: numbers trained, bytes stored, multiply-accumulates of one prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynsim.backend.formats import payload
from dynsim.backend.inference import Model
from dynsim.system.graph import Graph, Groups, Link, group_kind
from dynsim.system.layers import Conv, Dense, Mix, Network, Node

STATISTICS = ("mean", "variance")


@dataclass(frozen=True)
class Cost:
    """parameters : trained numbers that prediction needs (coordinates, mu, gains, eps, biases, kept weights, norms).
    bytes : all stored arrays, running statistics and scaling included, without the file's header.
    macs : multiply-accumulates per sample, as evaluated with path integrals at hand (low rank: in factored form).
    physical_macs : the bracketed count of Table 3, in which products with path integrals are free.
    build_macs : multiply-accumulates to compute the path integrals once.
    """

    parameters: int
    bytes: int
    macs: int
    physical_macs: int
    build_macs: int


def cost(model: Model) -> Cost:
    """The cost of a model."""
    graph, network = model.graph, model.network
    particles = {k.name for k in graph.links if k.kind.particles}
    macs = {n.name: _macs(graph, network, n) for n in network.nodes}
    return Cost(
        parameters=sum(a.size for k, a in model.x.items() if group_kind(k) not in STATISTICS),
        bytes=sum(a.nbytes for a in payload(model).values()),
        macs=sum(macs.values()),
        physical_macs=sum(macs[n.name] for n in network.nodes if not particles & set(n.links)),
        build_macs=sum(_build_macs(graph, k) for k in graph.links),
    )


def _macs(graph: Graph, network: Network, node: Node) -> int:
    """Products of a node with its weights, and of queries with keys and values; sums and activations are none."""
    places = math.prod(node.shape[:-1])
    if isinstance(node.layer, Conv):
        return places * node.layer.kernel**2 * network.shape_of(node.inputs[0])[-1] * node.shape[-1]
    if isinstance(node.layer, Dense):
        by_name = {k.name: k for k in graph.links}
        return places * sum(_link_macs(graph, by_name[k]) for k in node.links)
    if isinstance(node.layer, Mix):
        return places**2 * (node.layer.key + node.layer.value)
    return 0


def _link_macs(graph: Graph, link: Link) -> int:
    rows, columns = graph.shape(link)
    if not link.kind.low_rank:
        return rows * columns
    rank = graph.copies_of(link.source) * graph.dim + (2 if link.metric == "squared" else 0)
    return (rows + columns) * rank


def _build_macs(graph: Graph, link: Link) -> int:
    if not link.kind.particles or link.kind.low_rank:
        return 0
    return math.prod(graph.shape(link)) * graph.copies_of(link.source) * graph.dim


def table_2_counts(graph: Graph, x: Groups) -> tuple[int, int]:
    """("Memory", "Disk") of Table 2, as the paper counts a LeNet-5: the formula of docs/networks.md.

    However, "Disk" takes all d coordinates of a particle for one number; `Cost.bytes` is what really has to be stored.
    Not counted are gains, which print does not have, and the mu of convolutions.
    """
    dense = {k.name for k in graph.links if ".out" not in k.target}
    kept = {k: a for k, a in x.items() if group_kind(k) != "gain" and not (k.startswith("mu:") and k[3:] not in dense)}
    memory = sum(a.size for a in kept.values())
    coordinates = sum(a.size for k, a in kept.items() if group_kind(k) == "q")
    return memory, memory - coordinates + coordinates // graph.dim
