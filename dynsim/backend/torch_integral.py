"""Path integrals in torch, Eq. (5), with gradients for everything, and the parametrisation that puts them in a layer.

A weight (N_out, N_in, *kernel) is the matrix phi (M, N), inputs by outputs, of Table 1: (N_in, N_out) of a Linear, and
the 2k policy of a convolution, (k N_in, k N_out) with phi[i c, j l] = W[l, c, i, j]; (k N_in, N_out) in one dimension.
Groups of channels share the matrix of (k N_in / groups, k N_out).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dynsim.backend.conversion.fit import fit_matrix
from dynsim.errors import DataError, ShapeError
from dynsim.system.graph import Link
from dynsim.system.initialise import random, sphere_points, zero_sum_coefficients
from dynsim.system.metric import metric as metric_named

METRICS = ("l1", "l2", "squared", "reciprocal", "plummer", "dot")
COORDINATES = ("q_in", "q_out", "mu", "gain", "eps")  # torch calls them original0 ... original4
EPS = Link.eps
LARGEST = 2**24  # numbers in one array; where there would be more, copies take turns and are computed again backwards


def path_integral(metric: str, q_in: Tensor, q_out: Tensor, mu: Tensor, gain: Tensor, eps: Tensor | float) -> Tensor:
    """W (M, N) of Eq. (5), with gradients for everything; the contract of `dynsim.kernels.reference`.

    Parameters
    ----------
    q_in : (H, M, d). q_out : (H, N, d). mu : (H,). gain, eps : scalars.
    """
    if metric in ("squared", "dot"):
        return gain * _thin_product(metric, q_in, q_out, mu)
    turn = max(1, LARGEST // max(1, q_in.shape[1] * q_out.shape[1]))
    if turn >= len(mu):
        return gain * _summed(metric, q_in, q_out, mu, eps)
    turns = (slice(h, h + turn) for h in range(0, len(mu), turn))
    again = partial(checkpoint, _summed, metric, use_reentrant=False, preserve_rng_state=False)
    parts = [again(q_in[h], q_out[h], mu[h], eps) for h in turns]
    return gain * torch.stack(parts).sum(0)


def _thin_product(metric: str, a: Tensor, b: Tensor, mu: Tensor) -> Tensor:
    """sum_h mu_h f(a_ih, b_jh), (M, N), without any distance: a_i.b_j, or |a_i - b_j|^2 / 2 of Eq. (37)."""
    if metric == "dot":
        return torch.einsum("h,hik,hjk->ij", mu, a, b)
    # Near the origin |a|^2 + |b|^2 - 2 a.b loses the fewest digits.
    centre = a.mean(dim=1, keepdim=True).detach()
    a, b = a - centre, b - centre
    own_a, own_b = (torch.einsum("h,hik->i", mu, q * q) for q in (a, b))
    return 0.5 * (own_a[:, None] + own_b) - torch.einsum("h,hik,hjk->ij", mu, a, b)


def _summed(metric: str, a: Tensor, b: Tensor, mu: Tensor, eps: Tensor | float) -> Tensor:
    """sum_h mu_h f(a_ih, b_jh), (M, N), with all distances (H, M, N) at once."""
    if metric == "l1":
        return torch.einsum("h,hij->ij", mu, _norm(a, b, 1))
    softened = _norm(a, b, 2).square() + eps**2
    return torch.einsum("h,hij->ij", mu, softened.rsqrt() if metric == "reciprocal" else softened.sqrt())


def _norm(a: Tensor, b: Tensor, p: int) -> Tensor:
    """|a_ih - b_jh|_p (H, M, N); the gradient of equal places is 0."""
    if torch.onnx.is_in_onnx_export():
        return torch.linalg.vector_norm(a[:, :, None] - b[:, None], p, dim=-1)
    # From differences: |a|^2 + |b|^2 - 2 a.b would lose close neighbours, which matter most to 1/|v|.
    return torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist")


def matrix_of(weight: Tensor) -> Tensor:
    """phi (M, N) of a weight (N_out, N_in, *kernel)."""
    outputs, inputs, rows, columns = _four(weight.shape)
    return weight.reshape(outputs, inputs, rows, columns).permute(2, 1, 3, 0).reshape(rows * inputs, columns * outputs)


def weight_of(phi: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The weight of this shape that phi (M, N) stands for."""
    outputs, inputs, rows, columns = _four(shape)
    return phi.reshape(rows, inputs, columns, outputs).permute(3, 1, 0, 2).reshape(shape)


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1)[:4]


