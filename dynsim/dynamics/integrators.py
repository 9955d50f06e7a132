"""How the particles move: one small class each, stating its order and its source.

An integrator asks `Motion` for what it needs and returns the next system. The damping law and the speed limit are
its own business to call at the right moment, so that the splitting of each method can be read in its `step`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from dynsim.dynamics.damping import DampingLaw, remembered
from dynsim.dynamics.hypergradient import Hypergradient, all_limited
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import unknown
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.system.graph import RULE, Groups, System, group_kind


@dataclass(frozen=True)
class Motion:
    """The laws that a step obeys.

    kernels : of the device that moves the particles.
    push : (system, step) -> (force on every moving group, the field's response) for the batch of that step.
    hyper : how eta_i, m_i and U_i learn; None where they are given.
    """

    kernels: Any
    push: Callable[[System, int], tuple[Groups, Response]]
    law: DampingLaw
    limit: SpeedLimit
    dt: float
    hyper: Hypergradient | None = None

    def pushed(self, system: System) -> tuple[System, Response]:
        """The system under the force at its positions; what the last step's parameters did to it is learned from."""
        force, response = self.push(system, system.step)
        if self.hyper is not None:
            system = self.hyper.learn(system, force, self.dt)
        return system.replace(force=force), response

    def damping(self, system: System, heard: Groups, dt: float) -> tuple[System, Groups]:
        """The system with what the law remembers, and exp(-exponent) of every group; heard : as the law hears it."""
        exponents, memory = self.law.exponents(system, heard, dt)
        memory |= remembered(system, exponents, dt, self.law.order)
        return system.replace(memory=system.memory | memory), {k: np.exp(-e) for k, e in exponents.items()}

    def damp(self, system: System, heard: Groups, dt: float) -> System:
        """v <- exp(-exponent) v, with the energy it takes counted as dissipated."""
        system, keep = self.damping(system, heard, dt)
        slower = system.replace(v={k: keep[k] * a for k, a in system.v.items()})
        before, after = (kinetic_energy(s, self.kernels) for s in (system, slower))
        return slower.replace(totals=_with_dissipated(system, before - after))

    def kick(self, system: System, dt: float) -> System:
        """v <- v + dt F / m."""
        v = {k: a + a.dtype.type(dt) * system.force[k] / system.mass[k] for k, a in system.v.items()}
        return system.replace(v=v)

    def advance(self, system: System, keep: Groups | dict[str, float], kick: float) -> System:
        """v <- keep v + kick F / m, held to the Eq. (10) limit, and q <- q + dt v."""
        return self._moved(system, keep, kick, self.limit.longest(system, self.dt))

    def drift(self, system: System) -> System:
        """q <- q + dt v."""
        return self._moved(system, dict.fromkeys(system.v, 1.0), 0.0, {})

    def _moved(self, system: System, keep: Groups | dict[str, float], kick: float, longest: Groups) -> System:
        """One pass of the kernel over every group, with path length, work, dissipation and how many are at the limit;
        a group that is not in `longest` knows no limit."""
        x, v, memory = dict(system.x), {}, {}
        path = lost = at_limit = 0.0
        moved = {k: self._group_moved(system, k, keep[k], kick, longest.get(k, np.inf)) for k in system.v}
        sums = self.kernels.to_host([found[-1] for found in moved.values()])
        for (key, (x[key], v[key], work, left, _)), of_group in zip(moved.items(), sums):
            before, damped, kicked, limited, way, count = of_group.tolist()
            lost += before - damped + kicked - limited
            if key.startswith("q:"):
                memory[f"work:{key[2:]}"] = work
                path, at_limit = path + way, at_limit + count
                if self.hyper is not None:
                    memory[f"shortened:{key[2:]}"] = left[..., None]
        totals = _with_dissipated(system, lost)
        totals |= {"path": path, "workload": totals.get("workload", 0.0) + path}
        if longest:
            totals["limited"] = at_limit / max(sum(a.size for k, a in memory.items() if k.startswith("work:")), 1)
        return system.replace(x=x, v=v, memory=system.memory | memory, totals=totals)

    def _group_moved(self, system: System, key: str, keep: Any, kick: float, longest: Any) -> tuple[Any, ...]:
        """What `kernels.kick_drift` makes of a group; what is no coordinate is a particle of one dimension."""
        arrays = system.x[key], system.v[key], system.force[key], system.mass[key], keep
        if key.startswith("q:"):
            work = system.memory.get(f"work:{key[2:]}")
            work = np.zeros_like(arrays[0][..., 0]) if work is None else work
            return self.kernels.kick_drift(*arrays, kick, self.dt, longest, work)
        numbers = (a[..., None] if np.ndim(a) else a for a in arrays)
        x, v, *rest = self.kernels.kick_drift(*numbers, kick, self.dt, longest, np.zeros_like(arrays[0]))
        return x[..., 0], v[..., 0], *rest

    def tick(self, system: System) -> System:
        return system.replace(step=system.step + 1, time=system.time + self.dt)


def kinetic_energy(system: System, kernels: Any = reference) -> float:
    """sum over all moving particles of m v^2 / 2."""
    parts = [part for k, a in system.v.items() for part in _kinetic(system.mass[k], a)]
    found = iter(kernels.to_host(parts))
    return sum(0.5 * mass.item() * float(squares) for mass, squares in zip(found, found))


def _kinetic(mass: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers with the product sum of m v^2."""
    if mass.size == 1:
        return mass, np.vdot(v, v)
    return np.ones_like(mass[0, 0]), np.vdot(mass[..., 0], np.einsum("...k,...k->...", v, v))


def _with_dissipated(system: System, lost: float) -> dict[str, float]:
    return system.totals | {"dissipated": system.totals.get("dissipated", 0.0) + lost}


class Integrator(Protocol):
    """step(system, motion) -> (next system, response of the field that pushed it)."""

    name: str
    order: int

    def step(self, system: System, motion: Motion) -> tuple[System, Response]: ...


@dataclass(frozen=True)
class KickDrift:
    """Damp, kick, limit, drift: symplectic Euler with friction, the method for training.

    Equals the heavy-ball method with learning rate dt^2/m. Order 1.
    """

    name = "kick-drift"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        system, response = motion.pushed(system)
        system, keep = motion.damping(system, motion.law.heard(system.graph, response), motion.dt)
        return motion.tick(motion.advance(system, keep, motion.dt)), response


@dataclass(frozen=True)
class Flow:
    """Overdamped motion, dq = dt^2 F / m: kick-drift in which every step starts at rest, that is gradient descent.

    Source: (S4) and (S7), dq = c q'' (dt)^2. Order 1.
    """

    name = "flow"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        system, response = motion.pushed(system)
        at_rest = dict.fromkeys(system.v, 0.0)
        return motion.tick(motion.advance(system, at_rest, motion.dt)), response


@dataclass(frozen=True)
class Leapfrog:
    """Half damp, half kick, drift, half kick, half damp (velocity Verlet), for physics.

    Time-reversible and symplectic without damping; the energy error is bounded and falls as dt^2. Order 2.
    """

    name = "leapfrog"
    order = 2

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        half = 0.5 * motion.dt
        heard = {k.split(":", 1)[1]: a for k, a in system.memory.items() if k.startswith("received:")}
        if not heard:
            force, response = motion.push(system, system.step)
            heard = motion.law.heard(system.graph, response)
            system = system.replace(force=force)
        system, keep = motion.damping(system, heard, half)
        system = motion.advance(system, keep, half)
        force, response = motion.push(system, system.step + 1)
        system = motion.kick(system.replace(force=force), half)
        heard = motion.law.heard(system.graph, response)
        system = motion.damp(system, heard, half)
        kept = {f"received:{k}": a for k, a in heard.items()}
        return motion.tick(system.replace(memory=system.memory | kept)), response


@dataclass(frozen=True)
class Eq10Literal:
    """q <- q + eta F/|F| exp(-Lambda tau): printed Eq. (10), given the direction of the force.

    Lambda is the law's, per particle. Order 1.
    """

    name = "eq10-literal"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        system, response = motion.pushed(system)
        force = system.force
        exponents, memory = motion.law.exponents(system, motion.law.heard(system.graph, response), motion.dt)
        memory |= remembered(system, exponents, motion.dt, motion.law.order)
        v = {}
        for key, f in force.items():
            length = np.linalg.norm(f, axis=-1, keepdims=True)
            direction = f / np.where(length == 0, 1, length)
            relative = group_kind(key) in ("mu", "gain", "eps", "medium")
            own = motion.limit.reach(system, key[2:]) if group_kind(key) == "q" else motion.limit.eta
            reach = motion.limit.coefficients * _rms(system.x[key]) if relative else own
            # One Lambda per particle: the mean over coordinates where the law has one for each.
            turn = exponents[key] if exponents[key].ndim == 0 else exponents[key].mean(-1, keepdims=True)
            # Eq. (10)
            v[key] = (reach / motion.dt * direction * np.exp(-turn * system.age)).astype(f.dtype)
        system = motion.drift(system.replace(v=v, memory=system.memory | memory))
        if motion.hyper is not None:
            system = system.replace(memory=system.memory | all_limited(v))
        return motion.tick(system), response


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(a**2))) or 1.0


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) on every coordinate, for comparison and for the weight-based twin; not physics.

    Its learning rate is eta times the envelope of Eq. (10), so that both are annealed alike.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    name = "adam"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        force, response = motion.push(system, system.step)
        rate = motion.limit.eta * motion.limit.envelope(system)
        memory, v = {}, {}
        t = system.age + 1
        first, second = 1 - self.beta1**t, 1 - self.beta2**t
        for key, f in force.items():
            m, w = (system.memory.get(f"{k}:{key}", np.zeros_like(f)) for k in ("adam1", "adam2"))
            if system.age == 0:
                m, w = np.zeros_like(f), np.zeros_like(f)
            m = memory[f"adam1:{key}"] = (self.beta1 * m + (1 - self.beta1) * f).astype(f.dtype)
            w = memory[f"adam2:{key}"] = (self.beta2 * w + (1 - self.beta2) * f * f).astype(f.dtype)
            v[key] = (rate / motion.dt * (m / first) / (np.sqrt(w / second) + self.eps)).astype(f.dtype)
        system = system.replace(force=force, v=v, memory=system.memory | memory)
        return motion.tick(motion.drift(system)), response


PLAIN = ("weight", "bias", "scale", "shift", *RULE)


@dataclass(frozen=True)
class Beside:
    """`main` moves the particles, Adam at a rate of its own what is none (weights, biases, norms); the same forces.

    `main` asks the field once a step, which leapfrog does not. Order 1.
    """

    main: Integrator
    rate: float
    order = 1

    @property
    def name(self) -> str:
        return self.main.name

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        force, response = motion.push(system, system.step)
        plain = {k for k in system.v if group_kind(k) in PLAIN}

        def half(integrator: Integrator, keys: set[str], limit: SpeedLimit) -> System:
            part = system.replace(v={k: v for k, v in system.v.items() if k in keys})
            pushed = {k: f for k, f in force.items() if k in keys}
            return integrator.step(part, replace(motion, push=lambda *_: (pushed, response), limit=limit))[0]

        particles = half(self.main, system.v.keys() - plain, motion.limit)
        others = half(Adam(), plain, replace(motion.limit, eta=self.rate))
        memory = {k: a for k, a in others.memory.items() if k.partition(":")[2] in plain}
        return particles.replace(
            x={k: (others if k in plain else particles).x[k] for k in system.x},
            v={k: (others if k in plain else particles).v[k] for k in system.v},
            force=force,
            memory=particles.memory | memory,
        ), response


INTEGRATORS: dict[str, Any] = {c.name: c for c in (KickDrift, Flow, Leapfrog, Eq10Literal, Adam)}
UNLIMITED = ("adam", "eq2")  # that know no limit of Eq. (10)


def integrator(name: str) -> Integrator:
    """The integrator of that name; raises OptionError that lists the options."""
    if name not in INTEGRATORS:
        raise unknown("integrator", name, tuple(INTEGRATORS))
    return INTEGRATORS[name]()
