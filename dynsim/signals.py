"""Signals, Eq. (2)-(4): what a sub-model receives, R_j = sum_i E_i phi_ij (+ bias), and emits, E = sigma(R)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dynsim.errors import unknown
from dynsim.kernels import reference
from dynsim.kernels.factored import factors
from dynsim.system.crossing import weights_through
from dynsim.system.graph import Link, System, without_own


@dataclass(frozen=True)
class Activation:
    """sigma(R), and sigma'(R) given R and E = sigma(R); `kernels` of the device that holds them."""

    emit: Callable[..., np.ndarray]
    slope: Callable[..., np.ndarray]


def _gelu(r, kernels=reference):
    return (0.5 * r * (1 + kernels.erf(r / np.sqrt(2)))).astype(r.dtype)


def _gelu_slope(r, e, kernels=reference):
    return 0.5 * (1 + kernels.erf(r / np.sqrt(2))) + r * np.exp(-0.5 * r * r) / np.sqrt(2 * np.pi)


ACTIVATIONS = {
    "identity": Activation(lambda r, _=None: r, lambda r, e, _=None: np.ones_like(r)),
    "relu": Activation(lambda r, _=None: np.maximum(r, 0), lambda r, e, _=None: (r > 0).astype(r.dtype)),
    "tanh": Activation(lambda r, _=None: np.tanh(r), lambda r, e, _=None: 1 - e * e),
    "sigmoid": Activation(lambda r, kernels=reference: kernels.expit(r), lambda r, e, _=None: e * (1 - e)),
    "gelu": Activation(_gelu, _gelu_slope),
}


def activation(name: str) -> Activation:
    """The activation function of that name; raises OptionError that lists the options."""
    if name not in ACTIVATIONS:
        raise unknown("activation", name, tuple(ACTIVATIONS))
    return ACTIVATIONS[name]


@dataclass(frozen=True)
class Weights:
    """The path integrals of one link, ready to carry signals: W (M, N), or its factors W = gain A B^T.

    With factors a product takes whichever way has fewer multiply-adds, by shapes alone, so that a run always takes
    the same one: B r (M + N) through them, or B M N with W, which is built once for the way there and the way back.
    """

    matmul: Callable
    w: Any = None
    a: Any = None
    b: Any = None
    gain: float = 1.0

    def receive(self, emitted: np.ndarray) -> np.ndarray:
        """(B, M) -> (B, N): sum_i E_i phi_ij."""
        return self.through_factors(emitted) if self._thin(len(emitted)) else self.matmul(emitted, self.matrix())

    def feed_back(self, feedback: np.ndarray) -> np.ndarray:
        """(B, N) -> (B, M): the transposed way."""
        if not self._thin(len(feedback)):
            return self.matmul(feedback, self.matrix().T)
        return self.matmul(self.gain * self.matmul(feedback, self.b), self.a.T)

    def through_factors(self, emitted: np.ndarray) -> np.ndarray:
        """(B, M) -> (B, N), W never built."""
        return self.matmul(self.gain * self.matmul(emitted, self.a), self.b.T)

    def matrix(self) -> np.ndarray:
        """W (M, N), built where it was not."""
        return self.w if self.w is not None else self._product

    @cached_property
    def _product(self) -> np.ndarray:
        return self.matmul(self.gain * self.a, self.b.T)

    def _thin(self, batch: int) -> bool:
        if self.w is not None:
            return False
        (M, rank), N = self.a.shape, len(self.b)
        return batch * rank * (M + N) < M * N * (batch + rank / 2)


def link_weights(kernels, system: System, link: Link) -> Weights:
    """The weights of a link: its own matrix where it has one, else path integrals at the system's positions."""
    if f"weight:{link.name}" in system.x:
        return Weights(kernels.matmul, w=without_own(link, system.x[f"weight:{link.name}"][..., 0]))
    if link.medium is not None:
        return Weights(kernels.matmul, w=without_own(link, weights_through(kernels, system, link)))
    arguments = system.link_arguments(link)
    if link.low_rank:
        name, q_a, q_b, mu, gain, _, _ = arguments
        a, b = factors(name, q_a, q_b, mu)
        return Weights(kernels.matmul, a=a, b=b, gain=q_a.dtype.type(gain))
    return Weights(kernels.matmul, w=without_own(link, kernels.path_integral(*arguments)))


def all_weights(kernels, system: System) -> dict[str, Weights]:
    """Weights of every link by its name."""
    return {link.name: link_weights(kernels, system, link) for link in system.graph.links}


PROFILES = ("linear", "reciprocal")
NORMS = ("l1", "l2", "lp")


def signal_profile(
    emitted: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    points: np.ndarray,
    metric: str = "l1",
    kind: str = "linear",
    p: float = 2.0,
    c: float = 1.0,
) -> np.ndarray:
    """S_ij(v), the signal on its way from q_i to q_j: (k, m) at m points v of each of k links.

    Both kinds are E_i at q_i: "linear" E_i - |v - q_i| / |q_j - q_i|, the example beside Fig. 2, which arrives as
    E_i - 1 whatever the distance; "reciprocal" E_i c / sqrt(|v - q_i|^2 + c^2), the poster's decay c / |v - q_i|.
    However, print's decay is infinite at its source, hence the softening by c.

    Parameters
    ----------
    emitted : (k,) E_i. start, end : (k, d) q_i and q_j. points : (k, m, d), or (m, d) for all links.
    metric : norm of |.|, "l1", "l2" or "lp" (with p). c : length over which the decay sets in, in units of q.

    Raises OptionError for another metric or kind.
    """
    if metric not in NORMS:
        raise unknown("norm", metric, NORMS)
    if kind not in PROFILES:
        raise unknown("signal profile", kind, PROFILES)
    way = reference.metric_value(metric, points, start[:, None], 0.0, p)
    if kind == "reciprocal":
        return emitted[:, None] * c / np.sqrt(way**2 + c**2)
    length = reference.metric_value(metric, end, start, 0.0, p)[:, None]
    return emitted[:, None] - way / np.where(length == 0, 1, length)
