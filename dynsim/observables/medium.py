"""What signals meet on their way through the density of all particles, Eq. (30)-(31)."""

from __future__ import annotations

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.system.crossing import crossing


@observable
class MediumMet(Observable):
    """Of every link through a medium the mean over its paths of what the medium makes of a term of Eq. (5): 1 + n
    (law length) or exp(-int n |dv|) (law damping), 1 in empty space; and W_l of every subsystem."""

    name, kind, every = "medium", "scalar", "frame"
    panels = (
        Panel("Through the medium", "times empty space", "medium", (Curve("crossing_*", "*", "family"),)),
        Panel("Strength of the medium", "W of a subsystem, Eq. (31)", "medium", (Curve("strength_*", "*", "family"),)),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system, kernels = snapshot.system, snapshot.kernels
        links = [k for k in system.graph.links if k.medium is not None and f"weight:{k.name}" not in system.x]
        factors = {f"crossing_{k.name}": float(crossing(kernels, system, k).factor.mean()) for k in links}
        strengths = {k: float(a[0, 0]) for k, a in system.x.items() if k.startswith("medium:")}
        return factors | {f"strength_{k.partition(':')[2]}": w for k, w in strengths.items()}
