"""The energy ledger: kinetic, potential (the field's energy and the confining well), dissipated, and their sum."""

from __future__ import annotations

import numpy as np

from dynsim.dynamics.integrators import kinetic_energy
from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.system.graph import System


def well_energy(system: System, confinement: float) -> float:
    """sum of k |q|^2 / 2 over the coordinate particles."""
    squares = (float(np.square(a, dtype=np.float64).sum()) for k, a in system.x.items() if k.startswith("q:"))
    return 0.5 * confinement * sum(squares)


@observable
class Energy(Observable):
    """Energies (dimensionless). The total is a ledger for leapfrog only: the other integrators push before they drift,
    so that their potential is that of the positions before the step."""

    name, kind, every = "energy", "scalar", "step"
    panels = (
        Panel(
            "Energy",
            "dimensionless",
            "energy",
            (
                Curve("kinetic", "kinetic"),
                Curve("potential", "potential", "second"),
                Curve("dissipated", "dissipated", "bad"),
                Curve("total_energy", "total", "control"),
            ),
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system = snapshot.system
        kinetic = kinetic_energy(system, snapshot.kernels)
        potential = snapshot.response.loss if snapshot.response else float("nan")
        if snapshot.confinement:
            potential += well_energy(system, snapshot.confinement)
        dissipated = system.totals.get("dissipated", 0.0)
        return {
            "kinetic": kinetic,
            "potential": potential,
            "dissipated": dissipated,
            "total_energy": kinetic + potential + dissipated,
        }


@observable
class Momentum(Observable):
    """|sum m v| over the coordinate particles of each copy, the largest over copies."""

    name, kind, every = "momentum", "scalar", "frame"
    panels = (Panel("Momentum", "|sum m v|, largest copy", "momentum", (Curve("momentum", "momentum"),)),)

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system = snapshot.system
        parts = [(system.mass[k] * v).sum(axis=1) for k, v in system.v.items() if k.startswith("q:")]
        total = np.linalg.norm(sum(parts), axis=-1).max() if parts else 0.0
        return {"momentum": float(total)}
