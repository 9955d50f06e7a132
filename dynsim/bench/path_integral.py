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


@benchmark("path-integral")
def path_integral(context: Context) -> Iterator[Case]:
    """The matrix W of a link."""
    for shape, goals in GOALS.items():
        for metric, goal in goals.items():
            arrays = link(shape)
            rivals = (Rival("torch.cdist + einsum", torch_cdist(metric, *arrays), goal, "torch"),)
            yield Case(f"path integral {metric}", label(shape), _ours(context, metric, *arrays), rivals)


def _ours(context: Context, metric: str, q_a: np.ndarray, q_b: np.ndarray, mu: np.ndarray) -> Callable[[], Work]:
    return lambda: lambda: context.kernels.path_integral(metric, q_a, q_b, mu, 1.0, EPS, 2.0)


def torch_cdist(metric: str, *arrays: np.ndarray) -> Callable[[], Work]:
    """cdist for all copies at once, the softening as one more coordinate, then one einsum."""

    def prepare() -> Work:
        import torch

        q_a, q_b, mu = map(torch.from_numpy, arrays)
        if metric in ("l2", "plummer", "reciprocal"):  # |v|^2 + eps^2 is the distance of clouds eps apart
            q_a = torch.nn.functional.pad(q_a, (0, 1), value=EPS)
            q_b = torch.nn.functional.pad(q_b, (0, 1))

        def work() -> object:
            distance = torch.cdist(q_a, q_b, p=1.0 if metric == "l1" else 2.0)
            return torch.einsum("h,hij->ij", mu, 1 / distance if metric == "reciprocal" else distance)

        return work

    return prepare
