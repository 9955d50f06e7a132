"""The engine on a GPU takes the steps of the reference: on numba's simulator, and on a card where there is one.

Every law, metric, integrator and kind of field, in float64 and so small that the simulator can: a thousand pairs a
second.
"""

from contextlib import nullcontext

import numpy as np
import pytest
from cuda_cases import small_blocks

from dynsim.datasets import Dataset
from dynsim.dynamics.damping import LAWS
from dynsim.dynamics.integrators import INTEGRATORS
from dynsim.kernels.cards import SIMULATED
from dynsim.scenario import Scenario
from dynsim.sections import PATH_INTEGRALS
from dynsim.simulation import Simulation

pytestmark = [
    pytest.mark.gpu(simulated=True),
    pytest.mark.filterwarnings("ignore:.*overflow encountered:RuntimeWarning"),  # a card overflows silently
]
STEPS = {"law": 20, "metric": 10, "other": 3}
OBSERVABLES = ["loss", "entropy", "energy", "workload", "stress", "conservation", "momentum"]
PROPERTIES = ["velocity", "force"]
TARGET = {
    "system": {"layers": [4, 3], "copies": 2, "dim": 2, "eps": 0.1, "initial": {"speed": 0.3}},
    "field": {"kind": "target", "target": "normal"},
    "dynamics": {"dt": 0.1, "eta": 0.05},
}
NETWORK = {
    "system": {"layers": ["auto", 3, "auto"], "copies": 2, "dim": 2, "eps": 0.1, "initial": {"speed": 0.3}},
    "field": {"dataset": "memory", "batch": 5},
    "dynamics": {"dt": 0.1, "eta": 0.05},
}
SEQUENCE = {
    "system": {"layers": ["auto", 2], "copies": 1, "dim": 2, "eps": 0.1},
    "field": {"kind": "sequence", "dataset": "sines", "batch": 2},
    "sequence": {"signals": 2, "length": 32, "waves": 2, "ticks": 4, "observed": [0], "predicted": [0]},
    "dynamics": {"integrator": "adam", "eta": 0.02},
}
CONVOLUTION = [
    {"op": "reshape", "shape": [3, 4, 1]},
    {"op": "conv", "name": "conv", "channels": 2, "kernel": 2, "padding": 1},
    {"op": "batchnorm"},
    {"op": "relu"},
    {"op": "maxpool", "size": 2},
    {"op": "averagepool", "size": 1},
    {"op": "flatten"},
    {"op": "dense", "name": "output", "size": "auto"},
]
ATTENTION = [
    {"op": "reshape", "shape": [3, 4]},
    {"op": "dense", "name": "embed", "size": 2},
    {"op": "attention", "name": "attention", "heads": 1, "key": 2, "value": 2},
    {"op": "add", "of": "embed"},
    {"op": "layernorm"},
    {"op": "gelu"},
    {"op": "sigmoid"},
    {"op": "mean"},
    {"op": "dense", "name": "output", "size": "auto"},
]
WORLDS = {
    "medium length": (NETWORK, {"system.medium": {"law": "length", "nodes": 4}}),
    "medium damping": (NETWORK, {"system.medium": {"law": "damping", "nodes": 4}}),
    "interactive": (TARGET, {"system.interactive": True}),
    "learned eta, mass": (NETWORK, {"dynamics.hyper": {"trained": ["eta", "mass"], "conserve": True}}),
    "learned potential": (NETWORK, {"dynamics.law": "feedback", "dynamics.hyper": {"trained": ["potential"]}}),
    "merging": (NETWORK, {"merge": {"radius": 0.6, "every": 2, "window": 1}}),
    "well, no limit": (TARGET, {"dynamics.confinement": 0.1, "dynamics.limit": False}),
    "squared loss": (NETWORK, {"field.loss": "squared", "system.activation": "tanh"}),
    "recipe": (NETWORK, {"recipe": {"name": "finetune", "epochs": 1, "fit_steps": 2}}),
    "convolution": (NETWORK, {"system.layers": [], "system.network": CONVOLUTION, "dynamics.plain_rate": 0.01}),
    "attention": (NETWORK, {"system.layers": [], "system.network": ATTENTION, "dynamics.plain_rate": 0.01}),
    "sequence": (SEQUENCE, {}),
    "sequence eq2": (SEQUENCE, {"dynamics.integrator": "eq2"}),
}


def samples(features):
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((12, features)).astype(np.float32), np.arange(12) % 2
    return Dataset("memory", x, y, x[:4], y[:4], (0, 1), (features,), "drawn", "none")


def scenario(world, changes, device, steps):
    """A scenario of tables with some of them changed, in float64."""
    tables = {name: dict(table) for name, table in world.items()}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        tables[section] = tables.get(section, {}) | ({name: value} if name else value)
    record = {"every": 1, "observables": OBSERVABLES, "properties": PROPERTIES}
    run = {"steps": steps, "device": device, "dtype": "float64"}
    return Scenario.model_validate(tables | {"record": record, "run": run})


def marched(world, changes, device, steps):
    """The last frame of a run, and the loss of what is predicted there."""
    told = scenario(world, changes, device, steps)
    if told.field.kind != "network":
        *_, last = Simulation(told)
        return last, 0.0
    simulation = Simulation(told, dataset=samples(12 if told.system.network else 3))
    *_, last = simulation
    return last, simulation.evaluate("test").loss


def on_device(world, changes, steps):
    """The same on a GPU."""
    with small_blocks() if SIMULATED else nullcontext():
        return marched(world, changes, "cuda", steps)


def same_steps(world, changes, steps):
    """Raise where a GPU goes another way."""
    wanted, predicted = marched(world, changes, "reference", steps)
    got, own = on_device(world, changes, steps)
    assert got.step == wanted.step >= min(steps, 1)
    assert own == pytest.approx(predicted, rel=1e-8, abs=1e-8)
    assert got.scalars == pytest.approx(wanted.scalars, rel=1e-8, abs=1e-8, nan_ok=True)
    for name, values in wanted.properties.items():
        assert isinstance(got.properties[name], np.ndarray), name
        np.testing.assert_allclose(got.properties[name], values, rtol=1e-7, atol=1e-8, err_msg=name)


def test_steps_telling():
    same_steps(NETWORK, {}, STEPS["other"])


@pytest.mark.parametrize("metric", PATH_INTEGRALS)
def test_steps_of_every_metric(metric):
    same_steps(TARGET, {"system.metric": metric}, STEPS["metric"])


@pytest.mark.parametrize("law", LAWS)
def test_steps_of_every_law(law):
    same_steps(NETWORK, {"dynamics.law": law, "field.batch": 3}, STEPS["law"])


@pytest.mark.parametrize("integrator", [name for name in INTEGRATORS if name != "eq2"])
def test_steps_of_every_integrator(integrator):
    same_steps(TARGET, {"dynamics.integrator": integrator}, STEPS["other"])


@pytest.mark.parametrize("name", WORLDS)
def test_steps_of_every_world(name):
    same_steps(*WORLDS[name], STEPS["other"])


def test_two_runs_have_the_same_bits():
    runs = [on_device(NETWORK, {}, STEPS["other"])[0] for _ in range(2)]
    for name, values in runs[0].properties.items():
        assert values.tobytes() == runs[1].properties[name].tobytes(), name
