"""DynClassifier keeps scikit-learn's whole contract."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from dynsim import DynClassifier, Model, Scenario, Simulation


@parametrize_with_checks([DynClassifier(hidden=(16,), copies=4, epochs=30, batch=16)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_learns_digits():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    classifier = DynClassifier(epochs=25).fit(X_train, y_train)
    assert classifier.score(X_test, y_test) > 0.95
    assert np.allclose(classifier.predict_proba(X_test).sum(axis=1), 1)


def test_string_labels_survive():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = np.where(X[:, 0] > 0, "right", "left")
    classifier = DynClassifier(hidden=(8,), epochs=20).fit(X, y)
    assert set(classifier.predict(X)) == {"left", "right"}
    assert classifier.score(X, y) > 0.9


def test_same_seed_same_bits():
    X, y = load_digits(return_X_y=True)
    first, second = (DynClassifier(epochs=1, random_state=5).fit(X, y).model_ for _ in range(2))
    assert all(np.array_equal(first.x[k], second.x[k]) for k in first.x)


def test_from_simulation_is_the_simulation():
    simulation = Simulation(Scenario.load("quickstart", ["run.epochs=1"]))
    while not simulation.done:
        simulation.step()
    classifier = DynClassifier.from_simulation(simulation)
    assert isinstance(classifier.model_, Model)
    from dynsim import datasets

    data = datasets.load("digits", seed=0)
    assert classifier.score(data.X_test, data.y_test) == pytest.approx(simulation.evaluate("test").accuracy)
