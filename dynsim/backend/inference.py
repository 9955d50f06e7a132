"""Settled states become classifiers: positions, scaling and class names, and nothing that only training needs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dynsim.errors import ShapeError
from dynsim.fields.data import Scaling
from dynsim.fields.losses import softmax
from dynsim.fields.network import predict_logits
from dynsim.kernels.load import host_of, load, load_host
from dynsim.recipes import kind_of
from dynsim.signals import Weights, all_weights
from dynsim.simulation import Simulation
from dynsim.stacking import recorded
from dynsim.system.graph import PARTICLES, Graph, Groups, System, group_kind
from dynsim.system.layers import Network


@dataclass(frozen=True)
class Model:
    """A classifier made of particles.

    Attributes
    ----------
    x : position of every group (see `dynsim.system.graph`).
    scaling : of the raw inputs.
    classes : label of each output sub-model; none for a regression.
    network : the way of the signals, layer by layer.
    """

    graph: Graph
    x: Groups
    scaling: Scaling
    classes: tuple
    network: Network

    @classmethod
    def of(cls, simulation: Simulation) -> Model:
        """The state that a simulation has reached; it must have been a network's.

        While a recipe trains weights it is the network of these weights, whose particles wait.
        """
        if simulation.data is None or simulation.network is None:
            raise ShapeError("no classifier is trained here", where=simulation.scenario.name)
        system, data = simulation.system.carried(simulation.kernels.to_host), simulation.data
        graph, kept = system.graph, recorded(system)
        if kind_of(system) == "weights":
            graph = replace(graph, links=tuple(replace(k, metric="weights") for k in graph.links))
            kept = [k for k in system.x if group_kind(k) not in PARTICLES]
        x = {k: system.x[k].copy() for k in kept}
        return cls(graph, x, data.scaling, tuple(data.classes), simulation.network)

    def logits(self, X: np.ndarray, device: str = "cpu") -> np.ndarray:
        """(n, classes) received signals of the output, for raw inputs (n, features).

        Every link in the form that should be the quickest (`dynsim.backend.choice`), which decides the rounding; on the
        devices "reference" and "cuda" as in training.
        """
        from dynsim.backend.choice import quickest, weights_in  # brings Numba

        X = np.asarray(X).reshape(len(X), math.prod(np.shape(X)[1:])).astype(self.scaling.centre.dtype)
        if X.shape[1] != self.features:
            raise ShapeError("wrong number of features", given=X.shape[1], allowed=str(self.features))
        kernels, inputs = load(device), self.scaling(X)
        if host_of(kernels) is not kernels:
            state = System(self.graph, self.x, {}, {}, {}).carried(kernels.to_device)
            return predict_logits(self.network, all_weights(kernels, state), state.x, inputs, kernels)
        weights = weights_in(self, quickest(self, len(X), prepared=False, device=device), device)
        return predict_logits(self.network, weights, self.x, inputs, kernels)

    @property
    def features(self) -> int:
        """Numbers of one sample."""
        return math.prod(self.network.input_shape)

    def weights(self, device: str = "cpu") -> dict[str, Weights]:
        """The weights of every link by its name."""
        return all_weights(load_host(device), System(self.graph, self.x, {}, {}, {}))

    def probabilities(self, X: np.ndarray, device: str = "cpu") -> np.ndarray:
        """(n, classes), rows sum to 1."""
        p = softmax(self.logits(X, device).astype(np.float64))
        return p / p.sum(axis=1, keepdims=True)
