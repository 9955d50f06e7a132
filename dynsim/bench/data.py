"""What the kernels' benchmarks are run on: shapes (M, N, H, d), and arrays drawn anew."""

from __future__ import annotations

import numpy as np

SHAPES = {"A": (784, 1200, 20, 9), "B": (400, 120, 7, 9), "C": (2304, 768, 8, 32)}


def link(name: str, dtype: np.dtype | str = "float32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(q_a (H, M, d), q_b (H, N, d), mu (H,)) of a shape of `SHAPES`, normal."""
    M, N, H, d = SHAPES[name]
    rng = np.random.default_rng()
    q_a, q_b = (rng.standard_normal((H, n, d)).astype(dtype) for n in (M, N))
    return q_a, q_b, rng.standard_normal(H).astype(dtype)


def label(name: str) -> str:
    """A shape as the table shows it."""
    return f"{name} {SHAPES[name]}"
