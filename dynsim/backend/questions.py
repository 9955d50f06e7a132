"""Answers to the questions of `dynsim.commands` about a state of a simulation."""

from __future__ import annotations

import math

import numpy as np

from dynsim.backend.embedding import embed
from dynsim.commands import (
    Boundary,
    BoundaryMap,
    Embed,
    Embedding,
    Evaluate,
    Evaluated,
    LinkBundle,
    Predict,
    Prediction,
    Question,
    StrongestLinks,
)
from dynsim.errors import DataError, ShapeError, unknown
from dynsim.fields.data import LearningData
from dynsim.fields.losses import loss_and_feedback, softmax
from dynsim.fields.network import forward, signals
from dynsim.observables.links import strongest_links
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.system.graph import System, carried

GALLERY = 64
PARTS = ("train", "validation", "test")
MARGIN = 0.1  # of the data's range, around a boundary map


def answer(
    simulation: Simulation, question: Question, system: System | None = None
) -> Prediction | Evaluated | BoundaryMap | tuple[LinkBundle, ...] | Embedding:
    """What the simulation says in the state `system`, by default its own.

    `question.frame` is the caller's to resolve into `system`. Raises DataError where the field has no classes or a
    boundary cannot be drawn, ShapeError for inputs of the wrong size, OptionError for an unknown part; and what
    `embed` raises.
    """
    system = simulation.system if system is None else system
    if isinstance(question, Predict):
        return _predict(simulation, system, question)
    if isinstance(question, Evaluate):
        return _evaluate(simulation, system, question)
    if isinstance(question, Boundary):
        return _boundary(simulation, system, question)
    if isinstance(question, StrongestLinks):
        _, response = simulation.push(system, system.step)
        return strongest_links(simulation.kernels, system, response, question.count)
    if isinstance(question, Embed):
        return embed(system.carried(simulation.kernels.to_host), question)
    raise TypeError(f"not a question: {question!r}")


def _predict(simulation: Simulation, system: System, question: Predict) -> Prediction:
    data, network = _data(simulation), simulation.network
    assert network is not None
    X = np.asarray(question.X)
    X = X.reshape(len(X), math.prod(X.shape[1:])).astype(data.scaling.centre.dtype)
    features = math.prod(network.input_shape)
    if X.shape[1] != features:
        raise ShapeError("wrong number of features", given=X.shape[1], allowed=str(features))
    kernels = simulation.kernels
    (inputs,) = kernels.to_device([data.scaling(X)])
    said = forward(network, all_weights(kernels, system), system.x, inputs, kernels)
    (values,) = carried(kernels.to_host, said)
    received, emitted = signals(network, system.graph, values)
    return Prediction(system.step, _probabilities(values[network.output_name]), received, emitted)


def _evaluate(simulation: Simulation, system: System, question: Evaluate) -> Evaluated:
    data = _data(simulation)
    if question.part not in PARTS:
        raise unknown("part of the data", question.part, PARTS)
    part = data.part(question.part)
    x, true = part.x[: question.samples], part.y[: question.samples]
    logits = simulation.logits(x, system)
    predicted = logits.argmax(axis=1)
    right = predicted == true
    confusion = np.zeros((len(data.classes),) * 2, np.int64)
    np.add.at(confusion, (true, predicted), 1)
    shown = np.argsort(right, kind="stable")[:GALLERY]  # False, the wrongly classified, comes first
    return Evaluated(
        step=system.step,
        part=question.part,
        samples=len(true),
        loss=loss_and_feedback(simulation.scenario.field.loss, logits, true)[0] if len(true) else math.nan,
        accuracy=float(right.mean()) if len(true) else math.nan,
        confusion=confusion,
        gallery_X=data.scaling.undo(x[shown]),
        gallery_true=true[shown],
        gallery_predicted=predicted[shown],
        gallery_probability=_probabilities(logits[shown]).max(axis=1),
    )


def _boundary(simulation: Simulation, system: System, question: Boundary) -> BoundaryMap:
    data = _data(simulation)
    if data.train.x.shape[1] != 2:
        raise DataError(
            "a boundary is drawn for inputs of two features only",
            where=simulation.scenario.name,
            given=f"{data.train.x.shape[1]} features",
        )
    points = data.scaling.undo(data.test.x)
    others = (data.scaling.undo(data.part(name).x) for name in ("train", "validation"))
    everything = np.concatenate([points, *others])
    low, high = everything.min(axis=0), everything.max(axis=0)
    margin = MARGIN * (high - low)
    x, y = np.linspace(low - margin, high + margin, question.resolution).T
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(data.scaling.centre.dtype)
    probabilities = _probabilities(simulation.logits(data.scaling(grid), system))
    return BoundaryMap(system.step, x, y, probabilities.reshape(len(y), len(x), -1), points, data.test.y)


def _data(simulation: Simulation) -> LearningData:
    if simulation.data is None:
        raise DataError("nothing is classified here", where=simulation.scenario.name)
    return simulation.data


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """(n, classes) float64, rows sum to 1; as `dynsim.backend.inference.Model.probabilities`."""
    p = softmax(logits.astype(np.float64))
    return p / p.sum(axis=1, keepdims=True)
