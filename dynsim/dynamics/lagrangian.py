"""The Lagrangian of Eq. (11): L_ik = (1/2) m_i q''_i - U_i S_ki(q_i), a vector in R^d as printed.

Since sum_k S_ki = R_i, its sum over k is (N-1)/2 m_i q''_i - U_i R_i: O(N) in all.
"""

from __future__ import annotations

import numpy as np

from dynsim.system.graph import Groups, System
from dynsim.system.initialise import random


def potentials(system: System, seed: int) -> Groups:
    """U_i in R^{d x s} with s = 1 for every particle, drawn N(0, 1) once: "potential:NAME" (H, N, d)."""
    rng = random(seed, "potential")
    shapes = {s.name: system.x[f"q:{s.name}"] for s in system.graph.particle_subsystems}
    return {f"potential:{n}": rng.standard_normal(q.shape).astype(q.dtype) for n, q in shapes.items()}


def summed_lagrangian(system: System, name: str, force, received) -> np.ndarray:
    """sum over k of L_ik, (H, N, d), of the particles of a subsystem.

    Parameters
    ----------
    force : (H, N, d), m q'' at the start of the step.
    received : (N,), root mean square over the batch of the signal received.
    """
    # Eq. (11)
    inertia = 0.5 * (system.graph.size - 1) * force
    return inertia - system.memory[f"potential:{name}"] * received[None, :, None]
