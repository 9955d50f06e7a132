"""The constants that Appendix H asks for, Eq. (57)-(58), and what Eq. (59)-(60) make of them, beside what happens.

However, nothing in the motion keeps these sums: they are measured, never asserted. Eq. (59) and (60) hold for imposed
Lambda only (`tests/validation/test_workload_of_eq60.py`).
"""

from __future__ import annotations

import math

import numpy as np

from dynsim.observables.base import Observable, Snapshot, find, observable
from dynsim.panels import Curve, Panel
from dynsim.system.graph import Groups, System


def path_of_eq59(constant: float, rate: float, t: float) -> float:
    """I(t) = C_eta exp(-mean Lambda t), in the unit of C_eta."""
    return constant * math.exp(-rate * t)


def workload_of_eq60(constant: float, rate: float, t: float) -> float:
    """W(t) = C_eta / mean Lambda (1 - exp(-mean Lambda t)); C_eta t without damping.

    The printed factor N C_eta C_L / C_dL is C_eta / mean Lambda, by Eq. (58).
    """
    return constant * t if rate == 0 else -constant * math.expm1(-rate * t) / rate


@observable
class Conservation(Observable):
    """Sums over all coordinate particles, and Eq. (59)-(60) with their present values.

    eta_sum : C_eta of Eq. (57).
    lagrangian_sum, lagrangian_rate : C_L and C_dL, sums of L_i and of dL_i/dt (per unit of time), over components too
        where the law has a vector; L = T - V and dL/dt = 2 F.v under laws without one of their own.
    lambda_mean : over particles, a constant in Eq. (58); lambda_ratio : C_dL / (N C_L), which it should be.
    path_eq59 : of a step (units of q), lambda_mean for Lambda; workload_eq60 : since the last learning event.
    lagrangian_crossings : how often a component of L has changed its sign.
    """

    name, kind, every = "conservation", "scalar", "step"
    panels = (
        Panel("Sum of η", "C_η, units of q", "conservation", (Curve("eta_sum", "sum of η"),)),
        Panel(
            "Sums of L and dL/dt",
            "Eq. 57",
            "conservation",
            (Curve("lagrangian_sum", "L"), Curve("lagrangian_rate", "dL/dt", "second")),
        ),
        Panel(
            "Mean Λ",
            "per unit of time, Eq. 58",
            "conservation",
            (Curve("lambda_mean", "mean Λ"), Curve("lambda_ratio", "from the sums", "control")),
        ),
        Panel("Path of a step by Eq. 59", "units of q", "conservation", (Curve("path_eq59", "Eq. 59"),), log=True),
        Panel("Workload by Eq. 60", "units of q", "conservation", (Curve("workload_eq60", "Eq. 60"),)),
        Panel(
            "Sign changes of L", "components so far", "conservation", (Curve("lagrangian_crossings", "sign changes"),)
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        system, dt = snapshot.system, snapshot.dt
        constant = sum(_totals(find("eta").compute(snapshot)))
        lagrangian, rate = _lagrangian(snapshot)
        mean = _mean_lambda(system)
        return {
            "eta_sum": constant,
            "lagrangian_sum": lagrangian,
            "lagrangian_rate": rate,
            "lambda_mean": mean,
            # Eq. (58)
            "lambda_ratio": rate / (system.graph.particles * lagrangian) if lagrangian else float("nan"),
            "path_eq59": path_of_eq59(constant, mean, system.age * dt),
            "workload_eq60": workload_of_eq60(constant, mean, system.age * dt) / dt,
            "lagrangian_crossings": sum(_remembered(system, "lagrangian-crossings:")),
        }


def _lagrangian(snapshot: Snapshot) -> tuple[float, float]:
    """(sum of L, sum of dL/dt) of all coordinate particles."""
    system = snapshot.system
    if vectors := _remembered(system, "lagrangian:"):
        return sum(vectors), sum(_remembered(system, "lagrangian-change:")) / snapshot.dt
    power = (
        float(np.sum(system.force[k] * v, dtype=np.float64))
        for k, v in system.v.items()
        if k.startswith("q:") and k in system.force
    )
    return sum(_totals(find("lagrangian").compute(snapshot))), 2 * sum(power)


def _mean_lambda(system: System) -> float:
    """0 before the first step."""
    known = [a for k, a in system.memory.items() if k.startswith("lambda:")]
    return sum(_totals(dict(enumerate(known)))) / max(1, sum(a.size for a in known))


def _remembered(system: System, kind: str) -> list[float]:
    """Sums of what the damping law remembers of a kind, by subsystem."""
    return _totals({k: a for k, a in system.memory.items() if k.startswith(kind)})


def _totals(groups: dict | Groups) -> list[float]:
    return [float(np.sum(a, dtype=np.float64)) for a in groups.values() if a is not None]
