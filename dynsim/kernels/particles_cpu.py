"""The step of particles on CPU threads (Numba), one pass over memory; contract and formulas: `particles`.

A block of particles stays in the cache next to the core between short loops: over coordinates, over particles, and over
coordinates again. What belongs to a particle is spread over its coordinates, so that all of them are SIMD in any d,
but for the two that pass from one to the other.
"""

from __future__ import annotations

import functools

import numpy as np

from .sharing import share
from .specialised import compiled

COORDINATES = 1024  # of a block, about
BLOCKS = 16  # of a task: neighbours, so that the hardware can fetch ahead
OPERATIONS = 8  # multiply-adds for a coordinate


def kick_drift(q, v, force, mass, keep, kick, dt, longest, work):
    """(q', v', work', left, sums) of particles q, v, force (..., d); see `particles.kick_drift`."""
    shape, particles, dtype = q.shape, q.shape[:-1], q.dtype
    rows = max(COORDINATES // shape[-1], 1)
    sums = np.empty((-(-work.size // rows), 6))
    results = _room(q.size, work.size, dtype)
    flat = [np.ascontiguousarray(a, dtype).reshape(-1) for a in (q, v, force, work)]
    given = _flat(mass, (*particles, 1), dtype), _flat(keep, shape, dtype), _flat(longest, (*particles, 1), dtype)
    times = dtype.type(kick), dtype.type(dt)
    arrays = rows, *flat, *given, *times, *results, sums
    share(functools.partial(_step, *arrays), -(-len(sums) // BLOCKS), OPERATIONS * q.size)
    shapes = shape, shape, particles, particles
    return *(a.reshape(s) for a, s in zip(results, shapes)), sums.sum(axis=0)


def _room(coordinates, particles, dtype):
    """For q, v, work and left, in one piece of memory, which the allocator keeps for the step after the next; of
    several it would give some back to the system, and have their pages cleared again."""
    room = np.empty(2 * (coordinates + particles), dtype)
    middle, last = 2 * coordinates, 2 * coordinates + particles
    return room[:coordinates], room[coordinates:middle], room[middle:last], room[last:]


def _flat(a, shape, dtype):
    """One number for all (1,), or one for each."""
    a = np.asarray(a, dtype)
    return a.reshape(1) if a.size == 1 else np.broadcast_to(a, shape).reshape(-1)


@compiled
def _step(rows, q, v, force, work, mass, keep, longest, kick, dt, q_out, v_out, work_out, left_out, sums, first, step):
    d, half = q.size // work.size, mass.dtype.type(0.5)
    size = rows * d
    inertia, drive, kept = np.full(size, mass[0]), np.full(size, kick / mass[0]), np.full(size, keep[0])
    heavy, cap = np.full(rows, mass[0]), np.full(rows, longest[0])
    wanted, spread = np.empty(size, q.dtype), np.empty(size, q.dtype)
    speed2, power = np.empty(rows, q.dtype), np.empty(rows, q.dtype)
    for task in range(first, (len(sums) + BLOCKS - 1) // BLOCKS, step):
        for block in range(task * BLOCKS, min((task + 1) * BLOCKS, len(sums))):
            of = slice(block * rows, min((block + 1) * rows, work.size))
            each = slice(of.start * d, of.stop * d)
            if mass.size > 1:
                heavy[: of.stop - of.start] = mass[of]
                _spread(mass[of], d, inertia)
                drive[:] = kick / inertia
            if keep.size > 1:
                kept[: each.stop - each.start] = keep[each]
            if longest.size > 1:
                cap[: of.stop - of.start] = longest[of]
            before, damped = _pushed(v[each], force[each], inertia, kept, drive, wanted)
            _of_particles(wanted, force[each], d, speed2, power)
            kicked, limited, path, at_limit = _limited(
                speed2, power, heavy, cap, dt, work[of], left_out[of], work_out[of]
            )
            _spread(left_out[of], d, spread)
            _drifted(q[each], wanted, spread, dt, q_out[each], v_out[each])
            sums[block, 0], sums[block, 1] = half * before, half * damped
            sums[block, 2], sums[block, 3] = half * kicked, half * limited
            sums[block, 4], sums[block, 5] = path, at_limit


@compiled
def _spread(of_particles, d, of_coordinates):
    for k in range(d):
        for r in range(of_particles.size):
            of_coordinates[r * d + k] = of_particles[r]


@compiled
def _pushed(v, force, inertia, kept, drive, wanted):
    """w; sums of m |v|^2 and m |v1|^2."""
    before = damped = v.dtype.type(0)
    for j in range(v.size):
        slower = kept[j] * v[j]
        before += inertia[j] * v[j] * v[j]
        damped += inertia[j] * slower * slower
        wanted[j] = slower + drive[j] * force[j]
    return before, damped


@compiled
def _of_particles(wanted, force, d, speed2, power):
    """|w|^2 and F.w."""
    for r in range(force.size // d):
        square = along = force.dtype.type(0)
        for k in range(d):
            square += wanted[r * d + k] * wanted[r * d + k]
            along += wanted[r * d + k] * force[r * d + k]
        speed2[r], power[r] = square, along


@compiled
def _limited(speed2, power, heavy, cap, dt, work, left, work_out):
    """What the limit leaves; sums of m |w|^2 and m |v'|^2, the path, and how many are at the limit."""
    zero, one = left.dtype.type(0), left.dtype.type(1)
    kicked = limited = path = at_limit = zero
    for r in range(left.size):
        over = speed2[r] > cap[r] * cap[r]
        speed = np.sqrt(speed2[r])
        part = cap[r] / speed if over else one
        left[r] = part
        work_out[r] = work[r] + dt * (part * power[r])
        kicked += heavy[r] * speed2[r]
        limited += heavy[r] * (part * part * speed2[r])
        path += dt * (part * speed)
        at_limit += one if over else zero
    return kicked, limited, path, at_limit


@compiled
def _drifted(q, wanted, left, dt, q_out, v_out):
    for j in range(q.size):
        limited = left[j] * wanted[j]
        v_out[j] = limited
        q_out[j] = q[j] + dt * limited
