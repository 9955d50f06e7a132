"""Dynamical discrepancy D(Q), (S11), never without what it may only repeat: norm and stable rank of the weights.

    D_l = 1 / (M + N) sum_ij |Q_i g1 - Q_j g0|    over all M + N neurons i, j of a layer; D = mean of D_l over layers

Q_i holds the H copies of a neuron in a row, in a scale in which every coefficient is +1 or -1: for l1, l2 and lp
W_ij = sum_h +- |Q_ih - Q_jh|. Here g1 = g0 = 1; see `dynsim.backend.discrepancy` for other g and for given weights.

However, (S11) never says what g is, in which units Q is measured, nor which of the many Q that give the same weights is
meant. In these units D grows with the weights themselves: measured, it tells little that |W| does not
(docs/deviations.md).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.signals import link_weights
from dynsim.system.graph import Link, System, group_kind

MOST = 1024  # neurons whose pairs are summed; of more, a fixed choice
EXACT = 256  # sub-models on the smaller side up to which all singular values are computed


def in_a_row(q: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """(n, H d) of coordinates q (H, n, d), each copy times the size of its coefficient (H,)."""
    scaled = np.abs(coefficients)[:, None, None] * q
    return scaled.transpose(1, 0, 2).reshape(q.shape[1], -1)


def discrepancy(emitting: np.ndarray, receiving: np.ndarray | None = None) -> float:
    """D_l of neurons Q g1 (n, k) and Q g0 (n, k), by default the same; in units of the weights.

    Of more than 1,024 neurons a fixed, seeded choice is looked at, and the sum scaled up to all.
    """
    from scipy.spatial.distance import cdist  # a third of a second, which a window's start can do without

    receiving = emitting if receiving is None else receiving
    n = len(emitting)
    chosen = np.random.default_rng(0).choice(n, MOST, replace=False) if n > MOST else slice(None)
    # (S11): the sum over pairs, divided by the number of neurons
    return float(cdist(emitting[chosen], receiving[chosen]).mean() * n)


def stable_rank(weights: np.ndarray) -> float:
    """|W|_F^2 / |W|_2^2 of a matrix (M, N); 0 where it vanishes."""
    w = weights.astype(np.float64)
    square = float(np.square(w).sum())
    return square / _spectral_norm(w) ** 2 if square else 0.0


def _spectral_norm(w: np.ndarray) -> float:
    if min(w.shape) <= EXACT:
        return float(np.linalg.norm(w, 2))
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(w.shape))
    return float(svds(w, k=1, v0=start, return_singular_vectors=False)[0])


def of_link(system: System, link: Link) -> float:
    """D_l of the sub-models at both ends of a link with particles, g = 1, copies scaled by |gain mu_h|."""
    _, q_a, q_b, mu, gain, _, _ = system.link_arguments(link)
    return discrepancy(in_a_row(np.concatenate([q_a, q_b], axis=1), gain * mu))


@observable
class Discrepancy(Observable):
    """ "discrepancy", mean over the links with particles, and "discrepancy_LINK"; beside them "weight_norm", |W|_F of
    all of them, and "stable_rank", the mean over them, and both for every link."""

    name, kind, every = "discrepancy", "scalar", "frame"
    on_host = True
    brief: ClassVar = {"discrepancy": "D"}
    panels = (
        Panel(
            "Dynamical discrepancy",
            "D, beside |W|",
            "discrepancy",
            (Curve("discrepancy", "D"), Curve("weight_norm", "|W|, its control", "control")),
            log=True,
        ),
        Panel("Dynamical discrepancy of links", "D", "discrepancy", (Curve("discrepancy_*", "*", "family"),)),
        Panel("Norm of links", "|W|", "discrepancy", (Curve("weight_norm_*", "*", "family"),)),
        Panel(
            "Stable rank",
            "|W|² / |W|₂²",
            "discrepancy",
            (Curve("stable_rank", "mean"), Curve("stable_rank_*", "*", "family")),
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system = snapshot.system
        # While a recipe trains weights, the path integrals of the particles that wait are meant.
        system = system.replace(x={k: a for k, a in system.x.items() if group_kind(k) != "weight"})
        links = [k for k in system.graph.links if k.kind.particles]
        if not links:
            return {}
        weights = {k.name: link_weights(snapshot.kernels, system, k).matrix() for k in links}
        parts = {
            "discrepancy": {k.name: of_link(system, k) for k in links},
            "weight_norm": {name: float(np.linalg.norm(w)) for name, w in weights.items()},
            "stable_rank": {name: stable_rank(w) for name, w in weights.items()},
        }
        whole = {name: float(np.mean(list(values.values()))) for name, values in parts.items()}
        whole["weight_norm"] = float(np.hypot.reduce(list(parts["weight_norm"].values())))
        return whole | {f"{name}_{link}": value for name, values in parts.items() for link, value in values.items()}
