"""What can be done to a simulation while it runs, each logged as an event so that it can be done again.

An event is (step, kind, detail) with a JSON detail; what is done at step s comes before step s + 1 is taken.

    set       {"key", "value"}             a live parameter
    learning  {"span", "reason"}           the Eq. (10) limit opens again
    kick      {"strength", "span"}         the same, with a random impulse
    extend    {"steps"}                    the same, and the run is longer
    move      {"particle", "first", "q"}   coordinates from `first` on; long vectors take several events
    branch    {"source", "step"}           where a run's history before was copied from
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from dynsim.dynamics.damping import DampingLaw
from dynsim.dynamics.divergence import RUNAWAY
from dynsim.dynamics.integrators import Motion
from dynsim.dynamics.merging import mates, synchronised
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import FileFormatError, OptionError, ShapeError, unknown
from dynsim.fields.base import Field
from dynsim.fields.data import LearningData
from dynsim.scenario import Scenario
from dynsim.stacking import place
from dynsim.start import build_field, check_batch
from dynsim.system.graph import Graph, Groups, System
from dynsim.system.initialise import random
from dynsim.system.layers import Network

LIVE_PARAMETERS = {
    "dynamics.dt": "step in units of the particles' own time",
    "dynamics.eta": "Eq. (10): longest move of a particle per step; Adam's rate",
    "dynamics.law": "for Lambda; a new law starts with its own friction, order and memory",
    "dynamics.friction": "velocity kept per step",
    "dynamics.confinement": "k of the well k |q|^2 / 2",
    "dynamics.decay": "Lambda_env per step",
    "dynamics.coefficients": "longest relative move of mu, gain and eps per step",
    "dynamics.limit": "the Eq. (10) speed limit",
    "field.batch": "samples per step",
}
# Of these, what the Eq. (10) limit allows the particles depends on.
LIMITING = {"dynamics.eta", "dynamics.decay", "dynamics.limit"}
Event = tuple[int, str, str]
# An event's detail holds 1024 bytes; a number takes 26 at most.
COORDINATES_PER_EVENT = 16
LARGEST_KICK = 1e6


class Interventions(ABC):
    """The part of `Simulation` that changes it from outside.

    Attributes
    ----------
    changes : every setting that has been changed since the start, with its value now.
    events : what has been done and not yet handed over in a frame; `logged` : how many have been.
    planned : steps that the scenario asked for at the start; `total_steps` : the same with what was added since.
    """

    scenario: Scenario
    data: LearningData | None
    kernels: Any
    graph: Graph
    network: Network | None
    field: Field
    system: System
    law: DampingLaw
    limit: SpeedLimit
    motion: Motion
    planned: int
    total_steps: int
    stopped: str
    _started: float | None
    changes: dict[str, Any]
    events: list[Event]
    logged: int
    last_row: dict[str, float]

    @abstractmethod
    def equip(self) -> None: ...

    def set_parameter(self, key: str, value: Any) -> None:
        """Change one of LIVE_PARAMETERS from the next step on.

        A new law takes its own defaults of friction and order: those of another mean something else.
        Raises OptionError and ScenarioError for what is not allowed; then nothing has changed.
        """
        if key not in LIVE_PARAMETERS:
            raise unknown("live parameter", key, tuple(LIVE_PARAMETERS))
        if key == "field.batch" and self.scenario.field.kind == "target":
            raise OptionError("a target field has no batches", where=key, given=value)
        if key == "field.batch" and self.scenario.recipe.name != "direct":
            raise OptionError("the phases of a recipe are counted in batches", where=key, given=value)
        settings = {key: value}
        if key == "dynamics.law" and value != self.scenario.dynamics.law:
            settings |= {"dynamics.friction": None, "dynamics.order": None}
        self.adopt(settings)
        self._log("set", key=key, value=self.changes[key])

    def adopt(self, settings: dict[str, Any]) -> None:
        """Change settings by dotted keys and rebuild what depends on them, without a word in the log."""
        before, scenario = self.scenario, self.scenario.changed(**settings)
        if scenario.field.batch != before.field.batch:
            check_batch(scenario, self.graph, self.network, self.data)
            self.field = build_field(scenario, self.graph, self.network, self.data, self.kernels)
        self.scenario = scenario
        self.equip()
        if scenario.dynamics.law != before.dynamics.law:
            kept = _without(self.system.memory, "potential:", "lagrangian", "softening:", "slope:", "lambda:")
            self.system = self.system.replace(memory=kept | self.law.start(self.system, scenario.run.seed))
        values = scenario.model_dump(mode="json")
        self.changes |= {key: _looked_up(values, key) for key in settings}

    def learning_event(self, span: int, reason: str) -> None:
        """tau = 0: the Eq. (10) limit opens again and is annealed over `span` steps, which the run has at least."""
        self._open_limit(span)
        self.total_steps = max(self.total_steps, self.system.step + span)
        self._log("learning", span=span, reason=reason)

    def kick(self, strength: float = 0.0) -> None:
        """A learning event over the steps left (at the end: the planned length), and a random impulse.

        The impulse on the coordinate particles has a root mean square speed of `strength` times the limit
        eta exp(-Lambda_env tau) / dt. Flow, Adam and Eq. (10) itself set velocities anew, so it is lost on them.
        Raises OptionError for a strength that is negative, not finite or above 1e6.
        """
        span = max(self.total_steps - self.system.step, 0) or self.planned
        self._kick(strength, span)

    def _kick(self, strength: float, span: int) -> None:
        if not 0 <= strength <= LARGEST_KICK:
            raise OptionError("not a strength", given=strength, allowed=f"0 ... {LARGEST_KICK:g}")
        self._open_limit(span)
        if strength > 0:
            speed = strength * self.limit.eta * self.limit.envelope(self.system) / self.motion.dt
            self.system = struck(self.system, speed, self.scenario.run.seed, self.kernels)
        self._log("kick", strength=float(strength), span=span)

    def extend(self, steps: int) -> None:
        """Go on for `steps` more than planned; a learning event over as many. Raises OptionError below 1."""
        steps = index(steps)
        if steps < 1:
            raise OptionError("not a number of steps", given=steps, allowed="1 or more")
        self._open_limit(steps)
        self.total_steps += steps
        self._log("extend", steps=steps)

    def move(self, particle: int, position: Sequence[float], velocity: Sequence[float] | None = None) -> None:
        """Put a particle of the cast at `position` (d,) in R^d with `velocity` (d,), None for at rest.

        Raises ShapeError for another length, OptionError for a particle that is not there and for coordinates
        that are not finite or too far out.
        """
        q, dim = self._coordinates(position), self.graph.dim
        v = self._coordinates((0.0,) * dim if velocity is None else velocity)
        if q.shape != (dim,) or v.shape != (dim,):
            raise ShapeError("not a place in R^d", given=f"{q.shape}, {v.shape}", allowed=f"({dim},)")
        self.system = displaced(self.system, particle, 0, q, v, self.kernels)
        for first in range(0, dim, COORDINATES_PER_EVENT):
            part = slice(first, first + COORDINATES_PER_EVENT)
            self._log("move", particle=int(particle), first=first, q=q[part].tolist(), v=v[part].tolist())

    def motion_of(self, particle: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Position and velocity of a particle of the cast: what `move` takes to bring it back, bit by bit."""
        group, copy, k = place(self.graph, particle)
        v = self.system.v.get(group)
        q = self.system.x[group][copy, k]
        return tuple(q.tolist()), tuple((np.zeros_like(q) if v is None else v[copy, k]).tolist())

    def branched(self, source: str, step: int) -> None:
        """Log that all before was copied from the run `source`."""
        self._log("branch", source=source, step=step)

    def apply(self, event: Event) -> None:
        """Do again what a logged event says, and log it again. Raises FileFormatError for a malformed one."""
        _, kind, detail = event
        try:
            self._do(kind, json.loads(detail))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FileFormatError("not an event that can be done again", given=f"{kind} {detail}: {error}") from None

    def _do(self, kind: str, said: dict[str, Any]) -> None:
        match kind:
            case "set":
                self.set_parameter(said["key"], said["value"])
            case "learning":
                self.learning_event(index(said["span"]), said["reason"])
            case "kick":
                self._kick(said["strength"], index(said["span"]))
            case "extend":
                self.extend(said["steps"])
            case "move":
                particle, first = said["particle"], index(said["first"])
                q, v = self._coordinates(said["q"]), self._coordinates(said["v"])
                self.system = displaced(self.system, particle, first, q, v, self.kernels)
                self._log("move", particle=particle, first=first, q=q.tolist(), v=v.tolist())
            case "branch":
                self.branched(said["source"], said["step"])
            case _:
                raise unknown("event", kind, ("set", "learning", "kick", "extend", "move", "branch"))

    def _coordinates(self, values: Sequence[float]) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):
                return np.asarray(values, self.scenario.run.dtype)
        except (TypeError, ValueError):
            raise OptionError("not coordinates", given=values, allowed="numbers") from None

    def _open_limit(self, span: int) -> None:
        self.system = self.system.replace(event_step=self.system.step, event_span=span)
        if self.stopped:
            self.stopped, self._started = "", None  # a time limit counts anew

    def _log(self, kind: str, **detail: Any) -> None:
        # Leapfrog must ask the field again, and nothing is learned from the last step: both belong to the state before.
        self.system = self.system.replace(memory=_without(self.system.memory, "received:", "shortened:"))
        self.last_row = {}
        self.events.append((self.system.step, kind, json.dumps(detail, allow_nan=False)))


