"""DyN networks as scikit-learn estimators."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from dynsim.backend.fitting import Course, Patience, learning_data, train
from dynsim.backend.formats import load_model
from dynsim.backend.inference import Model
from dynsim.errors import OptionError, ShapeError
from dynsim.fields.data import Scaling
from dynsim.kernels.load import host_of
from dynsim.runfolder import RunFolder
from dynsim.scenario import Scenario
from dynsim.sections import IN_MEMORY
from dynsim.simulation import Simulation
from dynsim.system.initialise import masses

PARAMETERS = """
    Parameters
    ----------
    hidden : sub-models of each hidden subsystem.
    copies : H; None follows Lemma C.2.
    dim : d of the state space.
    metric : of the path integrals: l1, l2, lp, squared, reciprocal, plummer or dot.
    activation : of the hidden subsystems.
    law : friction, lagrangian or signal.
    dt, eta : step and Eq. (10) limit (dimensionless); `fit` anneals the limit, `partial_fit` leaves it as it is.
    epochs, batch : passes over the data (at most), samples per step.
    device : cpu, reference or auto.
    random_state : seed, a RandomState, or None for a fresh seed.
    early_stopping : hold `validation_fraction` of the samples out, stop after `n_iter_no_change` passes that do not
        raise its score by more than `tol`, and keep the state of the best score.
    warm_start : `fit` goes on from where the last one ended.
    verbose : write a line after every pass.
