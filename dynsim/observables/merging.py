"""What has merged: how many different particles are left, and who moves with whom."""

from __future__ import annotations

from typing import Any, ClassVar

from dynsim.dynamics.merging import by_subsystem, clusters_of
from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel


@observable
class Merged(Observable):
    """Different particles, the fraction that merging has spared, and the part of all in the largest cluster."""

    name, kind, every = "merging", "scalar", "step"
    panels = (
        Panel("Particles", "different ones", "merging", (Curve("distinct", "different"),)),
        Panel(
            "Merged",
            "fraction of all",
            "merging",
            (Curve("merged", "spared"), Curve("largest_cluster", "in the largest cluster", "second")),
        ),
    )
    brief: ClassVar = {"distinct": "distinct"}

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        clusters = clusters_of(snapshot.system, snapshot.kernels)
        n = max(len(clusters.leader), 1)
        return {
            "distinct": float(clusters.distinct),
            "merged": 1 - clusters.distinct / n,
            "largest_cluster": float(clusters.sizes.max(initial=0)) / n,
        }


@observable
class Cluster(Observable):
    """The number, in the cast, of the leader that a particle moves with; its own where it is alone."""

    name, kind, every = "cluster", "per_particle", "frame"
    panels = (Panel("Cluster", "leader's number", "cluster"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        return by_subsystem(snapshot.system.graph, clusters_of(snapshot.system).leader)
