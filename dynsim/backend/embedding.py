"""t-SNE of the particles, with a number for what the eye sees in it, and with that number's control.

van der Maaten & Hinton, Visualizing data using t-SNE, J. Mach. Learn. Res. 9 (2008); Barnes-Hut: van der Maaten, ibid.
15 (2014). Silhouettes: Rousseeuw, J. Comput. Appl. Math. 20 (1987). Distances are Euclidean, whatever the links use.
"""

from __future__ import annotations

import math

import numpy as np
import threadpoolctl
from scipy.spatial.distance import cdist

from dynsim.commands import Embed, Embedding
from dynsim.errors import DataError, OptionError, unknown
from dynsim.frame import Cast
from dynsim.observables.projection import axes_projection, pca_projection
from dynsim.stacking import cast_of, stacked
from dynsim.system.graph import System

MOST, LEAST = 2_000, 10  # particles
SEED = 0
SHUFFLES = 20
# Half the default of iterations and a coarser tree: a third of the time, 5 % more divergence (1,000 points of R^9).
ITERATIONS, ANGLE = 500, 0.8
# Below so many, without a tree: the coarse one takes points that begin so close together for one.
EXACT = 400
EXAGGERATION = 12.0  # scikit-learn's default, in the first half


def embed(system: System, question: Embed) -> Embedding:
    """The particles of a state in three dimensions, close where they are close in R^d; the same bits every time.

    Raises OptionError for an unknown subsystem and for a perplexity outside of 1 ... (k - 1) / 3, DataError for fewer
    than `LEAST` particles and for particles that are all at one place.
    """
    cast = cast_of(system, axes_projection(system.graph.dim), "float64")
    labels = "subsystem" if question.subsystem is None else "copy"
    among = _among(cast, question.subsystem)
    group = getattr(cast, labels)
    particles = among[chosen(group[among], MOST)]
    q = stacked(system.graph, lambda name: system.x[f"q:{name}"], np.float64, (system.graph.dim,))[particles]
    _check(q, question)
    points, labelled = _tsne(q, question.perplexity), group[particles]
    return Embedding(
        step=system.step,
        particles=particles.astype(np.int32),
        points=points,
        silhouette=_silhouette(cdist(points, points), labelled),
        shuffled=_shuffled(cdist(points, points), labelled),
        original=_silhouette(cdist(q, q), labelled),
        labels=labels,
    )


def _among(cast: Cast, subsystem: str | None) -> np.ndarray:
    """Numbers of the particles that are asked about."""
    if subsystem is None:
        return np.arange(cast.n)
    if subsystem not in cast.subsystems:
        raise unknown("subsystem", subsystem, cast.subsystems)
    return np.flatnonzero(cast.subsystem == cast.subsystems.index(subsystem))


def chosen(group: np.ndarray, most: int) -> np.ndarray:
    """Indices, ascending, of at most `most` members of groups (n,): small groups whole, the others in equal parts.

    The same ones at every step of a run.
    """
    rng = np.random.default_rng(SEED)
    names, sizes = np.unique(group, return_counts=True)
    taken: list[np.ndarray] = []
    for k, smallest in enumerate(np.argsort(sizes, kind="stable")):
        share = (most - sum(map(len, taken))) // (len(names) - k)
        taken.append(rng.permutation(np.flatnonzero(group == names[smallest]))[:share])
    return np.sort(np.concatenate([np.zeros(0, np.int64), *taken]))


def _check(q: np.ndarray, question: Embed) -> None:
    k, where = len(q), question.subsystem
    if k < LEAST:
        raise DataError("too few particles for t-SNE", where=where, given=k, allowed=f"at least {LEAST}")
    if not 1 <= question.perplexity <= (k - 1) / 3:
        raise OptionError(
            "a perplexity that t-SNE cannot have, some number of neighbours",
            where=where,
            given=question.perplexity,
            allowed=f"1 ... {(k - 1) / 3:g}, a third of {k} particles",
        )
    if not 0 < np.ptp(q, axis=0).max() < math.inf:
        raise DataError("all particles are at one place: nothing to tell apart", where=where)


def _tsne(q: np.ndarray, perplexity: float) -> np.ndarray:
    """(k, d) -> (k, 3) float32, begun from the principal components and as wide as they are."""
    from sklearn.manifold import TSNE

    centred = q - q.mean(axis=0)
    principal = centred @ pca_projection(q).T.astype(np.float64)
    start = 1e-4 * principal / principal[:, 0].std()
    # Threads would add up in another order, and t-SNE amplifies the last bit.
    with threadpoolctl.threadpool_limits(1):
        points = TSNE(
            3,
            perplexity=perplexity,
            early_exaggeration=EXAGGERATION,
            # Belkina et al., Nat. Commun. 10, 5415 (2019). scikit-learn's "auto" is never below 50, which scatters few
            # points: 80 of three distant clouds got a silhouette of 0.15 instead of 0.76.
            learning_rate=len(q) / EXAGGERATION / 4,
            max_iter=ITERATIONS,
            init=start,
            random_state=SEED,
            method="exact" if len(q) < EXACT else "barnes_hut",
            angle=ANGLE,
        ).fit_transform(centred)
    points = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    return (points * (principal.std() / points.std())).astype(np.float32)


def _silhouette(distances: np.ndarray, group: np.ndarray) -> float:
    """Mean over points with distances (k, k); NaN where no two groups, or only groups of one, can be compared."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(group)) < len(group):
        return math.nan
    return float(silhouette_score(distances, group, metric="precomputed"))


def _shuffled(distances: np.ndarray, group: np.ndarray) -> float:
    """The control: as `_silhouette`, the mean over labels dealt out at random."""
    rng = np.random.default_rng(SEED)
    return float(np.mean([_silhouette(distances, rng.permutation(group)) for _ in range(SHUFFLES)]))
