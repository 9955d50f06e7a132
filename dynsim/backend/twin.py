"""What a DyN system is compared with: the weight-based network of equal widths."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dynsim.errors import OptionError
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.layers import Layers


def dense_twin(simulation: Simulation) -> Simulation:
    """The weight-based network of equal widths, activations and data, moved by Adam over as many of the same batches.

    Its rate is `run.twin` of the scenario, annealed like the Eq. (10) limit.
    """
    scenario = simulation.scenario
    if scenario.run.twin is None or simulation.data is None:
        raise OptionError("the scenario asks for no twin", where="run.twin", hint="--set run.twin=0.002")
    steps = max(1, simulation.phase.batch(simulation.system.step))
    return Simulation(twin_scenario(scenario, scenario.run.twin, steps), data=simulation.data)


def twin_scenario(scenario: Scenario, rate: float, steps: int) -> Scenario:
    """A scenario in which every link is a matrix of weights, moved by Adam at a rate."""
    settings = {
        "system.metric": "weights",
        "system.network": [_plain(layer) for layer in scenario.system.network],
        "system.trained": ["weight", "bias", "scale", "shift"],
        "dynamics.integrator": "adam",
        "dynamics.law": "friction",
        "dynamics.eta": rate,
        "dynamics.dt": 1.0,
        "dynamics.confinement": 0.0,
        "dynamics.plain_rate": None,
        "run.twin": None,
        "run.stop": {},
        "run.steps": steps,
        "recipe.name": "direct",
        "record.observables": ["loss", "accuracy"],
    }
    return scenario.changed(**settings)


def _plain(layer: Layers) -> dict[str, Any]:
    """The layer without a metric of its own."""
    return {k: v for k, v in asdict(layer).items() if k != "metric" and v is not None}
