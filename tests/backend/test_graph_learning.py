"""Algorithm 1 of the second paper: its gradient, its order, its two errors, and what it refuses."""

import numpy as np
import pytest

from dynsim.backend.conversion.graph_learning import Anchor, energy_and_forces, learn_coordinates, signs
from dynsim.errors import OptionError, ShapeError
from dynsim.kernels import reference
from dynsim.reproduce.following import follow, potential
from dynsim.system.initialise import sphere_points

QUICK = {"copies": 4, "dim": 3, "steps": 150}
CHAIN = {"second": {"first": 4}}


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def chain():
    return {"second": gaussian(8, 6, seed=1), "first": gaussian(5, 4)}


def test_signs_alternate_as_printed():
    np.testing.assert_array_equal(signs(4), [-1, 1, -1, 1])


@pytest.mark.parametrize("metric", ["l2", "reciprocal"])
def test_forces_are_minus_the_gradient_of_both_terms(metric):
    rng = np.random.default_rng(0)
    q = {"a": sphere_points(rng, 2, 5, 3), "b": sphere_points(rng, 2, 4, 3)}
    anchor = Anchor(sphere_points(rng, 2, 6, 3), np.eye(5, 6))
    arguments = reference, metric, gaussian(5, 4)
    _, forces = energy_and_forces(*arguments, q, [anchor], 0.7)
    for side in q:
        for place in [(0, 0, 0), (1, 3, 2)]:
            moved = []
            for step in (1e-5, -1e-5):
                other = {k: a.copy() for k, a in q.items()}
                other[side][place] += step
                moved.append(energy_and_forces(*arguments, other, [anchor], 0.7)[0])
            assert -(moved[0] - moved[1]) / 2e-5 == pytest.approx(forces[side][place], rel=1e-6, abs=1e-9)


def test_a_strength_of_0_leaves_the_constraint_out():
    rng = np.random.default_rng(0)
    q = {"a": sphere_points(rng, 2, 5, 3), "b": sphere_points(rng, 2, 4, 3)}
    anchor, target = Anchor(sphere_points(rng, 2, 5, 3), np.eye(5)), gaussian(5, 4)
    with_it, without = (energy_and_forces(reference, "l2", target, q, a, 0.0) for a in ([anchor], []))
    assert with_it[0] == without[0]
    np.testing.assert_array_equal(with_it[1]["a"], without[1]["a"])


def test_particles_approach_the_weights():
    w = gaussian(12, 10)
    errors = [learn_coordinates({"w": w}, **QUICK | {"steps": n})["w"].error for n in (0, 20, 150)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3
    fitted = learn_coordinates({"w": w}, **QUICK)["w"]
    assert np.linalg.norm(w - fitted.matrix()) / np.linalg.norm(w) == pytest.approx(fitted.error, rel=1e-4)
    assert fitted.numbers == 4 * 3 * 22 + 1


def test_the_constraint_is_met_better_and_the_weights_worse_the_stronger_it_is():
    fitted = [learn_coordinates(chain(), dependencies=CHAIN, strength=s, **QUICK)["second"] for s in (0, 0.3, 10)]
    constraints = [f.constraints["first"] for f in fitted]
    assert constraints == sorted(constraints, reverse=True)
    assert fitted[0].error < fitted[1].error < fitted[2].error
    assert constraints[2] < 0.5 * constraints[0]


def test_predecessors_come_first_and_stay_as_they_are():
    alone = learn_coordinates({"first": chain()["first"]}, **QUICK)["first"]
    both = learn_coordinates(chain(), dependencies=CHAIN, strength=1.0, **QUICK)
    assert list(both) == ["second", "first"]
    for side in ("a", "b"):
        np.testing.assert_array_equal(both["first"].q[side], alone.q[side])


def test_receiving_neurons_of_the_same_channel_meet_the_emitting_one():
    """Eight receiving neurons of four channels: with nothing to fit, phi to the predecessor's becomes I."""
    weights = {"first": gaussian(5, 4), "second": np.full((8, 6), 1e-9)}
    settings = QUICK | {"steps": 600, "copies": 8}
    fitted = learn_coordinates(weights, dependencies=CHAIN, strength=100.0, **settings)
    assert fitted["second"].constraints["first"] < 0.2


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"copies": 1}, OptionError, "copies"),
        ({"metric": "l3"}, OptionError, "l3"),
        ({"strength": -1.0}, OptionError, "strength"),
        ({"dependencies": {"second": {"zeroth": 4}}}, OptionError, "zeroth"),
        ({"dependencies": {"second": {"first": 3}}}, ShapeError, "3 channels"),
        ({"dependencies": {"second": {"first": 2}, "first": {"second": 1}}}, ShapeError, "cycle"),
    ],
)
def test_bad_settings_are_refused(change, error, said):
    with pytest.raises(error, match=said):
        learn_coordinates(chain(), **QUICK | change)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ShapeError, match="kernel"):
        learn_coordinates({"kernel": np.zeros((3, 3, 2))})


def test_the_potential_of_a_weight_matrix_is_lowest_where_its_neurons_are():
    """(S6): 0 where every distance is the weight, and more wherever one neuron stands elsewhere."""
    rng = np.random.default_rng(0)
    q = {"a": sphere_points(rng, 2, 5, 3), "b": sphere_points(rng, 2, 7, 3)}
    w = reference.path_integral("l2", q["a"], q["b"], signs(2, float), 1.0, 0.0, 2.0)
    here = q["a"][:, [2]].transpose(1, 0, 2)
    elsewhere = here + 0.1 * rng.standard_normal((50, 2, 3))
    assert potential(here, q["b"], w[2])[0] == pytest.approx(0, abs=1e-12)
    assert (potential(elsewhere, q["b"], w[2]) > 0.01).all()


@pytest.mark.parametrize("way", ["flow", "adam"])
def test_particles_follow_a_matrix_that_moves(way):
    """(S8): they end nearer to a moved W than those that stayed, and nearer still with more steps a move."""
    first, drift = gaussian(12, 10), gaussian(12, 10, seed=1)
    fitted = learn_coordinates({"w": first}, **QUICK | {"steps": 400})["w"]
    path = np.stack([first + 0.02 * k * drift for k in range(20)]).astype(np.float32) / np.float32(fitted.std)
    still = np.mean([np.linalg.norm(w - fitted.matrix() / fitted.std) / np.linalg.norm(w) for w in path[1:]])
    slow, fast = (follow(path, fitted.q, way, steps) for steps in (1, 10))
    assert fast < slow < still
