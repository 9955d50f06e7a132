"""Where runs end: stress falls until it stops a run; a confining well draws the cloud together."""

import numpy as np

from dynsim.observables.learning import relative_stress
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

TARGET = """
[system]
layers = [5, 4]
copies = 4
dim = 3
eps = 0.1
[field]
kind = "target"
target = "normal"
[dynamics]
dt = 0.5
decay = 0.0
[run]
steps = 2000
dtype = "float64"
device = "{device}"
"""


def test_stress_falls_until_it_stops_the_run(device):
    """Sec. 4.1: equilibrium is where the mean stress is below 1e-3 of the path integrals; 20 weights, 113 numbers."""
    simulation = Simulation(Scenario.from_text(TARGET.format(device=device), ["run.stop.stress=1e-3"]))
    simulation.step()
    before = relative_stress(simulation.snapshot())
    while not simulation.done:
        simulation.step()
    assert before > 0.1
    assert simulation.stopped.startswith("equilibrium")
    assert relative_stress(simulation.snapshot()) < 1e-3
    assert 10 < simulation.system.step < 2000
    weights = simulation.kernels.path_integral(*simulation.system.link_arguments(simulation.graph.links[0]))
    assert simulation.field.relative_error(weights) < 2e-3


def cloud_size(device, confinement):
    """Root mean square distance of a settled cloud's particles from the origin."""
    scenario = Scenario.from_text(
        TARGET.format(device=device), [f"dynamics.confinement={confinement}", "run.steps=300"]
    )
    simulation = Simulation(scenario)
    while not simulation.done:
        simulation.step()
    return float(np.sqrt(np.mean([np.mean(simulation.system[n].q ** 2) for n in ("input", "output")])))


def test_a_well_contracts_the_cloud(device):
    """Only that: whether structural entropy falls with it depends on delta, and is shown, not claimed."""
    free, mild, steep = (cloud_size(device, k) for k in (0.0, 0.1, 1.0))
    assert steep < 0.8 * mild < 0.8 * free
