"""Pieces of a scenario: from its tables to graph, law, limit, target and starting positions; nothing runs here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dynsim import sequences
from dynsim.datafiles import read_matrix
from dynsim.dynamics.damping import (
    DampingLaw,
    FeedbackDamping,
    Friction,
    LagrangianDamping,
    SignalDamping,
    friction_rate,
)
from dynsim.dynamics.hypergradient import Hypergradient
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import DataError, ResourceError, unknown
from dynsim.fields.network import largest_value
from dynsim.kernels.load import chosen, free_memory
from dynsim.scenario import Scenario
from dynsim.sections import InitialSection
from dynsim.sequences import Task
from dynsim.system.graph import Graph, Groups, Link, Subsystem
from dynsim.system.initialise import default_copies, random
from dynsim.system.layers import Network, network_of
from dynsim.system.layout import Defaults, lay_out
from dynsim.system.medium import Medium
from dynsim.system.tensors import reduced_shape
from dynsim.system.vectors import Reduce

MOST_MEETINGS = 1e10  # of nodes on the ways of signals with particles of the medium; about 10 ns each


def build_network(
    scenario: Scenario, shape: tuple[int, ...], classes: int, reduce: Reduce | None = None
) -> tuple[Graph, Network]:
    """What exists, and how signals run through it, for samples of a shape and so many classes.

    reduce : slices of a sample that share sub-models (`dynsim.system.tensors.alike`).
    """
    s = scenario.system
    first = () if reduce is None else (reduce,)
    if s.network:
        copies = 2 if s.copies == "auto" else int(s.copies)
        graph, network = lay_out((*first, *s.network), shape, Defaults(copies, s.dim, s.metric, s.p, s.eps, classes))
        return replace(graph, links=tuple(replace(k, **link_options(scenario)) for k in graph.links)), network
    left = shape if reduce is None else reduced_shape(reduce.groups)
    ends = {0: math.prod(left), len(s.layers) - 1: classes}
    graph = build_graph(scenario, [ends[k] if n == "auto" else int(n) for k, n in enumerate(s.layers)])
    return graph, network_of(graph, reduce, shape)


def build_graph(scenario: Scenario, layers: list[int]) -> Graph:
    """Subsystems input, hidden (hidden1, hidden2, ...), output, and their links."""
    s = scenario.system
    hidden = [""] if len(layers) == 3 else [str(k) for k in range(1, len(layers) - 1)]
    names = ["input", *(f"hidden{k}" for k in hidden), "output"] if len(layers) > 1 else ["system"]
    network = scenario.field.kind == "network"
    pairs = s.links or default_links(scenario, len(layers))
    delays = s.delays or [int(a == b) for a, b in pairs]
    receivers = {target for _, target in pairs}
    subsystems = tuple(
        Subsystem(
            name,
            size,
            s.activation if 0 < k < len(layers) - 1 else "identity",
            bias=network and s.bias and k in receivers,
        )
        for k, (name, size) in enumerate(zip(names, layers))
    )
    options = link_options(scenario)
    links = tuple(Link(names[a], names[b], s.metric, s.p, s.eps, k, **options) for (a, b), k in zip(pairs, delays))
    sizes = [(layers[a], layers[b]) for a, b in pairs]
    copies = default_copies(sizes, s.dim) if s.copies == "auto" else int(s.copies)
    return Graph(subsystems, links, copies, s.dim)


def default_links(scenario: Scenario, layers: int) -> list[tuple[int, int]]:
    """Each layer feeds the next; in a sequence all that receive them feed themselves a tick later too."""
    chain = [(k, k + 1) for k in range(layers - 1)]
    if scenario.field.kind != "sequence":
        return chain
    return chain + [(k, k) for k in range(min(1, layers - 1), layers)]


def sequence_task(scenario: Scenario) -> Task | None:
    """What the sequence of a scenario asks for; None where it has none. Raises DataError, OptionError."""
    name, s = scenario.field.dataset, scenario.sequence
    if not name:
        return None
    source = name if name in sequences.NAMES else scenario.located(name)
    values = sequences.load(source, scenario.run.seed, s.length, s.waves)
    return Task.of(
        values,
        drive=s.drive,
        held_out=s.held_out,
        ahead=s.ahead,
        observed=s.observed,
        predicted=s.predicted,
        dtype=scenario.run.dtype,
    )


def link_options(scenario: Scenario) -> dict[str, Any]:
    """What holds for every link with particles: whether it is interactive, and what its signals cross."""
    s = scenario.system
    if s.metric == "weights":
        return {}
    medium = Medium(**s.medium.model_dump()) if s.medium.law != "none" else None
    return {"interactive": s.interactive, "medium": medium}


def build_law(scenario: Scenario) -> DampingLaw:
    """The damping law with the scenario's numbers; constant friction is given as what a step keeps."""
    d = scenario.dynamics
    whole = d.law == "friction" or d.integrator == "eq10-literal"
    order = d.order or (1.0 if whole else 0.5)
    rate = friction_rate(d.kept, order, d.dt)
    if d.law == "friction":
        return Friction(rate=rate, order=order)
    if d.law == "lagrangian":
        return LagrangianDamping(order=order)
    law = FeedbackDamping if d.law == "feedback" else SignalDamping
    slopes = "potential" in d.hyper.trained
    return law(order=order, rate=rate, potential=d.potential or law.potential, slopes=slopes)