class PathIntegral(nn.Module):
    """Parametrisation of a weight: coordinates q_in (H, M, d), q_out (H, N, d), mu (H,), gain, and eps where trained.

    To assign a weight is to fit it. The state dict holds the metric beside the coordinates.

    Attributes
    ----------
    given : a weight that is used in place of the path integrals while it is not None.
    fitted : the fit of the weight that is assigned next, where it has been made already.
    """

    def __init__(self, shape: tuple[int, ...], *, metric: str, copies: int, dim: int, steps: int, seed: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.metric, self.copies, self.dim, self.steps, self.seed = metric, copies, dim, steps, seed
        self.given: Tensor | None = None
        self.fitted: tuple[Tensor, ...] | None = None

    def forward(self, q_in: Tensor, q_out: Tensor, mu: Tensor, gain: Tensor, eps: Tensor | float = EPS) -> Tensor:
        if self.given is not None:
            return self.given
        # Half precision has too few digits for the distances of neighbours.
        with torch.autocast(q_in.device.type, enabled=False):
            return self.arranged(path_integral(self.metric, q_in, q_out, mu, gain, eps))

    def arranged(self, phi: Tensor) -> Tensor:
        """The weight that phi (M, N) stands for."""
        return weight_of(phi, self.shape)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """The coordinates of a weight that is assigned."""
        fitted, self.fitted = self.fitted, None
        return self.fit(weight) if fitted is None else fitted

    def fit(self, weight: Tensor) -> tuple[Tensor, ...]:
        """The coordinates whose path integrals are closest to a weight.

        Raises ShapeError for a weight of another shape, DataError for one with numbers that are not finite.
        """
        if weight.shape != self.shape:
            raise ShapeError("a weight of another shape", given=tuple(weight.shape), allowed=str(self.shape))
        if not torch.isfinite(weight).all():
            raise DataError("a number of the weight is not finite", given=f"a weight {self.shape}")
        matrix = matrix_of(weight.detach()).cpu().contiguous().numpy()
        arrays = self._fitted_arrays(matrix) if self.steps else self._seeded_arrays(matrix)
        shapes = {"mu": (self.copies,), "gain": (), "eps": ()}
        names = COORDINATES if metric_named(self.metric).trained_eps else COORDINATES[:-1]
        made = {n: torch.tensor(arrays[n], dtype=weight.dtype, device=weight.device) for n in names}
        return tuple(a.reshape(shapes.get(n, a.shape)) for n, a in made.items())

    def _fitted_arrays(self, matrix: np.ndarray) -> Mapping[str, np.ndarray]:
        settings: dict[str, Any] = {"metric": self.metric, "copies": self.copies, "dim": self.dim, "steps": self.steps}
        arrays = fit_matrix(matrix, seed=self.seed, **settings).arrays
        return {**arrays, "q_in": arrays["q_a"], "q_out": arrays["q_b"]}

    def _seeded_arrays(self, matrix: np.ndarray) -> Mapping[str, np.ndarray]:
        """Where particles start that learn from scratch, their path integrals as wide as the matrix (`initialise`)."""
        rng = random(self.seed, "initial")
        q_in, q_out = (sphere_points(rng, self.copies, n, self.dim) for n in matrix.shape)
        mu = zero_sum_coefficients(rng, self.copies)
        drawn = [torch.from_numpy(a) for a in (q_in, q_out, mu, np.ones(()))]
        phi = path_integral(self.metric, drawn[0], drawn[1], drawn[2], drawn[3], EPS)
        gain = np.asarray(_spread(matrix) / (_spread(phi.numpy()) or 1.0))
        return {"q_in": q_in, "q_out": q_out, "mu": mu, "gain": gain, "eps": np.asarray(EPS)}

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(self.metric.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        metric = bytes(state.tolist()).decode()
        if metric != self.metric:
            raise DataError(
                "the state is of particles with another metric",
                given=metric,
                allowed=self.metric,
                hint=f"convert(module, metric={metric!r}, ...) before load_state_dict",
            )

    def extra_repr(self) -> str:
        return f"{self.shape}, metric={self.metric!r}, copies={self.copies}, dim={self.dim}"


def _spread(a: np.ndarray) -> float:
    """Standard deviation, the size where there is but one number."""
    return float(a.std()) if a.size > 1 else float(np.abs(a).max())
