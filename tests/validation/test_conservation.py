"""Undamped, unlimited motion in a fixed potential with mu and gain fixed: what mechanics conserves is conserved.

l1 has no softening here, so no order is claimed for it: its force jumps where two coordinates pass each other,
and the median slope of its energy error lies anywhere between 0 and 1.3, depending on dt.
"""

import numpy as np
import pytest
from worlds import UNDAMPED, coordinates, last, march, motion, order_of, target_world, total_energy

from dynsim.dynamics.damping import Friction
from dynsim.dynamics.integrators import Leapfrog

CENTRAL = ("l2", "squared", "plummer", "reciprocal")  # forces along the line between two particles
SEEDS = range(5)


def energy_error(kernels, metric, seed, dt, law=UNDAMPED, confinement=0.0, duration=1.5):
    """Largest deviation of the ledger from its value at the start."""
    system, field = target_world(metric, seed, eps=0.3)
    world = motion(kernels, field, law, dt=dt, confinement=confinement)
    start = total_energy(system, world.push(system, 0)[1], confinement)
    states = march(system, Leapfrog(), world, round(duration / dt))
    return max(abs(total_energy(*state, confinement) - start) for state in states)


def median_order(kernels, metric, **options):
    return np.median(
        [order_of([energy_error(kernels, metric, seed, dt, **options) for dt in (0.03, 0.015)]) for seed in SEEDS]
    )


@pytest.mark.parametrize("metric", CENTRAL)
def test_energy_error_of_leapfrog_is_of_second_order(kernels, metric):
    assert median_order(kernels, metric) == pytest.approx(2, abs=0.1)


def test_energy_of_the_confining_well_is_part_of_the_ledger(kernels):
    assert median_order(kernels, "l2", confinement=2.0) == pytest.approx(2, abs=0.1)


def test_damped_ledger_is_of_second_order(kernels):
    """E + dissipated is constant under friction."""
    assert median_order(kernels, "l2", law=Friction(rate=0.5)) == pytest.approx(2, abs=0.1)


def test_kinks_of_l1_cost_the_second_order(kernels):
    assert median_order(kernels, "l1") < 1.7


def momentum(system):
    """sum of m v over the particles of each copy, (H, d), and its scale."""
    parts = [system.mass[k] * v for k, v in coordinates(system.v).items()]
    return sum(p.sum(1) for p in parts), sum(np.abs(p).sum() for p in parts)


def angular_momentum(system):
    """sum of q ^ m v over the particles of each copy, (H, d, d), and its scale."""
    parts = [np.einsum("hna,hnb->hab", system.x[k], system.mass[k] * v) for k, v in coordinates(system.v).items()]
    return sum(p - p.swapaxes(1, 2) for p in parts), sum(np.abs(p).sum() for p in parts)


@pytest.mark.parametrize(
    ("quantity", "metric"),
    [(momentum, m) for m in (*CENTRAL, "l1", "lp")] + [(angular_momentum, m) for m in (*CENTRAL, "dot")],
)
def test_symmetry_conserves(kernels, quantity, metric):
    """Translation conserves momentum (all metrics but dot), rotation angular momentum; per copy."""
    system, field = target_world(metric, seed=1)
    before, scale = quantity(system)
    after, _ = quantity(last(march(system, Leapfrog(), motion(kernels, field), 300)))
    assert np.abs(before).max() > 0.01 * scale
    assert np.abs(after - before).max() < 1e-12 * scale


@pytest.mark.parametrize("metric", CENTRAL)
def test_leapfrog_runs_backwards(kernels, metric):
    start, field = target_world(metric, seed=2)
    world = motion(kernels, field)
    there = last(march(start, Leapfrog(), world, 200))
    back = last(march(there.replace(v={k: -a for k, a in there.v.items()}), Leapfrog(), world, 200))
    for key, v in start.v.items():
        assert np.abs(there.x[key] - start.x[key]).max() > 0.1
        assert np.abs(back.x[key] - start.x[key]).max() < 1e-12
        assert np.abs(back.v[key] + v).max() < 1e-12
