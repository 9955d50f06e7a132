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
    trail = []

    def run():
        while not simulation.done:
            trail.append(state_of(simulation.system))
            simulation.step()

    with pytest.raises(DivergenceError) as caught:
        run()
    assert_unharmed(simulation, trail[-1], len(trail) - 1)
    assert all(np.isfinite(a).all() for a in trail[-1].values())
    assert f"step {len(trail)}" in str(caught.value)
    assert "dynamics.dt" in caught.value.hint


def broken(device, part, bad):
    """A simulation after one step, with one coordinate or velocity component of one hidden particle overwritten."""
    simulation = Simulation(Scenario.from_text(NETWORK.format(device=device), ["dynamics.dt=1e-3"]))
    simulation.step()
    groups = getattr(simulation.system, part)
    a = groups["q:hidden"].copy()
    a[1, 5, 2] = bad
    simulation.system = simulation.system.replace(**{part: groups | {"q:hidden": a}})
    return simulation


CULPRIT = "sub-model 5, copy 1 of 'hidden', links input>hidden, hidden>output"


@pytest.mark.parametrize(
    ("part", "bad"),
    [("x", 2e6), ("x", np.nan), ("x", np.inf), ("v", np.inf), ("v", np.nan), ("v", 1e12)],
)
def test_the_particle_and_its_links_are_named_although_the_step_spreads_it(device, part, bad):
    simulation = broken(device, part, bad)
    before = state_of(simulation.system)
    with pytest.raises(DivergenceError) as caught:
        simulation.step()
    assert caught.value.given == CULPRIT
    assert_unharmed(simulation, before, 1)


def test_a_bad_datum_is_named_by_the_input_that_received_it(device):
    simulation = Simulation(Scenario.from_text(NETWORK.format(device=device), ["dynamics.dt=1e-3"]))
    simulation.field.x = simulation.field.x.copy()
    simulation.field.x[17, 1] = np.nan
    before = state_of(simulation.system)
    with pytest.raises(DivergenceError, match="the signal received by a sub-model is NaN") as caught:
        simulation.step()
    assert caught.value.given == "sub-model 1 of 'input', links input>hidden"
    assert_unharmed(simulation, before, 0)


def test_a_group_that_is_no_particle_is_named_by_its_place(device):
    simulation = broken(device, "x", 0.0)
    groups = simulation.system.x
    mu = groups["mu:hidden>output"].copy()
    mu[1] = np.nan
    simulation.system = simulation.system.replace(x=groups | {"mu:hidden>output": mu})
    with pytest.raises(DivergenceError) as caught:
        simulation.step()
    assert caught.value.given == "mu[1] of 'hidden>output', links hidden>output"


def test_a_number_that_the_law_remembers_badly_is_named(device):
    settings = ["dynamics.dt=1e-3", 'dynamics.integrator="adam"']
    simulation = Simulation(Scenario.from_text(NETWORK.format(device=device), settings))
    simulation.step()
    moment = simulation.system.memory["adam1:q:hidden"].copy()
    moment[0, 3, 1] = np.inf
    simulation.system = simulation.system.replace(memory=simulation.system.memory | {"adam1:q:hidden": moment})
    with pytest.raises(DivergenceError, match="the memory of a particle is infinite") as caught:
        simulation.step()
    assert "sub-model 3, copy 0 of 'hidden'" in caught.value.given
