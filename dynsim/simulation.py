"""The one loop: from a scenario to frames.

simulation = Simulation(Scenario.load("moons"))
for frame in simulation:
    print(frame.step, frame.scalars["loss"])
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from dynsim import datasets
from dynsim.build import (
    build_graph,
    build_law,
    build_limit,
    check_memory,
    given_array,
    given_groups,
    target_matrix,
)
from dynsim.dynamics.divergence import check_finite
from dynsim.dynamics.integrators import Motion, integrator
from dynsim.errors import DataError, ShapeError
from dynsim.fields.base import Field
from dynsim.fields.data import LearningData
from dynsim.fields.network import NetworkField, loss_and_feedback, predict_logits
from dynsim.fields.target import TargetField
from dynsim.forces import Response, forces
from dynsim.frame import Cast, Frame
from dynsim.kernels.load import load
from dynsim.observables import Snapshot, find, measure
from dynsim.observables.learning import relative_stress
from dynsim.observables.projection import axes_projection, pca_projection
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.system.graph import Groups, System, group_kind
from dynsim.system.initialise import initial_positions, masses, random


@dataclass(frozen=True)
class Evaluation:
    """How a part of the data is classified: mean loss, fraction right, confusion (true, predicted)."""

    loss: float
    accuracy: float
    confusion: np.ndarray


class Simulation:
    """A scenario in motion.

    Parameters
    ----------
    scenario : what to simulate.
    dataset : used instead of the scenario's (for data in memory).
    data : the same, split and scaled already.

    Raises
    ------
    ResourceError where it does not fit into memory, DataError, ShapeError and OptionError for what does not fit
    together, DivergenceError during steps.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        dataset: datasets.Dataset | None = None,
        data: LearningData | None = None,
    ) -> None:
        self.scenario = scenario
        self.kernels = load(scenario.run.device)
        if "auto" not in scenario.system.layers:
            check_memory(scenario, [n for n in scenario.system.layers if n != "auto"], batch=1)
        self.data = data if data is not None else self._learning_data(dataset)
        self.graph = build_graph(scenario, self._layers())
        samples = len(self.data.train) if self.data is not None else 1
        check_memory(scenario, [s.size for s in self.graph.subsystems], min(scenario.field.batch, samples))
        self.field = self._build_field()
        self.total_steps = self.planned_steps(scenario)
        self.law = build_law(scenario)
        self.integrator = integrator(scenario.dynamics.integrator)
        self.limit = build_limit(scenario)
        self.motion = Motion(self.push, self.law, self.limit, scenario.dynamics.dt)
        self.system = self._initial_system()
        self.projection = self._projection()
        self.observables = self._observable_names()
        self.response: Response | None = None
        self.validation_accuracy = math.nan
        self.stopped = ""
        self.pending: list[dict[str, float]] = []
        self.events: list[tuple[int, str, str]] = []
        self._revision = 0
        self._started: float | None = None

    # Building ------------------------------------------------------------------------------------------------

    def _learning_data(self, dataset: datasets.Dataset | None) -> LearningData | None:
        field, run = self.scenario.field, self.scenario.run
        if field.kind != "network":
            return None
        if dataset is None:
            name = field.dataset
            source = name if name in datasets.NAMES else self.scenario.located(name)
            dataset = datasets.load(source, seed=run.seed, samples=field.samples)
        return LearningData.of(
            dataset, validation=field.validation, centre=field.centre, seed=run.seed, dtype=run.dtype
        )

    def _layers(self) -> list[int]:
        layers = list(self.scenario.system.layers)
        if self.data is not None:
            ends = {0: self.data.train.x.shape[1], len(layers) - 1: len(self.data.classes)}
            layers = [ends[k] if n == "auto" else n for k, n in enumerate(layers)]
        return [int(n) for n in layers]

    def _build_field(self) -> Field:
        field, run = self.scenario.field, self.scenario.run
        if self.data is None:
            return TargetField(self.graph, target_matrix(self.scenario, self.graph), run.dtype)
        train, output = self.data.train, self.graph.output
        if output.size != len(self.data.classes):
            raise ShapeError(
                f"the labels do not fit subsystem {output.name!r}",
                where="system.layers",
                given=f"{len(self.data.classes)} classes, {output.size} sub-models",
                allowed="as many sub-models as classes",
                hint='write "auto" as the last entry of system.layers',
            )
        return NetworkField(self.graph, train.x, train.y, batch=field.batch, loss=field.loss, seed=run.seed)

    def _initial_system(self) -> System:
        scenario, graph, kernels = self.scenario, self.graph, self.kernels
        seed, dtype = scenario.run.seed, scenario.run.dtype
        x = initial_positions(graph, kernels, seed, dtype, self._weight_scale(), given_groups(scenario, graph))
        mass = masses(graph, kernels, x)
        v = {k: np.zeros_like(a) for k, a in x.items() if group_kind(k) in scenario.system.trained}
        v |= self._initial_velocities(v)
        system = System(graph, x, v, {}, mass, event_span=self.total_steps)
        return system.replace(memory=self.law.start(system, seed))

    def _weight_scale(self) -> dict[str, float]:
        """std(phi) at the start: that of the target, or 1 / sqrt(3 fan_in)."""
        if isinstance(self.field, TargetField):
            return {self.graph.links[0].name: float(self.field.target.std()) or 1.0}
        fan_in = {n: sum(self.graph.shape(k)[0] for k in links) for n, links in self.graph.incoming.items() if links}
        return {k.name: 1 / math.sqrt(3 * fan_in[k.target]) for k in self.graph.links}

    def _initial_velocities(self, v: Groups) -> Groups:
        initial = self.scenario.system.initial
        rng = random(self.scenario.run.seed, "velocity")
        result: Groups = {}
        for key in [k for k in v if k.startswith("q:")]:
            if key[2:] in initial.velocities:
                result[key] = given_array(initial.velocities[key[2:]], v[key], f"system.initial.velocities.{key[2:]}")
            elif initial.speed:
                result[key] = (initial.speed * rng.standard_normal(v[key].shape)).astype(v[key].dtype)
        return result

    def _projection(self) -> np.ndarray:
        record, dim = self.scenario.record, self.graph.dim
        if record.projection == "axes" or not self.graph.particle_subsystems:
            return axes_projection(dim, record.axes)
        return pca_projection(self._stacked(lambda name: self.system.x[f"q:{name}"], np.float64))

    def _observable_names(self) -> tuple[str, ...]:
        """What is recorded, without what means nothing here (accuracy of a target matrix)."""
        meaningless = () if self.data is not None else ("accuracy", "dead")
        return tuple(n for n in self.scenario.record.observables if n not in meaningless)

    # Stepping ------------------------------------------------------------------------------------------------

    def push(self, system: System, step: int) -> tuple[Groups, Response]:
        """Force on every moving group, and the field's response, for the batch of a step."""
        with np.errstate(over="ignore", invalid="ignore"):
            weights = all_weights(self.kernels, system)
            response = self.field.respond(system, weights, step)
            force = forces(self.kernels, system, response, self.scenario.dynamics.confinement)
        return {k: force[k] for k in system.v}, response

    def step(self) -> None:
        """One step of the integrator; raises DivergenceError where it blows up, the state before it kept."""
        if self._started is None:
            self._started = perf_counter()
        with np.errstate(over="ignore", invalid="ignore"):
            system, response = self.integrator.step(self.system, self.motion)
        check_finite(system, response)
        self.system, self.response = system, response
        row = {"step": float(system.step), "time": system.time}
        self.pending.append(row | measure(self.observables, "step", self.snapshot()))
        self._check_stop()

    def _check_stop(self) -> None:
        stop, system = self.scenario.run.stop, self.system
        if system.step % self.field.steps_per_epoch == 0 and self.data is not None and len(self.data.validation):
            self.validation_accuracy = self.evaluate("validation").accuracy
            if stop.accuracy is not None and self.validation_accuracy >= stop.accuracy:
                self.stopped = f"validation accuracy {self.validation_accuracy:.4f} >= {stop.accuracy}"
        looked = system.step % self.scenario.record.every == 0  # it builds W again, so not at every step
        if stop.stress is not None and looked and relative_stress(self.snapshot()) < stop.stress:
            self.stopped = f"equilibrium: relative stress below {stop.stress}"
        if stop.time is not None and self._started is not None and perf_counter() - self._started > stop.time:
            self.stopped = f"time limit of {stop.time} s"
        if not self.stopped and system.step >= self.total_steps:
            self.stopped = "all steps done"

    @property
    def resolved(self) -> Scenario:
        """The scenario with what was found out filled in: sizes, copies, order of the law, friction."""
        settings: dict[str, Any] = {
            "system.layers": [s.size for s in self.graph.subsystems],
            "system.copies": self.graph.copies,
            "dynamics.order": self.law.order,
        }
        if self.scenario.dynamics.law != "lagrangian":
            settings["dynamics.friction"] = self.scenario.dynamics.kept
        return self.scenario.changed(**settings)

    def planned_steps(self, scenario: Scenario) -> int:
        """Steps that a scenario asks for, on this field."""
        return scenario.run.steps or (scenario.run.epochs or 0) * self.field.steps_per_epoch

    @property
    def done(self) -> bool:
        return bool(self.stopped) or self.system.step >= self.total_steps

    @property
    def frame_due(self) -> bool:
        """Whether the current step is one that is recorded."""
        return self.done or self.system.step % self.scenario.record.every == 0

    def __iter__(self) -> Iterator[Frame]:
        """Frames from here to the end: the current one, every `record.every` steps, and the last."""
        yield self.frame()
        while not self.done:
            self.step()
            if self.frame_due:
                yield self.frame()

    def learning_event(self, span: int, reason: str) -> None:
        """tau = 0: the Eq. (10) limit opens again and is annealed over `span` steps."""
        self.system = self.system.replace(event_step=self.system.step, event_span=span)
        self.events.append((self.system.step, "learning", reason))
        self.stopped = ""

    # Looking -------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What observables see now."""
        dynamics = self.scenario.dynamics
        return Snapshot(
            system=self.system,
            response=self.response,
            kernels=self.kernels,
            dt=dynamics.dt,
            eta=dynamics.eta,
            envelope=self.limit.envelope(self.system),
            decay=self.limit.decay(self.system),
            law=dynamics.law,
            confinement=dynamics.confinement,
            resolutions=tuple(self.scenario.record.resolutions),
            projection=self.projection,
        )

    def _stacked(self, of: Any, dtype: Any) -> np.ndarray:
        """Per-subsystem arrays (H, N, ...) as one array over all particles in the order of `cast`."""
        parts = []
        for s in self.graph.particle_subsystems:
            a = of(s.name)
            if a is None:
                a = np.zeros((self.graph.copies, s.size), dtype)
            parts.append(np.asarray(a, dtype).reshape(self.graph.copies * s.size, *a.shape[2:]))
        return np.concatenate(parts) if parts else np.zeros((0, self.graph.dim), dtype)

    @property
    def cast(self) -> Cast:
        """Who the particles are."""
        copies, subsystems = self.graph.copies, self.graph.particle_subsystems
        blocks = [np.indices((copies, s.size), dtype=np.int32).reshape(2, -1) for s in subsystems]
        counts = [copies * s.size for s in subsystems]
        mass = [float(self.system.mass[f"q:{s.name}"].ravel()[0]) for s in subsystems]
        joined = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.int32)
        return Cast(
            subsystems=tuple(s.name for s in subsystems),
            subsystem=np.repeat(np.arange(len(subsystems), dtype=np.int32), counts),
            index=joined[1],
            copy=joined[0],
            mass=np.repeat(np.asarray(mass, np.float32), counts),
            projection=self.projection,
            links={k.name: copies for k in self.graph.links if k.kind.particles},
            dtype=self.scenario.run.dtype,
        )

    def _look(self) -> None:
        """Ask the field once before the first step, so that observables have something to see."""
        if self.response is None:
            force, self.response = self.push(self.system, self.system.step)
            check_finite(self.system.replace(force=force), self.response)
            if not self.system.force:
                self.system = self.system.replace(force=force)

    def frame(self) -> Frame:
        """The system now, with the observables of the steps since the last frame."""
        self._look()
        snapshot = self.snapshot()
        q = self._stacked(lambda name: self.system.x[f"q:{name}"], self.scenario.run.dtype)
        properties = {"position": q} | self._properties(snapshot)
        scalars = self.scalars()
        names = self.pending[0] if self.pending else {}
        history = {n: np.array([row[n] for row in self.pending], float) for n in names}
        self._revision += 1
        frame = Frame(
            step=self.system.step,
            time=self.system.time,
            positions=(q @ self.projection.T.astype(q.dtype)).astype(np.float32),
            properties=properties,
            scalars=scalars,
            history=history,
            events=tuple(self.events),
            revision=self._revision,
        )
        self.pending, self.events = [], []
        return frame

    def scalars(self) -> dict[str, float]:
        """All scalar observables now."""
        self._look()
        snapshot = self.snapshot()
        scalars = measure(self.observables, "step", snapshot) | measure(self.observables, "frame", snapshot)
        if self.data is not None and len(self.data.validation):
            scalars["validation_accuracy"] = self.validation_accuracy
        return scalars

    def recorded_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the scalars of a frame, and of those of every step."""
        return tuple(self.scalars()), tuple(measure(self.observables, "step", self.snapshot()))

    def _properties(self, snapshot: Snapshot) -> dict[str, np.ndarray]:
        result = {}
        for name in self.scenario.record.properties:
            values = find(name).compute(snapshot)
            wide = name in ("velocity", "force")
            result[name] = self._stacked(values.get, self.scenario.run.dtype if wide else np.float32)
        for link in self.graph.links:
            if link.kind.particles:
                result[f"mu:{link.name}"] = self.system.x[f"mu:{link.name}"][:, 0].copy()
        return result

    def evaluate(self, part: str = "test") -> Evaluation:
        """Classify a part of the data: "train", "validation" or "test"."""
        if self.data is None:
            raise DataError("a target field has no classes to evaluate", where=self.scenario.name)
        samples, classes = self.data.part(part), self.graph.output.size
        weights = all_weights(self.kernels, self.system)
        logits = predict_logits(self.system, weights, samples.x)
        predicted = logits.argmax(axis=1)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (samples.y, predicted), 1)
        loss = loss_and_feedback(self.scenario.field.loss, logits, samples.y)[0] if len(samples) else math.nan
        accuracy = float((predicted == samples.y).mean()) if len(samples) else math.nan
        return Evaluation(loss, accuracy, confusion)
