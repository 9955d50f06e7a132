"""Path integrals of low rank, squared (Eq. 37) and dot, without ever building W; array-namespace code for every device.

W = gain * A @ B.T with A (M, r), B (N, r). A stress force that a batch produced is itself a product F = E.T @ D,
so that forces need no M x N array either. `matmul` is the device's.
"""

from __future__ import annotations

import numpy as np


def _columns(q, ones):
    """(H, N, d) -> (N, H d + ones): side by side, after so many columns of ones."""
    copies, n, dim = q.shape
    columns = np.empty_like(q, shape=(n, ones + copies * dim))
    columns[:, :ones] = 1
    columns[:, ones:].reshape(n, copies, dim)[...] = q.transpose(1, 0, 2)
    return columns


def _copies(columns, like, scale):
    """(N, H d) -> (H, N, d), the shape of `like`, each copy times its `scale` (H,)."""
    copies, n, dim = like.shape
    out = np.ascontiguousarray(columns.reshape(n, copies, dim).transpose(1, 0, 2), like=columns)
    out *= scale[:, None, None]
    return out


def factors(metric, q_a, q_b, mu):
    """(A (M, r), B (N, r)): W = gain A B^T.

    squared: sum_h mu_h |a - b|^2 / 2 = alpha_i + beta_j - sum_h mu_h a.b, r = H d + 2; dot: r = H d.
    """
    each = np.repeat(mu, q_a.shape[2])
    if metric == "dot":
        a, b = _columns(q_a, 0), _columns(q_b, 0)
        a *= each
        return a, b
    a, b = _columns(q_a, 2), _columns(q_b, 2)
    near, far = a[:, 2:], b[:, 2:]
    b[:, 1] = np.square(far) @ (0.5 * each)
    a[:, 0] = np.square(near) @ (0.5 * each)
    near *= -each
    return a, b


def factored_forces(metric, q_a, q_b, mu, gain, emitted, feedback, matmul):
    """As `path_integral_forces`, for F = emitted.T @ feedback; emitted (B, M), feedback (B, N): F is never built.

    Returns (on q_a, on q_b, on mu, on gain, 0).
    """
    return _forces(
        (metric, q_a, q_b, mu, gain),
        lambda b: matmul(emitted.T, matmul(feedback, b)),
        lambda a: matmul(feedback.T, matmul(emitted, a)),
    )


def dense_forces(metric, q_a, q_b, mu, gain, stress, matmul):
    """The same for a stress force F (M, N) of any rank."""
    return _forces((metric, q_a, q_b, mu, gain), lambda b: matmul(stress, b), lambda a: matmul(stress.T, a))


def _forces(link, onto_rows, onto_columns):
    """Eq. (6) from b -> F b and a -> F^T a; a column of ones gives the sums of F over each row and column.

    Both metrics are homogeneous, of degree 2, so that by Euler's theorem F.f is half the virial.
    """
    metric, q_a, q_b, mu, gain = link
    a, b = _columns(q_a, 1), _columns(q_b, 1)
    if metric == "squared":  # seen from within the cloud, or the sums of F a and F b cancel
        centre = b[:, 1:].mean(axis=0)
        centre = np.where(np.isfinite(centre), centre, 0)
        a[:, 1:] -= centre
        b[:, 1:] -= centre
    on_a, on_b = onto_rows(b), onto_columns(a)
    if metric == "squared":
        for on_q, q in (on_a, a), (on_b, b):
            np.subtract(on_q[:, :1] * q, on_q, out=on_q)
    virial = np.einsum("ik,ik->k", a, on_a) + np.einsum("ik,ik->k", b, on_b)
    weighted = 0.5 * virial[1:].reshape(len(mu), -1).sum(axis=1)
    each = gain * mu
    return _copies(on_a[:, 1:], q_a, each), _copies(on_b[:, 1:], q_b, each), gain * weighted, float(mu @ weighted), 0.0
