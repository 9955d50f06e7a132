"""What stands at step 0: the data, the field that will push, and the particles with their velocities."""

from __future__ import annotations

import math

import numpy as np

from dynsim import datasets
from dynsim.build import check_memory, given_array, given_groups, target_matrix
from dynsim.errors import ShapeError
from dynsim.fields.base import Field
from dynsim.fields.data import LearningData
from dynsim.fields.network import NetworkField
from dynsim.fields.target import TargetField
from dynsim.scenario import Scenario
from dynsim.system.graph import Graph, Groups, System, group_kind
from dynsim.system.initialise import initial_positions, masses, random


def learning_data(scenario: Scenario, dataset: datasets.Dataset | None) -> LearningData | None:
    """The scenario's data or the given ones, split and scaled; None for a target."""
    field, run = scenario.field, scenario.run
    if field.kind != "network":
        return None
    if dataset is None:
        name = field.dataset
        source = name if name in datasets.NAMES else scenario.located(name)
        dataset = datasets.load(source, seed=run.seed, samples=field.samples)
    return LearningData.of(dataset, validation=field.validation, centre=field.centre, seed=run.seed, dtype=run.dtype)


def layer_sizes(scenario: Scenario, data: LearningData | None) -> list[int]:
    """Sub-models of every subsystem, "auto" taken from the data."""
    layers = list(scenario.system.layers)
    if data is not None:
        ends = {0: data.train.x.shape[1], len(layers) - 1: len(data.classes)}
        layers = [ends[k] if n == "auto" else n for k, n in enumerate(layers)]
    return [int(n) for n in layers]


def check_batch(scenario: Scenario, graph: Graph, data: LearningData | None) -> None:
    """Raises ResourceError where a step of the scenario's batch does not fit into memory."""
    samples = len(data.train) if data is not None else 1
    check_memory(scenario, [s.size for s in graph.subsystems], min(scenario.field.batch, samples))


def build_field(scenario: Scenario, graph: Graph, data: LearningData | None) -> Field:
    """What pushes; raises ShapeError where data or target do not fit the graph."""
    field, run = scenario.field, scenario.run
    if data is None:
        return TargetField(graph, target_matrix(scenario, graph), run.dtype)
    train, output = data.train, graph.output
    if output.size != len(data.classes):
        raise ShapeError(
            f"the labels do not fit subsystem {output.name!r}",
            where="system.layers",
            given=f"{len(data.classes)} classes, {output.size} sub-models",
            allowed="as many sub-models as classes",
            hint='write "auto" as the last entry of system.layers',
        )
    return NetworkField(graph, train.x, train.y, batch=field.batch, loss=field.loss, seed=run.seed)


def initial_system(scenario: Scenario, graph: Graph, field: Field, kernels) -> System:
    """The seeded or prescribed state at step 0; the damping law's memory is not in it yet."""
    seed, dtype = scenario.run.seed, scenario.run.dtype
    x = initial_positions(graph, kernels, seed, dtype, _weight_scale(graph, field), given_groups(scenario, graph))
    mass = masses(graph, kernels, x)
    v = {k: np.zeros_like(a) for k, a in x.items() if group_kind(k) in scenario.system.trained}
    return System(graph, x, v | _initial_velocities(scenario, v), {}, mass)


def _weight_scale(graph: Graph, field: Field) -> dict[str, float]:
    """std(phi) at the start: that of the target, or 1 / sqrt(3 fan_in)."""
    if isinstance(field, TargetField):
        return {graph.links[0].name: float(field.target.std()) or 1.0}
    fan_in = {n: sum(graph.shape(k)[0] for k in links) for n, links in graph.incoming.items() if links}
    return {k.name: 1 / math.sqrt(3 * fan_in[k.target]) for k in graph.links}


def _initial_velocities(scenario: Scenario, v: Groups) -> Groups:
    initial = scenario.system.initial
    rng = random(scenario.run.seed, "velocity")
    result: Groups = {}
    for key in [k for k in v if k.startswith("q:")]:
        if key[2:] in initial.velocities:
            result[key] = given_array(initial.velocities[key[2:]], v[key], f"system.initial.velocities.{key[2:]}")
        elif initial.speed:
            result[key] = (initial.speed * rng.standard_normal(v[key].shape)).astype(v[key].dtype)
    return result
