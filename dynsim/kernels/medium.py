"""The global field along straight paths, Eq. (30)-(31), in NumPy: the truth that `medium_cpu` is tested against.

sources : (K, d) particles that make up the medium; amplitudes : (K,); width : of their Gaussians.
Field at a point v:   n(v) = sum_k a_k exp(-|v - q_k|^2 / (2 width^2))
ways, weights : (S,) nodes t in [0, 1] of a quadrature along v = q_a + t (q_b - q_a), and their weights (sum 1).
"""

from __future__ import annotations

import numpy as np


def mean_field(q_a, q_b, sources, amplitudes, width, ways, weights):
    """int_0^1 n(v(t)) dt of every path, (P, M, N), from q_a (P, M, d) to q_b (P, N, d)."""
    bells = _bells(q_a, q_b, sources, width, ways)[0]
    return np.einsum("s,k,spijk->pij", weights, amplitudes, bells)


def mean_field_forces(q_a, q_b, sources, amplitudes, width, ways, weights, stress):
    """What stress (P, M, N) on the mean fields does to everything that makes them.

    Returns (on q_a, on q_b, on sources (K, d), on amplitudes (K,)).
    """
    bells, v = _bells(q_a, q_b, sources, width, ways)
    pulled = np.einsum("pij,s,spijk->spijk", stress, weights, bells)
    slopes = pulled * amplitudes
    ahead = np.einsum("spijk,spijkd->spijd", slopes, -v) / width**2
    on_a = np.einsum("s,spijd->pid", 1 - ways, ahead)
    on_b = np.einsum("s,spijd->pjd", ways, ahead)
    on_sources = np.einsum("spijk,spijkd->kd", slopes, v) / width**2
    return on_a, on_b, on_sources, pulled.sum(axis=(0, 1, 2, 3))


def field_at(points, sources, amplitudes, width):
    """(n (m,), its gradient (m, d)) at points (m, d)."""
    v = points[:, None, :] - sources
    bells = amplitudes * np.exp(-(v * v).sum(-1) / (2 * width**2))
    return bells.sum(-1), -np.einsum("mk,mkd->md", bells, v) / width**2


def _bells(q_a, q_b, sources, width, ways):
    """exp(-|v - q_k|^2 / (2 width^2)) (S, P, M, N, K) and v - q_k (S, P, M, N, K, d)."""
    a, b, t = q_a[:, :, None], q_b[:, None], ways[:, None, None, None, None]
    v = (a + t * (b - a))[..., None, :] - sources
    return np.exp(-(v * v).sum(-1) / (2 * width**2)), v
