"""Questions about a state get the answers that the engine's own classifier gives."""

import numpy as np
import pytest

from dynsim import Model, Scenario, Simulation, datasets, errors
from dynsim.backend.questions import answer
from dynsim.commands import Boundary, Evaluate, Predict, StrongestLinks


@pytest.fixture(scope="module")
def moons():
    return stepped("moons", 60, ["run.steps=60"])


@pytest.fixture(scope="module")
def digits():
    return stepped("quickstart", 30)


@pytest.fixture(scope="module")
def matrix():
    return stepped("fit_matrix", 1, ["system.layers=[6, 5]", "run.steps=2"])


def stepped(name, steps, settings=()):
    simulation = Simulation(Scenario.load(name, settings))
    for _ in range(steps):
        simulation.step()
    return simulation


def test_predict_says_what_the_model_says(digits):
    X = datasets.load("digits", seed=0).X_test[:40]
    prediction = answer(digits, Predict(X))
    assert prediction.step == 30
    assert prediction.probabilities.dtype == np.float64
    np.testing.assert_allclose(prediction.probabilities.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_array_equal(prediction.probabilities, Model.of(digits).probabilities(X))
    for s in digits.graph.subsystems:
        assert prediction.received[s.name].shape == prediction.emitted[s.name].shape == (40, s.size)
    hidden = digits.graph.subsystems[1].name
    np.testing.assert_array_equal(prediction.emitted[hidden], np.maximum(prediction.received[hidden], 0))


def test_predict_takes_images(digits):
    X = datasets.load("digits", seed=0).X_test[:2]
    images = answer(digits, Predict(X.reshape(2, 8, 8)))
    np.testing.assert_array_equal(images.probabilities, answer(digits, Predict(X)).probabilities)


@pytest.mark.parametrize("X", [np.zeros((3, 63)), np.zeros(64)])
def test_predict_refuses_another_number_of_features(digits, X):
    with pytest.raises(errors.ShapeError, match="64"):
        answer(digits, Predict(X))


def test_an_older_state_answers_as_it_did(moons):
    simulation = stepped("moons", 5)
    older, X = simulation.system, datasets.load("moons", seed=0).X_test[:10]
    then = answer(simulation, Predict(X)).probabilities
    for _ in range(20):
        simulation.step()
    assert not np.array_equal(answer(simulation, Predict(X)).probabilities, then)
    again = answer(simulation, Predict(X), older)
    assert again.step == 5
    np.testing.assert_array_equal(again.probabilities, then)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_evaluate_is_the_simulations_own(digits, part):
    evaluated, expected = answer(digits, Evaluate(part)), digits.evaluate(part)
    assert evaluated.samples == len(digits.data.part(part)) == evaluated.confusion.sum()
    assert (evaluated.loss, evaluated.accuracy) == (expected.loss, expected.accuracy)
    np.testing.assert_array_equal(evaluated.confusion, expected.confusion)


def test_gallery_shows_raw_samples_the_wrong_ones_first(digits):
    evaluated = answer(digits, Evaluate("test", 200))
    assert evaluated.samples == evaluated.confusion.sum() == 200
    wrong = evaluated.gallery_true != evaluated.gallery_predicted
    assert len(wrong) == 64
    assert wrong.sum() == min(64, 200 - np.trace(evaluated.confusion)) > 0
    assert (np.diff(wrong.astype(int)) <= 0).all()
    raw = datasets.load("digits", seed=0).X_test[:200]
    distance = np.abs(evaluated.gallery_X[:, None] - raw[None]).max(axis=-1)
    assert distance.min(axis=1).max() < 1e-4
    said = answer(digits, Predict(evaluated.gallery_X)).probabilities
    np.testing.assert_array_equal(said.argmax(axis=1), evaluated.gallery_predicted)
    np.testing.assert_allclose(said.max(axis=1), evaluated.gallery_probability, atol=1e-5)


def test_nothing_to_evaluate_is_no_number(moons):
    evaluated = answer(moons, Evaluate("test", 0))
    assert np.isnan([evaluated.loss, evaluated.accuracy]).all()
    assert evaluated.samples == len(evaluated.gallery_X) == 0


def test_unknown_parts_are_named(moons):
    with pytest.raises(errors.OptionError, match="train, validation, test"):
        answer(moons, Evaluate("tset"))


def test_boundary_is_the_prediction_at_every_point(moons):
    map_ = answer(moons, Boundary(resolution=17))
    assert map_.probabilities.shape == (17, 17, 2)
    row, column = 3, 11
    there = answer(moons, Predict(np.array([[map_.x[column], map_.y[row]]]))).probabilities
    np.testing.assert_allclose(map_.probabilities[row, column], there[0], atol=1e-5)


def test_boundary_reaches_a_tenth_beyond_the_data(moons):
    data = datasets.load("moons", seed=0)
    map_ = answer(moons, Boundary(resolution=5))
    every = np.concatenate([data.X_train, data.X_test])
    low, high = every.min(axis=0), every.max(axis=0)
    np.testing.assert_allclose([map_.x[0], map_.y[0]], low - 0.1 * (high - low), atol=1e-4)
    np.testing.assert_allclose([map_.x[-1], map_.y[-1]], high + 0.1 * (high - low), atol=1e-4)
    np.testing.assert_allclose(map_.points, data.X_test, atol=1e-5)
    np.testing.assert_array_equal(map_.labels, data.y_test)


def test_boundary_needs_a_plane(digits):
    with pytest.raises(errors.DataError, match="64 features"):
        answer(digits, Boundary())


@pytest.mark.parametrize("question", [Predict(np.zeros((1, 6))), Evaluate(), Boundary()])
def test_a_target_matrix_classifies_nothing(matrix, question):
    with pytest.raises(errors.DataError, match="nothing is classified"):
        answer(matrix, question)


def test_strongest_links_of_every_field(moons, matrix):
    for simulation in (moons, matrix):
        before = simulation.system
        bundles = answer(simulation, StrongestLinks(4))
        assert [b.link for b in bundles] == [k.name for k in simulation.graph.links]
        for bundle in bundles:
            assert len(bundle.weight) == 4
            assert (np.diff(np.abs(bundle.weight)) <= 0).all()
        assert simulation.system is before


def test_what_is_no_question_is_refused(moons):
    with pytest.raises(TypeError, match="not a question"):
        answer(moons, "why?")
