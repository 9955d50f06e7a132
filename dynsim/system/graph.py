"""Eq. (3): subsystems are the nodes of a directed graph, links its edges; a System is the graph with its state.

Everything that moves is a *group* of particles: an array whose last axis holds the coordinates of one particle.

    q:NAME       (H, N, d)   the copies of the sub-models of a subsystem
    bias:NAME    (N, 1)      what a sub-model receives besides its signals
    mu:LINK      (H, 1)      shared coefficients of a link (Eq. 5)
    gain:LINK    (1, 1)      scale of a link
    eps:LINK     (1, 1)      softening of a link, for metrics that learn it
    medium:NAME  (1, 1)      how strongly the density of a subsystem acts on signals on their way (Eq. 31)
    weight:LINK  (M, N, 1)   a link without particles (the weight-based twin), or whose weights are trained as such
    scale:NODE, shift:NODE   (N, 1)  of a normalisation, which move; mean:NODE, variance:NODE its running statistics
    A:NAME ... F:NAME        the matrices of Eq. (2); readout:NAME (N s + 1, K) makes answers of emitted signals
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from dynsim.errors import ShapeError, unknown
from dynsim.system.interaction import expanded
from dynsim.system.medium import Medium
from dynsim.system.metric import Metric, metric

Groups = dict[str, np.ndarray]
# Kinds of groups of which path integrals are made.
PARTICLES = ("q", "mu", "gain", "eps", "medium")
# Kinds of groups that say how a sub-model of a sequence acts, Eq. (2).
RULE = ("A", "B", "C", "D", "E", "F", "readout")


@dataclass(frozen=True)
class Subsystem:
    """A group of sub-models with the same global settings, such as a hidden layer.

    `activation` and `bias` say what is emitted where dense layers follow the links of the graph; the layers of a
    `dynsim.system.layers.Network` have their own. `copies` is None for the graph's own number H. Of a pool `holds` is
    how many sub-models hold data (the first ones), `reads` how many give the answer (the last ones).
    """

    name: str
    size: int
    activation: str = "identity"
    bias: bool = False
    copies: int | None = None
    holds: int = 0
    reads: int = 0


@dataclass(frozen=True)
class Link:
    """Signals emitted by `source` are received by `target`, weighted by the path integrals of `metric`.

    delay : ticks that a signal is on its way (Appendix J); 0 arrives at once. Only links that take time may close a
        cycle, or lead from a subsystem to itself.
    interactive : every copy meets every other copy, Eq. (61).
    medium : what signals cross on their way, Eq. (31); None for empty space.
    """

    source: str
    target: str
    metric: str = "l2"
    p: float = 2.0
    eps: float = 1e-3
    delay: int = 0
    interactive: bool = False
    medium: Medium | None = None

    @property
    def name(self) -> str:
        return f"{self.source}>{self.target}"

    @property
    def kind(self) -> Metric:
        return metric(self.metric)

    @property
    def low_rank(self) -> bool:
        """Whether its W is a product of two thin matrices, and so never built for a product."""
        return self.kind.low_rank and not self.interactive and self.medium is None and not self.to_itself

    @property
    def to_itself(self) -> bool:
        """Whether it leads from a subsystem to the same; a sub-model does not hear itself, j != i in Eq. (2)."""
        return self.source == self.target


@dataclass(frozen=True)
class Graph:
    """The directed graph of Eq. (3), with H copies of every sub-model in R^d (a subsystem may have its own H).

    Raises ShapeError for a link to an unknown subsystem, a doubled name or link, a cycle of links without delay, or a
    link between subsystems of different H.
    """

    subsystems: tuple[Subsystem, ...]
    links: tuple[Link, ...]
    copies: int
    dim: int

    def __post_init__(self) -> None:
        names = [s.name for s in self.subsystems]
        for kind, items in (("subsystem", names), ("link", [link.name for link in self.links])):
            if len(set(items)) < len(items):
                raise ShapeError(f"two {kind}s have the same name", given=", ".join(items))
        for link in self.links:
            for end in (link.source, link.target):
                if end not in names:
                    raise unknown("subsystem", end, names, where=f"link {link.name}")
            ends = self.copies_of(link.source), self.copies_of(link.target)
            if link.kind.particles and ends[0] != ends[1]:
                raise ShapeError("the ends of a link have different numbers of copies", where=link.name, given=ends)
            if link.kind.particles and link.interactive and ends[0] < 2:
                raise ShapeError(
                    "an interactive link of one copy carries nothing: mu_h - mu_h' is 0",
                    where=link.name,
                    given="H = 1",
                    allowed="2 copies or more",
                )
        try:
            tuple(self._sorter().static_order())
        except CycleError as error:
            raise ShapeError("the links form a cycle", given=" > ".join(error.args[1])) from None

    def _sorter(self) -> TopologicalSorter:
        sorter = TopologicalSorter({s.name: () for s in self.subsystems})
        for link in self.links:
            if not link.delay:
                sorter.add(link.target, link.source)
        return sorter

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names of the subsystems, each after all that it receives from without delay."""
        return tuple(self._sorter().static_order())

    @cached_property
    def by_name(self) -> dict[str, Subsystem]:
        return {s.name: s for s in self.subsystems}

    @cached_property
    def incoming(self) -> dict[str, tuple[Link, ...]]:
        return {s.name: tuple(k for k in self.links if k.target == s.name) for s in self.subsystems}

    @cached_property
    def outgoing(self) -> dict[str, tuple[Link, ...]]:
        return {s.name: tuple(k for k in self.links if k.source == s.name) for s in self.subsystems}

    @cached_property
    def particle_subsystems(self) -> tuple[Subsystem, ...]:
        """Those that have coordinates: at least one of their links computes path integrals."""
        return tuple(
            s for s in self.subsystems if any(k.kind.particles for k in self.incoming[s.name] + self.outgoing[s.name])
        )

    def copies_of(self, subsystem: str) -> int:
        """H of a subsystem."""
        own = self.by_name[subsystem].copies
        return self.copies if own is None else own

    @property
    def particles(self) -> int:
        """Number of coordinate particles: copies of sub-models."""
        return sum(self.copies_of(s.name) * s.size for s in self.particle_subsystems)

    @property
    def input(self) -> Subsystem:
        """The subsystem that receives the data: the first without incoming links."""
        return next(s for s in self.subsystems if not self.incoming[s.name])

    @property
    def output(self) -> Subsystem:
        """The subsystem that is compared with the labels: the last without outgoing links."""
        return next(s for s in reversed(self.subsystems) if not self.outgoing[s.name])

    @property
    def size(self) -> int:
        """Number of sub-models."""
        return sum(s.size for s in self.subsystems)

    def shape(self, link: Link) -> tuple[int, int]:
        """(M, N) of a link's path integrals."""
        return self.by_name[link.source].size, self.by_name[link.target].size


