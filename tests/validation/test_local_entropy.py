"""Eq. (13) particle by particle, and Fig. 6: what moves to where more are is told from what moves at random."""

import math

import numpy as np
import pytest

from dynsim import Scenario, Simulation
from dynsim.observables import find
from dynsim.observables.entropy import structural_entropy
from dynsim.observables.local_entropy import (
    density_ascent,
    density_gradient,
    downhill,
    random_directions,
    surprisal,
)


def cloud(n=2000, dim=3, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dim))


@pytest.mark.parametrize("delta", [0.2, 1.0, 5.0])
def test_its_mean_is_psi(kernels, delta):
    q = cloud()
    local = surprisal(q, delta)
    assert local.mean() == pytest.approx(structural_entropy(kernels, q, delta), rel=1e-12)
    assert (local >= 0).all()
    assert local.max() <= math.log(len(q)) + 1e-12


def test_it_is_lower_where_more_are():
    """Cells of 1 and 3 points: -log 1/4 and -log 3/4."""
    local = surprisal(np.array([[0.1], [1.1], [1.2], [1.3]]), 1.0)
    np.testing.assert_allclose(local, -np.log([0.25, 0.75, 0.75, 0.75]))


def test_the_particle_itself_is_not_counted():
    """Four alone in their cells: one goes to an empty one (a tie), one to a neighbour, two stay."""
    q, moved = np.array([[0.5], [1.5], [2.5], [3.5]]), np.array([[-1.0], [1.0], [0.0], [0.2]])
    assert downhill(q, moved, 1.0) == (0.5, 0.75)


def test_nothing_leaves_a_cell():
    leaving, denser = downhill(cloud(), np.zeros((2000, 3)), 0.5)
    assert leaving == 0
    assert math.isnan(denser)
    assert math.isnan(density_ascent(cloud(), np.zeros((2000, 3)), 0.5, np.random.default_rng(0)))


def test_a_contracting_cloud_moves_downhill_and_an_expanding_one_does_not():
    q, rng = cloud(), np.random.default_rng(1)
    inwards, outwards = downhill(q, -0.4 * q, 0.4).denser, downhill(q, 0.4 * q, 0.4).denser
    control = downhill(q, random_directions(-0.4 * q, rng), 0.4).denser
    assert outwards + 0.2 < control < inwards - 0.2
    assert density_ascent(q, -0.4 * q, 0.4, rng) > 0.7
    assert density_ascent(q, 0.4 * q, 0.4, rng) < -0.7


def test_random_directions_climb_no_density_and_keep_their_lengths():
    q, rng = cloud(), np.random.default_rng(1)
    control = random_directions(-0.4 * q, rng)
    np.testing.assert_allclose(np.linalg.norm(control, axis=1), 0.4 * np.linalg.norm(q, axis=1))
    assert abs(density_ascent(q, control, 0.4, rng)) < 4 / math.sqrt(3 * 512)  # four deviations of its mean


def test_the_gradient_is_that_of_log_density():
    """Around two points, by central differences."""
    q, at, width, h = np.array([[0.0, 0.0], [1.0, 0.5]]), np.array([[0.3, -0.2]]), 0.6, 1e-5

    def log_density(x):
        return np.log(np.exp(-np.square(x - q).sum(axis=1) / (2 * width**2)).sum())

    expected = [(log_density(at + h * e) - log_density(at - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(density_gradient(q, at, width)[0], expected, rtol=1e-8)


@pytest.fixture(scope="module")
def moons():
    simulation = Simulation(Scenario.load("moons", ["run.steps=30", 'record.observables=["downhill", "entropy"]']))
    while simulation.system.step < 20:
        simulation.step()
    return simulation


def test_a_run_records_it_and_colours_by_it(moons):
    scalars, snapshot = moons.scalars(), moons.snapshot()
    local = find("local_entropy").compute(snapshot)
    q = moons.system.x
    assert {k: a.shape for k, a in local.items()} == {k[2:]: a.shape[:2] for k, a in q.items() if k.startswith("q:")}
    n = moons.graph.particles
    mean = np.concatenate([a.ravel() for a in local.values()]).mean()
    assert mean / math.log(n) == pytest.approx(scalars["entropy"], rel=1e-6)
    in_space = np.concatenate([a.ravel() for a in find("local_entropy_rd").compute(snapshot).values()])
    assert in_space.mean() / math.log(n) == pytest.approx(scalars["entropy_scaled_1"], rel=1e-6)


def test_the_scalars_and_their_control_are_repeatable(moons):
    first, second = (find("downhill").compute(moons.snapshot()) for _ in range(2))
    assert first == second
    assert 0 < first["leaving"] <= 1
    assert 0 <= first["downhill"] <= 1
    assert first["downhill"] != first["downhill_control"]
    assert -1 <= first["density_ascent"] <= 1


def test_a_well_draws_particles_up_the_density():
    """The scenario's claim. What print says of learning is what confinement does, while the cloud contracts."""
    found = {}
    for k in (0.02, 0.0):
        scenario = Scenario.load("local_entropy", [f"dynamics.confinement={k}", "run.steps=14"])
        rows = [f.scalars for f in Simulation(scenario) if f.step]
        found[k] = {n: np.mean([r[n] for r in rows]) for n in ("density_ascent", "density_ascent_control")}
    assert found[0.02]["density_ascent"] > 0.2
    assert abs(found[0.02]["density_ascent_control"]) < 0.1
    assert abs(found[0.0]["density_ascent"]) < 0.1
