"""Eq. (10) as a speed limit: |v_i| dt <= eta exp(-Lambda_env tau), tau = steps since the last learning event.

However, printed Eq. (10) has no direction: a scalar times a positive exponential cannot descend. Read as the
largest speed allowed, it is what makes training fast and insensitive to dt; `eq10-literal` is the other reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.system.graph import Groups, System, group_kind

# The limit ends a run at this fraction of eta: Lambda_env = ln 100 / steps.
FINAL_FRACTION = 0.01


@dataclass(frozen=True)
class SpeedLimit:
    """The envelope of Eq. (10).

    Attributes
    ----------
    eta : longest move of a particle in one step (in units of q); a state that remembers "eta:NAME" (H, N, 1) multiplies
        it, particle by particle.
    rate : Lambda_env per step; None anneals to 1 % over the learning event's span.
    warmup : fraction of the span over which the limit grows linearly from 0.
    coefficients : longest move of mu, gain and eps, relative to their root mean square.
    enabled : False switches the limit off (the envelope remains, as Adam's schedule).
    """

    eta: float = 0.1
    rate: float | None = None
    warmup: float = 0.05
    coefficients: float = 0.005
    enabled: bool = True

    def decay(self, system: System) -> float:
        """Lambda_env per step."""
        return -math.log(FINAL_FRACTION) / max(system.event_span, 1) if self.rate is None else self.rate

    def envelope(self, system: System) -> float:
        """exp(-Lambda_env tau), with warm-up; in (0, 1]."""
        rise = self.warmup * max(system.event_span, 1)
        warm = min(1.0, (system.age + 1) / rise) if rise > 1 else 1.0
        return math.exp(-self.decay(system) * system.age) * warm

    def reach(self, system: System, name: str) -> float | np.ndarray:
        """eta_i of the particles of a subsystem, (H, N, 1) where they have their own."""
        factor = system.memory.get(f"eta:{name}")
        return self.eta if factor is None else self.eta * factor

    def longest(self, system: System, dt: float) -> Groups:
        """Largest speed of every group that has one: of its particles, or (H, N, 1) of each; nothing while disabled."""
        if not self.enabled:
            return {}
        unit = self.envelope(system) / dt
        found: dict[str, Any] = {}
        for key in system.v:
            kind = group_kind(key)
            if kind == "q":
                found[key] = self.reach(system, key[2:]) * unit
            elif kind in ("mu", "gain", "eps", "medium"):
                found[key] = self.coefficients * np.sqrt(np.mean(system.x[key] ** 2)) * unit
        return found
