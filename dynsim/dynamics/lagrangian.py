"""The Lagrangians of Eq. (11) and of Appendix G, summed over k in O(N).

Eq. (11): L_ik = (1/2) m_i q''_i - U_i S_ki(q_i), a vector in R^d as printed. Since sum_k S_ki = R_i, its sum over k is
(N-1)/2 m_i q''_i - U_i R_i. Appendix G: L_ik = S_ik Phi_i, a number, whose sum over k is Phi_i sum_k S_ik.
"""

from __future__ import annotations

import numpy as np

from dynsim.forces import Response, Stress
from dynsim.system.graph import Graph, Groups, System
from dynsim.system.initialise import random

POTENTIALS = ("drawn", "constant")


def potentials(system: System, seed: int, kind: str = "drawn", width: int | None = None) -> Groups:
    """U_i in R^{d x s} with s = 1, or Phi_i in R^width, of every particle: "potential:NAME" (H, N, d or width).

    kind : "drawn" N(0, 1) once for every particle, "constant" 1 for all.
    """
    rng = random(seed, "potential")
    result = {}
    for s in system.graph.particle_subsystems:
        q = system.x[f"q:{s.name}"]
        shape = q.shape if width is None else (*q.shape[:2], width)
        drawn = rng.standard_normal(shape) if kind == "drawn" else np.ones(shape)
        result[f"potential:{s.name}"] = np.asarray(drawn, q.dtype, like=q)
    return result


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


def summed_feedback(system: System, name: str, feedback) -> np.ndarray:
    """sum over k of L_ik = S_ik Phi_i, (H, N, 1), of the particles of a subsystem; feedback (N,) as in `fed_back`."""
    # Appendix G, below Eq. (56)
    return system.memory[f"potential:{name}"] * feedback[None, :, None]


def fed_back(graph: Graph, response: Response) -> Groups:
    """Subsystem -> (N,): sum_k S_ik, the stress F_ik = -dE/dphi_ik over all partners k on all links of a sub-model."""
    heard = response.received
    total: Groups = {s.name: np.zeros(s.size, np.float32, like=heard.get(s.name)) for s in graph.subsystems}
    for link in graph.links:
        if link.name in response.stress:
            for name, part in zip((link.source, link.target), _sums(response.stress[link.name])):
                total[name] = total[name] + part
    return total


def _sums(stress: Stress) -> tuple[np.ndarray, np.ndarray]:
    """Row sums (M,) and column sums (N,) of F (M, N), without building it where it is a product."""
    if stress.matrix is not None:
        return stress.matrix.sum(axis=1), stress.matrix.sum(axis=0)
    emitted, feedback = stress.emitted, stress.feedback
    # einsum, because BLAS adds in an order that depends on the number of threads
    return np.einsum("bm,b->m", emitted, feedback.sum(axis=1)), np.einsum("b,bn->n", emitted.sum(axis=1), feedback)
