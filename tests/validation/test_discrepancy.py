"""(S11): dynamical discrepancy of clouds with closed forms, of a run's own particles, and of given weights."""

import math

import numpy as np
import pytest

from dynsim import Scenario, Simulation
from dynsim.backend.discrepancy import discrepancies, over_run, shuffled_weights, total
from dynsim.backend.twin import twin_scenario
from dynsim.kernels import reference
from dynsim.observables import discrepancy as d
from dynsim.observables import find
from dynsim.reproduce.resolution import spearman
from dynsim.reproduce.watched import states, weights_of
from dynsim.runs import run


def test_two_points_have_the_distance_between_them():
    """(S11): 1/2 (0 + r + r + 0)."""
    assert d.discrepancy(np.array([[0.0, 0], [3, 4]])) == pytest.approx(5)


def test_points_on_a_sphere_have_the_mean_chord():
    """In R^3 the mean distance of two random points of the unit sphere is 4/3, so that D = 4/3 N."""
    q = np.random.default_rng(0).standard_normal((1000, 3))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    assert d.discrepancy(q) / 1000 == pytest.approx(4 / 3, rel=0.01)


def test_local_states_act_on_both_ends():
    q, g = np.random.default_rng(0).standard_normal((20, 3)), 2.0
    assert d.discrepancy(g * q, g * q) == pytest.approx(g * d.discrepancy(q))
    assert d.discrepancy(q, q + 50) == pytest.approx(20 * 50 * math.sqrt(3), rel=0.02)


def test_many_neurons_are_a_choice_scaled_up():
    q = np.random.default_rng(0).standard_normal((3 * d.MOST, 4))
    assert d.discrepancy(q) == pytest.approx(len(q) * np.mean(np.linalg.norm(q[::3] - q[1::3], axis=1)), rel=0.03)


@pytest.mark.parametrize("shape", [(40, 30), (400, 300)])
def test_stable_rank(shape):
    rng = np.random.default_rng(0)
    one = np.outer(rng.standard_normal(shape[0]), rng.standard_normal(shape[1]))
    assert d.stable_rank(one) == pytest.approx(1)
    assert d.stable_rank(np.eye(*shape)) == pytest.approx(min(shape))
    assert d.stable_rank(np.zeros(shape)) == 0


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_coordinates_in_a_row_hold_the_weights_with_signs_alone(metric):
    """The scale in which D is taken: W = sum_h sign(mu_h) |Q_ih - Q_jh| whatever mu and gain were."""
    rng = np.random.default_rng(0)
    a, b, mu, gain = rng.standard_normal((3, 6, 2)), rng.standard_normal((3, 5, 2)), np.array([0.5, -2, 0.1]), 0.3
    w = reference.path_integral(metric, a, b, mu, gain, 0.0, 2.0)
    q_a, q_b = (d.in_a_row(q, gain * mu).reshape(-1, 3, 2).transpose(1, 0, 2) for q in (a, b))
    np.testing.assert_allclose(reference.path_integral(metric, q_a, q_b, np.sign(mu), 1.0, 0.0, 2.0), w)


@pytest.fixture(scope="module")
def particles():
    settings = {"system.layers": ["auto", 12, "auto"], "run.steps": 20, "record.every": 10}
    return Scenario.load("quickstart").changed(**settings | {"record.observables": ["loss", "discrepancy"]})


def test_a_run_measures_its_own_particles_beside_their_controls(particles):
    simulation = Simulation(particles)
    scalars = simulation.frame().scalars
    links = [k.name for k in simulation.graph.links]
    for name in ("discrepancy", "stable_rank"):
        assert scalars[name] == pytest.approx(np.mean([scalars[f"{name}_{k}"] for k in links]))
    weights = weights_of(simulation)
    assert scalars["weight_norm"] == pytest.approx(math.sqrt(sum(np.square(w).sum() for w in weights.values())))
    assert scalars[f"stable_rank_{links[0]}"] == pytest.approx(d.stable_rank(weights[links[0]]))


def test_it_grows_with_the_weights_as_their_norm_does(particles):
    """The reason for the controls: twice the weights, without anything learned, have twice the discrepancy."""
    simulation = Simulation(particles)
    once = find("discrepancy").compute(simulation.snapshot())
    gains = {k: 2 * a if k.startswith("gain:") else a for k, a in simulation.system.x.items()}
    simulation.system = simulation.system.replace(x=gains)
    twice = find("discrepancy").compute(simulation.snapshot())
    for name, factor in (("discrepancy", 2), ("weight_norm", 2), ("stable_rank", 1)):
        assert twice[name] == pytest.approx(factor * once[name], rel=1e-5)


def test_while_weights_are_trained_it_is_that_of_the_particles_that_wait(particles):
    waiting = particles.changed(**{"recipe.name": "finetune", "recipe.epochs": 1})
    at_once, later = (find("discrepancy").compute(Simulation(s).snapshot()) for s in (particles, waiting))
    assert later == pytest.approx(at_once)


def test_without_particles_there_is_none(particles):
    settings = {"system.metric": "weights", "system.trained": ["weight", "bias"], "dynamics.integrator": "adam"}
    assert find("discrepancy").compute(Simulation(particles.changed(**settings)).snapshot()) == {}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


