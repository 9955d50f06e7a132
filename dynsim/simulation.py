"""The one loop: from a scenario to frames.

simulation = Simulation(Scenario.load("moons"))
for frame in simulation:
    print(frame.step, frame.scalars["loss"])
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from dynsim import datasets
from dynsim.build import build_graph, build_hyper, build_law, check_memory
from dynsim.dynamics.divergence import check_finite
from dynsim.dynamics.integrators import UNLIMITED, Motion
from dynsim.dynamics.merging import Merging
from dynsim.errors import DataError, unknown
from dynsim.fields.data import LearningData
from dynsim.fields.losses import loss_and_feedback
from dynsim.fields.network import predict_logits
from dynsim.fields.target import TrainedWeightsField
from dynsim.forces import Response, forces
from dynsim.frame import Cast, Frame
from dynsim.interventions import LIMITING, LIVE_PARAMETERS, Event, Interventions
from dynsim.kernels.load import host_of, load
from dynsim.observables import Snapshot, briefly, find, measure, named, panels, widths
from dynsim.observables.learning import relative_stress
from dynsim.observables.projection import axes_projection, pca_projection
from dynsim.recipes import Phase, enter, equipment, kind_of, phases, placed
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.stacking import cast_of, coefficients, stacked, unstacked
from dynsim.start import build_field, check_batch, initial_system, learning_data, weight_scale, what_exists
from dynsim.system.graph import STATE, Groups, System, carried

__all__ = ["LIVE_PARAMETERS", "Evaluation", "Simulation"]


@dataclass(frozen=True)
class Evaluation:
    """How a part of the data is classified: mean loss, fraction right, confusion (true, predicted)."""

    loss: float
    accuracy: float
    confusion: np.ndarray


class Simulation(Interventions):
    """A scenario in motion; `Interventions` says what can be done to it on the way.

    Parameters
    ----------
    scenario : what to simulate.
    dataset : used instead of the scenario's (for data in memory).
    data : the same, split and scaled already.
    given : groups that it starts from instead of drawn ones: coordinates, or for a recipe's first phase trained
        weights (weight:LINK, bias:NODE, ...).

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
        given: Groups | None = None,
    ) -> None:
        self.scenario = scenario
        self.kernels = load(scenario.run.device)
        sizes = [n for n in scenario.system.layers if n != "auto"]
        if sizes and len(sizes) == len(scenario.system.layers):
            check_memory(scenario, build_graph(scenario, sizes), None, batch=1)
        self.data = data if data is not None else learning_data(scenario, dataset)
        self.graph, self.network = what_exists(scenario, self.data)
        check_batch(scenario, self.graph, self.network, self.data)
        self.field = build_field(scenario, self.graph, self.network, self.data, self.kernels)
        self.planned = self.total_steps = self.planned_steps(scenario)
        self.system = initial_system(scenario, self.graph, self.network, self.field, host_of(self.kernels))
        self.equip()
        self._enter(given)
        self.projection = self._projection()
        self.observables = self._observable_names()
        self.response: Response | None = None
        self.validation_accuracy = math.nan
        self.stopped = ""
        self.changes = {}
        self.pending: list[dict[str, float]] = []
        self.last_row = {}
        self.events, self.logged = [], 0
        self._revision = 0
        self._started: float | None = None

    # Building ------------------------------------------------------------------------------------------------

    def _projection(self) -> np.ndarray:
        record, dim = self.scenario.record, self.graph.dim
        if record.projection == "axes" or not self.graph.particle_subsystems:
            return axes_projection(dim, record.axes)
        return pca_projection(self._positions(self._on_host).astype(np.float64))

    @property
    def classifies(self) -> bool:
        """Whether the output is one of several classes."""
        return self.data is not None and len(self.data.classes) > 0

    def _observable_names(self) -> tuple[str, ...]:
        """What is recorded, without what means nothing here (accuracy of a target matrix)."""
        wanted = self.scenario.record.observables
        return tuple(n for n in wanted if self.classifies or not find(n).needs_classes)

    # Phases --------------------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """The part of its recipe in which the run is."""
        parts = phases(self.scenario, self.field.steps_per_epoch)
        return next((p for p in parts if self.system.step < p.start + p.steps), parts[-1])

    def equip(self) -> None:
        """Take the integrator, the law, the limit and the field of the present phase."""
        phase = self.phase
        self.law = build_law(self.scenario)
        chosen, self.limit, dt = equipment(self.scenario, phase)
        merging = self.scenario.merge.radius is not None and phase.kind == "coordinates"
        self.integrator = Merging(chosen, **dict(self.scenario.merge)) if merging else chosen
        self.motion = Motion(self.kernels, self.push, self.law, self.limit, dt, build_hyper(self.scenario))
        self.pushing = TrainedWeightsField() if phase.kind == "fit" else self.field

    def _enter(self, given: Groups | None = None) -> None:
        """Begin the present phase, which the host prepares; `given` is what the first one takes instead of drawn
        groups."""
        std = weight_scale(self.graph, self.network, self.field)
        scenario, phase, host = self.scenario, self.phase, host_of(self.kernels)
        system = self._on_host.replace(event_step=self.system.step, event_span=phase.steps)
        if scenario.recipe.name != "direct":
            system = enter(system, phase, scenario, host, std, given)
        elif given:
            system = placed(system, given, host)
        self.system = system
        self.equip()
        if phase.kind == "coordinates":
            system = system.replace(memory=system.memory | self.law.start(system, scenario.run.seed))
        self.system = system.carried(self.kernels.to_device)

    def _enter_if_due(self) -> None:
        """A state is in the phase of its step; one at the end of a run that was made longer is not yet."""
        if self.scenario.recipe.name != "direct" and kind_of(self.system) != self.phase.kind:
            self._enter()

    # Stepping ------------------------------------------------------------------------------------------------

    def push(self, system: System, step: int) -> tuple[Groups, Response]:
        """Force on every moving group, and the field's response, for the batch of a step."""
        with np.errstate(over="ignore", invalid="ignore"):
            weights = all_weights(self.kernels, system)
            phase = self.phase
            response = self.pushing.respond(system, weights, phase.batch(step))
            well = self.scenario.dynamics.confinement if phase.kind == "coordinates" else 0.0
            force = forces(self.kernels, system, response, well)
        return {k: force[k] for k in system.v}, response

    def step(self) -> None:
        """One step of the integrator; raises DivergenceError where it blows up, the state before it kept."""
        if self._started is None:
            self._started = perf_counter()
        self._enter_if_due()
        with np.errstate(over="ignore", invalid="ignore"):
            system, response = self.integrator.step(self.system, self.motion)
        moved_first = self.scenario.dynamics.integrator == "leapfrog"
        check_finite(system, response, self.system, moved_first, self.kernels)
        self.system, self.response = system.replace(x=system.x | response.statistics), response
        row = {"step": float(system.step), "time": system.time}
        self.last_row = row | measure(self.observables, "step", self.snapshot())
        self.pending.append(self.last_row)
        self._check_stop()
        self._enter_if_due()

    def _check_stop(self) -> None:
        stop, system = self.scenario.run.stop, self.system
        settled = kind_of(system) != "weights"  # the particles that are wanted still wait
        epoch_done = (system.step - self.phase.start) % self.field.steps_per_epoch == 0
        if epoch_done and self.data is not None and len(self.data.validation):
            self.validation_accuracy = self.evaluate("validation").accuracy
            if settled and stop.accuracy is not None and self.validation_accuracy >= stop.accuracy:
                self.stopped = f"validation accuracy {self.validation_accuracy:.4f} >= {stop.accuracy}"
        looked = settled and system.step % self.scenario.record.every == 0  # it builds W again, so not at every step
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
            "system.copies": self.graph.copies,
            "dynamics.order": self.law.order,
        }
        if self.scenario.system.layers:
            settings["system.layers"] = [s.size for s in self.graph.subsystems]
        if self.scenario.dynamics.law != "lagrangian":
            settings["dynamics.friction"] = self.scenario.dynamics.kept
        return self.scenario.changed(**settings)

    def planned_steps(self, scenario: Scenario) -> int:
        """Steps that a scenario asks for, on this field."""
        return sum(p.steps for p in phases(scenario, self.field.steps_per_epoch))

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

    # Looking -------------------------------------------------------------------------------------------------

    @property
    def _on_host(self) -> System:
        """The state as arrays of the host."""
        return self.system.carried(self.kernels.to_host)

    def snapshot(self) -> Snapshot:
        """What observables see now, where the kernels work."""
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
            seed=self.scenario.run.seed,
            limited=None if dynamics.integrator in UNLIMITED else self.limit.enabled,
            bounded=self._same_limit,
        )

    @property
    def _same_limit(self) -> bool:
        """Whether the Eq. (10) limit is what it was at the start: never opened again, changed or learned."""
        hyper = self.scenario.dynamics.hyper
        learned = "eta" in hyper.trained and not hyper.conserve
        return not (self.system.event_step or learned or self.changes.keys() & LIMITING)

    def seen(self) -> Callable[[], Snapshot]:
        """What a frame shows now, the state and the signals: asked for at once, and given as arrays of the host."""
        now = self.snapshot()
        signals = (now.response.received, now.response.emitted) if now.response is not None else ({}, {})
        parts = *now.system.state, *signals
        copies = self.kernels.to_host_later([a for part in parts for a in part.values()])

        @functools.cache
        def arrived() -> Snapshot:
            *state, received, emitted = carried(lambda _: copies.arrays(), *parts)
            response = now.response and replace(now.response, received=received, emitted=emitted)
            system = now.system.replace(**dict(zip(STATE, state)))
            return replace(now, system=system, response=response, kernels=host_of(now.kernels))

        return arrived

    def _positions(self, system: System) -> np.ndarray:
        """(n, d) of all particles of a state on the host, in the order of `cast`."""
        dim, dtype = self.graph.dim, self.scenario.run.dtype
        return stacked(self.graph, lambda name: system.x[f"q:{name}"], dtype, (dim,))

    @property
    def cast(self) -> Cast:
        """Who the particles are, and how what is measured of them is shown."""
        record = self.scenario.record
        return replace(
            cast_of(self._on_host, self.projection, self.scenario.run.dtype),
            widths=widths(self.graph.dim),
            panels=panels((*self.observables, *record.properties), self.classifies),
        )

    def _look(self) -> None:
        """Ask the field once before the first step, so that observables have something to see."""
        if self.response is None:
            force, self.response = self.push(self.system, self.system.step)
            check_finite(self.system.replace(force=force), self.response, self.system, kernels=self.kernels)
            if not self.system.force:
                self.system = self.system.replace(force=force)

    def look(self, properties: tuple[str, ...] = ()) -> Frame:
        """The system now, for a screen: the scalars of a step, no history, no events; nothing is used up.

        Parameters
        ----------
        properties : per-particle observables that it carries beside the positions.

        Raises OptionError for a property that is none.
        """
        self._look()
        self._revision += 1
        return self._shown(self.seen()(), properties, self._validated(self._scalars_of_step()))

    def _shown(self, seen: Snapshot, properties: tuple[str, ...], scalars: dict[str, float]) -> Frame:
        q = self._positions(seen.system)
        return Frame(
            step=seen.system.step,
            time=seen.system.time,
            positions=(q @ self.projection.T.astype(q.dtype)).astype(np.float32),
            properties={"position": q} | self._properties(properties, seen) | coefficients(seen.system),
            scalars=scalars,
            revision=self._revision,
        )

    def frame(self) -> Frame:
        """The system now, with the observables of the steps since the last frame and what was done to it."""
        return self.asked()()

    def asked(self) -> Callable[[], Frame]:
        """The frame of now, which is given when it is called for; until then a card sends what it shows."""
        self._look()
        self._revision += 1
        now, seen, rows, events = self.snapshot(), self.seen(), self.pending, self.hand_over()
        of_now, revision, names = self._validated({}), self._revision, rows[0] if rows else {}
        self.pending = []

        def frame() -> Frame:
            scalars = self._measured(now, seen)  # on the device, while what is seen is on its way
            shown = self._shown(seen(), tuple(self.scenario.record.properties), scalars | of_now)
            history = {n: np.array([row[n] for row in rows], float) for n in names}
            return replace(shown, history=history, events=events, revision=revision)

        return frame

    def hand_over(self) -> tuple[Event, ...]:
        """The events since they were last handed over."""
        events = tuple(self.events)
        self.events, self.logged = [], self.logged + len(events)
        return events

    def scalars(self) -> dict[str, float]:
        """All scalar observables now."""
        self._look()
        return self._validated(self._measured(self.snapshot(), self.seen()))

    def _measured(self, now: Snapshot, seen: Callable[[], Snapshot]) -> dict[str, float]:
        return measure(self.observables, "step", now) | measure(self.observables, "frame", now, seen)

    def brief(self, scalars: Mapping[str, float]) -> dict[str, float]:
        """Scalars as a progress line shows them: short label -> number."""
        return briefly(self.observables, scalars)

    def _scalars_of_step(self) -> dict[str, float]:
        """What the step measured, or measured again where something was done since."""
        if self.last_row:
            return {n: value for n, value in self.last_row.items() if n not in ("step", "time")}
        return measure(self.observables, "step", self.snapshot())

    def _validated(self, scalars: dict[str, float]) -> dict[str, float]:
        """With what every frame tells: the largest speed that Eq. (10) allows, and the validation accuracy."""
        limit = self.limit.eta * self.limit.envelope(self.system) / self.motion.dt
        scalars = scalars | {"speed_limit": limit}
        if self.data is None or not len(self.data.validation):
            return scalars
        return scalars | {"validation_accuracy": self.validation_accuracy}

    def recorded_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the scalars of a frame, and of those of every step."""
        return tuple(self.scalars()), tuple(measure(self.observables, "step", self.snapshot()))

    def _properties(self, names: tuple[str, ...], seen: Snapshot) -> dict[str, np.ndarray]:
        result = {}
        for name in names:
            if name not in named("per_particle"):
                raise unknown("property", name, named("per_particle"))
            values = find(name).compute(seen)
            dtype, width = (self.scenario.run.dtype, (self.graph.dim,)) if find(name).vector else (np.float32, ())
            result[name] = stacked(self.graph, values.get, dtype, width)
        return result

    def state_at(self, frame: Frame) -> System:
        """The state of a frame of this run, at rest: to be evaluated, predicted with, or asked for its forces.

        Raises ShapeError for a frame of another system, or of a file that lacks what prediction needs.
        """
        x = unstacked(frame.properties, self.system)
        v = {k: np.zeros_like(x[k]) for k in self.system.v if k in x}
        here = {"step": frame.step, "time": frame.time, "event_step": frame.step}
        targets = {k: a for k, a in self.system.memory.items() if k.startswith("target:")}
        state = self.system.replace(x=x, v=v, force={}, memory=targets, totals={}, **here)
        return state.carried(self.kernels.to_device)

    def logits(self, x: np.ndarray, system: System | None = None) -> np.ndarray:
        """(n, classes) received signals of the output for scaled inputs (n, features), now or in another state."""
        system = self.system if system is None else system
        if self.network is None:
            raise DataError("nothing is classified here", where=self.scenario.name)
        return predict_logits(self.network, all_weights(self.kernels, system), system.x, x, self.kernels)

    def evaluate(self, part: str = "test", system: System | None = None) -> Evaluation:
        """Classify a part of the data, "train", "validation" or "test", by the state now or by another."""
        system = self.system if system is None else system
        if self.data is None:
            raise DataError("nothing is classified here", where=self.scenario.name)
        samples, classes = self.data.part(part), len(self.data.classes)
        logits = self.logits(samples.x, system)
        if samples.y.ndim == 2:
            loss = loss_and_feedback("squared", logits, samples.y)[0] if len(samples) else math.nan
            return Evaluation(loss, math.nan, np.zeros((0, 0), np.int64))
        predicted = logits.argmax(axis=1)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (samples.y, predicted), 1)
        loss = loss_and_feedback(self.scenario.field.loss, logits, samples.y)[0] if len(samples) else math.nan
        accuracy = float((predicted == samples.y).mean()) if len(samples) else math.nan
        return Evaluation(loss, accuracy, confusion)
