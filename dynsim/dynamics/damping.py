"""The laws for Lambda, Eq. (54)-(56): m dv/dt = F - m Lambda v, with the exponential of Eq. (55) taken exactly.

However, Eq. (54) and (55) print Lambda/2, Eq. (10) and (56) print Lambda: the factor of a step is
exp(-order Lambda dt) with order 1/2 or 1 to choose (the Caldirola-Kanai Lagrangian derives 1).

A law turns the state into an *exponent* per group, v <- exp(-exponent) v, and what it remembers. New laws are a
`Law` with `name`, `order` and `exponents`, and an entry in `LAWS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dynsim.dynamics.lagrangian import fed_back, potentials, summed_feedback, summed_lagrangian
from dynsim.forces import Response
from dynsim.system.graph import Graph, Groups, System, group_kind


class DampingLaw(Protocol):
    """exponents(system, heard, dt) -> (exponent of every moving group, changed memory)."""

    @property
    def name(self) -> str: ...

    @property
    def order(self) -> float: ...

    def start(self, system: System, seed: int) -> Groups:
        """What the law remembers before the first step."""
        ...

    def heard(self, graph: Graph, response: Response) -> Groups:
        """Subsystem -> (N,): the signal of every sub-model that the law listens to."""
        ...

    def exponents(self, system: System, heard: Groups, dt: float) -> tuple[Groups, Groups]: ...


class Law:
    """A law that begins without memories and hears the received signals."""

    def start(self, system: System, seed: int) -> Groups:
        return {}

    def heard(self, graph: Graph, response: Response) -> Groups:
        return response.received


@dataclass(frozen=True)
class Friction(Law):
    """Constant Lambda = `rate` (per unit of time)."""

    rate: float = 0.0
    order: float = 1.0
    name = "friction"

    def exponents(self, system: System, heard: Groups, dt: float) -> tuple[Groups, Groups]:
        turn = self.order * self.rate * dt
        return {key: v.dtype.type(turn) for key, v in system.v.items()}, {}


@dataclass(frozen=True)
class LagrangianDamping(Law):
    """Lambda_i = 2 max(0, -F_i.v_i) / T_i: brakes a particle only while it climbs.

    L = T - V in the gauge V(q_now) = 0, so dL/dt = 2 F.v. However, the sign is ours: Eq. (10) with this L would
    brake what descends and drive what climbs. T_i is floored, Lambda dt <= 50, and there is no friction beside it.
    """

    order: float = 0.5
    largest: float = 50.0
    name = "lagrangian"

    def exponents(self, system: System, heard: Groups, dt: float) -> tuple[Groups, Groups]:
        result = {}
        for key, v in system.v.items():
            climbing = np.maximum(-_dot(system.force[key], v), 0)
            kinetic = 0.5 * system.mass[key] * _dot(v, v)
            floor = np.finfo(v.dtype).tiny
            with np.errstate(over="ignore"):
                turn = np.minimum(2 * dt * climbing / np.maximum(kinetic, floor), self.largest)
            result[key] = (self.order * turn).astype(v.dtype)
        return result, {}


@dataclass(frozen=True)
class SignalDamping(Law):
    """Eq. (11) literally: Lambda_i = d/dt ln |sum_k L_ik|, integrated exactly over a step and per component.

    v <- v ((L_n^2 + eps^2) / (L_{n+1}^2 + eps^2))^(order/2), so that v^2 sqrt(L^2 + eps^2) is invariant for
    order 1/2, through zero crossings of L. Lambda dt is clipped to `clip` in training (None: not at all); eps is
    1 % of the mean |L| at the first step. Groups without signals (mu, gains, biases) turn by the mean exponent of
    the subsystems they belong to.

    Attributes
    ----------
    rate : a constant friction beside it, 0 for none.
    potential : U_i, one of POTENTIALS.
    slopes : whether d(exponent)/dU is remembered, for `dynsim.dynamics.hypergradient`.
    """

    order: float = 0.5
    clip: tuple[float, float] | None = (0.0, 0.35)
    rate: float = 0.0
    potential: str = "drawn"
    slopes: bool = False
    name = "signal"

    def start(self, system: System, seed: int) -> Groups:
        return potentials(system, seed, self.potential)

    def exponents(self, system: System, heard: Groups, dt: float) -> tuple[Groups, Groups]:
        memory: Groups = {}
        turns: Groups = {}
        for s in system.graph.particle_subsystems:
            key = f"q:{s.name}"
            if key in system.v:
                turns[key] = self._turn(system, s.name, heard[s.name], memory)
        for key in system.v:
            if key not in turns:
                turns[key] = _mean_turn(system, key, turns)
        beside = self.rate * dt
        return {k: (self.order * (t + beside)).astype(system.v[k].dtype) for k, t in turns.items()}, memory

    def lagrangian(self, system: System, name: str, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(sum over k of L_ik, its derivative by U_i) of a subsystem; the first (H, N, d) or (H, N, 1)."""
        return summed_lagrangian(system, name, system.force[f"q:{name}"], heard), -heard[None, :, None]

    def _turn(self, system: System, name: str, heard: np.ndarray, memory: Groups) -> np.ndarray:
        """Lambda dt of the particles of a subsystem, (H, N, d) or (H, N, 1)."""
        now, by_potential = self.lagrangian(system, name, heard)
        memory[f"lagrangian:{name}"] = now
        before = system.memory.get(f"lagrangian:{name}")
        if before is None:
            memory[f"softening:{name}"] = np.asarray(0.01 * np.abs(now).mean(), now.dtype, like=now)
            return np.zeros_like(now)
        changed = np.sum(now, dtype=np.float64) - np.sum(before, dtype=np.float64)
        memory[f"lagrangian-change:{name}"] = np.asarray(changed, like=now)
        crossings = system.memory.get(f"lagrangian-crossings:{name}", 0) + np.count_nonzero(now * before < 0)
        memory[f"lagrangian-crossings:{name}"] = np.asarray(crossings, like=now)
        eps2 = system.memory[f"softening:{name}"] ** 2
        # Eq. (10), the exponent: d/dt sum L / sum L over one step, without dividing by a vanishing sum
        turn = 0.5 * np.log((now**2 + eps2) / (before**2 + eps2))
        within = np.ones_like(turn, bool) if self.clip is None else (turn > self.clip[0]) & (turn < self.clip[1])
        if self.slopes:
            slope = self.order * now / (now**2 + eps2) * by_potential
            memory[f"slope:{name}"] = np.where(within, slope, 0).astype(now.dtype)
        return turn if self.clip is None else np.clip(turn, *self.clip)