QUICK = {"steps": 40, "copies": 2}


def test_equal_weights_have_equal_discrepancy_and_scale_comes_out():
    """The same start for the same name and shape, whatever comes before it: states can be compared."""
    w = gaussian(20, 15)
    alone = discrepancies({"top": w}, **QUICK)["top"]
    beside = discrepancies({"bottom": gaussian(9, 20, seed=1), "top": 3 * w}, **QUICK)["top"]
    assert beside.shape == pytest.approx(alone.shape, rel=1e-4)
    assert beside.discrepancy == pytest.approx(3 * alone.discrepancy, rel=1e-4)
    assert alone.shape == pytest.approx(alone.discrepancy / w.std())


def test_the_control_has_the_norm_and_not_the_rank():
    rank_one = np.outer(gaussian(20), gaussian(15, seed=1))
    plain, control = (discrepancies({"w": rank_one}, shuffled=s, **QUICK)["w"] for s in (False, True))
    assert control.norm == pytest.approx(plain.norm)
    assert control.stable_rank > 2 * plain.stable_rank
    assert sorted(shuffled_weights(rank_one, "w", 0).ravel()) == sorted(rank_one.ravel())


def test_procrustes_turns_what_follows_another_layer():
    chain = {"a": gaussian(10, 12), "b": gaussian(12, 8, seed=1), "c": gaussian(9, 5, seed=2)}
    found = discrepancies(chain, **QUICK)
    assert [found[k].turned == found[k].discrepancy for k in chain] == [True, False, True]


def test_the_total_is_the_mean_over_layers():
    found = discrepancies({"a": gaussian(10, 12), "b": 2 * gaussian(12, 8, seed=1)}, **QUICK)
    whole = total(found)
    assert whole.discrepancy == pytest.approx((found["a"].discrepancy + found["b"].discrepancy) / 2)
    assert whole.norm == pytest.approx(math.hypot(found["a"].norm, found["b"].norm))


def test_weights_that_are_one_number_have_none():
    found = discrepancies({"w": np.zeros((4, 5))}, **QUICK)["w"]
    assert (found.discrepancy, found.norm, found.stable_rank, found.error) == (0, 0, 0, 0)


def test_of_a_run_folder(particles, tmp_path):
    folder = run(particles, tmp_path / "run")
    found = over_run(folder.path, every=2, **QUICK)
    assert [step for step, _ in found] == [0, 20]
    first = discrepancies(weights_of(Simulation(particles)), **QUICK)
    for name, layer in found[0][1].items():
        assert layer.discrepancy == pytest.approx(first[name].discrepancy, rel=1e-3)


def test_discrepancy_rises_with_training_and_so_does_the_norm():
    """Fig. 3 in small, with what print leaves out: digits, 64-16-10, as weights."""
    base = Scenario.load("quickstart").changed(**{"system.layers": ["auto", 16, "auto"]})
    simulation = Simulation(twin_scenario(base, 0.01, 150))
    rows, accuracy = [], []
    for _ in states(simulation, 6):
        rows.append(discrepancies(weights_of(simulation), **QUICK))
        accuracy.append(simulation.evaluate("test").accuracy)
    for measure in ("discrepancy", "norm"):
        assert spearman([getattr(total(r), measure) for r in rows], accuracy) > 0.8


def test_the_scenario_shows_that_d_and_the_norm_rise_as_one():
    simulation = Simulation(Scenario.load("discrepancy").changed(**{"run.steps": 60}))
    frames = [frame.scalars for frame in simulation]
    d, norm, rank = ([f[n] for f in frames] for n in ("discrepancy", "weight_norm", "stable_rank"))
    assert d[-1] > 1.2 * d[0]
    assert norm[-1] > 1.5 * norm[0]
    assert spearman(d, norm) > 0.99
    assert rank[-1] < 0.8 * rank[0]


def test_printed_bound_on_the_dimension_is_one_for_every_layer():
    """(S5), (S18): ceil((m + n) / (2 m n)), upside down: (S15) has m n / (d (m + n))."""
    sizes = [(1, 1), (3, 5), (400, 120), (2304, 768)]
    assert {math.ceil((m + n) / (2 * m * n)) for m, n in sizes} == {1}
    assert [math.ceil(m * n / (m + n)) for m, n in sizes] == [1, 2, 93, 576]


def test_reciprocal_links_are_s1():
    """(S1): V_ij = E_j / d(q_i, q_j) where A_ij = 1: what a link of one copy, mu = 1 and little eps carries."""
    q, emitted = gaussian(1, 4, 3), gaussian(4, seed=1)
    receiving = gaussian(1, 5, 3, seed=2)
    w = reference.path_integral("reciprocal", q, receiving, np.ones(1), 1.0, 1e-9, 2.0)
    distances = np.linalg.norm(q[0][:, None] - receiving[0], axis=-1)
    np.testing.assert_allclose(emitted @ w, (emitted[:, None] / distances).sum(axis=0))
    apart = reference.path_integral("reciprocal", 2 * q, 2 * receiving, np.ones(1), 1.0, 1e-9, 2.0)
    np.testing.assert_allclose(apart, w / 2)
