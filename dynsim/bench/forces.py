"""Path integrals and their forces, Eq. (5) and (6), against torch's automatic differentiation in its best forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.bench.data import SHAPES, label, link

GOALS: dict[str, dict[str, float | None]] = {
    "A": {"l1": 28.0, "l2": 18.0, "reciprocal": 25.0, "squared": 40.0},
    "B": dict.fromkeys(("l1", "l2", "reciprocal", "squared")),
    "C": dict.fromkeys(("l1", "l2", "reciprocal", "squared"), 4.0),
}
EPS = 0.3


@benchmark("forces")
def forces(context: Context) -> Iterator[Case]:
    """W of a link, and the forces that a stress on W puts on all that makes it: particles, mu, gain and eps."""
    for shape, goals in GOALS.items():
        for metric, goal in goals.items():
            arrays = link(shape)
            M, N, *_ = SHAPES[shape]
            stress = np.random.default_rng().standard_normal((M, N), np.float32)
            rivals = [Rival("torch autograd, cdist + einsum", torch_autograd(metric, *arrays, stress), goal, "torch")]
            if metric == "squared":
                expanded = torch_autograd("expanded", *arrays, stress)
                rivals.append(Rival("torch autograd, expanded by products", expanded, goal, "torch"))
            yield Case(f"forces {metric}", label(shape), _ours(context, metric, *arrays, stress), tuple(rivals))


def _ours(context: Context, metric: str, q_a, q_b, mu, stress: np.ndarray) -> Callable[[], Work]:
    def work() -> object:
        link_ = metric, q_a, q_b, mu, 1.0, EPS, 2.0
        return context.kernels.path_integral(*link_), context.kernels.path_integral_forces(*link_, stress)

    return lambda: work


def torch_autograd(form: str, *arrays: np.ndarray) -> Callable[[], Work]:
    """W by cdist for all copies at once, or expanded; then the gradients by the stress; nothing is kept for later.

    The softening is one more coordinate, as |v|^2 + eps^2 is the distance of clouds eps apart.
    """

    def prepare() -> Work:
        import torch

        *parts, stress = map(torch.from_numpy, arrays)
        leaves = [x.clone().requires_grad_() for x in (*parts, torch.tensor(1.0), torch.tensor(EPS))]
        used = leaves if form in ("l2", "reciprocal") else leaves[:-1]  # the others do not depend on eps

        def weights() -> torch.Tensor:
            q_a, q_b, mu, gain, eps = leaves
            if form == "expanded":
                return _expanded(q_a, q_b, gain * mu)
            if len(used) == len(leaves):
                q_a = torch.cat([q_a, eps.expand(*q_a.shape[:2], 1)], dim=2)
                q_b = torch.nn.functional.pad(q_b, (0, 1))
            f = torch.cdist(q_a, q_b, p=1.0 if form == "l1" else 2.0)
            f = {"reciprocal": torch.reciprocal, "squared": lambda x: x**2 / 2}.get(form, lambda x: x)(f)
            return torch.einsum("h,hij->ij", gain * mu, f)

        return lambda: torch.autograd.grad(weights(), used, stress)

    return prepare


def _expanded(q_a, q_b, mu):
    """Sum_h mu_h |a - b|^2 / 2 by one product of matrices, for tensors."""
    weighted = mu[:, None, None] * q_a
    squares = (weighted * q_a).sum((0, 2))[:, None] + (mu[:, None, None] * q_b**2).sum((0, 2))
    columns = (x.transpose(0, 1).reshape(x.shape[1], -1) for x in (weighted, q_b))
    a, b = columns
    return squares / 2 - a @ b.T
