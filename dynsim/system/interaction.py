"""Eq. (61): the interactive mechanism, in which every copy h of a sub-model meets every copy h' of another.

    phi_ij = gain sum_{h != h'} g_hh' f(q_ih, q_jh'),   g_hh' = mu_h - mu_h' (the density difference)

A link of H copies is one of H (H - 1) pairs of copies: these are what the kernels get, and what they answer is added
up over the pairs. However, print has g in the equation of motion only, psi(v, f, g), and no path integral that it is
the gradient of; this is the one whose forces have the structure of Eq. (6) with g in the place of mu.
"""

from __future__ import annotations

import numpy as np


def pairs(copies: int) -> tuple[np.ndarray, np.ndarray]:
    """(h, h'), each (H (H - 1),): which copy of the source meets which of the target, ordered by h."""
    h, other = np.nonzero(~np.eye(copies, dtype=bool))
    return h, other


def expanded(q_a: np.ndarray, q_b: np.ndarray, mu: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q_a (P, M, d), q_b (P, N, d) and g (P,) of the P = H (H - 1) pairs, from (H, M, d), (H, N, d), (H,)."""
    h, other = (np.asarray(k, like=mu) for k in pairs(len(mu)))
    return q_a[h], q_b[other], mu[h] - mu[other]


def folded(on_a: np.ndarray, on_b: np.ndarray, on_g: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forces on q_a (H, M, d), q_b (H, N, d) and mu (H,), from those on the pairs of copies."""
    h, other = pairs(copies_of(len(on_g)))
    return _summed(on_a, h), _summed(on_b, other), on_coefficients(on_g)


def on_coefficients(on_g: np.ndarray) -> np.ndarray:
    """(P, ...) -> (H, ...): what changes with g_hh' = mu_h - mu_h' as what changes with mu_h."""
    h, other = pairs(copies_of(len(on_g)))
    return _summed(on_g, h) - _summed(on_g, other)


def copies_of(count: int) -> int:
    """H of a number of pairs P = H (H - 1)."""
    return round((1 + (1 + 4 * count) ** 0.5) / 2)


def _summed(parts: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Sums over the pairs in which a copy is, (P, ...) -> (H, ...); each is in H - 1 of them."""
    copies = int(copy.max()) + 1
    order = np.asarray(np.argsort(copy, kind="stable"), like=parts)
    return parts[order].reshape(copies, copies - 1, *parts.shape[1:]).sum(axis=1)
