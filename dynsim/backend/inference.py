"""Settled states become classifiers: positions, scaling and class names, and nothing that only training needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynsim.errors import ShapeError
from dynsim.fields.data import Scaling
from dynsim.fields.network import predict_logits, softmax
from dynsim.kernels.load import load
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import Graph, Groups, System


@dataclass(frozen=True)
class Model:
    """A classifier made of particles.

    Attributes
    ----------
    x : position of every group (see `dynsim.system.graph`).
    scaling : of the raw inputs.
    classes : label of each output sub-model.
    """

    graph: Graph
    x: Groups
    scaling: Scaling
    classes: tuple

    @classmethod
    def of(cls, simulation: Simulation) -> Model:
        """The state that a simulation has reached; it must have been a network's."""
        if simulation.data is None:
            raise ShapeError("a target field has no classifier", where=simulation.scenario.name)
        x = {k: a.copy() for k, a in simulation.system.x.items()}
        return cls(simulation.graph, x, simulation.data.scaling, tuple(simulation.data.classes))

    def logits(self, X: np.ndarray, device: str = "cpu") -> np.ndarray:
        """(n, classes) received signals of the output, for raw inputs (n, features)."""
        X = np.asarray(X).reshape(len(X), -1).astype(self.scaling.centre.dtype)
        if X.shape[1] != self.graph.input.size:
            raise ShapeError("wrong number of features", given=X.shape[1], allowed=str(self.graph.input.size))
        system = System(self.graph, self.x, {}, {}, {})
        return predict_logits(system, all_weights(load(device), system), self.scaling(X))

    def probabilities(self, X: np.ndarray, device: str = "cpu") -> np.ndarray:
        """(n, classes), rows sum to 1."""
        p = softmax(self.logits(X, device).astype(np.float64))
        return p / p.sum(axis=1, keepdims=True)
