"""What stands at step 0: the data, the field that will push, and the particles with their velocities."""

from __future__ import annotations

import math

import numpy as np

from dynsim import datasets
from dynsim.build import (
    build_graph,
    build_network,
    check_medium,
    check_memory,
    given_array,
    given_groups,
    refuse_beyond,
    sequence_task,
    target_matrix,
)
from dynsim.errors import ShapeError
from dynsim.fields.base import Field
from dynsim.fields.data import LearningData, Shifts
from dynsim.fields.network import NetworkField
from dynsim.fields.sequence import SequenceField, TickField, Window
from dynsim.fields.target import TargetField
from dynsim.scenario import Scenario
from dynsim.system.graph import Graph, Groups, System, group_kind
from dynsim.system.initialise import initial_positions, masses, random
from dynsim.system.layers import Network
from dynsim.system.rule import RuleStart, starting_rule
from dynsim.system.tensors import alike
from dynsim.system.vectors import Reduce


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
        sizes = [_inputs(scenario) if n == "auto" else int(n) for n in scenario.system.layers]
        return build_graph(scenario, sizes), None
    shape = tuple(data.input_shape or data.train.x.shape[1:])
    return build_network(scenario, shape, data.outputs, reduction(scenario, data, shape))


def reduction(scenario: Scenario, data: LearningData, shape: tuple[int, ...]) -> Reduce | None:
    """Which slices of the samples are alike in the training part, where the scenario asks."""
    if scenario.field.reduce is None:
        return None
    samples = data.scaling.undo(data.train.x).reshape(-1, *shape)
    return Reduce("reduce", alike(samples, scenario.field.reduce), name="reduced")


def _inputs(scenario: Scenario) -> int:
    """Sub-models that the inputs of a sequence take."""
    task = sequence_task(scenario)
    return 1 if task is None or task.inputs is None else task.inputs.shape[1]


def check_batch(scenario: Scenario, graph: Graph, network: Network | None, data: LearningData | None) -> None:
    """Raises ResourceError where a step of the scenario's batch does not fit into memory."""
    samples = len(data.train) if data is not None else 1
    check_medium(scenario, graph)
    check_memory(scenario, graph, network, min(scenario.field.batch, samples))


def build_field(scenario: Scenario, graph: Graph, network: Network | None, data: LearningData | None, kernels) -> Field:
    """What pushes; raises ShapeError where data or target do not fit the graph."""
    field, run = scenario.field, scenario.run
    if field.kind == "sequence":
        return _sequence_field(scenario, graph, kernels)
    if data is None or network is None:
        return TargetField(graph, target_matrix(scenario, graph), run.dtype, kernels)
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


def _sequence_field(scenario: Scenario, graph: Graph, kernels) -> SequenceField | TickField:
    task, s = sequence_task(scenario), scenario.sequence
    if scenario.dynamics.integrator == "eq2":
        return TickField(graph, task, kernels, dt=scenario.dynamics.dt, updates=s.updates)
    assert task is not None
    window = Window(s.ticks, s.washout, scenario.field.batch, s.growth)
    field = SequenceField(graph, task, kernels, window=window, dt=s.dt, updates=s.updates, seed=scenario.run.seed)
    refuse_beyond(field.numbers(graph, s.signals) * np.dtype(scenario.run.dtype).itemsize, scenario)
    return field


def _rule(scenario: Scenario, graph: Graph, field: SequenceField | TickField) -> Groups:
    """The matrices of Eq. (2) at the start."""
    s = scenario.sequence
    answers = field.task.targets.shape[1] if isinstance(field, SequenceField) else 0
    start = RuleStart(s.signals, s.spin, s.decay, s.push)
    return starting_rule(graph, start, answers, random(scenario.run.seed, "rule"))


def initial_system(scenario: Scenario, graph: Graph, network: Network | None, field: Field, kernels) -> System:
    """The seeded or prescribed state at step 0; the damping law's memory is not in it yet."""
    seed, dtype = scenario.run.seed, scenario.run.dtype
    std, given = weight_scale(graph, network, field), given_groups(scenario, graph)
    plain = network.groups() if network is not None else {}
    if isinstance(field, SequenceField | TickField):
        plain = _rule(scenario, graph, field)
    x = initial_positions(graph, kernels, seed, dtype, std, given, plain)
    mass = masses(graph, kernels, x)
    v = {k: np.zeros_like(a) for k, a in x.items() if group_kind(k) in scenario.system.trained}
    return System(graph, x, v | _initial_velocities(scenario, v), {}, mass)


def weight_scale(graph: Graph, network: Network | None, field: Field) -> dict[str, float]:
    """std(phi) at the start: that of the target, 1 / sqrt(3 fan_in), or for a sequence 1 / (3 sqrt(fan_in)).

    At three times as much its signals outshout what positions say: a bank of sines stays at R^2 = .9 instead of .99.
    """
    if isinstance(field, TargetField):
        return {graph.links[0].name: float(field.target.std()) or 1.0}
    received = {n: sum(graph.shape(k)[0] for k in links) for n, links in graph.incoming.items()}
    if isinstance(field, SequenceField | TickField):
        return {k.name: 1 / (3 * math.sqrt(received[k.target])) for k in graph.links}
    fan_in = {k.name: network.fan_in(k.name) if network is not None else received[k.target] for k in graph.links}
    return {name: 1 / math.sqrt(3 * n) for name, n in fan_in.items()}


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
