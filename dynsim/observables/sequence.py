"""How well a sequence is answered."""

from __future__ import annotations

from typing import ClassVar

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel


@observable
class RSquared(Observable):
    """R^2 = 1 - sum (T - y)^2 / sum (T - mean)^2 of the windows of this step; nothing where there is no sequence."""

    name, kind, every = "r2", "scalar", "step"
    brief: ClassVar = {"r2": "R²"}
    panels = (Panel("R²", "of the windows of a step", "r2", (Curve("r2", "R²", "good"),)),)

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        response = snapshot.response
        return {} if response is None or response.r2 is None else {"r2": response.r2}
