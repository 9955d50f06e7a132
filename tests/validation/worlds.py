"""Small worlds for the physics tests: two subsystems in the potential of a target, a network with data, bare motion."""

import math

import numpy as np

from dynsim.dynamics.damping import Friction
from dynsim.dynamics.integrators import Motion, kinetic_energy
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.fields.network import NetworkField
from dynsim.fields.target import TargetField
from dynsim.forces import Response, forces
from dynsim.kernels import reference
from dynsim.kernels.load import load
from dynsim.observables.energy import well_energy
from dynsim.signals import all_weights
from dynsim.system.graph import Graph, Link, Subsystem, System, group_kind
from dynsim.system.initialise import initial_positions

METRICS = reference.METRICS
UNDAMPED, UNLIMITED = Friction(), SpeedLimit(enabled=False)
DIM, EPS = 3, 0.1


def pair_graph(metric="l2", m=5, n=4, copies=2, dim=DIM, eps=EPS):
    """Two subsystems joined by one link."""
    return Graph((Subsystem("a", m), Subsystem("b", n)), (Link("a", "b", metric, 3.0, eps),), copies, dim)


def moving(graph, seed, kinds=("q",), speed=0.3):
    """A system whose groups of these kinds move; the masses of its groups differ, coordinates are normal."""
    rng = np.random.default_rng(seed)
    x = initial_positions(graph, reference, seed, "float64", {k.name: 0.5 for k in graph.links})
    x |= {k: rng.standard_normal(a.shape) for k, a in x.items() if group_kind(k) in ("q", "bias")}
    v = {k: speed * rng.standard_normal(a.shape) for k, a in x.items() if group_kind(k) in kinds}
    mass = {k: np.full((1,) * a.ndim, 1.0 + i / 3) for i, (k, a) in enumerate(x.items())}
    return System(graph, x, v, {}, mass)


def target_world(metric="l2", seed=0, kinds=("q",), speed=0.3, **graph):
    """(system, field): two subsystems in the potential of a normal target."""
    graph = pair_graph(metric, **graph)
    target = np.random.default_rng(seed + 1000).standard_normal(graph.shape(graph.links[0]))
    return moving(graph, seed, kinds, speed), TargetField(graph, target)


def network_world(metric="l2", activation="tanh", loss="cross-entropy", seed=0, speed=0.0):
    """(system, field): 4-6-3 with a skip link, so that every subsystem is shared by two links; everything moves."""
    names, sizes = ("in", "hid", "out"), (4, 6, 3)
    subsystems = tuple(
        Subsystem(n, size, activation if n == "hid" else "identity", bias=n != "in") for n, size in zip(names, sizes)
    )
    links = tuple(Link(names[a], names[b], metric, 3.0, EPS) for a, b in [(0, 1), (1, 2), (0, 2)])
    graph = Graph(subsystems, links, 2, DIM)
    rng = np.random.default_rng(seed + 2000)
    x, y = rng.standard_normal((12, 4)), rng.integers(3, size=12)
    kinds = ("q", "mu", "gain", "eps", "bias", "weight")
    return moving(graph, seed, kinds, speed), NetworkField(graph, x, y, loss=loss)


def motion(kernels, field, law=UNDAMPED, limit=UNLIMITED, dt=0.01, confinement=0.0):
    """The laws of a world: the field's forces and whatever else is asked for."""

    def push(system, step):
        response = field.respond(system, all_weights(kernels, system), step)
        return forces(kernels, system, response, confinement), response

    return Motion(kernels, push, law, limit, dt)


def constant_motion(force, law=UNDAMPED, limit=UNLIMITED, dt=0.01):
    """Every step pushes with the same force on each group."""
    received = {k[2:]: np.ones(a.shape[1]) for k, a in force.items() if k.startswith("q:")}
    push = force, Response(0.0, {}, received=received)
    return Motion(load("cpu"), lambda system, step: push, law, limit, dt)


def march(system, integrator, motion, steps):
    """Yield (system, response) after every step."""
    for _ in range(steps):
        system, response = integrator.step(system, motion)
        yield system, response


def last(states):
    """The system at the end of a march."""
    *_, (system, _) = states
    return system


def total_energy(system, response, confinement=0.0):
    """Kinetic, potential and dissipated energy."""
    potential = response.loss + well_energy(system, confinement)
    return kinetic_energy(system) + potential + system.totals.get("dissipated", 0.0)


def order_of(errors):
    """Slope of log2(error) when each error comes from half the step of the one before."""
    return [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:])]


def coordinates(groups):
    """The q groups of a dict of groups."""
    return {k: a for k, a in groups.items() if k.startswith("q:")}
