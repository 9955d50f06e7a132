"""What stands at step 0: the data, the field that will push, and the particles with their velocities."""

from __future__ import annotations

import math

import numpy as np

from dynsim import datasets
from dynsim.build import build_graph, build_network, check_memory, given_array, given_groups, target_matrix
from dynsim.errors import ShapeError
from dynsim.fields.base import Field
from dynsim.fields.data import LearningData, Shifts
from dynsim.fields.network import NetworkField
from dynsim.fields.target import TargetField
from dynsim.scenario import Scenario
from dynsim.system.graph import Graph, Groups, System, group_kind
from dynsim.system.initialise import initial_positions, masses, random
from dynsim.system.layers import Network


def learning_data(scenario: Scenario, dataset: datasets.Dataset | None) -> LearningData | None:
    """The scenario's data or the given ones, split and scaled; None for a target."""
    field, run = scenario.field, scenario.run
    if field.kind != "network":
        return None
    if dataset is None:
        name = field.dataset
        source = name if name in datasets.NAMES else scenario.located(name)
        dataset = datasets.load(source, seed=run.seed, samples=field.samples)
    return LearningData.of(
        dataset,
        validation=field.validation,
        centre=field.centre,
        per_feature=field.per_feature,
        seed=run.seed,
        dtype=run.dtype,
    )


def what_exists(scenario: Scenario, data: LearningData | None) -> tuple[Graph, Network | None]:
    """Sub-models and links, and the way of the signals where there are any; "auto" is taken from the data."""
    if data is None:
        return build_graph(scenario, [int(n) for n in scenario.system.layers]), None
    flat = data.train.x.shape[1:]
    return build_network(scenario, tuple(data.input_shape or flat), data.outputs)


def check_batch(scenario: Scenario, graph: Graph, network: Network | None, data: LearningData | None) -> None:
    """Raises ResourceError where a step of the scenario's batch does not fit into memory."""
    samples = len(data.train) if data is not None else 1
    check_memory(scenario, graph, network, min(scenario.field.batch, samples))


def build_field(scenario: Scenario, graph: Graph, network: Network | None, data: LearningData | None, kernels) -> Field:
    """What pushes; raises ShapeError where data or target do not fit the graph."""
    field, run = scenario.field, scenario.run
    if data is None or network is None:
        return TargetField(graph, target_matrix(scenario, graph), run.dtype)
    shape = network.nodes[-1].shape
    if shape != (data.outputs,):
        flat = "" if len(shape) == 1 else ', after { op = "flatten" } or { op = "mean" }'
        raise ShapeError(
            f"the labels do not fit {network.output_name!r}",
            where="system.network" if scenario.system.network else "system.layers",
            given=f"{data.outputs} classes, {shape} sub-models",
            allowed="as many sub-models as classes",
            hint=f'write "auto" as the size of the last layer{flat}',
        )
    return NetworkField(
        graph,
        data.train.x,
        data.train.y,
        network=network,
        batch=field.batch,
        loss=field.loss,
        seed=run.seed,
        augment=Shifts(field.augment, data) if field.augment else None,
        kernels=kernels,
    )


def initial_system(scenario: Scenario, graph: Graph, network: Network | None, field: Field, kernels) -> System:
    """The seeded or prescribed state at step 0; the damping law's memory is not in it yet."""
    seed, dtype = scenario.run.seed, scenario.run.dtype
    std, given = weight_scale(graph, network, field), given_groups(scenario, graph)
    plain = network.groups() if network is not None else {}
    x = initial_positions(graph, kernels, seed, dtype, std, given, plain)
    mass = masses(graph, kernels, x)
    v = {k: np.zeros_like(a) for k, a in x.items() if group_kind(k) in scenario.system.trained}
    return System(graph, x, v | _initial_velocities(scenario, v), {}, mass)


def weight_scale(graph: Graph, network: Network | None, field: Field) -> dict[str, float]:
    """std(phi) at the start: that of the target, or 1 / sqrt(3 fan_in)."""
    if isinstance(field, TargetField):
        return {graph.links[0].name: float(field.target.std()) or 1.0}
    assert network is not None
    return {k.name: 1 / math.sqrt(3 * network.fan_in(k.name)) for k in graph.links}


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
