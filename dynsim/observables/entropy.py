"""Structural entropy, Eq. (13): psi(delta) = -sum Pr(v) log Pr(v) over the occupied cells v = floor(q / delta).

0 <= psi <= log N. It is shown as psi / log N, raw and with coordinates divided by their standard deviation, for
several delta. However, in plain training it falls by a few per cent only, clearly only under confinement
(docs/deviations.md): show it, claim nothing.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel


def structural_entropy(kernels, q: np.ndarray, delta: float) -> float:
    """psi(delta) in nats of points q (n, d): Eq. (13)."""
    counts = kernels.occupied_cells(q, delta)
    pr = counts / counts.sum()
    # Eq. (13); the maximum of log(count) = 0 keeps a single cell from giving -0.0
    return max(0.0, -float((pr * np.log(pr)).sum()))


def relative_entropy(kernels, q: np.ndarray, delta: float) -> float:
    """psi / log n, in [0, 1]; 0 for a single point."""
    return min(1.0, structural_entropy(kernels, q, delta) / math.log(len(q))) if len(q) > 1 else 0.0


@observable
class Entropy(Observable):
    """psi / log N: "entropy" of the 3-D view at 1/4 standard deviation (the one that moves), then per delta raw
    (units of q), scaled (units of one standard deviation), of the 3-D view, and per subsystem."""

    name, kind, every = "entropy", "scalar", "frame"
    brief: ClassVar = {"entropy": "psi"}
    panels = (
        Panel(
            "Structural entropy",
            "ψ / log N, δ in standard deviations",
            "entropy",
            (Curve("entropy", "3-D view", "third"), Curve("entropy_scaled_*", "δ = *", "family")),
        ),
        Panel(
            "Structural entropy, raw",
            "ψ / log N, δ in units of q",
            "entropy",
            (Curve("entropy_raw_*", "δ = *", "family"),),
        ),
        Panel(
            "Structural entropy of the view",
            "ψ / log N, δ in standard deviations",
            "entropy",
            (Curve("entropy_view_*", "δ = *", "family"),),
        ),
        Panel("Structural entropy by subsystem", "ψ / log n", "entropy", (Curve("entropy_*", "*", "family"),)),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system, kernels = snapshot.system, snapshot.kernels
        parts = {
            s.name: system.x[f"q:{s.name}"].reshape(-1, system.graph.dim) for s in system.graph.particle_subsystems
        }
        if not parts:
            return {}
        q = np.concatenate(list(parts.values()))
        std = float(q.std()) or 1.0
        view = q @ snapshot.projection.T.astype(q.dtype)
        finest = snapshot.resolutions[0]
        result = {"entropy": relative_entropy(kernels, view, finest * std)}
        for delta in snapshot.resolutions:
            result[f"entropy_raw_{delta:g}"] = relative_entropy(kernels, q, delta)
            result[f"entropy_scaled_{delta:g}"] = relative_entropy(kernels, q, delta * std)
            result[f"entropy_view_{delta:g}"] = relative_entropy(kernels, view, delta * std)
        middle = snapshot.resolutions[len(snapshot.resolutions) // 2]
        for name, part in parts.items():
            result[f"entropy_{name}"] = relative_entropy(kernels, part, middle * std)
        return result
