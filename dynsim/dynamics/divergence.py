"""Blow-ups: NaN, Inf and particles that run away, named so that a person can act on it."""

from __future__ import annotations

import math

import numpy as np

from dynsim.dynamics.integrators import kinetic_energy
from dynsim.errors import DivergenceError
from dynsim.forces import Response
from dynsim.system.graph import Graph, System

# Beyond this coordinate a particle has run away: systems start on the unit sphere.
RUNAWAY = 1e6


def check_finite(system: System, response: Response) -> None:
    """Raises DivergenceError that names the particle and the link where a number is not finite or runs away."""
    calm = math.isfinite(response.loss) and math.isfinite(kinetic_energy(system))
    if calm and all(np.abs(a).max(initial=0) < RUNAWAY for a in system.x.values()):
        return
    hint = "a smaller dynamics.dt or dynamics.eta, dynamics.limit = true, or float64"
    for what, groups in (("position", system.x), ("velocity", system.v), ("force", system.force)):
        for key, a in groups.items():
            bad = ~np.isfinite(a) if what != "position" else ~(np.abs(a) < RUNAWAY)
            if bad.any():
                where = tuple(int(k) for k in np.argwhere(bad)[0])
                raise DivergenceError(
                    f"the {what} of a particle is {_kind_of(a[where])}",
                    where=f"step {system.step}",
                    given=f"{_particle(key, where)}, links {_links_of(system.graph, key)}",
                    hint=hint,
                )
    raise DivergenceError("the loss is not finite", where=f"step {system.step}", given=response.loss, hint=hint)


def _kind_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "infinite" if math.isinf(value) else f"running away ({value:.3g})"


def _particle(key: str, where: tuple[int, ...]) -> str:
    kind, name = key.split(":", 1)
    if kind == "q":
        return f"sub-model {where[1]}, copy {where[0]} of {name!r}"
    return f"{kind}[{where[0]}] of {name!r}"


def _links_of(graph: Graph, key: str) -> str:
    name = key.split(":", 1)[1]
    return ", ".join(k.name for k in graph.links if name in (k.name, k.source, k.target))