def struck(system: System, speed: float, seed: int, kernels: Any) -> System:
    """A Gaussian impulse on every coordinate particle that moves; `speed` is its root mean square length.

    Particles that have merged share what they receive together.
    """
    rng = random(seed, "kick", system.step)
    v = dict(system.v)
    for key in [f"q:{s.name}" for s in system.graph.particle_subsystems]:
        if key in v:
            impulse = speed / np.sqrt(system.graph.dim) * rng.standard_normal(v[key].shape)
            v[key] = v[key] + np.asarray(impulse, v[key].dtype, like=v[key])
    return synchronised(system.replace(v=v), kernels)


def displaced(system: System, particle: int, first: int, q: np.ndarray, v: np.ndarray, kernels: Any) -> System:
    """A particle, and all that have merged with it, with coordinates from `first` on set to q (k,), velocity to v."""
    place(system.graph, particle)  # refuses one that is not there
    places = [place(system.graph, n) for n in mates(system, particle, kernels)]
    if q.ndim != 1 or q.shape != v.shape or not 0 <= first <= system.graph.dim - len(q):
        raise ShapeError("not part of a position", given=f"{q.shape} from {first}", allowed=f"({system.graph.dim},)")
    if not (np.abs(np.stack([q, v])) < RUNAWAY).all():
        raise OptionError("not a place for a particle", given=q.tolist(), allowed=f"coordinates below {RUNAWAY:g}")
    x, velocity = dict(system.x), dict(system.v)
    for groups, part in ((x, q), (velocity, v)):
        for group in {group for group, *_ in places} & groups.keys():
            groups[group] = groups[group].copy()
        for group, copy, k in places:
            if group in groups:
                groups[group][copy, k, first : first + len(part)] = np.asarray(part, like=groups[group])
    return system.replace(x=x, v=velocity)


def _without(memory: Groups, *kinds: str) -> Groups:
    return {k: a for k, a in memory.items() if not k.startswith(kinds)}


def _looked_up(table: dict[str, Any], key: str) -> Any:
    section, name = key.split(".")
    return table[section][name]
