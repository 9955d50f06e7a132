"""Recipes, Alg. 1: in which phases a network becomes a system of particles. They are phases of one run.

    direct     (A) coordinates move under the network's feedback from their random start
    alternate  (B) rounds of an epoch on weights and a fit of the coordinates to them, which is written back
    finetune   (C) epochs on weights, one fit, then coordinates move under the network's feedback

In phase "weights" every link is a free matrix and moves by Adam, the particles wait; in phase "fit" the particles move
by Adam in the potential of those weights, Eq. (6); in phase "coordinates" the matrices are gone, and the particles
move by the scenario's own dynamics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dynsim.build import build_limit
from dynsim.dynamics.integrators import PLAIN, Adam, Beside, Integrator, integrator
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import OptionError, ShapeError
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.system.graph import Graph, Groups, System, group_kind
from dynsim.system.initialise import initial_weights, masses

FITTED = ("q", "mu", "eps", "medium")


@dataclass(frozen=True)
class Phase:
    """A part of a run.

    Attributes
    ----------
    kind : "weights", "fit" or "coordinates". start, steps : of the run.
    batches : how many batches the network has seen before.
    """

    kind: str
    start: int
    steps: int
    batches: int

    def batch(self, step: int) -> int:
        """Number of the batch that the network sees at a step of the run; a fit sees none."""
        return self.batches + (0 if self.kind == "fit" else step - self.start)


def phases(scenario: Scenario, per_epoch: int) -> tuple[Phase, ...]:
    """The phases of a run whose epochs have so many steps."""
    recipe, run = scenario.recipe, scenario.run
    length = run.steps or (run.epochs or 0) * per_epoch
    parts: list[tuple[str, int]] = []
    if recipe.name == "alternate":
        for done in range(0, length, per_epoch):
            parts += [("weights", min(per_epoch, length - done)), ("fit", recipe.fit_steps)]
    elif recipe.name == "finetune":
        parts = [("weights", recipe.epochs * per_epoch), ("fit", recipe.fit_steps), ("coordinates", length)]
    else:
        parts = [("coordinates", length)]
    result, start, batches = [], 0, 0
    for kind, steps in parts:
        if steps:
            result.append(Phase(kind, start, steps, batches))
        start += steps
        batches += 0 if kind == "fit" else steps
    return tuple(result)


def moving(scenario: Scenario, phase: Phase) -> tuple[str, ...]:
    """Kinds of groups that move in a phase."""
    if phase.kind == "coordinates":
        return tuple(scenario.system.trained)
    return PLAIN if phase.kind == "weights" else FITTED


def equipment(scenario: Scenario, phase: Phase) -> tuple[Integrator | Beside, SpeedLimit, float]:
    """How a phase moves: integrator, speed limit (for Adam its rate and how it is annealed), dt."""
    recipe, dynamics = scenario.recipe, scenario.dynamics
    if phase.kind != "coordinates":
        rate = recipe.rate if phase.kind == "weights" else recipe.fit_rate
        return Adam(), SpeedLimit(eta=rate, warmup=dynamics.warmup, enabled=False), 1.0
    chosen = integrator(dynamics.integrator)
    beside = chosen if dynamics.plain_rate is None else Beside(chosen, dynamics.plain_rate)
    return beside, build_limit(scenario), dynamics.dt


def enter(
    system: System, phase: Phase, scenario: Scenario, kernels, std: Mapping[str, float], given: Groups | None = None
) -> System:
    """The state at the first step of a phase, at rest.

    Parameters
    ----------
    std : link -> standard deviation of weights that are drawn.
    given : trained groups (weight:LINK, bias:NODE, ...) that the run's first phase takes instead of drawn ones.

    Raises OptionError for a fit to weights that nobody has trained, ShapeError for given groups of another network.
    """
    if phase.kind == "fit" and phase.start == 0 and not given:
        raise OptionError(
            "there are no trained weights to fit",
            where="recipe.epochs",
            given=scenario.recipe.epochs,
            allowed="1 or more, or from Python Simulation(scenario, given=weights)",
        )
    x, memory = dict(system.x), {}
    if phase.kind != "coordinates" and phase.start == 0:
        x |= initial_weights(system.graph, scenario.run.seed, scenario.run.dtype, std)
        x |= fitting(given or {}, x)
    elif phase.kind == "weights":
        x |= path_integrals(system, kernels)
    if phase.kind == "fit":
        wanted = {k: x.pop(k) for k in weight_groups(system.graph)}
        memory = {f"target:{k[7:]}": a[..., 0] for k, a in wanted.items()}
        x |= _matched_gains(system.replace(x=x), kernels, wanted)
    v = {k: np.zeros_like(a) for k, a in x.items() if group_kind(k) in moving(scenario, phase)}
    mass = masses(system.graph, kernels, x)
    return system.replace(x=x, v=v, force={}, mass=mass, memory=memory)


def fitting(given: Groups, like: Groups) -> Groups:
    """Given groups in the shape and type of those that they replace; raises ShapeError for one that is none of them."""
    for key, a in given.items():
        if key not in like or np.size(a) != like[key].size:
            shape = like[key].shape if key in like else "no such group"
            raise ShapeError("a given group does not fit", where=key, given=np.shape(a), allowed=str(shape))
    return {k: np.array(a, like[k].dtype).reshape(like[k].shape) for k, a in given.items()}


def placed(system: System, given: Groups, kernels) -> System:
    """The state at given positions, with the masses that belong to them."""
    x = dict(system.x) | fitting(given, system.x)
    return system.replace(x=x, mass=masses(system.graph, kernels, x))


def kind_of(system: System) -> str:
    """The kind of phase that a state of a recipe is in."""
    if any(key in system.x for key in weight_groups(system.graph)):
        return "weights"
    return "fit" if any(key.startswith("target:") for key in system.memory) else "coordinates"


def weight_groups(graph: Graph) -> list[str]:
    """The groups that hold the weights of links with particles, while they are trained as such."""
    return [f"weight:{k.name}" for k in graph.links if k.kind.particles]


def path_integrals(system: System, kernels) -> Groups:
    """Weights written back: what the present coordinates give."""
    phi = all_weights(kernels, system)
    return {f"weight:{k.name}": phi[k.name].matrix()[..., None] for k in system.graph.links if k.kind.particles}


def _matched_gains(system: System, kernels, wanted: Groups) -> Groups:
    """Gains that give the path integrals of every link the standard deviation of its weights."""
    gains = {}
    for key, phi in path_integrals(system, kernels).items():
        ratio = float(wanted[key].std()) / (float(phi.std()) or 1.0) or 1.0
        gain = system.x[f"gain:{key[7:]}"]
        gains[f"gain:{key[7:]}"] = gain * gain.dtype.type(ratio)
    return gains
