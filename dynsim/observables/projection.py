"""R^d -> R^3 for the eye: axes, or principal components whose signs do not flip."""

from __future__ import annotations

import numpy as np


def axes_projection(dim: int, axes: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """(3, d) rows of the identity; rows of zeros where d < 3."""
    p = np.zeros((3, dim), np.float32)
    for row, axis in enumerate([a for a in axes if a < dim][:3]):
        p[row, axis] = 1
    return p


def pca_projection(q: np.ndarray) -> np.ndarray:
    """(3, d) first principal axes of points q (n, d); the largest entry of each row is positive."""
    centred = np.asarray(q, np.float64) - q.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    rows = vectors[:, ::-1].T[:3]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    p = np.zeros((3, q.shape[1]), np.float32)
    p[: len(rows)] = rows * signs[:, None]
    return p
