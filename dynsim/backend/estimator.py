"""A DyN network as a scikit-learn classifier."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from dynsim.backend.formats import load_model
from dynsim.backend.inference import Model
from dynsim.datasets import Dataset
from dynsim.runfolder import RunFolder
from dynsim.scenario import IN_MEMORY, Scenario
from dynsim.simulation import Simulation


class DynClassifier(ClassifierMixin, BaseEstimator):
    """Classifier whose parameters are the coordinates of particles (Pei & Wang, ICML 2023, Eq. 5-7, 10).

    Parameters
    ----------
    hidden : sub-models of each hidden subsystem.
    copies : H; None follows Lemma C.2.
    dim : d of the state space.
    metric : of the path integrals: l1, l2, lp, squared, reciprocal, plummer or dot.
    activation : of the hidden subsystems.
    law : friction, lagrangian or signal.
    dt, eta : step and Eq. (10) limit (dimensionless).
    epochs, batch : passes over the data, samples per step.
    device : cpu, reference or auto.
    random_state : seed, a RandomState, or None for a fresh seed.

    Attributes
    ----------
    classes_ : (classes,) labels.
    model_ : the trained `Model`.
    n_features_in_, n_iter_ : features seen, steps done.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (64,),
        copies: int | None = 8,
        dim: int = 9,
        metric: str = "l2",
        activation: str = "relu",
        law: str = "friction",
        dt: float = 1.0,
        eta: float = 0.1,
        epochs: int = 60,
        batch: int = 64,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.hidden = hidden
        self.copies = copies
        self.dim = dim
        self.metric = metric
        self.activation = activation
        self.law = law
        self.dt = dt
        self.eta = eta
        self.epochs = epochs
        self.batch = batch
        self.device = device
        self.random_state = random_state

    @classmethod
    def from_simulation(cls, simulation: Simulation) -> DynClassifier:
        """The classifier that a simulation has reached."""
        return cls._fitted(simulation.scenario, Model.of(simulation), simulation.system.step)

    @classmethod
    def from_run(cls, folder: Any) -> DynClassifier:
        """The classifier of a run folder."""
        run = RunFolder.open(folder)
        return cls._fitted(run.scenario, load_model(run.model), (run.summary or {}).get("steps", 0))

    @classmethod
    def _fitted(cls, scenario: Scenario, model: Model, steps: int) -> DynClassifier:
        s, d = scenario.system, scenario.dynamics
        hidden = tuple(int(n) for n in s.layers[1:-1])
        it = cls(hidden, model.graph.copies, s.dim, s.metric, s.activation, d.law, d.dt, d.eta)
        it.set_params(
            epochs=scenario.run.epochs or 1,
            batch=scenario.field.batch,
            device=scenario.run.device,
            random_state=scenario.run.seed,
        )
        it._take(model, steps)
        return it

    def _take(self, model: Model, steps: int) -> None:
        self.model_, self.n_iter_ = model, steps
        self.classes_ = np.asarray(model.classes)
        self.n_features_in_ = model.graph.input.size

    def fit(self, X, y) -> DynClassifier:
        """Train on X (n, features), y (n,)."""
        X, y = validate_data(self, X, y, dtype="numeric")
        check_classification_targets(y)
        classes = unique_labels(y)
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}; a classifier needs two")
        labels = np.searchsorted(classes, y)
        simulation = Simulation(self._scenario(), dataset=_in_memory(X, labels, classes))
        while not simulation.done:
            simulation.step()
        self._take(Model.of(simulation), simulation.system.step)
        self.classes_ = classes
        return self

    def _scenario(self) -> Scenario:
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31 - 1)
        return Scenario.from_dict(
            {
                "system": {
                    "layers": ["auto", *map(int, self.hidden), "auto"],
                    "copies": "auto" if self.copies is None else self.copies,
                    "dim": self.dim,
                    "metric": self.metric,
                    "activation": self.activation,
                },
                "field": {"dataset": IN_MEMORY, "batch": self.batch},
                "dynamics": {"law": self.law, "dt": self.dt, "eta": self.eta},
                "run": {"epochs": self.epochs, "seed": int(seed), "device": self.device},
                "record": {"observables": []},
            },
            where="DynClassifier",
        )

    def predict_proba(self, X) -> np.ndarray:
        """(n, classes) probabilities in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype="numeric", reset=False)
        return self.model_.probabilities(X, self.device)

    def predict(self, X) -> np.ndarray:
        """(n,) labels."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _in_memory(X: np.ndarray, y: np.ndarray, classes: np.ndarray) -> Dataset:
    return Dataset(
        name=IN_MEMORY,
        X_train=X.astype(np.float32),
        y_train=y.astype(np.int64),
        X_test=X[:0].astype(np.float32),
        y_test=y[:0].astype(np.int64),
        classes=tuple(classes.tolist()),
        input_shape=(X.shape[1],),
        source="memory",
        licence="the user's own",
    )