def build_hyper(scenario: Scenario) -> Hypergradient | None:
    """How eta_i, m_i and U_i learn; None where they are given."""
    hyper = scenario.dynamics.hyper
    return Hypergradient(tuple(hyper.trained), hyper.rate, hyper.conserve) if hyper.trained else None


def build_limit(scenario: Scenario) -> SpeedLimit:
    """The Eq. (10) limit with the scenario's numbers."""
    d = scenario.dynamics
    return SpeedLimit(d.eta, d.decay, d.warmup, d.coefficients, d.limit)


def target_matrix(scenario: Scenario, graph: Graph) -> np.ndarray:
    """(M, N) from the scenario: drawn, written out, or read from a file."""
    given, shape = scenario.field.target, graph.shape(graph.links[0])
    if given == "normal":
        return random(scenario.run.seed, "target").standard_normal(shape)
    if isinstance(given, str):
        return read_matrix(scenario.located(given))
    return given_array(given, np.empty(shape), "field.target")


def given_groups(scenario: Scenario, graph: Graph) -> Groups:
    """The groups that `system.initial` prescribes."""
    initial, dim = scenario.system.initial, graph.dim
    given: Groups = {}
    _check_names(graph, initial)
    for name, value in initial.positions.items():
        shape = graph.copies_of(name), graph.by_name[name].size, dim
        given[f"q:{name}"] = given_array(value, np.empty(shape), f"system.initial.positions.{name}")
    for name, value in initial.mu.items():
        copies = graph.copies_of(name.partition(">")[0])
        given[f"mu:{name}"] = given_array(value, np.empty(copies), f"system.initial.mu.{name}")[:, None]
    for name, gain in initial.gain.items():
        given[f"gain:{name}"] = np.full((1, 1), gain)
    return given


def _check_names(graph: Graph, initial: InitialSection) -> None:
    subsystems, links = tuple(graph.by_name), tuple(k.name for k in graph.links)
    asked = {"positions": subsystems, "velocities": subsystems, "mu": links, "gain": links}
    for key, legal in asked.items():
        for name in getattr(initial, key):
            if name not in legal:
                raise unknown("name", name, legal, where=f"system.initial.{key}")


def given_array(value: Any, like: np.ndarray, where: str) -> np.ndarray:
    try:
        a = np.array(value, dtype=like.dtype)
    except (TypeError, ValueError):
        raise DataError("not an array of numbers", where=where, allowed=f"nested lists of shape {like.shape}") from None
    if a.shape != like.shape:
        raise DataError("wrong shape", where=where, given=a.shape, allowed=str(like.shape))
    if not np.isfinite(a).all():
        bad = tuple(int(k) for k in np.argwhere(~np.isfinite(a))[0])
        raise DataError("a number is not finite", where=f"{where}{list(bad)}", given=a[bad])
    return a


def memory_estimate(scenario: Scenario, graph: Graph, network: Network | None, batch: int) -> int:
    """Bytes that a run with this batch needs at most, beside its dataset."""
    size = np.dtype(scenario.run.dtype).itemsize
    coordinates = graph.particles * graph.dim
    pairs = sum(m * n for m, n in map(graph.shape, graph.links))
    signals = batch * (graph.size if network is None else sum(largest_value(network, n) for n in network.nodes))
    # coordinates: x, v, force, their successors, memory of law and integrator; pairs: W, F and a transposed copy
    return size * (12 * coordinates + 4 * pairs + 8 * signals)


def check_medium(scenario: Scenario, graph: Graph) -> None:
    """Raises ResourceError where a step would meet more particles on its ways than a minute or so is long for."""
    meetings = 0
    for link in graph.links:
        if link.medium is not None and link.kind.particles:
            copies = graph.copies_of(link.source) * (graph.copies_of(link.source) - 1 if link.interactive else 1)
            meetings += math.prod(graph.shape(link)) * copies * link.medium.nodes * graph.particles
    if meetings > MOST_MEETINGS:
        raise ResourceError(
            "the medium makes a step too long",
            where=f"{scenario.name}: system.medium",
            given=f"{meetings:.1e} particles met on all ways, at every step",
            allowed=f"up to {MOST_MEETINGS:.0e}",
            hint='fewer sub-models, copies or nodes, or law = "none"',
        )


def check_memory(scenario: Scenario, graph: Graph, network: Network | None, batch: int) -> None:
    """Raises ResourceError with the estimate if the scenario cannot fit into the free memory of its device."""
    refuse_beyond(memory_estimate(scenario, graph, network, batch), scenario)


def refuse_beyond(need: int, scenario: Scenario) -> None:
    """Raises ResourceError where so many bytes are not free on the device."""
    device = chosen(scenario.run.device)
    free = free_memory(device)
    if need > free:
        raise ResourceError(
            "the scenario does not fit into memory" + (" of the card" if device == "cuda" else ""),
            where=scenario.name,
            given=f"about {need / 2**30:.1f} GiB needed",
            allowed=f"{free / 2**30:.1f} GiB free",
            hint="fewer sub-models (system.layers), copies or dimensions, or dtype float32"
            + (', or device = "cpu"' if device == "cuda" else ""),
        )
