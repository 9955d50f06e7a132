"""Eq. (2) over the ticks of a sequence, and back through them: positions and signals drive each other.

    R_i(t) = sum over links, j != i, of E_j(t - delay) phi(q_j(t - delay), q_i(t)), and the input of an input sub-model
    dq_i/dt(t) = D R_i(t) + E E_i(t - 1) + F q_i(t)
    E_i(t) = tanh(A R_i(t) + B q_i(t) + C dq_i/dt(t))
    q_i(t + 1) = q_i(t) + Q dq_i/dt(t)

However, print has no tanh ("one can still use" one), without which the signals of any system that amplifies grow
without bound, and there E_i needs dq_i/dt while dq_i/dt needs E_i: here dq/dt takes what was emitted a tick ago. Print
has one q a sub-model; of H copies each moves by its own line, and lines that ask for q take their mean.

Appendix J: updates are *sequential* in the order of the graph, so that a link without delay carries what was emitted
in the same tick, or *simultaneous*, where every signal is at least one tick on its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.system.graph import Groups, Link, System
from dynsim.system.rule import MATRICES, propagator, propagator_back

UPDATES = ("sequential", "simultaneous")


def effective_delay(link: Link, updates: str) -> int:
    """Ticks that a signal of this link is on its way."""
    return link.delay if updates == "sequential" else max(link.delay, 1)


@dataclass(frozen=True)
class Rule:
    """The matrices of a subsystem, and what a tick makes of them.

    Attributes
    ----------
    turn : Q (d, d), see `dynsim.system.rule.propagator`.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    E: np.ndarray
    F: np.ndarray
    turn: np.ndarray

    @classmethod
    def of(cls, kernels, system: System, name: str, dt: float) -> Rule:
        matrices = {kind: system.x[f"{kind}:{name}"] for kind in MATRICES}
        return cls(**matrices, turn=propagator(matrices["F"], dt, kernels))

    @property
    def stays(self) -> np.ndarray:
        """dq(t + 1) / dq(t) (d, d) where no signal depends on q."""
        return np.identity(len(self.F), self.F.dtype, like=self.F) + self.turn @ self.F

    @property
    def heard(self) -> np.ndarray:
        """d(inside of tanh) / d(R, what was emitted a tick ago) (s, 2 s)."""
        return np.concatenate([self.A + self.C @ self.D, self.C @ self.E], axis=1)

    @property
    def seen(self) -> np.ndarray:
        """d(inside of tanh) / dq (s, d), of the mean over copies."""
        return self.B + self.C @ self.F

    @property
    def pushed(self) -> np.ndarray:
        """dq(t + 1) / d(R, what was emitted a tick ago) (d, 2 s)."""
        return self.turn @ np.concatenate([self.D, self.E], axis=1)