def without_own(link: Link, w: np.ndarray) -> np.ndarray:
    """(M, N) what pairs of a link have, 0 for a sub-model with itself."""
    return w * (1 - np.identity(len(w), w.dtype, like=w)) if link.to_itself else w


@dataclass(frozen=True)
class Particles:
    """A view of one subsystem: q, v, force (H, N, d)."""

    q: np.ndarray
    v: np.ndarray | None
    force: np.ndarray | None


# What of a state are groups.
STATE = ("x", "v", "force", "mass", "memory")
# to_device or to_host of the kernels.
Carry = Callable[[Iterable[Any]], list[Any]]


def carried(carry: Carry, *parts: Groups) -> list[Groups]:
    """Groups with all their arrays carried elsewhere at once, to a device or from it."""
    arrays = iter(carry([a for part in parts for a in part.values()]))
    return [{k: next(arrays) for k in part} for part in parts]


@dataclass(frozen=True)
class System:
    """A graph with its state; frozen, changed by `replace`.

    Attributes
    ----------
    x : position of every group; v, force : of the groups that move; mass : one number per group, of shape (1, ..., 1).
    memory : what integrator and damping law carry from step to step, arrays by name.
    totals : sums since the start of the run, dimensionless: dissipated, path, ...
    step, time : steps done and simulated time (dimensionless).
    event_step, event_span : when the last learning event was, and over how many steps its limit is annealed.
    """

    graph: Graph
    x: Groups
    v: Groups
    force: Groups
    mass: Groups
    memory: Groups = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    step: int = 0
    time: float = 0.0
    event_step: int = 0
    event_span: int = 0

    def replace(self, **changes: Any) -> System:
        return replace(self, **changes)

    @property
    def state(self) -> tuple[Groups, ...]:
        """All groups, in the order of STATE."""
        return tuple(getattr(self, name) for name in STATE)

    def carried(self, carry: Carry) -> System:
        """The same state elsewhere, on a device or back from it."""
        return self.replace(**dict(zip(STATE, carried(carry, *self.state))))

    def __getitem__(self, name: str) -> Particles:
        key = f"q:{name}"
        if key not in self.x:
            raise unknown("subsystem", name, [s.name for s in self.graph.particle_subsystems])
        return Particles(self.x[key], self.v.get(key), self.force.get(key))

    def link_arguments(self, link: Link) -> tuple[Any, ...]:
        """(metric, q_a, q_b, mu, gain, eps, p): what the kernels take for a link; of an interactive one its pairs."""
        eps = self.x.get(f"eps:{link.name}")
        copies = self.x[f"q:{link.source}"], self.x[f"q:{link.target}"], self.x[f"mu:{link.name}"][:, 0]
        return (
            link.metric,
            *(expanded(*copies) if link.interactive else copies),
            float(self.x[f"gain:{link.name}"][0, 0]),
            link.eps if eps is None else float(eps[0, 0]),
            link.p,
        )

    @property
    def age(self) -> int:
        """tau of Eq. (10): steps since the last learning event."""
        return self.step - self.event_step


def group_kind(key: str) -> str:
    """ "q", "bias", "mu", "gain", "eps", "medium", "weight", "scale", "shift", "mean", "variance" or of RULE."""
    return key.split(":", 1)[0]


def parameters(x: Mapping[str, np.ndarray]) -> int:
    """How many numbers prediction needs, whether they moved or not."""
    return sum(a.size for a in x.values())
