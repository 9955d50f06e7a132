"""Structural entropy, Eq. (13): psi(delta) = -sum Pr(v) log Pr(v) over the occupied cells v = floor(q / delta).

0 <= psi <= log N. It is shown as psi / log N, raw and with coordinates divided by their standard deviation, for
several delta. However, in plain training it falls by a few per cent only, clearly only under confinement
(docs/deviations.md): show it, claim nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel


def structural_entropy(kernels, q: np.ndarray, delta: float) -> float:
    """psi(delta) in nats of points q (n, d): Eq. (13)."""
    return float(kernels.structural_entropy(q, (delta,))[0])


def relative_entropies(kernels, q: np.ndarray, deltas: Sequence[float]) -> list[float]:
    """psi / log n, in [0, 1], for every delta; 0 for a single point."""
    if len(q) < 2:
        return [0.0] * len(deltas)
    return np.minimum(kernels.structural_entropy(q, deltas) / math.log(len(q)), 1).tolist()


def relative_entropy(kernels, q: np.ndarray, delta: float) -> float:
    """psi / log n, in [0, 1]; 0 for a single point."""
    return relative_entropies(kernels, q, (delta,))[0]


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
        view = q @ np.asarray(snapshot.projection.T, q.dtype, like=q)
        deltas = snapshot.resolutions
        scaled = [delta * std for delta in deltas]
        of_space = relative_entropies(kernels, q, (*deltas, *scaled))
        of_view = relative_entropies(kernels, view, scaled)
        result = {"entropy": of_view[0]}
        for delta, raw, wide, seen in zip(deltas, of_space, of_space[len(deltas) :], of_view):
            result |= {
                f"entropy_raw_{delta:g}": raw,
                f"entropy_scaled_{delta:g}": wide,
                f"entropy_view_{delta:g}": seen,
            }
        middle = deltas[len(deltas) // 2]
        for name, part in parts.items():
            result[f"entropy_{name}"] = relative_entropy(kernels, part, middle * std)
        return result
