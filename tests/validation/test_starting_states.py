"""How a run starts decides whether it trains: points on a sphere, zero-sum mu, path integrals of the right size."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import METRICS, pair_graph

from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import Graph, Link, Subsystem, System
from dynsim.system.initialise import (
    default_copies,
    initial_positions,
    masses,
    sphere_points,
    zero_sum_coefficients,
)

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 4), st.integers(2, 40), st.integers(2, 9))
def test_points_lie_on_the_unit_sphere(seed, copies, n, dim):
    q = sphere_points(np.random.default_rng(seed), copies, n, dim)
    assert q.shape == (copies, n, dim)
    np.testing.assert_allclose(np.linalg.norm(q, axis=-1), 1, rtol=1e-12)


def test_points_are_spread_around_the_centre():
    q = sphere_points(np.random.default_rng(0), 4, 500, 3)
    assert np.abs(q.mean(1)).max() < 0.05
    assert np.abs(np.einsum("hna,hnb->hab", q, q) / 500 - np.eye(3) / 3).max() < 0.06


@given(seeds, st.integers(2, 40))
def test_mu_has_zero_sum_and_unit_norm(seed, copies):
    mu = zero_sum_coefficients(np.random.default_rng(seed), copies)
    assert abs(mu.sum()) < 1e-12
    assert np.linalg.norm(mu) == pytest.approx(1, rel=1e-12)


def test_a_single_copy_has_mu_one():
    np.testing.assert_array_equal(zero_sum_coefficients(np.random.default_rng(0), 1), [1.0])


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), min_size=1, max_size=4),
    st.integers(1, 64),
)
def test_copies_follow_lemma_c2(sizes, dim):
    """H = max(2, ceil(M N / (d (M + N)))): the first number of copies with as many coordinates as weights, Eq. (19)."""
    copies = default_copies(sizes, dim)
    assert copies >= 2
    assert all(copies * dim * (m + n) >= m * n for m, n in sizes)
    assert copies == 2 or any((copies - 1) * dim * (m + n) < m * n for m, n in sizes)


def test_copies_of_the_mnist_network():
    assert default_copies([(784, 256), (256, 10)], 9) == 22


@pytest.mark.parametrize("metric", METRICS)
def test_path_integrals_start_with_the_spread_asked_for(kernels, metric):
    graph = pair_graph(metric, 300, 40, copies=3)
    x = initial_positions(graph, kernels, 0, "float64", {"a>b": 1 / math.sqrt(3 * 300)})
    (link,) = graph.links
    w = kernels.path_integral(*System(graph, x, {}, {}, {}).link_arguments(link))
    assert w.std() == pytest.approx(1 / math.sqrt(900), rel=1e-9)


def digits(device, metric):
    text = f"""
    [system]
    layers = ["auto", 32, "auto"]
    copies = 4
    dim = 3
    metric = "{metric}"
    [field]
    dataset = "digits"
    samples = 400
    batch = 400
    [run]
    steps = 1
    dtype = "float64"
    device = "{device}"
    """
    return Simulation(Scenario.from_text(text))


@pytest.mark.parametrize("metric", [*METRICS, "weights"])
def test_ten_classes_start_near_ln_10(device, metric):
    """The output starts as undecided as it should: cross-entropy ln 10 = 2.303."""
    simulation = digits(device, metric)
    _, response = simulation.push(simulation.system, 0)
    assert response.loss == pytest.approx(math.log(10), abs=0.25)
    weights = all_weights(simulation.kernels, simulation.system)
    for name, fan_in in (("input>hidden", 64), ("hidden>output", 32)):
        assert weights[name].matrix().std() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.1)


def test_masses_of_l2_are_those_of_the_formula(kernels):
    """m_q = sum over links of N_partner mean(mu^2) g^2 / d (|u| = 1 for l2), m_mu = M N mean(f^2) g^2; biases 1."""
    subsystems = (Subsystem("in", 40), Subsystem("hid", 30, bias=True), Subsystem("out", 20, bias=True))
    links = (Link("in", "hid"), Link("hid", "out"))
    graph = Graph(subsystems, links, 5, 3)
    x = initial_positions(graph, kernels, 0, "float64", {"in>hid": 0.1, "hid>out": 0.3})
    m = masses(graph, kernels, x)
    pull = {k.name: (x[f"mu:{k.name}"] ** 2).mean() * x[f"gain:{k.name}"].item() ** 2 / 3 for k in links}
    assert m["q:in"].item() == pytest.approx(30 * pull["in>hid"], rel=1e-3)
    assert m["q:hid"].item() == pytest.approx(40 * pull["in>hid"] + 20 * pull["hid>out"], rel=1e-3)
    assert m["q:out"].item() == pytest.approx(30 * pull["hid>out"], rel=1e-3)
    f = np.linalg.norm(x["q:in"][:, :, None] - x["q:hid"][:, None], axis=-1)
    gain2 = x["gain:in>hid"].item() ** 2
    assert m["mu:in>hid"].item() == pytest.approx(40 * 30 * (f**2).mean() * gain2, rel=0.05)
    phi = np.einsum("h,hij->ij", x["mu:in>hid"][:, 0], f)
    assert m["gain:in>hid"].item() == pytest.approx(40 * 30 * (phi**2).mean(), rel=0.1)
    assert m["bias:hid"].item() == 1
