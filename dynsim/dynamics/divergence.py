"""Blow-ups: NaN, Inf and particles that run away, traced to where they began so that a person can act on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dynsim.dynamics.integrators import kinetic_energy
from dynsim.errors import DivergenceError
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.system.graph import Graph, System

# Beyond this coordinate a particle has run away: systems start on the unit sphere.
RUNAWAY = 1e6
HINT = "a smaller dynamics.dt or dynamics.eta, dynamics.limit = true, or float64"
# what is bad, whose it is, on which links
Finding = tuple[str, str, str]


def check_finite(
    system: System,
    response: Response,
    before: System | None = None,
    moved_first: bool = False,
    kernels: Any = reference,
) -> None:
    """Raises DivergenceError that names the particle and the link where a number is not finite or runs away.

    A step spreads one bad number over everything, so what is named is the first in the order of causes: the state
    before the step, signals, stress, force, velocity, position.

    Parameters
    ----------
    before : the state that the step began from, if that is not `system` itself.
    moved_first : whether the particles moved before the field was asked (leapfrog).
    """
    calm = math.isfinite(response.loss) and math.isfinite(kinetic_energy(system, kernels))
    if calm and all(a < RUNAWAY for a in kernels.to_host([np.abs(a).max() for a in system.x.values() if a.size])):
        return
    causes = _causes(system, response, system if before is None else before, moved_first)
    what, whose, links = next(causes, ("the loss is not finite", str(response.loss), ""))
    given = f"{whose}, links {links}" if links else whose
    raise DivergenceError(what, where=f"step {system.step}", given=given, hint=HINT)


def _causes(system: System, response: Response, before: System, moved_first: bool) -> Iterator[Finding]:
    """What is bad, causes before what they cause."""
    graph = system.graph
    yield from _of_state(graph, before, "before the step")
    if moved_first:
        yield from _of_groups(graph, system.x, "position of a particle", RUNAWAY)
    yield from _of_signals(graph, response)
    yield from _of_stress(graph, response)
    yield from _of_groups(graph, response.on_groups, "stress on a particle")
    yield from _of_groups(graph, system.force, "force on a particle")
    yield from _of_groups(graph, before.memory, "memory of a particle")
    yield from _of_state(graph, system)


def _of_state(graph: Graph, system: System, when: str = "") -> Iterator[Finding]:
    yield from _of_groups(graph, system.x, "position of a particle", RUNAWAY, when)
    yield from _of_groups(graph, system.v, "velocity of a particle", when=when)
    yield from _of_groups(graph, system.mass, "mass of a particle", when=when)


def _of_groups(
    graph: Graph, groups: Mapping[str, np.ndarray], what: str, limit: float = math.inf, when: str = ""
) -> Iterator[Finding]:
    """The first bad number of each group."""
    for key, a in groups.items():
        for where in _bad(a, limit):
            said = f"the {what} is {_kind_of(a[where])} {when}".rstrip()
            yield said, _particle(key, where), _links_of(graph, key)


def _of_signals(graph: Graph, response: Response) -> Iterator[Finding]:
    """The first sub-model, in the order of the graph, whose signal is bad, and the links that brought it."""
    for name in graph.order:
        for verb, signals in (("received", response.received), ("emitted", response.emitted)):
            if (a := signals.get(name)) is None:
                continue
            for where in _bad(a):
                into = ", ".join(k.name for k in graph.links if k.target == name)
                whose = f"sub-model {where[-1]} of {name!r}"
                yield f"the signal {verb} by a sub-model is {_kind_of(a[where])}", whose, into or _links_of(graph, name)


def _of_stress(graph: Graph, response: Response) -> Iterator[Finding]:
    """The first bad row or column of each link's stress, the last link first: the feedback runs backwards."""
    ends = {k.name: k for k in graph.links}
    for name, stress in reversed(response.stress.items()):
        parts = ((stress.feedback, -1, "target"), (stress.emitted, -1, "source"), (stress.matrix, 0, "source"))
        for a, axis, end in parts:
            for where in _bad(a) if a is not None and name in ends else ():
                whose = f"sub-model {where[axis]} of {getattr(ends[name], end)!r}"
                yield f"the stress of a link is {_kind_of(a[where])}", whose, name


def _bad(a: Any, limit: float = math.inf) -> Iterator[tuple[int, ...]]:
    """Place of the first number that is not within a limit, if there is one."""
    if a.dtype.kind == "f":
        bad = ~(np.abs(a) < limit)
        if bad.any():
            yield tuple(np.argwhere(bad)[0].tolist())


def _kind_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite" if math.isinf(value) else f"running away ({value:.3g})"


def _particle(key: str, where: tuple[int, ...]) -> str:
    kind, name = key.rsplit(":", 1)
    if kind.endswith("q") and len(where) > 2:
        return f"sub-model {where[-2]}, copy {where[-3]} of {name!r}"
    return f"{kind}{list(where[:-1] or where)} of {name!r}"


def _links_of(graph: Graph, key: str) -> str:
    name = key.rsplit(":", 1)[1] if ":" in key else key
    return ", ".join(k.name for k in graph.links if name in (k.name, k.source, k.target))
