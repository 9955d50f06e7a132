"""Per-particle observables: one array of the particles' order for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Panel
from dynsim.system.graph import Groups


def _groups(snapshot: Snapshot, groups: Groups) -> dict[str, Any]:
    """The coordinate groups of a kind by subsystem; None where nothing is known yet."""
    return {s.name: groups.get(f"q:{s.name}") for s in snapshot.system.graph.particle_subsystems}


@observable
class Velocity(Observable):
    """v (H, N, d)."""

    name, kind, every = "velocity", "per_particle", "frame"
    vector = True
    panels = (Panel("Speed", "|v|", "velocity"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return _groups(snapshot, snapshot.system.v)


@observable
class Force(Observable):
    """F (H, N, d), of the batch that pushed last."""

    name, kind, every = "force", "per_particle", "frame"
    vector = True
    panels = (Panel("Force", "|F|", "force"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return _groups(snapshot, snapshot.system.force)


@observable
class Lagrangian(Observable):
    """|sum_k L_ik| under laws that have it (Eq. 11, Appendix G); T - V under the others, V = -(work on it)."""

    name, kind, every = "lagrangian", "per_particle", "frame"
    panels = (Panel("Lagrangian", "Eq. 11 or T − V", "lagrangian", signed=True),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        system = snapshot.system
        return {s.name: self._of(snapshot, s.name) for s in system.graph.particle_subsystems}

    def _of(self, snapshot: Snapshot, name: str):
        system = snapshot.system
        if (vector := system.memory.get(f"lagrangian:{name}")) is not None:
            return np.linalg.norm(vector, axis=-1)
        work, v = system.memory.get(f"work:{name}"), system.v.get(f"q:{name}")
        if work is None or v is None:
            return None
        return 0.5 * system.mass[f"q:{name}"][..., 0] * np.einsum("...k,...k->...", v, v) + work


@observable
class Lambda(Observable):
    """Lambda_i (per unit of time) of the law at the last step."""

    name, kind, every = "lambda", "per_particle", "frame"
    panels = (Panel("Λ", "damping, per unit of time", "lambda"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        system = snapshot.system
        return {s.name: system.memory.get(f"lambda:{s.name}") for s in system.graph.particle_subsystems}


def _signals(snapshot: Snapshot, signals: Groups) -> dict[str, Any]:
    """A signal (N,) of each sub-model, given to all its copies (H, N); None where nothing is known."""
    graph = snapshot.system.graph
    shapes = {s.name: (graph.copies_of(s.name), s.size) for s in graph.particle_subsystems}
    return {n: np.broadcast_to(signals[n], shape) if n in signals else None for n, shape in shapes.items()}


@observable
class Signal(Observable):
    """Root mean square over the batch of the signal that a particle's sub-model received."""

    name, kind, every = "signal", "per_particle", "frame"
    panels = (Panel("Received signal", "RMS over the batch", "signal"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return _signals(snapshot, snapshot.response.received if snapshot.response else {})


@observable
class Emitted(Observable):
    """Root mean square over the batch of the signal that a particle's sub-model emitted; a target has none."""

    name, kind, every = "emitted", "per_particle", "frame"
    panels = (Panel("Emitted signal", "RMS over the batch", "emitted"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return _signals(snapshot, snapshot.response.emitted if snapshot.response else {})
