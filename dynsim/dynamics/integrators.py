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
from dynsim.dynamics.hypergradient import Hypergradient, shortened
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import unknown
from dynsim.forces import Response
from dynsim.system.graph import RULE, Groups, System, group_kind


@dataclass(frozen=True)
class Motion:
    """The laws that a step obeys.

    push : (system, step) -> (force on every moving group, the field's response) for the batch of that step.
    hyper : how eta_i, m_i and U_i learn; None where they are given.
    """

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

    def damp(self, system: System, heard: Groups, dt: float) -> System:
        """v <- exp(-exponent) v, with the energy it takes counted as dissipated; heard : as the law hears it."""
        exponents, memory = self.law.exponents(system, heard, dt)
        v = {k: a * np.exp(-exponents[k]) for k, a in system.v.items()}
        memory |= remembered(system, exponents, dt, self.law.order)
        return _dissipate(system, v).replace(memory=system.memory | memory)

    def kick(self, system: System, dt: float) -> System:
        """v <- v + dt F / m."""
        v = {k: a + a.dtype.type(dt) * system.force[k] / system.mass[k] for k, a in system.v.items()}
        return system.replace(v=v)

    def bound(self, system: System) -> System:
        """The Eq. (10) limit."""
        v, fraction = self.limit.apply(system, system.v, self.dt)
        if self.hyper is not None:
            system = system.replace(memory=system.memory | shortened(system.v, v))
        if v is system.v:
            return system
        limited = _dissipate(system, v)
        return limited.replace(totals=limited.totals | {"limited": fraction})

    def drift(self, system: System) -> System:
        """q <- q + dt v, with path length and the work done on each coordinate particle."""
        dt = self.dt
        x, memory, path = dict(system.x), {}, 0.0
        for key, v in system.v.items():
            x[key] = x[key] + v.dtype.type(dt) * v
            if key.startswith("q:"):
                path += dt * float(np.sqrt(np.einsum("...k,...k->...", v, v)).sum(dtype=np.float64))
                done = v.dtype.type(dt) * np.einsum("...k,...k->...", system.force[key], v)
                before = system.memory.get(f"work:{key[2:]}")
                memory[f"work:{key[2:]}"] = done if before is None else before + done
        totals = system.totals | {"path": path, "workload": system.totals.get("workload", 0.0) + path}
        return system.replace(x=x, memory=system.memory | memory, totals=totals)

    def tick(self, system: System) -> System:
        return system.replace(step=system.step + 1, time=system.time + self.dt)


def kinetic_energy(system: System) -> float:
    """sum over all moving particles of m v^2 / 2."""
    return sum(_kinetic(system.mass[k], a) for k, a in system.v.items())


def _kinetic(mass: np.ndarray, v: np.ndarray) -> float:
    if mass.size == 1:
        return 0.5 * mass.item() * float(np.vdot(v, v))
    return 0.5 * float(np.vdot(mass[..., 0], np.einsum("...k,...k->...", v, v)))


def _dissipate(system: System, v: Groups) -> System:
    slower = system.replace(v=v)
    lost = kinetic_energy(system) - kinetic_energy(slower)
    return slower.replace(totals=system.totals | {"dissipated": system.totals.get("dissipated", 0.0) + lost})


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
        system = motion.damp(system, motion.law.heard(system.graph, response), motion.dt)
        system = motion.drift(motion.bound(motion.kick(system, motion.dt)))
        return motion.tick(system), response


@dataclass(frozen=True)
class Flow:
    """Overdamped motion, dq = dt^2 F / m: kick-drift in which every step starts at rest, that is gradient descent.

    Source: (S4) and (S7), dq = c q'' (dt)^2. Order 1.
    """

    name = "flow"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        system, response = motion.pushed(system)
        system = _dissipate(system, {k: np.zeros_like(a) for k, a in system.v.items()})
        return motion.tick(motion.drift(motion.bound(motion.kick(system, motion.dt)))), response


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
        system = motion.kick(motion.damp(system, heard, half), half)
        system = motion.drift(motion.bound(system))
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
        if motion.hyper is not None:
            memory |= shortened(None, v)
        system = system.replace(v=v, memory=system.memory | memory)
        return motion.tick(motion.drift(system)), response


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
