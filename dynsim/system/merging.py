"""Merging, the remark under Eq. (5): which particles stay so close that one can stand for all.

Source: Pei & Wang, ICML 2023, Sec. 2.3: q_ihx and q_jhy can be merged at step T if the sum over t = T-5 ... T of
|q_ihx - q_jhy| is at most 0.1. However, a sum depends on how many steps it has: we take the mean, so that a radius is
a distance (print's 0.1 is a radius of 0.1 / 6). Print does not say what becomes of chains, a near b near c: joining
along them (single linkage) percolates, one cluster takes nearly all. Here every cluster has a leader, and nobody is
farther than the radius from his own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


def leaders(trail: np.ndarray, radius: float, weight: np.ndarray | None = None) -> np.ndarray:
    """Number of every point's leader (n,) int32; a leader's is his own.

    The heaviest point that has no leader takes all that have none within the radius, and so on; among equals the
    first. The result depends on nothing else. O(n log n) for a given dimension.

    Parameters
    ----------
    trail : (T, n, d), positions at successive steps; what counts is the mean distance over them.
    radius : in units of q. weight : (n,); equal by default.
    """
    from scipy.spatial import cKDTree  # slow to import, and few runs need it

    centre = trail.mean(axis=0, dtype=np.float64)
    tree, n = cKDTree(centre), len(centre)
    # Means are not farther apart than points are in the mean, so that no pair is missed.
    reach = radius * (1 + 1e-6) + 1e-12
    lonely = np.isinf(tree.query(centre, k=2, distance_upper_bound=reach)[0][:, 1])
    order = np.arange(n) if weight is None else np.argsort(-weight, kind="stable")
    leader, free = np.arange(n, dtype=np.int32), np.ones(n, bool)
    for i in order[~lonely[order]]:
        if free[i]:
            near = np.array(tree.query_ball_point(centre[i], reach))
            near = near[free[near]]
            members = near[mean_distances(trail, i, near) <= radius]
            leader[members], free[members] = i, False
    return leader


def mean_distances(trail: np.ndarray, i: int, others: np.ndarray) -> np.ndarray:
    """Distance of point i from others (k,), the mean over a trail (T, n, d)."""
    away = trail[:, others].astype(np.float64) - trail[:, i, None]
    return np.sqrt(np.einsum("tkd,tkd->tk", away, away)).mean(axis=0)


def linked(q: np.ndarray, radius: float) -> np.ndarray:
    """Number of the cluster of every point (n,) by single linkage, the control: neighbours of neighbours join."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    pairs = cKDTree(q).query_pairs(radius, output_type="ndarray")
    edges = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(q), len(q)))
    return connected_components(edges, directed=False)[1]


@dataclass(frozen=True)
class Clusters:
    """Who moves as one.

    leader : (n,), the number of every particle's leader. mass : (n, 1).
    """

    leader: np.ndarray
    mass: np.ndarray

    @property
    def distinct(self) -> int:
        """How many different particles are left."""
        return int(np.count_nonzero(self.leader == np.arange(len(self.leader))))

    @property
    def sizes(self) -> np.ndarray:
        """(n,) members of every leader's cluster, 0 for who leads none."""
        return np.bincount(self.leader, minlength=len(self.leader))

    def shared(self, values: np.ndarray) -> np.ndarray:
        """Values (n, k) with every cluster's replaced by their mean, weighted with the masses.

        Members get the same bits, and a cluster that has the same already keeps them.
        """
        members, first = self._together
        if not len(members):
            return values
        of, mass = self.leader[members], self.mass[members]
        away = values[members].astype(np.float64) - values[of]
        mean = np.add.reduceat(mass * away, first) / np.add.reduceat(mass, first)
        result = values.copy()
        result[members] = values[of] + np.repeat(mean, np.diff(first, append=len(members)), axis=0)
        return result

    @cached_property
    def _together(self) -> tuple[np.ndarray, np.ndarray]:
        """Members of clusters of more than one, cluster by cluster, and where each cluster begins."""
        members = np.flatnonzero(self.sizes[self.leader] > 1)
        members = members[np.argsort(self.leader[members], kind="stable")]
        return members, np.flatnonzero(np.diff(self.leader[members], prepend=-1))

    def merged(self, trails: Sequence[np.ndarray], radius: float) -> Clusters:
        """With clusters joined that have stayed within a radius; the heavier leads.

        Parameters
        ----------
        trails : (T, n, d) of the parts within which particles may merge, in the order of the particles.
        """
        new, first = self.leader.copy(), 0
        total = np.bincount(self.leader, self.mass[:, 0], minlength=len(new))
        for trail in trails:
            part = slice(first, first + trail.shape[1])
            own = np.unique(self.leader[part])
            lead = own[leaders(trail[:, own - first], radius, total[own])]
            new[part] = lead[np.searchsorted(own, self.leader[part])]
            first = part.stop
        return Clusters(new, self.mass)