@dataclass(frozen=True)
class FeedbackDamping(SignalDamping):
    """The other Lagrangian of Appendix G, L_ik = S_ik Phi_i: Lambda_i = d/dt ln |Phi_i sum_k S_ik| of feedback S.

    S_ik is the stress F_ik = -dE/dphi_ik (`fed_back`), "feedback control correlated with the loss function": in a
    network the mean over the batch of what i emits times the feedback of k, so that the sum over k is O(N). It is
    integrated over a step, softened and clipped as the `signal` law, one L for all components of a particle.

    However, a field Phi_i that does not change, print's "constant field", cancels from Lambda for ever: only a
    trained Phi_i (`dynsim.dynamics.hypergradient`) differs from none.
    """

    potential: str = "constant"
    name = "feedback"

    def start(self, system: System, seed: int) -> Groups:
        return potentials(system, seed, self.potential, width=1)

    def heard(self, graph: Graph, response: Response) -> Groups:
        return fed_back(graph, response)

    def lagrangian(self, system: System, name: str, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return summed_feedback(system, name, heard), heard[None, :, None]


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar product over the last axis, which stays with length 1."""
    return np.einsum("...k,...k->...", a, b)[..., None]


def _mean_turn(system: System, key: str, turns: Groups) -> np.ndarray:
    """Mean Lambda dt of the subsystems that a bias or a link's coefficients belong to."""
    owners = key.split(":", 1)[1].split(">")
    means = [turns[f"q:{o}"].mean() for o in owners if f"q:{o}" in turns]
    return np.stack(means).mean() if means else np.asarray(0.0)


LAWS: dict[str, Any] = {c.name: c for c in (Friction, LagrangianDamping, SignalDamping, FeedbackDamping)}
# Laws that have a Lagrangian with a potential.
WITH_POTENTIAL = (SignalDamping.name, FeedbackDamping.name)


def friction_rate(keep: float, order: float, dt: float) -> float:
    """Lambda for which a step of dt keeps this fraction of the velocity: exp(-order Lambda dt) = keep."""
    return -math.log(keep) / (order * dt)


def remembered(system: System, exponents: Groups, dt: float, order: float) -> Groups:
    """Lambda of every coordinate particle, (H, N), as the trajectory records it."""
    result = {}
    for key, turn in exponents.items():
        if group_kind(key) == "q":
            shape = system.v[key].shape[:2]
            per_particle = np.asarray(turn.mean(-1) if turn.ndim == 3 else turn, like=system.v[key])
            result[f"lambda:{key[2:]}"] = np.broadcast_to(per_particle / (order * dt), shape).copy()
    return result
