"""The step of particles under a given force against NumPy: with an array for every operation, and in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.kernels import reference

SHAPES = {3: 14.0, 9: None}  # d -> goal
PARTICLES = 100_000
KEEP, KICK, DT, LONGEST = (np.float32(x) for x in (0.95, 0.1, 0.1, 1.5))  # nearly half of all are at the limit


@benchmark("particle-step")
def particle_step(context: Context) -> Iterator[Case]:
    """Damping, kick, limit, drift, four energies, path and work."""
    for d, goal in SHAPES.items():
        arrays = _particles((1, PARTICLES, d))
        rivals = (
            Rival("NumPy, operation by operation", _with(reference.kick_drift, arrays), goal),
            Rival("NumPy, in place, sums by BLAS", _with(in_place, arrays), goal),
        )
        ours = _with(context.kernels.kick_drift, arrays)
        yield Case("particle step", f"({PARTICLES}, {d})", ours, rivals, tolerance=1e-5, most=200)


def _particles(shape: tuple[int, ...]) -> tuple:
    """What `kick_drift` takes; one mass for all."""
    rng = np.random.default_rng()
    q, v, force = (rng.standard_normal(shape, np.float32) for _ in range(3))
    return (
        q,
        v,
        force,
        np.full((1,) * len(shape), 2, np.float32),
        KEEP,
        KICK,
        DT,
        LONGEST,
        np.zeros(shape[:-1], q.dtype),
    )


def _with(step: Callable, arrays: tuple) -> Callable[[], Work]:
    return lambda: lambda: step(*arrays)


def in_place(q, v, force, mass, keep, kick, dt, longest, work):
    """`kick_drift` with as few passes and new arrays as NumPy allows, for one mass and one limit."""
    ones, heavy = np.ones(q.shape[-1], q.dtype), mass.item()
    half = 0.5 * heavy
    wanted = keep * v
    before, damped = half * float(np.vdot(v, v)), half * float(np.vdot(wanted, wanted))
    scratch = force * (kick / q.dtype.type(heavy))
    wanted += scratch
    np.multiply(wanted, wanted, out=scratch)
    square = scratch @ ones
    kicked = half * float(square.sum(dtype=np.float64))
    speed = np.sqrt(square)
    left = longest / speed
    np.minimum(left, 1, out=left)
    at_limit = np.count_nonzero(left < 1)
    wanted *= left[..., None]
    speed *= left
    limited, path = half * float(np.vdot(speed, speed)), float(dt * speed.sum(dtype=np.float64))
    np.multiply(force, wanted, out=scratch)
    done = scratch @ ones
    done *= dt
    done += work
    np.multiply(wanted, dt, out=scratch)
    scratch += q
    return scratch, wanted, done, left, np.array([before, damped, kicked, limited, path, at_limit])
