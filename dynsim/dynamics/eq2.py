"""Sub-models that move by Eq. (2) itself: a step of the run is a tick, and signals run while they move."""

from __future__ import annotations

from dataclasses import dataclass

from dynsim.dynamics.integrators import INTEGRATORS, Motion
from dynsim.forces import Response
from dynsim.system.graph import System
from dynsim.system.rule import propagator


@dataclass(frozen=True)
class Eq2:
    """q <- q + Q dq/dt, with dq/dt of line 3 of Eq. (2) and Q the integral of exp(F s) over a tick of `dt`.

    The field's force is that velocity. Exact where D = E = 0, whatever dt; order 1 where signals push, because they
    are held over a tick. However, neither a damping law nor the Eq. (10) limit enters: Eq. (2) has none.
    """

    name = "eq2"
    order = 1

    def step(self, system: System, motion: Motion) -> tuple[System, Response]:
        speed, response = motion.push(system, system.step)
        v = dict(system.v)
        for key in (k for k in v if k.startswith("q:")):
            turn = propagator(system.x[f"F:{key[2:]}"], motion.dt, motion.kernels)
            v[key] = speed[key] @ turn.T / v[key].dtype.type(motion.dt)
        memory = system.memory | response.carried
        return motion.tick(motion.drift(system.replace(force=speed, v=v, memory=memory))), response


INTEGRATORS[Eq2.name] = Eq2
