"""Motion that can be solved by hand: the two-body oscillator, and exponential decay (Eq. 55)."""

import numpy as np
import pytest
from worlds import constant_motion, last, march, motion, moving, order_of, pair_graph

from dynsim.dynamics.damping import Friction, friction_rate
from dynsim.dynamics.integrators import KickDrift, Leapfrog
from dynsim.fields.target import TargetField
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import System

TARGET, MU, R0 = 1.4, 0.7, 3.0


def closed_form(t, m1, m2):
    """r(t) = T/mu + (r0 - T/mu) cos(w t), w = mu sqrt(1/m1 + 1/m2)."""
    return TARGET / MU + (R0 - TARGET / MU) * np.cos(MU * np.sqrt(1 / m1 + 1 / m2) * t)


def oscillator(dim):
    """Two particles at rest at distance R0, with masses 1 and 2."""
    graph = pair_graph(m=1, n=1, copies=1, dim=dim, eps=0.0)
    x = {"q:a": np.zeros((1, 1, dim)), "q:b": np.zeros((1, 1, dim))}
    x["q:a"][..., 0] = R0
    v = {k: np.zeros_like(a) for k, a in x.items()}
    mass = {"q:a": np.full((1, 1, 1), 1.0), "q:b": np.full((1, 1, 1), 2.0)}
    return System(graph, x | {"mu:a>b": np.array([[MU]]), "gain:a>b": np.ones((1, 1))}, v, {}, mass)


@pytest.mark.parametrize("dim", [1, 3, 9])
def test_two_bodies_follow_their_closed_form_to_second_order(kernels, dim):
    errors = []
    for dt in (0.1, 0.05, 0.025):
        system = oscillator(dim)
        world = motion(kernels, TargetField(system.graph, np.array([[TARGET]])), dt=dt)
        states = march(system, Leapfrog(), world, round(8 / dt))
        errors.append(max(abs(np.linalg.norm(s.x["q:a"] - s.x["q:b"]) - closed_form(s.time, 1, 2)) for s, _ in states))
    assert order_of(errors) == pytest.approx([2, 2], abs=0.1)
    assert errors[-1] < 1e-3


def test_shipped_two_particles_swing_as_its_comment_says(device):
    scenario = Scenario.load("two_particles", [f'run.device="{device}"', "run.steps=600"])
    simulation = Simulation(scenario)
    m1, m2 = (simulation.system.mass[f"q:{n}"].item() for n in ("input", "output"))
    for frame in simulation:
        q = frame.properties["position"]
        assert np.linalg.norm(q[0] - q[1]) == pytest.approx(closed_form(frame.time, m1, m2), abs=2e-3)
        assert frame.scalars["total_energy"] == pytest.approx(0.245, abs=1e-4)


@pytest.mark.parametrize("integrator", [KickDrift(), Leapfrog()], ids=lambda i: i.name)
@pytest.mark.parametrize("order", [0.5, 1])
def test_free_particle_decays_exponentially(integrator, order):
    """Eq. (55) with the exponent Lambda/2 as printed there, or Lambda as in Eq. (10)."""
    rate, dt, steps = 0.8, 0.1, 200
    system = moving(pair_graph(), seed=0)
    free = {k: np.zeros_like(a) for k, a in system.v.items()}
    world = constant_motion(free, Friction(rate=rate, order=order), dt=dt)
    for n, (state, _) in enumerate(march(system, integrator, world, steps), 1):
        expected = np.exp(-order * rate * n * dt)
        for key, v in system.v.items():
            np.testing.assert_allclose(state.v[key], v * expected, rtol=1e-12)


@pytest.mark.parametrize("order", [0.5, 1])
def test_friction_keeps_the_fraction_that_was_asked_for(order):
    system = moving(pair_graph(), seed=0)
    law = Friction(rate=friction_rate(0.9, order, 0.3), order=order)
    free = {k: np.zeros_like(a) for k, a in system.v.items()}
    slower = last(march(system, KickDrift(), constant_motion(free, law, dt=0.3), 1))
    for key, v in system.v.items():
        np.testing.assert_allclose(slower.v[key], 0.9 * v, rtol=1e-14)
