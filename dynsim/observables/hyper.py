"""What every particle learns beside its place: eta_i, m_i and U_i of Eq. (10)-(11), (H, N) for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Panel


def _of_particles(snapshot: Snapshot, of) -> dict[str, Any]:
    """Subsystem -> (H, N): of(name) is a number or (H, N, 1), None where nothing is known."""
    graph, result = snapshot.system.graph, {}
    for s in graph.particle_subsystems:
        value = of(s.name)
        result[s.name] = None if value is None else np.broadcast_to(value, (graph.copies_of(s.name), s.size, 1))[..., 0]
    return result


@observable
class Eta(Observable):
    """eta_i of Eq. (10): a particle's longest move in a step (units of q), before the envelope."""

    name, kind, every = "eta", "per_particle", "frame"
    panels = (Panel("η", "longest move in a step, units of q", "eta"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        memory = snapshot.system.memory
        return _of_particles(snapshot, lambda name: snapshot.eta * memory.get(f"eta:{name}", 1.0))


@observable
class Mass(Observable):
    """m_i of Eq. (11) now (dimensionless)."""

    name, kind, every = "mass", "per_particle", "frame"
    panels = (Panel("Mass", "dimensionless", "mass"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return _of_particles(snapshot, lambda name: snapshot.system.mass.get(f"q:{name}"))


@observable
class Potential(Observable):
    """|U_i| of Eq. (11), or |Phi_i| of Appendix G; 0 under laws that have none."""

    name, kind, every = "potential", "per_particle", "frame"
    panels = (Panel("Potential", "|U| of Eq. 11, |Φ| of Appendix G", "potential"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        memory = snapshot.system.memory.items()
        known = {k.partition(":")[2]: a for k, a in memory if k.startswith("potential:")}
        return _of_particles(snapshot, {n: np.linalg.norm(a, axis=-1, keepdims=True) for n, a in known.items()}.get)
