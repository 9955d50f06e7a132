"""Eq. (14): LapCurSE of curves whose curvature is known, and of clouds beside their null control."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dynsim import Scenario, Simulation
from dynsim.observables import curvature, find


def errors_at_the_top_of_a_parabola(samples):
    """y = a x^2 / 2 has kappa = a (1 + a^2 x^2)^(-3/2), so kappa'' = -3 a^3 at its top."""
    a, x = 0.7, np.linspace(-0.5, 0.5, samples)
    return abs(curvature.laplacian_of_curvature(x, 0.5 * a * x**2)[samples // 2] - 3 * a**3)


def test_a_parabola_has_the_laplacian_of_its_closed_form():
    coarse, fine = (errors_at_the_top_of_a_parabola(n) for n in (101, 201))
    assert fine < 1e-3
    assert math.log2(coarse / fine) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("slope", [0.0, -1.3])
def test_a_straight_line_has_none(slope):
    x = np.linspace(-3, 0, 40)
    assert curvature.laplacian_of_curvature(x, slope * x + 2).max() < 1e-9


def test_a_circle_has_none():
    """Its curvature is constant; beside its ends, where differences are one-sided, |kappa''| vanishes."""
    x = np.linspace(-0.5, 0.5, 401)
    assert curvature.laplacian_of_curvature(x, np.sqrt(1 - x**2))[5:-5].max() < 1e-3


def cloud(n, dim=3):
    return np.random.default_rng(0).standard_normal((n, dim))


def test_psi_is_taken_at_40_delta_of_the_range(kernels):
    q = cloud(300)
    delta, psi, values = curvature.lapcurse_curve(kernels, q)
    assert len(delta) == len(psi) == len(values) == 40
    np.testing.assert_allclose(delta[[0, -1]], np.array([0.002, 0.9]) * (q.max() - q.min()))
    assert psi[0] == pytest.approx(math.log(300), rel=1e-3)
    assert psi[-1] < 0.5 * psi[0]
    assert curvature.lapcurse(kernels, q) == pytest.approx(values.mean())


def test_a_multiple_of_the_coordinates_has_the_same(kernels):
    q = cloud(300)
    assert curvature.lapcurse(kernels, 8 * q) == pytest.approx(curvature.lapcurse(kernels, q), rel=1e-9)


def test_coincident_points_have_none(kernels):
    assert curvature.lapcurse(kernels, np.full((50, 3), 0.3)) == 0


def test_many_points_are_a_fixed_choice_of_4096():
    from dynsim.kernels.load import load

    kernels, q = load("cpu"), cloud(9000, 2)
    seen = []
    for _ in range(2):
        seen.append(curvature.lapcurse(kernels, q))
    assert seen[0] == seen[1]
    assert len(curvature._chosen(9000)) == len(set(curvature._chosen(9000))) == 4096
    assert curvature.lapcurse(kernels, q[curvature._chosen(9000)]) == seen[0]


def test_the_null_control_is_the_start_of_the_run_and_stays(device):
    settings = ["run.steps=20", 'record.observables=["lapcurse"]', f"run.device={device}"]
    simulation = Simulation(Scenario.load("moons", settings))
    start = find("lapcurse").compute(simulation.snapshot())
    assert start["lapcurse"] == start["lapcurse_null"] > 0
    frames = list(simulation)
    assert {f.scalars["lapcurse_null"] for f in frames} == {start["lapcurse_null"]}
    assert frames[-1].scalars["lapcurse"] != start["lapcurse"]


def test_the_null_control_has_the_seed_of_the_run():
    simulation = Simulation(Scenario.load("moons", ["run.seed=3"]))
    start, other = (find("lapcurse").compute(replace(simulation.snapshot(), seed=seed)) for seed in (3, 4))
    assert start["lapcurse"] == start["lapcurse_null"] == other["lapcurse"] != other["lapcurse_null"]
