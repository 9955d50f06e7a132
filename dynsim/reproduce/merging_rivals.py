"""What merging is measured against: as many particles merged at random or by k-means, and coordinates of few values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from dynsim.backend.conversion.clusters import lloyd, nearest
from dynsim.backend.conversion.quantise import quantise
from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.backend.merging import Merged, flat_coordinates, merged, placed_together
from dynsim.system.initialise import random
from dynsim.system.merging import Clusters, linked

MOST_PAIRS = 20_000_000  # for single linkage


def sparing(model: Model, fraction: float) -> tuple[Merged, float]:
    """Merged so that this part of the particles is spared, within 1 % of the radius."""
    reach = [float(np.linalg.norm(q - q.mean(axis=0), axis=1).max()) for q in flat_coordinates(model).values()]
    low, high = 0.02 * max(reach), 2 * max(reach)
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if merged(model, middle).fraction < fraction else (low, middle)
    return merged(model, high), high


def shuffled(made: Merged, model: Model, seed: int) -> Merged:
    """The null control: clusters of the same sizes in every subsystem, of members drawn at random."""
    rng, leader, first = random(seed, "target"), made.clusters.leader, 0
    other = leader.copy()
    for q in flat_coordinates(model).values():
        drawn = first + rng.permutation(len(q))
        other[drawn] = drawn[leader[first : first + len(q)] - first]
        first += len(q)
    return placed_together(model, Clusters(other, made.clusters.mass))


def polished(made: Merged, model: Model, rounds: int = 4) -> Merged:
    """The rival of equal bytes: k-means from the merged places, as many of them in every subsystem."""
    leader, first = made.clusters.leader.copy(), 0
    for q in flat_coordinates(model).values():
        part = slice(first, first + len(q))
        number = np.unique(leader[part], return_inverse=True)[1]
        for _ in range(rounds):
            counts = np.maximum(np.bincount(number), 1)[:, None]
            centres = np.stack([np.bincount(number, column, len(counts)) for column in q.T], axis=1) / counts
            number = cKDTree(centres).query(q)[1]
        _, leads, number = np.unique(number, return_index=True, return_inverse=True)
        leader[part] = first + leads[number]
        first += len(q)
    return placed_together(model, Clusters(leader, made.clusters.mass))


def largest_linked(model: Model, radius: float) -> float | None:
    """Part of all particles in the largest cluster by single linkage; None where there are too many pairs."""
    parts = flat_coordinates(model).values()
    trees = [cKDTree(q) for q in parts]
    if sum(tree.count_neighbors(tree, radius) for tree in trees) > 2 * MOST_PAIRS:
        return None
    return float(max(np.bincount(linked(q, radius)).max() for q in parts) / sum(map(len, parts)))


def rounded(model: Model, bits: int) -> tuple[Model, int]:
    """Coordinates of every subsystem on 2^bits even levels (Eq. 12, round), and the bytes that takes."""
    return _coarse(model, lambda a: quantise(a, 1 / (2**bits - 1), "round"), bits, 2)


def codebook(model: Model, bits: int) -> tuple[Model, int]:
    """Coordinates of every subsystem on the 2^bits values that fit them best (Lloyd's), and the bytes that takes."""

    def coarse(a: np.ndarray) -> np.ndarray:
        flat = a.ravel().astype(np.float64)
        values = lloyd(flat, np.ones(flat.size), 2**bits)
        return values[nearest(flat, values)].reshape(a.shape).astype(a.dtype)

    return _coarse(model, coarse, bits, 2**bits)


def _coarse(model: Model, coarse: Callable[[np.ndarray], np.ndarray], bits: int, values: int) -> tuple[Model, int]:
    q = flat_coordinates(model)
    x = dict(model.x) | {k: coarse(model.x[k]) for k in q}
    kept = cost(model).bytes - sum(a.nbytes for a in q.values())
    size = kept + sum(-(-a.size * bits // 8) + values * a.itemsize for a in q.values())
    return Model(model.graph, x, model.scaling, model.classes, model.network), size