"""


class _DynEstimator(BaseEstimator, ABC):
    """What classifier and regressor share."""

    _loss: str

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
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: bool = False,
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose

    @classmethod
    def from_simulation(cls, simulation: Simulation) -> Self:
        """The estimator that a simulation has reached."""
        passes = -(-simulation.system.step // simulation.field.steps_per_epoch)
        return cls.from_model(Model.of(simulation), simulation.scenario)._counted(passes)

    @classmethod
    def from_run(cls, folder: Any) -> Self:
        """The estimator of a run folder."""
        run = RunFolder.open(folder)
        return cls.from_model(load_model(run.model), run.scenario)._counted(run.scenario.run.epochs or 0)

    @classmethod
    def from_model(cls, model: Model, scenario: Scenario | None = None) -> Self:
        """The estimator of a trained model; without its scenario a new `fit` starts from default parameters."""
        it = cls()
        if scenario is not None:
            s, d, run = scenario.system, scenario.dynamics, scenario.run
            it.set_params(hidden=tuple(int(n) for n in s.layers[1:-1]), copies=model.graph.copies, dim=s.dim)
            it.set_params(metric=s.metric, activation=s.activation, law=d.law, dt=d.dt, eta=d.eta)
            it.set_params(epochs=run.epochs or 1, batch=scenario.field.batch, device=run.device, random_state=run.seed)
        it._adopt(model)
        return it._counted(0)

    def _adopt(self, model: Model) -> None:
        self.model_, self.n_features_in_ = model, model.features

    def _counted(self, passes: int) -> Self:
        self.n_iter_: int = passes
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] = []
        return self

    def _start_anew(self) -> None:
        self._counted(0)
        self.__dict__.pop("_motion", None)

    def _learn(self, X: np.ndarray, y: np.ndarray, classes: tuple, goes_on: bool, single_pass: bool) -> None:
        """Train on y: labels (n,) in 0 ... classes - 1, or targets (n, outputs)."""
        patience = None if single_pass else self._patience()
        seed = self._seed() + (self.n_iter_ if single_pass else 0)
        data = learning_data(
            X,
            y,
            classes,
            self.validation_fraction if patience is not None else 0.0,
            seed,
            self.model_.scaling if goes_on else None,
        )
        simulation = Simulation(self._scenario(len(data.train), seed, single_pass), data=data)
        if goes_on:
            self._go_on(simulation, single_pass)
        course = train(simulation, self._score if patience else None, patience, self._tell if self.verbose else None)
        self.loss_curve_ += course.losses
        self.validation_scores_ += course.scores
        self.n_iter_ += len(course.losses)
        self.model_ = Model.of(simulation)
        if single_pass:
            self._motion = simulation.system.v, simulation.system.mass

    def _patience(self) -> Patience | None:
        if not self.early_stopping:
            return None
        if not 0 < self.validation_fraction < 1:
            raise OptionError("not a fraction", where="validation_fraction", given=self.validation_fraction)
        if self.n_iter_no_change < 1:
            raise OptionError("not a number of passes", where="n_iter_no_change", given=self.n_iter_no_change)
        return Patience(self.n_iter_no_change, self.tol)

    def _seed(self) -> int:
        seed = self.random_state
        return int(seed if isinstance(seed, Integral) else check_random_state(seed).randint(2**31 - 1))

    def _scenario(self, samples: int, seed: int, single_pass: bool) -> Scenario:
        batch = self.batch
        if single_pass and samples > batch:  # batches that leave next to nothing over
            batch = samples // -(-samples // batch)
        limit = {"decay": 0.0, "warmup": 0.0} if single_pass else {}
        return Scenario.from_dict(
            {
                "system": {
                    "layers": ["auto", *map(int, self.hidden), "auto"],
                    "copies": "auto" if self.copies is None else self.copies,
                    "dim": self.dim,
                    "metric": self.metric,
                    "activation": self.activation,
                },
                "field": {"dataset": IN_MEMORY, "batch": batch, "loss": self._loss},
                "dynamics": {"law": self.law, "dt": self.dt, "eta": self.eta} | limit,
                "run": {"epochs": 1 if single_pass else self.epochs, "seed": seed, "device": self.device},
                "record": {"observables": []},
            },
            where=type(self).__name__,
        )

    def _go_on(self, simulation: Simulation, keep_velocity: bool) -> None:
        """Put a simulation where the last one ended; at rest, or with its velocities."""
        fresh, x = simulation.system, self.model_.x
        if {k: a.shape for k, a in x.items()} != {k: a.shape for k, a in fresh.x.items()}:
            raise ShapeError(
                "the parameters describe another system than the one trained before",
                where=type(self).__name__,
                hint="set hidden, copies, dim and metric back, or warm_start=False",
            )
        v, mass = fresh.v, masses(fresh.graph, host_of(simulation.kernels), x)
        if keep_velocity and hasattr(self, "_motion"):
            v, mass = self._motion
        system = fresh.replace(x=dict(x), v=v, mass=mass).carried(simulation.kernels.to_device)
        simulation.system = system.replace(memory=simulation.law.start(system, simulation.scenario.run.seed))

    @abstractmethod
    def _score(self, simulation: Simulation) -> float: ...

    def _tell(self, course: Course) -> None:
        passes, score = self.n_iter_ + len(course.losses), course.scores[-1:] or [np.nan]
        sys.stdout.write(f"pass {passes}: loss {course.losses[-1]:.6g}, validation score {score[0]:.4f}\n")

    def _answers(self, X: Any) -> tuple[Model, np.ndarray]:
        check_is_fitted(self)
        return self.model_, validate_data(self, X, dtype="numeric", reset=False)


class DynClassifier(ClassifierMixin, _DynEstimator):
    __doc__ = f"""Classifier whose parameters are the coordinates of particles (Pei & Wang, ICML 2023, Eq. 5-7, 10).
{PARAMETERS}
    Attributes
    ----------
    classes_ : (classes,) labels.
    model_ : the trained `Model`.
    n_features_in_, n_iter_ : features seen, passes over the data.
    loss_curve_, validation_scores_ : mean training loss and (with early stopping) validation accuracy of each pass.
    """
    _loss = "cross-entropy"

    def _adopt(self, model: Model) -> None:
        if not model.classes:
            raise ShapeError("a regression has no classes", where="DynClassifier", hint="DynRegressor")
        super()._adopt(model)
        self.classes_ = np.asarray(model.classes)

    def fit(self, X, y) -> DynClassifier:
        """Train on X (n, features), y (n,)."""
        goes_on = self.warm_start and hasattr(self, "model_")
        X, y = self._checked(X, y, reset=not goes_on)
        classes = unique_labels(y)
        if len(classes) < 2:
            raise ValueError(f"y has one class only, {classes[0]!r}; a classifier needs two")
        if goes_on and not np.array_equal(classes, self.classes_):
            raise ValueError(f"warm_start goes on with the classes {self.classes_}; y has {classes}")
        if not goes_on:
            self._start_anew()
            self.classes_ = classes
        self._learn(X, np.searchsorted(classes, y), tuple(classes.tolist()), goes_on, single_pass=False)
        return self

    def partial_fit(self, X, y, classes=None) -> DynClassifier:
        """One more pass, over these samples; `classes` names all that will ever come, on the first call.

        The first call takes the scaling of the inputs from its samples.
        """
        goes_on = hasattr(self, "model_")
        X, y = self._checked(X, y, reset=not goes_on)
        if not goes_on:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._start_anew()
            self.classes_ = unique_labels(classes)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(f"`classes={classes!r}` is not the same as on the first call: {self.classes_}")
        if not np.isin(y, self.classes_).all():
            raise ValueError(f"y has {np.setdiff1d(y, self.classes_)}, which are not in classes={self.classes_}")
        self._learn(X, np.searchsorted(self.classes_, y), tuple(self.classes_.tolist()), goes_on, single_pass=True)
        return self

    def _checked(self, X, y, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype="numeric", reset=reset)
        check_classification_targets(y)
        return X, y

    def _score(self, simulation: Simulation) -> float:
        return simulation.validation_accuracy  # measured at the end of every pass

    def predict_proba(self, X) -> np.ndarray:
        """(n, classes) probabilities in the order of `classes_`."""
        model, X = self._answers(X)
        return model.probabilities(X, self.device)

    def predict(self, X) -> np.ndarray:
        """(n,) labels."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class DynRegressor(RegressorMixin, _DynEstimator):
    __doc__ = f"""Regressor whose parameters are the coordinates of particles: squared loss, one target or several.
{PARAMETERS}
    Attributes
    ----------
    model_ : the trained `Model`; its outputs are (y - y_centre_) / y_scale_.
    y_centre_, y_scale_ : (outputs,) mean and standard deviation of the targets.
    n_features_in_, n_iter_ : features seen, passes over the data.
    loss_curve_, validation_scores_ : mean training loss (of scaled targets) and validation R^2 of each pass.
    """
    _loss = "squared"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _adopt(self, model: Model) -> None:
        super()._adopt(model)
        outputs = model.network.nodes[-1].shape[-1]
        self.y_centre_, self.y_scale_, self._flat = np.zeros(outputs), np.ones(outputs), outputs == 1

    def fit(self, X, y) -> DynRegressor:
        """Train on X (n, features), y (n,) or (n, outputs)."""
        goes_on = self.warm_start and hasattr(self, "model_")
        if not goes_on:
            self._start_anew()
        return self._fit(X, y, goes_on, single_pass=False)

    def partial_fit(self, X, y) -> DynRegressor:
        """One more pass, over these samples; the first call takes the scaling of inputs and targets from its own."""
        goes_on = hasattr(self, "model_")
        if not goes_on:
            self._start_anew()
        return self._fit(X, y, goes_on, single_pass=True)

    def _fit(self, X, y, goes_on: bool, single_pass: bool) -> DynRegressor:
        X, y = validate_data(self, X, y, dtype="numeric", multi_output=True, y_numeric=True, reset=not goes_on)
        columns = y.reshape(len(y), -1).astype(np.float64)
        if not goes_on:
            self._flat = y.ndim == 1
            self.y_centre_, std = columns.mean(axis=0), columns.std(axis=0)
            self.y_scale_ = np.where(std == 0, 1, std)
        elif columns.shape[1] != len(self.y_scale_):
            raise ValueError(f"y has {columns.shape[1]} targets, the ones before had {len(self.y_scale_)}")
        scaled = ((columns - self.y_centre_) / self.y_scale_).astype(np.float32)
        self._learn(X, scaled, (), goes_on, single_pass)
        return self

    def _score(self, simulation: Simulation) -> float:
        held = simulation.data.validation  # type: ignore[union-attr]
        return r2_score(held.y, simulation.logits(held.x)) if len(held) > 1 else -simulation.evaluate("validation").loss

    def predict(self, X) -> np.ndarray:
        """(n,) or (n, outputs) targets, as they came."""
        model, X = self._answers(X)
        y = _in_double(model).logits(X, self.device) * self.y_scale_ + self.y_centre_
        return y[:, 0] if self._flat else y


def _in_double(model: Model) -> Model:
    """The same numbers in float64, so that an answer does not depend on what is asked beside it."""
    x = {k: a.astype(np.float64) for k, a in model.x.items()}
    return replace(model, x=x, scaling=Scaling(model.scaling.centre.astype(np.float64), model.scaling.scale))
