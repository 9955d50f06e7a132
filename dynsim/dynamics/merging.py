"""Particles that merge while they move, the remark under Eq. (5): "their subsequent dynamical behaviors will be
synchronous and stored as a single sub-model".

Members of a cluster share one position and velocity. Their forces and their masses add, so that all have the
acceleration sum F / sum m; each keeps its mass and is given its part of the force. What damping does to them adds
likewise: after every step they share the momentum that they have together. Where two clusters merge they do so as
bodies that stick together: at their centre of mass, momentum kept, the energy of their relative motion dissipated.
However, the step to the centre of mass changes the energy of the field, which is in no ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dynsim.dynamics.integrators import Motion, kinetic_energy
from dynsim.forces import Response
from dynsim.stacking import stacked
from dynsim.system.graph import Graph, Groups, System
from dynsim.system.merging import Clusters

# Memory of integrators that belongs to a particle's motion as its velocity does.
MOMENTS = ("adam1:", "adam2:")


@dataclass(frozen=True)
class Merging:
    """`main` moves the particles; those that stay within a radius of a leader merge.

    Who leads is in the system's memory as leader:NAME (H, N) of numbers in the cast; trail:NAME (T, H, N, d) holds
    the last positions before a merging.

    Attributes
    ----------
    radius : mean distance over the last `window` + 1 positions, in units of q.
    every, start : merging is due at steps that `every` divides, from `start` on.
    across : whether particles of different subsystems may merge.
    """

    main: Any
    radius: float
    window: int = 5
    every: int = 50
    start: int = 0
    across: bool = False

    @property
    def name(self) -> str:
        return self.main.name

    @property
    def order(self) -> int:
        return self.main.order

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        def push(state: System, step: int) -> tuple[Groups, Response]:
            force, response = motion.push(state, step)
            return forces_added(state, force), response

        system, response = self.main.step(system, replace(motion, push=push))
        system = self._remembered(synchronised(system))
        return (self._merged(system) if self._due(system.step) else system), response

    def _due(self, step: int) -> bool:
        return step % self.every == 0 and step >= self.start

    def _remembered(self, system: System) -> System:
        """With the positions of the last steps before a merging."""
        if not any(self._due(system.step + k) for k in range(self.window + 1)):
            return system
        trails = {}
        for s in system.graph.particle_subsystems:
            q, key = system.x[f"q:{s.name}"][None], f"trail:{s.name}"
            trails[key] = np.concatenate([system.memory[key], q]) if key in system.memory else q.copy()
        return system.replace(memory=system.memory | trails)

    def _merged(self, system: System) -> System:
        names = [s.name for s in system.graph.particle_subsystems]
        trails = [system.memory[f"trail:{n}"] for n in names]
        flat = [t.reshape(len(t), -1, system.graph.dim) for t in trails]
        memory = {k: a for k, a in system.memory.items() if not k.startswith("trail:")}
        system = system.replace(memory=memory)
        if len(flat[0]) <= self.window:  # it has not moved that long
            return system
        parts = [np.concatenate(flat, axis=1)] if self.across else flat
        return stuck(system, clusters_of(system).merged(parts, self.radius))


def clusters_of(system: System) -> Clusters:
    """Who moves as one in a system; everyone alone where nothing has merged."""
    graph = system.graph
    leader = np.arange(graph.particles, dtype=np.int32)
    if has_merged(system):
        leader = stacked(graph, lambda n: system.memory[f"leader:{n}"], np.int32)
    mass = stacked(
        graph, lambda n: np.broadcast_to(system.mass[f"q:{n}"], (*system[n].q.shape[:2], 1)), np.float64, (1,)
    )
    return Clusters(leader, mass)


def stuck(system: System, clusters: Clusters) -> System:
    """The system after clusters have merged: momentum kept, the energy of relative motion counted as dissipated."""
    # Leapfrog must ask the field again: what it keeps belongs to the places before.
    memory = {k: a for k, a in system.memory.items() if not k.startswith("received:")}
    memory |= {f"leader:{n}": a for n, a in by_subsystem(system.graph, clusters.leader).items()}
    for kind in MOMENTS:
        of_kind = {k.removeprefix(kind): a for k, a in memory.items() if k.startswith(kind)}
        memory |= {f"{kind}{k}": a for k, a in _shared(system, of_kind, clusters).items()}
    merged = synchronised(system.replace(memory=memory))
    lost = kinetic_energy(system) - kinetic_energy(merged)
    return merged.replace(totals=merged.totals | {"dissipated": merged.totals.get("dissipated", 0.0) + lost})


def synchronised(system: System) -> System:
    """Members of a cluster at one position with one velocity: centre of mass and total momentum are kept."""
    if not has_merged(system):
        return system
    clusters = clusters_of(system)
    return system.replace(
        x=dict(system.x) | _shared(system, system.x, clusters), v=dict(system.v) | _shared(system, system.v, clusters)
    )


def forces_added(system: System, force: Groups) -> Groups:
    """Every member given its part, by mass, of the force on its cluster: the acceleration of all is the same."""
    if not has_merged(system):
        return force
    moving = [f"q:{s.name}" for s in system.graph.particle_subsystems if f"q:{s.name}" in force]
    acceleration = {k: force[k] / system.mass[k] for k in moving}
    shared = _shared(system, acceleration, clusters_of(system))
    return dict(force) | {k: (system.mass[k] * a).astype(a.dtype) for k, a in shared.items()}


def has_merged(system: System) -> bool:
    return any(k.startswith("leader:") for k in system.memory)


def mates(system: System, particle: int) -> list[int]:
    """Numbers in the cast of all that move with a particle, itself among them."""
    if not has_merged(system):
        return [particle]
    leader = clusters_of(system).leader
    return np.flatnonzero(leader == leader[particle]).tolist()


def by_subsystem(graph: Graph, flat: np.ndarray) -> dict[str, np.ndarray]:
    """(n, ...) in the order of the cast -> (H, N, ...) of every subsystem with particles."""
    shapes = {s.name: (graph.copies_of(s.name), s.size) for s in graph.particle_subsystems}
    ends = np.cumsum([h * n for h, n in shapes.values()])[:-1]
    parts = zip(shapes.items(), np.split(flat, ends))
    return {name: part.reshape(*shape, *flat.shape[1:]).copy() for (name, shape), part in parts}


def _shared(system: System, groups: Groups, clusters: Clusters) -> Groups:
    """The coordinate groups among `groups`, every cluster with its mean; none where these particles do not move."""
    graph = system.graph
    keys = [f"q:{s.name}" for s in graph.particle_subsystems]
    if not all(k in groups for k in keys):
        return {}
    flat = stacked(graph, lambda n: groups[f"q:{n}"], groups[keys[0]].dtype, (graph.dim,))
    return {f"q:{n}": a for n, a in by_subsystem(graph, clusters.shared(flat)).items()}
