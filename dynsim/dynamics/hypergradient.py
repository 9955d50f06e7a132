"""Trainable numbers of every particle, Eq. (10), (11) and Appendix G: eta_i, m_i and U_i (or Phi_i) by hypergradient.

The papers call them trainable and do not say how. Here they descend the energy of the next step, as learning rates do
in Baydin et al. (ICLR 2018). A step moves q' = q + dt v' with v' = limit(w), w = exp(-exponent) v + dt F / m, and with
the force F' at q'

    -dE(q')/d theta = dt F' . dv'/d theta,     s_i = |v'_i| / |w_i|, 1 for who is below its limit,
    T x = s (x - v^ (v^ . x)) for who is at the limit, else x: what the limit leaves of a change of w

    d v'/d ln eta_i = v' for who is at the limit, else 0
    d v'/d ln m_i   = -T dt F / m
    d v'/d U_i      = -T (d exponent/d U_i) (w - dt F / m), as the law remembers it

each with the rest of the state held. By how much a number moves is the cosine between F' and that derivative, so that
no scale of the problem enters: ln eta_i += a cos(F'_i, v'_i), ln m_i -= a cos(F'_i, T F_i),
U_i += a (F' dv'/dU) / (|F'| |dv'/dU|).

However, mu, gains, biases and weights have one mass for their group and no eta: only coordinate particles learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynsim.system.graph import Groups, System

TRAINABLE = ("eta", "mass", "potential")
# An eta or a mass stays within this factor of what it was at the start.
FARTHEST = 100.0


@dataclass(frozen=True)
class Hypergradient:
    """How the numbers of every particle learn.

    They are in the state's memory: "eta:NAME" and "mass:NAME" (H, N, 1), relative to the start, "potential:NAME".

    Attributes
    ----------
    trained : which of TRAINABLE.
    rate : a, the largest change of ln eta_i, ln m_i or |U_i| in a step.
    conserve : Eq. (57), line 1: eta is renormalised after every step, so that its sum over all particles stays.
    """

    trained: tuple[str, ...]
    rate: float = 0.1
    conserve: bool = False

    def learn(self, system: System, force: Groups, dt: float) -> System:
        """What the last step's numbers were worth under the force F' that they led to; `system.force` is still F."""
        memory, mass = {}, dict(system.mass)
        for name in (s.name for s in system.graph.particle_subsystems):
            if f"shortened:{name}" not in system.memory or f"q:{name}" not in system.v:
                continue
            for kind, (gradient, size) in slopes(system, force[f"q:{name}"], name, dt, self.trained).items():
                change = self.rate * _ratio(gradient, size)
                if kind == "potential":
                    memory[f"potential:{name}"] = system.memory[f"potential:{name}"] + change
                    continue
                before = system.memory.get(f"{kind}:{name}", np.ones_like(change))
                factor = np.clip(before * np.exp(change), 1 / FARTHEST, FARTHEST)
                memory[f"{kind}:{name}"] = factor
                if kind == "mass":
                    mass[f"q:{name}"] = mass[f"q:{name}"] * (factor / before)
        if self.conserve:
            memory |= _conserved({k: a for k, a in memory.items() if k.startswith("eta:")})
        return system.replace(memory=system.memory | memory, mass=mass)


def slopes(
    system: System, force: np.ndarray, name: str, dt: float, trained: tuple[str, ...] = TRAINABLE
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kind -> (-dE(q')/d theta, its largest size) of a subsystem's particles after a step that led to `force`.

    theta is ln eta_i, ln m_i (H, N, 1), or U_i (H, N, d) or Phi_i (H, N, 1); the size is that of a derivative which
    points along the force.
    """
    v, before = system.v[f"q:{name}"], system.force.get(f"q:{name}")
    s, mass = system.memory[f"shortened:{name}"], system.mass[f"q:{name}"]
    size, left = _length(force), _through_limit(force, v, s)
    result = {}
    if "eta" in trained:
        result["eta"] = np.where(s < 1, dt * _dot(force, v), 0).astype(v.dtype), dt * size * _length(v)
    if before is None:
        return result
    kick = v.dtype.type(dt) * before / mass
    if "mass" in trained:
        result["mass"] = -dt * _dot(left, kick), dt * s * size * _length(kick)
    slope = system.memory.get(f"slope:{name}")
    if "potential" in trained and slope is not None:
        turned = -slope * (v / np.where(s > 0, s, 1) - kick)
        gradient = dt * left * turned
        one = system.memory[f"potential:{name}"].shape[-1] == 1
        result["potential"] = gradient.sum(-1, keepdims=True) if one else gradient, dt * s * size * _length(turned)
    return result


def all_limited(v: Groups) -> Groups:
    """ "shortened:NAME" (H, N, 1), s of every coordinate particle, where v' is all the limit's doing: 0."""
    return {f"shortened:{k[2:]}": np.zeros((*a.shape[:2], 1), a.dtype) for k, a in v.items() if k.startswith("q:")}


def _through_limit(x: np.ndarray, v: np.ndarray, s: np.ndarray) -> np.ndarray:
    """T x; for every particle at its limit what of x lies along its velocity is lost."""
    along = _ratio(_dot(x, v), _dot(v, v)) * v
    return np.where(s < 1, s * (x - along), x)


def _ratio(a: np.ndarray, size: np.ndarray) -> np.ndarray:
    """a / size, 0 where the size is."""
    return np.where(size > 0, a / np.where(size > 0, size, 1), 0).astype(a.dtype, copy=False)


def _conserved(eta: Groups) -> Groups:
    """Factors of eta with a mean of 1 over all particles."""
    # Eq. (57), line 1
    count = sum(a.size for a in eta.values())
    mean = sum(float(a.sum(dtype=np.float64)) for a in eta.values()) / max(count, 1)
    return {k: a / a.dtype.type(mean) for k, a in eta.items()}


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("...k,...k->...", a, b)[..., None]


def _length(a: np.ndarray) -> np.ndarray:
    return np.sqrt(_dot(a, a))
