"""The step of particles under a given force, all that happens to them between two answers of the field.

damped by the law of Lambda      v1 = keep v,  keep = exp(-exponent)
kicked by the force              w = v1 + kick F / m
held to the limit of Eq. (10)    v' = left w,  left = min(1, longest / |w|)
drifting                         q' = q + dt v'
"""

from __future__ import annotations

import numpy as np


def kick_drift(q, v, force, mass, keep, kick, dt, longest, work):
    """(q', v', work', left, sums) of particles q, v, force (..., d).

    mass, longest : of a particle (..., 1), or one for all; longest is a speed, inf for no limit.
    keep : the same, or of every coordinate (..., d).
    kick, dt : scalars, the times of kick and drift; they differ where a method halves its kicks.
    work : (...,) done on every particle so far; work' is work + dt F.v'.
    left : (...,) fraction of its speed that the limit leaves a particle, 1 for who is below it.
    sums : (6,) float64 over all particles: m |v|^2 / 2 of v, v1, w and v', the path dt |v'|, and how many are at the
        limit.
    """
    kick, dt = q.dtype.type(kick), q.dtype.type(dt)
    damped = keep * v
    wanted = damped + kick * force / mass
    speed = np.sqrt(_dot(wanted, wanted))
    longest = np.broadcast_to(np.asarray(longest, q.dtype), (*speed.shape, 1))[..., 0]
    left = np.ones_like(speed)
    np.divide(longest, speed, out=left, where=speed > longest)
    limited = left[..., None] * wanted
    energies = [0.5 * _sum(mass * _dot(u, u)[..., None]) for u in (v, damped, wanted, limited)]
    sums = np.array([*energies, dt * _sum(left * speed), np.count_nonzero(speed > longest)])
    return q + dt * limited, limited, work + dt * _dot(force, limited), left, sums


def _dot(a, b):
    return np.einsum("...k,...k->...", a, b)


def _sum(a):
    return float(np.sum(a, dtype=np.float64))