class Ticks:
    """What a few sequences do side by side, tick by tick.

    Parameters
    ----------
    system : positions at tick 0, matrices and links.
    batch, ticks : how many sequences, how long.
    dt : time of a tick (dimensionless).
    kept : whether `back` will be asked for, which needs the path integrals of all ticks.

    Attributes
    ----------
    q : subsystem -> (ticks + 1, B, H, N, d); the last is where the sub-models arrive.
    speed : subsystem -> dq/dt (ticks, B, H, N, d).
    received, emitted : subsystem -> (ticks, B, N, s).
    """

    def __init__(
        self, kernels, system: System, batch: int, ticks: int, dt: float, updates: str, kept: bool = True
    ) -> None:
        self.kernels, self.graph, self.dt, self.ticks = kernels, system.graph, dt, ticks
        self.order = self.graph.order
        self.incoming = {n: [(k, effective_delay(k, updates)) for k in self.graph.incoming[n]] for n in self.order}
        self.rule = {n: Rule.of(kernels, system, n, dt) for n in self.order}
        self.arguments = {k.name: system.link_arguments(k) for k in self.graph.links}
        self.q, self.speed, self.received, self.emitted, self.phi = {}, {}, {}, {}, {}
        for n in self.order:
            start, s = system.x[f"q:{n}"], len(self.rule[n].A)
            self.q[n] = np.empty((ticks + 1, batch, *start.shape), start.dtype, like=start)
            self.q[n][0] = start
            self.speed[n] = np.empty_like(self.q[n][1:])
            self.received[n] = np.zeros((ticks, batch, start.shape[1], s), start.dtype, like=start)
            self.emitted[n] = np.zeros_like(self.received[n])
        for link in self.graph.links:
            shape = ticks if kept else 1, batch, *self.graph.shape(link)
            self.phi[link.name] = np.zeros(shape, start.dtype, like=start)

    # Forward ---------------------------------------------------------------------------------------------------

    def run(self, inputs: np.ndarray | None, first: int = 0) -> None:
        """All ticks from `first` on; inputs (B, ticks, K) are added to what the first K sub-models receive."""
        driven = self.graph.subsystems[0].name
        if inputs is not None:
            self.received[driven][first:, :, : inputs.shape[2], 0] = inputs.swapaxes(0, 1)[first:]
        for t in range(first, self.ticks):
            for n in self.order:
                self._receive(n, t)
                self._act(n, t)

    def _receive(self, n: str, t: int) -> None:
        """Eq. (2), line 1."""
        for link, delay in self.incoming[n]:
            if t >= delay:
                phi = self._path_integrals(link, t - delay, t)
                self.received[n][t] += phi.swapaxes(1, 2) @ self.emitted[link.source][t - delay]

    def _path_integrals(self, link: Link, sent: int, t: int) -> np.ndarray:
        """phi(q_j(sent), q_i(t)) of every sequence, (B, M, N); j != i."""
        name, _, _, *coefficients = self.arguments[link.name]
        phis, source, target = self.phi[link.name], self.q[link.source][sent], self.q[link.target][t]
        phi = phis[t % len(phis)]
        for b in range(len(phi)):
            phi[b] = self.kernels.path_integral(name, source[b], target[b], *coefficients)
        return _without_own(link, phi)

    def _act(self, n: str, t: int) -> None:
        """Eq. (2), lines 3 and 2, and where it leads."""
        rule, q, r = self.rule[n], self.q[n][t], self.received[n][t]
        pushed = r @ rule.D.T
        if t:
            pushed += self.emitted[n][t - 1] @ rule.E.T
        # Eq. (2), line 3
        speed = np.add(q @ rule.F.T, pushed[:, None], out=self.speed[n][t])
        # Eq. (2), line 2
        inner = r @ rule.A.T + _mean(q, 1) @ rule.B.T + _mean(speed, 1) @ rule.C.T
        np.tanh(inner, out=self.emitted[n][t])
        np.add(q, speed @ rule.turn.T, out=self.q[n][t + 1])

    # Back ------------------------------------------------------------------------------------------------------

    def back(self, feedback: Mapping[str, np.ndarray]) -> Groups:
        """-dLoss/d(group) of every position, matrix and coefficient, given -dLoss/dE (ticks, B, N, s) of subsystems.

        The exact chain rule through all ticks. A group that nothing reached is left out.
        """
        self._on_emitted = {n: feedback.get(n, np.zeros_like(e)).copy() for n, e in self.emitted.items()}
        self._on_inner = {n: np.empty_like(e) for n, e in self.emitted.items()}
        self._on_q = {n: np.zeros_like(q) for n, q in self.q.items()}
        products = {n: (r.stays, r.heard, r.pushed, r.seen / self.q[n].shape[2]) for n, r in self.rule.items()}
        found: Groups = {}
        for t in reversed(range(self.ticks)):
            for n in reversed(self.order):
                on_received = self._act_back(n, t, *products[n])
                self._receive_back(n, t, on_received, found)
        for n in self.order:
            found[f"q:{n}"] = self._on_q[n][0].sum(0)
            found |= self._on_rule(n)
        return found

    def _act_back(self, n: str, t: int, stays, heard, pushed, seen) -> np.ndarray:
        """-dLoss/dR (B, N, s) of a tick, with what its emission and its move do to the tick before."""
        emitted, on_next = self.emitted[n][t], self._on_q[n][t + 1]
        on_inner = np.multiply(self._on_emitted[n][t], 1 - emitted * emitted, out=self._on_inner[n][t])
        on_signals = on_inner @ heard + on_next.sum(1) @ pushed
        self._on_q[n][t] += on_next @ stays + (on_inner @ seen)[:, None]
        s = emitted.shape[-1]
        if t:
            self._on_emitted[n][t - 1] += on_signals[..., s:]
        return on_signals[..., :s]

    def _receive_back(self, n: str, t: int, on_received: np.ndarray, found: Groups) -> None:
        for link, delay in self.incoming[n]:
            if t < delay:
                continue
            sent, source = t - delay, link.source
            on_phi = self.emitted[source][sent] @ on_received.swapaxes(1, 2)
            self._on_emitted[source][sent] += self.phi[link.name][t] @ on_received
            name, _, _, *coefficients = self.arguments[link.name]
            for b, stress in enumerate(_without_own(link, on_phi)):
                ends = self.q[source][sent, b], self.q[n][t, b]
                on_a, on_b, *on_coefficients = self.kernels.path_integral_forces(name, *ends, *coefficients, stress)
                self._on_q[source][sent, b] += on_a
                self._on_q[n][t, b] += on_b
                _add(found, link.name, on_coefficients)

    def _on_rule(self, n: str) -> Groups:
        """What all ticks together do to the matrices."""
        q, speed, received, emitted = self.q[n][:-1], self.speed[n], self.received[n], self.emitted[n]
        rule, on_inner, on_next = self.rule[n], self._on_inner[n], self._on_q[n][1:]
        on_speed = on_next @ rule.turn + (on_inner @ rule.C)[:, :, None] / q.shape[2]
        on_pushed = on_speed.sum(2)
        return {
            f"A:{n}": _outer(on_inner, received),
            f"B:{n}": _outer(on_inner, _mean(q, 2)),
            f"C:{n}": _outer(on_inner, _mean(speed, 2)),
            f"D:{n}": _outer(on_pushed, received),
            f"E:{n}": _outer(on_pushed[1:], emitted[:-1]),
            f"F:{n}": _outer(on_speed, q) + propagator_back(rule.F, self.dt, _outer(on_next, speed), self.kernels),
        }


def _mean(a: np.ndarray, axis: int) -> np.ndarray:
    """Over the copies; half the price of `a.mean` for so few."""
    return a.sum(axis) * a.dtype.type(1 / a.shape[axis])


def _without_own(link: Link, pairs: np.ndarray) -> np.ndarray:
    """(B, M, N) with zeros for i = j where a subsystem sends to itself; changed in place."""
    if link.to_itself:
        pairs.reshape(len(pairs), -1)[:, :: pairs.shape[1] + 1] = 0
    return pairs


def _add(found: Groups, link: str, parts: Any) -> None:
    """Add what a link's mu (H,), gain and eps feel."""
    for kind, part in zip(("mu", "gain", "eps"), parts):
        key = f"{kind}:{link}"
        column = np.asarray(part, like=parts[0]).reshape(-1, 1)
        found[key] = found[key] + column if key in found else column


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(..., m), (..., n) -> (m, n): the sum of a_i b_j over all else."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])
