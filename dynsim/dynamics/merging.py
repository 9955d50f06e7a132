"""Particles that merge while they move, the remark under Eq. (5): "their subsequent dynamical behaviors will be
synchronous and stored as a single sub-model".

Members of a cluster share one position and velocity. Their forces and their masses add, so that all have the
acceleration sum F / sum m; each keeps its mass and is given its part of the force. What damping does to them adds
likewise: after every step they share the momentum that they have together. Where two clusters merge they do so as
bodies that stick together: at their centre of mass, momentum kept, the energy of their relative motion dissipated.
However, the step to the centre of mass changes the energy of the field, which is in no ledger.

Who is near whom, and what clusters share, is found on the host, whatever device moves the particles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dynsim.dynamics.integrators import Motion, kinetic_energy
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.stacking import stacked
from dynsim.system.graph import Graph, Groups, System, carried
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
            return forces_added(state, force, motion.kernels), response

        system, response = self.main.step(system, replace(motion, push=push))
        system = self._remembered(synchronised(system, motion.kernels))
        return (self._merged(system, motion.kernels) if self._due(system.step) else system), response

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

    def _merged(self, system: System, kernels: Any) -> System:
        names = [s.name for s in system.graph.particle_subsystems]
        trails = kernels.to_host([system.memory[f"trail:{n}"] for n in names])
        flat = [t.reshape(len(t), -1, system.graph.dim) for t in trails]
        memory = {k: a for k, a in system.memory.items() if not k.startswith("trail:")}
        system = system.replace(memory=memory)
        if len(flat[0]) <= self.window:  # it has not moved that long
            return system
        parts = [np.concatenate(flat, axis=1)] if self.across else flat
        return stuck(system, clusters_of(system, kernels).merged(parts, self.radius), kernels)


def clusters_of(system: System, kernels: Any = reference) -> Clusters:
    """Who moves as one in a system; everyone alone where nothing has merged."""
    graph = system.graph
    leader = np.arange(graph.particles, dtype=np.int32)
    led = {k: a for k, a in system.memory.items() if k.startswith("leader:")}
    masses, led = carried(kernels.to_host, system.mass, led)
    if led:
        leader = stacked(graph, lambda n: led[f"leader:{n}"], np.int32)
    mass = stacked(graph, lambda n: np.broadcast_to(masses[f"q:{n}"], (*system[n].q.shape[:2], 1)), np.float64, (1,))
    return Clusters(leader, mass)


def stuck(system: System, clusters: Clusters, kernels: Any = reference) -> System:
    """The system after clusters have merged: momentum kept, the energy of relative motion counted as dissipated."""
    # Leapfrog must ask the field again: what it keeps belongs to the places before.
    memory = {k: a for k, a in system.memory.items() if not k.startswith("received:")}
    leaders = {f"leader:{n}": a for n, a in by_subsystem(system.graph, clusters.leader).items()}
    memory |= carried(kernels.to_device, leaders)[0]
    for kind in MOMENTS:
        of_kind = {k.removeprefix(kind): a for k, a in memory.items() if k.startswith(kind)}
        memory |= {f"{kind}{k}": a for k, a in _shared(system, of_kind, clusters, kernels).items()}
    merged = synchronised(system.replace(memory=memory), kernels)
    lost = kinetic_energy(system, kernels) - kinetic_energy(merged, kernels)
    return merged.replace(totals=merged.totals | {"dissipated": merged.totals.get("dissipated", 0.0) + lost})


def synchronised(system: System, kernels: Any = reference) -> System:
    """Members of a cluster at one position with one velocity: centre of mass and total momentum are kept."""
    if not has_merged(system):
        return system
    clusters = clusters_of(system, kernels)
    x, v = (dict(part) | _shared(system, part, clusters, kernels) for part in (system.x, system.v))
    return system.replace(x=x, v=v)


def forces_added(system: System, force: Groups, kernels: Any = reference) -> Groups:
    """Every member given its part, by mass, of the force on its cluster: the acceleration of all is the same."""
    if not has_merged(system):
        return force
    moving = [f"q:{s.name}" for s in system.graph.particle_subsystems if f"q:{s.name}" in force]
    acceleration = {k: force[k] / system.mass[k] for k in moving}
    shared = _shared(system, acceleration, clusters_of(system, kernels), kernels)
    return dict(force) | {k: (system.mass[k] * a).astype(a.dtype) for k, a in shared.items()}


def has_merged(system: System) -> bool:
    return any(k.startswith("leader:") for k in system.memory)


def mates(system: System, particle: int, kernels: Any = reference) -> list[int]:
    """Numbers in the cast of all that move with a particle, itself among them."""
    if not has_merged(system):
        return [particle]
    leader = clusters_of(system, kernels).leader
    return np.flatnonzero(leader == leader[particle]).tolist()


def by_subsystem(graph: Graph, flat: np.ndarray) -> dict[str, np.ndarray]:
    """(n, ...) in the order of the cast -> (H, N, ...) of every subsystem with particles."""
    shapes = {s.name: (graph.copies_of(s.name), s.size) for s in graph.particle_subsystems}
    ends = np.cumsum([h * n for h, n in shapes.values()])[:-1]
    parts = zip(shapes.items(), np.split(flat, ends))
    return {name: part.reshape(*shape, *flat.shape[1:]).copy() for (name, shape), part in parts}


def _shared(system: System, groups: Groups, clusters: Clusters, kernels: Any) -> Groups:
    """The coordinate groups among `groups`, every cluster with its mean; none where these particles do not move."""
    graph = system.graph
    keys = [f"q:{s.name}" for s in graph.particle_subsystems]
    if not all(k in groups for k in keys):
        return {}
    (here,) = carried(kernels.to_host, {k: groups[k] for k in keys})
    flat = stacked(graph, lambda n: here[f"q:{n}"], here[keys[0]].dtype, (graph.dim,))
    shared = {f"q:{n}": a for n, a in by_subsystem(graph, clusters.shared(flat)).items()}
    return carried(kernels.to_device, shared)[0]
