"""What a classifier costs: numbers trained, bytes stored, multiply-accumulates of one prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dynsim.backend.formats import payload
from dynsim.backend.inference import Model
from dynsim.system.graph import Graph, Groups, Link, group_kind
from dynsim.system.interaction import pairs
from dynsim.system.layers import Conv, Dense, Mix, Network, Node
from dynsim.system.vectors import Components

NOT_TRAINED = ("mean", "variance", "scaling", "which")


@dataclass(frozen=True)
class Cost:
    """parameters : trained numbers that prediction needs (coordinates, mu, gains, eps, biases, kept weights, norms), as
        they are stored: coordinates of particles that have merged once, where the file has them once.
    bytes : all stored arrays, running statistics and scaling included, without the file's header.
    macs : multiply-accumulates per sample, as evaluated with path integrals at hand (low rank: in factored form).
    physical_macs : the bracketed count of Table 3, in which products with path integrals are free.
    build_macs : multiply-accumulates to compute the path integrals once; distances between the same two places are
        needed once only.
    """

    parameters: int
    bytes: int
    macs: int
    physical_macs: int
    build_macs: int


def cost(model: Model) -> Cost:
    """The cost of a model."""
    graph, network, stored = model.graph, model.network, payload(model)
    particles = {k.name for k in graph.links if k.kind.particles}
    macs = {n.name: _macs(graph, network, n) for n in network.nodes}
    return Cost(
        parameters=sum(a.size for k, a in stored.items() if group_kind(k) not in NOT_TRAINED),
        bytes=sum(a.nbytes for a in stored.values()),
        macs=sum(macs.values()),
        physical_macs=sum(macs[n.name] for n in network.nodes if not particles & set(n.links)),
        build_macs=sum(_build_macs(model, k) for k in graph.links),
    )


def _macs(graph: Graph, network: Network, node: Node) -> int:
    """Products of a node with its weights, and of queries with keys and values; sums and activations are none."""
    places = math.prod(node.shape[:-1])
    if isinstance(node.layer, Conv):
        return places * node.layer.kernel**2 * network.shape_of(node.inputs[0])[-1] * node.shape[-1]
    if isinstance(node.layer, Dense):
        by_name = {k.name: k for k in graph.links}
        return places * sum(_link_macs(graph, by_name[k]) for k in node.links)
    if isinstance(node.layer, Components):
        return math.prod(node.shape) * network.shape_of(node.inputs[0])[0]
    if isinstance(node.layer, Mix):
        return places**2 * (node.layer.key + node.layer.value)
    return 0


def _link_macs(graph: Graph, link: Link) -> int:
    rows, columns = graph.shape(link)
    if not link.low_rank:
        return rows * columns
    rank = graph.copies_of(link.source) * graph.dim + (2 if link.metric == "squared" else 0)
    return (rows + columns) * rank


def _build_macs(model: Model, link: Link) -> int:
    if not link.kind.particles or link.low_rank:
        return 0
    places = [places_of(model.x[f"q:{name}"]) for name in (link.source, link.target)]
    needed = np.zeros([1 + which.max(initial=-1) for which in places], bool)
    of_a, of_b = (p[h] for p, h in zip(places, pairs(len(places[0])))) if link.interactive else places
    for a, b in zip(of_a, of_b):
        needed[np.ix_(np.unique(a), np.unique(b))] = True
    met = 1 if link.medium is None else 1 + link.medium.nodes * model.graph.particles  # and to all that lies on the way
    return int(np.count_nonzero(needed)) * met * model.graph.dim


def places_of(q: np.ndarray) -> np.ndarray:
    """(H, N) numbers of the different places where particles q (H, N, d) are, 0 ... places - 1."""
    return np.unique(q.reshape(-1, q.shape[-1]), axis=0, return_inverse=True)[1].reshape(q.shape[:-1])


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
