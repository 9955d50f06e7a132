"""A run that blows up says which particle on which link, and keeps the last good state."""

import numpy as np
import pytest

from dynsim.errors import DivergenceError
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

NETWORK = """
[system]
layers = ["auto", 8, "auto"]
copies = 2
dim = 3
metric = "squared"
[field]
dataset = "moons"
samples = 60
batch = 60
[dynamics]
limit = false
dt = 1e4
[run]
steps = 1000
device = "{device}"
"""


def state_of(system):
    return {(part, k): a.copy() for part in ("x", "v") for k, a in getattr(system, part).items()}


def assert_unharmed(simulation, before, step):
    assert simulation.system.step == step
    after = state_of(simulation.system)
    assert after.keys() == before.keys()
    for key, a in before.items():
        np.testing.assert_array_equal(after[key], a)


@pytest.mark.parametrize("integrator", ["kick-drift", "flow", "leapfrog"])
def test_blow_up_is_reported_and_undone(device, integrator):
    simulation = Simulation(Scenario.from_text(NETWORK.format(device=device), [f'dynamics.integrator="{integrator}"']))
    with pytest.raises(DivergenceError) as caught:
        while True:
            before, step = state_of(simulation.system), simulation.system.step
            simulation.step()
    assert_unharmed(simulation, before, step)
    assert all(np.isfinite(a).all() for a in before.values())
    assert f"step {step + 1}" in str(caught.value)
    assert "dynamics.dt" in caught.value.hint


@pytest.mark.parametrize("bad", [np.inf, np.nan, 2e6])
def test_the_particle_and_its_links_are_named(device, bad):
    simulation = Simulation(Scenario.from_text(NETWORK.format(device=device), ["dynamics.dt=1e-3"]))
    simulation.step()
    q = simulation.system.x["q:hidden"].copy()
    q[1, 5, 2] = bad
    simulation.system = simulation.system.replace(x=simulation.system.x | {"q:hidden": q})
    before = state_of(simulation.system)
    with pytest.raises(DivergenceError) as caught:
        simulation.step()
    assert "sub-model 5, copy 1 of 'hidden'" in str(caught.value)
    assert "input>hidden, hidden>output" in str(caught.value)
    assert_unharmed(simulation, before, 1)
