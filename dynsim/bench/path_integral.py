"""Path integrals, Eq. (5), against torch.cdist, SciPy's cdist and NumPy's form by matrix products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.bench.data import label, link

GOALS = {
    "A": {"l1": 20.0, "l2": 18.0, "plummer": 18.0, "reciprocal": 35.0},
    "B": dict.fromkeys(("l1", "l2", "reciprocal"), 8.0),
    "C": dict.fromkeys(("l1", "l2", "reciprocal"), 7.0),
}
EPS = 0.3
TOLERANCE = 1e-4  # of float32 sums that nearly cancel, all rivals' included


@benchmark("path-integral")
def path_integral(context: Context) -> Iterator[Case]:
    """The matrix W of a link."""
    for shape, goals in GOALS.items():
        for metric, goal in goals.items():
            arrays = link(shape)
            rivals = [Rival("torch.cdist + matmul", torch_cdist(metric, *arrays), goal, "torch")]
            if shape == "A":
                rivals.append(Rival("scipy cdist", scipy_cdist(metric, *arrays), requires="scipy"))
                if metric != "l1":
                    rivals.append(Rival("numpy matmul", numpy_matmul(metric, *arrays)))
            ours = _ours(context, metric, *arrays)
            yield Case(f"path integral {metric}", label(shape), ours, tuple(rivals), tolerance=TOLERANCE)


def _ours(context: Context, metric: str, q_a: np.ndarray, q_b: np.ndarray, mu: np.ndarray) -> Callable[[], Work]:
    return lambda: lambda: context.kernels.path_integral(metric, q_a, q_b, mu, 1.0, EPS, 2.0)


def torch_cdist(metric: str, *arrays: np.ndarray) -> Callable[[], Work]:
    """cdist for all copies at once, the softening as one more coordinate, then one product with mu.

    cdist chooses matrix products for Euclidean distances of these sizes, which is its faster way here; an einsum and
    `1 / distance` instead of the inverse in place are slower.
    """

    def prepare() -> Work:
        import torch

        q_a, q_b, mu = map(torch.from_numpy, arrays)
        (copies, M, _), N = q_a.shape, q_b.shape[1]
        if metric in ("l2", "plummer", "reciprocal"):  # |v|^2 + eps^2 is the distance of clouds eps apart
            q_a = torch.nn.functional.pad(q_a, (0, 1), value=EPS)
            q_b = torch.nn.functional.pad(q_b, (0, 1))

        def work() -> object:
            distance = torch.cdist(q_a, q_b, p=1.0 if metric == "l1" else 2.0)
            if metric == "reciprocal":
                distance.reciprocal_()
            return (mu @ distance.view(copies, -1)).view(M, N)

        return work

    return prepare


def scipy_cdist(metric: str, q_a: np.ndarray, q_b: np.ndarray, mu: np.ndarray) -> Callable[[], Work]:
    """cdist, copy by copy, which works in float64 on one thread, the softening and the sum in place."""

    def prepare() -> Work:
        from scipy.spatial.distance import cdist

        a, b = q_a.astype(float), q_b.astype(float)
        name = "cityblock" if metric == "l1" else "sqeuclidean"

        def work() -> np.ndarray:
            w = np.zeros((a.shape[1], b.shape[1]))
            for of_a, of_b, m in zip(a, b, mu, strict=True):
                w += _weighted(metric, cdist(of_a, of_b, name), m)
            return w

        return work

    return prepare


def numpy_matmul(metric: str, q_a: np.ndarray, q_b: np.ndarray, mu: np.ndarray) -> Callable[[], Work]:
    """|a|^2 + |b|^2 - 2 a.b, copy by copy, the product by BLAS and all else in place."""

    def prepare() -> Work:
        def work() -> np.ndarray:
            w = np.zeros((q_a.shape[1], q_b.shape[1]), q_a.dtype)
            for a, b, m in zip(q_a, q_b, mu, strict=True):
                squared = a @ (-2 * b.T)
                squared += np.einsum("ik,ik->i", a, a)[:, None]
                squared += np.einsum("jk,jk->j", b, b)
                w += _weighted(metric, np.maximum(squared, 0, out=squared), m)
            return w

        return work

    return prepare


def _weighted(metric: str, distance: np.ndarray, m: np.floating) -> np.ndarray:
    """m f, in place, from distances (l1) or their squares."""
    if metric != "l1":
        distance += EPS**2
        np.sqrt(distance, out=distance)
    if metric == "reciprocal":
        np.reciprocal(distance, out=distance)
    distance *= m
    return distance
