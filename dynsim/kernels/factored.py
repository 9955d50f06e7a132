"""Path integrals of low rank, squared (Eq. 37) and dot, without ever building W; array-namespace code for every device.

W = gain * A @ B.T with A (M, r), B (N, r). A stress force that a batch produced is itself a product F = E.T @ D,
so that forces need no M x N array either. `matmul` is the device's.
"""

from __future__ import annotations

import numpy as np


def _columns(q):
    """(H, N, d) -> (N, H d)."""
    return np.ascontiguousarray(q.transpose(1, 0, 2)).reshape(q.shape[1], -1)


def _copies(columns, like):
    """(N, H d) -> (H, N, d), the shape of `like`."""
    copies, n, dim = like.shape
    return np.ascontiguousarray(columns.reshape(n, copies, dim).transpose(1, 0, 2))


def factors(metric, q_a, q_b, mu):
    """(A (M, r), B (N, r)): W = gain A B^T.

    squared: sum_h mu_h |a - b|^2 / 2 = alpha_i + beta_j - sum_h mu_h a.b, r = H d + 2; dot: r = H d.
    """
    weighted = _columns(mu[:, None, None] * q_a)
    b = _columns(q_b)
    if metric == "dot":
        return weighted, b
    alpha, beta = (0.5 * np.einsum("h,hik,hik->i", mu, q, q)[:, None] for q in (q_a, q_b))
    return (
        np.hstack([alpha, np.ones_like(alpha), -weighted]),
        np.hstack([np.ones_like(beta), beta, b]),
    )


def factored_forces(metric, q_a, q_b, mu, gain, emitted, feedback, matmul):
    """As `path_integral_forces`, for F = emitted.T @ feedback; emitted (B, M), feedback (B, N): F is never built.

    Returns (on q_a, on q_b, on mu, on gain, 0).
    """
    rows = matmul(emitted.T, feedback.sum(1, keepdims=True))[:, 0]
    columns = matmul(feedback.T, emitted.sum(1, keepdims=True))[:, 0]
    return _forces(
        (metric, q_a, q_b, mu, gain),
        lambda b: matmul(emitted.T, matmul(feedback, b)),
        lambda a: matmul(feedback.T, matmul(emitted, a)),
        rows,
        columns,
    )


def dense_forces(metric, q_a, q_b, mu, gain, stress, matmul):
    """The same for a stress force F (M, N) of any rank."""
    link = metric, q_a, q_b, mu, gain
    return _forces(link, lambda b: matmul(stress, b), lambda a: matmul(stress.T, a), stress.sum(1), stress.sum(0))


def _centre(q):
    """(H, 1, d): the middle of each copy's cloud q (H, N, d), 0 where that is not finite."""
    mean = q.mean(axis=1, keepdims=True)
    return np.where(np.isfinite(mean), mean, 0)


def _forces(link, onto_rows, onto_columns, rows, columns):
    """Eq. (6) from b -> F b, a -> F^T a and the sums of F over each row and each column."""
    metric, q_a, q_b, mu, gain = link
    if metric == "squared":  # seen from within the cloud, or the sums of F a and F b cancel
        centre = _centre(q_b)
        q_a, q_b = q_a - centre, q_b - centre
    f_b, f_a = _copies(onto_rows(_columns(q_b)), q_a), _copies(onto_columns(_columns(q_a)), q_b)
    pull = mu[:, None, None]
    cross = np.einsum("hik,hik->h", q_a, f_b)
    if metric == "dot":
        on_a, on_b, weighted = pull * f_b, pull * f_a, cross
    else:
        on_a = pull * (rows[None, :, None] * q_a - f_b)
        on_b = pull * (columns[None, :, None] * q_b - f_a)
        squares = (q_a * q_a).sum(axis=2) @ rows + (q_b * q_b).sum(axis=2) @ columns
        weighted = 0.5 * squares - cross
    return gain * on_a, gain * on_b, gain * weighted, float((mu * weighted).sum()), 0.0
