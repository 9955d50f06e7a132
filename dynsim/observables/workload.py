"""Path length I(t) and workload W(t), Eq. (59)-(60), with the bound that the Eq. (10) limit gives them.

However, Eq. (58) and (60) hold only for imposed Lambda; in training they are measured, never asserted.
"""

from __future__ import annotations

import math

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel


def workload_bound(particles: int, eta: float, rate: float, steps: int) -> float:
    """W after `steps` if every particle always moved at the limit: N eta (1 - e^{-k n}) / (1 - e^{-k}), k = Lambda_env.

    It tends to N eta / Lambda_env for small k and many steps: Eq. (60) for discrete steps.
    """
    if rate == 0:
        return particles * eta * steps
    return particles * eta * math.expm1(-rate * steps) / math.expm1(-rate)


@observable
class Workload(Observable):
    """I(t): path of this step over all coordinate particles (units of q); W(t): its sum since the start; the bound
    that the Eq. (10) limit gives W, while this limit is what it was at the start (no learning event, no phase without
    it); the fraction at the limit, and the limit of a step's move; the last three only where there is a limit."""

    name, kind, every = "workload", "scalar", "step"
    panels = (
        Panel(
            "Workload",
            "path of all particles, units of q",
            "workload",
            (Curve("workload", "W"), Curve("workload_bound", "bound", "control")),
        ),
        Panel("Path of a step", "all particles, units of q", "workload", (Curve("path_length", "I"),), log=True),
        Panel("At the limit", "fraction of particles", "workload", (Curve("limited", "at the limit"),)),
        Panel(
            "Speed limit",
            "units of q, a step and a unit of time",
            "workload",
            (Curve("limit", "a step: η exp(-Λτ)", "second"), Curve("speed_limit", "a unit of time", "third")),
            log=True,
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        totals = snapshot.system.totals
        found = {"path_length": totals.get("path", 0.0), "workload": totals.get("workload", 0.0)}
        return found if snapshot.limited is None else found | _limits(snapshot)


def _limits(snapshot: Snapshot) -> dict[str, float]:
    """What the limit allows; no bound and none at it while it is off, which a person may say at any step."""
    system, limit = snapshot.system, snapshot.eta * snapshot.envelope
    if not snapshot.limited:
        return {"workload_bound": math.nan, "limited": math.nan, "limit": limit}
    bound = workload_bound(system.graph.particles, snapshot.eta, snapshot.decay, system.age)
    return {
        "workload_bound": bound if snapshot.bounded else math.nan,
        "limited": system.totals.get("limited", 0.0),
        "limit": limit,
    }
