"""DynClassifier and DynRegressor keep scikit-learn's whole contract."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, make_moons
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from dynsim import DynClassifier, Model, Scenario, Simulation, datasets
from dynsim.backend.estimator import DynRegressor
from dynsim.backend.fitting import learning_data
from dynsim.errors import DynsimError, OptionError, ShapeError

SMALL = {"hidden": (16,), "copies": 4, "batch": 16}


@parametrize_with_checks([DynClassifier(epochs=20, **SMALL), DynRegressor(epochs=12, **SMALL)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def moons():
    return make_moons(400, noise=0.2, random_state=0)


@pytest.fixture(scope="module")
def waves():
    """Inputs (n, 2) and two targets of very different size (n, 2)."""
    X = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    return X, np.c_[np.sin(3 * X[:, 0]) * X[:, 1], 5000 + 1000 * np.abs(X[:, 1])]


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
    data = datasets.load("digits", seed=0)
    assert classifier.score(data.X_test, data.y_test) == pytest.approx(simulation.evaluate("test").accuracy)


# Early stopping ------------------------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_state(moons):
    X, y = moons
    it = DynClassifier(epochs=60, early_stopping=True, n_iter_no_change=4, validation_fraction=0.25, **SMALL).fit(X, y)
    scores = it.validation_scores_
    assert len(scores) == len(it.loss_curve_) == it.n_iter_ < 60
    assert max(scores[-5:]) <= max(scores[:-4]) + it.tol  # no better in the last four passes
    # The held-out samples are those that the seed draws, and the kept state has the best of the scores.
    held = learning_data(X, y, (0, 1), 0.25, 0).validation
    reached = (it.model_.logits(held.x * it.model_.scaling.scale + it.model_.scaling.centre).argmax(1) == held.y).mean()
    assert reached == pytest.approx(max(scores))


def test_validation_has_every_class_alike():
    y = np.repeat([0, 1, 2], [20, 40, 60])
    data = learning_data(np.random.default_rng(0).standard_normal((120, 3)), y, (0, 1, 2), 0.1, 0)
    assert np.bincount(data.validation.y).tolist() == [2, 4, 6]
    assert len(data.train) == 108
    assert data.train.x.mean() == pytest.approx(0, abs=1e-6)  # scaled by what is left to train on


def test_without_early_stopping_nothing_is_held_out(moons):
    it = DynClassifier(epochs=2, **SMALL).fit(*moons)
    assert (it.n_iter_, it.validation_scores_, len(it.loss_curve_)) == (2, [], 2)


@pytest.mark.parametrize("wrong", [{"validation_fraction": 0.0}, {"validation_fraction": 1.0}, {"n_iter_no_change": 0}])
def test_wrong_patience_says_which(moons, wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        DynClassifier(early_stopping=True, **wrong).fit(*moons)


def test_too_few_samples_to_hold_any_out():
    with pytest.raises(DynsimError, match="validation"):
        DynRegressor(early_stopping=True, validation_fraction=0.9).fit([[0.0], [1.0]], [0.0, 1.0])


# Going on ------------------------------------------------------------------------------------------------------


def test_partial_fit_learns_pass_by_pass(moons):
    X, y = moons
    it = DynClassifier(eta=0.05, **SMALL)
    for _ in range(20):
        it.partial_fit(X, y, classes=[0, 1, 7])
    assert it.classes_.tolist() == [0, 1, 7]
    assert it.predict_proba(X).shape == (400, 3)
    assert it.n_iter_ == len(it.loss_curve_) == 20
    assert it.loss_curve_[-1] < 0.5 * it.loss_curve_[0]
    assert it.score(X, y) > 0.9


def test_partial_fit_sees_every_sample():
    """25 samples in batches of 16: two batches of 12, not one of 16."""
    it = DynClassifier(**SMALL)
    assert it._scenario(25, 0, single_pass=True).field.batch == 12
    assert it._scenario(25, 0, single_pass=False).field.batch == 16


def test_partial_fit_needs_classes_at_first(moons):
    X, y = moons
    with pytest.raises(ValueError, match="first call"):
        DynClassifier(**SMALL).partial_fit(X, y)
    it = DynClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="not the same"):
        it.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not in classes"):
        it.partial_fit(X, y + 1)


def test_warm_start_goes_on(moons):
    X, y = moons
    cold = DynClassifier(epochs=3, **SMALL).fit(X, y)
    warm = clone(cold).set_params(warm_start=True).fit(X, y)
    assert warm.loss_curve_ == cold.loss_curve_
    warm.fit(X, y)
    assert warm.n_iter_ == 6
    assert warm.loss_curve_[3] < 0.7 * cold.loss_curve_[0]
    assert cold.fit(X, y).n_iter_ == 3


def test_warm_start_with_another_system(moons):
    it = DynClassifier(epochs=1, warm_start=True, **SMALL).fit(*moons)
    with pytest.raises(ShapeError, match="warm_start=False"):
        it.set_params(hidden=(8,)).fit(*moons)
    with pytest.raises(ValueError, match="classes"):
        it.set_params(hidden=(16,)).fit(moons[0], moons[1] + 1)


def test_survives_pickle_after_partial_fit(moons):
    X, y = moons
    it = DynClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
    again = pickle.loads(pickle.dumps(it))
    assert np.array_equal(it.partial_fit(X, y).predict_proba(X), again.partial_fit(X, y).predict_proba(X))


def test_verbose_writes_a_line_a_pass(moons, capsys):
    DynClassifier(epochs=3, verbose=True, early_stopping=True, **SMALL).fit(*moons)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["pass 1", "pass 2", "pass 3"]
    assert "validation score" in lines[0]


# Regression ----------------------------------------------------------------------------------------------------


def test_regressor_learns_targets_of_different_size(waves):
    X, Y = waves
    it = DynRegressor(hidden=(32,), epochs=60).fit(X[:300], Y[:300])
    assert it.predict(X).shape == Y.shape
    assert it.score(X[300:], Y[300:]) > 0.95


def test_regressor_keeps_the_shape_of_y(waves):
    X, Y = waves
    flat, column = (DynRegressor(epochs=2, **SMALL).fit(X, y) for y in (Y[:, 0], Y[:, :1]))
    assert flat.predict(X).shape == (400,)
    assert np.array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_regressor_stops_early_and_goes_on(waves):
    X, Y = waves
    it = DynRegressor(epochs=30, early_stopping=True, n_iter_no_change=3, tol=0.5, **SMALL).fit(X, Y)
    assert it.n_iter_ < 30
    assert it.partial_fit(X, Y).n_iter_ == len(it.loss_curve_)
    with pytest.raises(ValueError, match="targets"):
        it.partial_fit(X, Y[:, 0])


def test_a_regression_is_no_classifier(waves):
    it = DynRegressor(epochs=1, **SMALL).fit(*waves)
    with pytest.raises(ShapeError, match="DynRegressor"):
        DynClassifier.from_model(it.model_)
    assert DynRegressor.from_model(it.model_).predict(waves[0]).shape == (400, 2)


# Among others --------------------------------------------------------------------------------------------------


def test_pipeline_and_grid_search(moons):
    pipeline = make_pipeline(StandardScaler(), DynClassifier(epochs=8, **SMALL))
    search = GridSearchCV(pipeline, {"dynclassifier__hidden": [(4,), (16,)]}, cv=2)
    search.fit(*moons)
    assert search.best_score_ > 0.85
    assert search.best_estimator_.score(*moons) > 0.85


def test_documentation_names_every_parameter():
    for kind in (DynClassifier, DynRegressor):
        documented = kind.__doc__.split("Attributes")[0]
        missing = [name for name in kind().get_params() if name not in documented]
        assert not missing, (kind, missing)
