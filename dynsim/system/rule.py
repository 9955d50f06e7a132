"""The matrices of Eq. (2): how they start, and what a tick of its third line does to a position.

Every subsystem has its own A (s, s), B (s, d), C (s, d), D (d, s), E (d, s), F (d, d), as Eq. (3) allows; with one
subsystem that is Eq. (2) literally. They are groups "A:NAME" ... "F:NAME", and "readout:NAME" (N s + 1, K) makes the
answer of the system out of what the sub-models of NAME emit (its last row is a constant).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.kernels import reference
from dynsim.system.graph import RULE, Graph, Groups

MATRICES = RULE[:-1]


@dataclass(frozen=True)
class RuleStart:
    """How the matrices are drawn; A is the identity.

    Attributes
    ----------
    signals : s, numbers in a signal.
    spin : fastest rotation of positions by F, radians per unit of time; the planes of R^d share 0 ... spin evenly.
    decay : rate at which F draws positions to the origin.
    push : size of D and E, by which signals drive positions.
    """

    signals: int = 1
    spin: float = 1.0
    decay: float = 0.1
    push: float = 0.1


def starting_rule(graph: Graph, start: RuleStart, answers: int, rng: np.random.Generator) -> Groups:
    """Matrices of every subsystem, and the read-out of the last one; `answers` : K, numbers that the system says."""
    s, d = start.signals, graph.dim
    x: Groups = {}
    for name in (k.name for k in graph.subsystems):
        x[f"A:{name}"] = np.eye(s)
        for kind in "BC":
            x[f"{kind}:{name}"] = rng.standard_normal((s, d)) / np.sqrt(d)
        for kind in "DE":
            x[f"{kind}:{name}"] = start.push * rng.standard_normal((d, s)) / np.sqrt(s)
        x[f"F:{name}"] = rotation(rng, d, start.spin) - start.decay * np.eye(d)
    if answers:
        last = graph.subsystems[-1]
        read = rng.standard_normal((last.size * s + 1, answers)) / np.sqrt(last.size * s)
        read[-1] = 0
        x[f"readout:{last.name}"] = read
    return x


def rotation(rng: np.random.Generator, dim: int, spin: float) -> np.ndarray:
    """(d, d) antisymmetric: it turns d // 2 random planes at spin / (d // 2), ..., spin radians per unit of time."""
    planes = dim // 2
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    speeds = spin * np.arange(1, planes + 1) / max(planes, 1)
    a, b = basis[:, :planes], basis[:, planes : 2 * planes]
    return (b * speeds) @ a.T - (a * speeds) @ b.T


def propagator(rate: np.ndarray, dt: float, kernels: Any = reference) -> np.ndarray:
    """Q (d, d) = integral of exp(F s) over a tick, so that q + Q dq/dt solves line 3 of Eq. (2) with its signals held.

    However, print has only dq/dt; Euler's q + dt dq/dt leaves every orbit by a factor sqrt(1 + (w dt)^2) a tick.
    """
    from scipy.linalg import expm  # slow to import, and few runs need it

    (rate,), d = kernels.to_host([rate]), len(rate)
    return kernels.to_device([expm(_augmented(rate, dt))[:d, d:].astype(rate.dtype)])[0]


def propagator_back(rate: np.ndarray, dt: float, feedback: np.ndarray, kernels: Any = reference) -> np.ndarray:
    """dL/dF (d, d) from dL/dQ: the derivative of a matrix exponential along the transposed way."""
    from scipy.linalg import expm_frechet

    (rate, feedback), d = kernels.to_host([rate, feedback]), len(rate)
    on_whole = np.zeros((2 * d, 2 * d))
    on_whole[:d, d:] = feedback
    back = expm_frechet(_augmented(rate, dt).T, on_whole, compute_expm=False)
    return kernels.to_device([(dt * back[:d, :d]).astype(rate.dtype)])[0]


def _augmented(rate: np.ndarray, dt: float) -> np.ndarray:
    d = len(rate)
    return dt * np.block([[rate.astype(np.float64), np.eye(d)], [np.zeros((d, 2 * d))]])
