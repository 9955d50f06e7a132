"""Eq. (59)-(60): the workload of particles whose speed decays, and its bound under the Eq. (10) limit."""

from dataclasses import dataclass

import numpy as np
import pytest
from worlds import (
    constant_motion,
    coordinates,
    last,
    march,
    motion,
    moving,
    network_world,
    order_of,
    pair_graph,
)

from dynsim.dynamics.integrators import KickDrift, Leapfrog
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.observables.workload import workload_bound


@dataclass(frozen=True)
class Imposed:
    """A law with a Lambda of its own for every particle: {group: (H, N, 1)}."""

    rates: dict
    order = 1.0

    def exponents(self, system, received, dt):
        return {k: self.order * rate * dt for k, rate in self.rates.items()}, {}


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_workload_for_imposed_lambda_is_eq60(spread):
    """W(T) = sum_i eta_i / Lambda_i (1 - exp(-Lambda_i T)), for equal and for very different Lambda_i."""
    start = moving(pair_graph(m=30, n=20), seed=0)
    rng = np.random.default_rng(1)
    rates = {k: np.exp(spread * rng.standard_normal((*a.shape[:2], 1))) for k, a in start.v.items()}
    eta = {k: np.linalg.norm(a, axis=-1, keepdims=True) for k, a in start.v.items()}
    duration, errors = 3.0, []
    expected = sum((eta[k] / r * (1 - np.exp(-r * duration))).sum() for k, r in rates.items())
    free = {k: np.zeros_like(a) for k, a in start.v.items()}
    for dt in (0.1, 0.05):
        world = constant_motion(free, Imposed(rates), dt=dt)
        end = last(march(start, Leapfrog(), world, round(duration / dt)))
        errors.append(abs(end.totals["workload"] - expected))
    assert order_of(errors) == pytest.approx([2], abs=0.05)
    assert errors[-1] < 1e-3 * expected


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_particles_that_always_move_at_the_limit_reach_the_bound(rate):
    system = moving(pair_graph(), seed=0)
    force = {k: 1e3 * (1 + a**2) for k, a in system.v.items()}
    world = constant_motion(force, limit=SpeedLimit(eta=0.01, rate=rate, warmup=0), dt=0.5)
    particles = system.graph.copies * system.graph.size
    for n, (state, _) in enumerate(march(system, KickDrift(), world, 30), 1):
        assert state.totals["limited"] == 1
        assert state.totals["workload"] == pytest.approx(workload_bound(particles, 0.01, rate, n), rel=1e-12)


def test_bound_tends_to_eq60():
    """N eta / Lambda_env, up to half a step: 1 / (1 - e^-k) = 1 / k + 1/2 + O(k)."""
    for rate in (0.1, 0.01):
        bound = workload_bound(18, 0.2, rate, 100_000)
        assert bound == pytest.approx(18 * 0.2 * (1 / rate + 0.5), rel=rate**2)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_no_limited_run_does_more_work_than_the_bound(kernels, warmup):
    system, field = network_world(speed=1.0)
    limit = SpeedLimit(eta=0.02, rate=0.03, warmup=warmup)
    particles = sum(a.shape[0] * a.shape[1] for a in coordinates(system.x).values())
    states = march(system.replace(event_span=40), KickDrift(), motion(kernels, field, limit=limit, dt=0.5), 40)
    for n, (state, _) in enumerate(states, 1):
        assert 0 < state.totals["workload"] <= workload_bound(particles, 0.02, 0.03, n) * (1 + 1e-12)
    assert state.totals["workload"] > 0.3 * workload_bound(particles, 0.02, 0.03, n)
