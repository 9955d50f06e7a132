"""What the scenarios of motion say in their first lines, of shorter runs where they are long."""

import numpy as np
import pytest
from worlds import order_of

from dynsim.errors import DivergenceError
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation


def played(name, settings=(), **changes):
    """(simulation at its end, its frames)."""
    simulation = Simulation(Scenario.load(name, settings).changed(**changes))
    return simulation, list(simulation)


def curve(frames, name):
    """A scalar of every frame."""
    return np.array([f.scalars[name] for f in frames])


def path(frames):
    """Path length of every step."""
    return np.concatenate([f.history["path_length"] for f in frames if f.history])


def test_gas_trades_energy_and_keeps_the_sum():
    _, frames = played("gas", ["run.steps=300", "record.observables=['energy', 'momentum']"])
    kinetic, total = curve(frames, "kinetic"), curve(frames, "total_energy")
    assert kinetic.max() > 1.5 * kinetic.min()
    assert np.ptp(total) < 1e-4 * total[0]
    momentum = curve(frames, "momentum")
    assert np.ptp(momentum) < 1e-12 * momentum[0]


def ripple(dt, duration=6.0):
    """Largest deviation of the damped ledger from its start, friction the same per unit of time."""
    settings = {"dynamics.dt": dt, "dynamics.friction": 0.998 ** (dt / 0.02), "run.steps": round(duration / dt)}
    _, frames = played("damped_ledger", **settings, **{"record.every": 1, "record.observables": ["energy"]})
    total = curve(frames, "total_energy")
    assert (np.diff(curve(frames, "dissipated")) >= 0).all()
    assert frames[-1].scalars["dissipated"] > 0.3 * total[0]
    return np.abs(total - total[0]).max() / total[0]


def test_damped_ledger_balances_to_second_order():
    errors = [ripple(dt) for dt in (0.04, 0.02)]
    assert errors[1] < 1e-4
    assert order_of(errors) == pytest.approx([2], abs=0.2)


def test_opening_shock_and_freeze():
    """More than half of the path in the first tenth of the steps, below a hundredth in the last."""
    light = {"field.samples": 200, "record.every": 100, "record.observables": ["workload"], "record.properties": []}
    simulation, frames = played("opening_shock", **light)
    lengths = path(frames)
    tenth = len(lengths) // 10
    assert lengths[:tenth].sum() > 0.45 * lengths.sum()
    assert lengths[-tenth:].sum() < 0.01 * lengths.sum()
    assert lengths[-1] < 0.01 * lengths.max()
    assert simulation.evaluate("test").accuracy > 0.95


def test_without_the_limit_the_shock_goes_on():
    light = {"field.samples": 200, "run.steps": 30, "record.observables": [], "record.properties": []}
    with pytest.raises(DivergenceError, match=r"running away|infinite"):
        played("opening_shock", **light, **{"dynamics.limit": False})


def test_relu_sub_models_die_of_a_common_mode_and_not_of_the_default_start():
    light = {"run.steps": 40, "record.observables": ["dead"], "record.properties": [], "field.samples": 800}
    healthy = {"system.initial.mu": {}, "field.centre": True}
    dead = {}
    for name, start in (("bad", {}), ("default", healthy)):
        simulation, frames = played("relu_collapse", **light, **start)
        dead[name] = curve(frames, "dead")
        if name == "default":
            assert simulation.evaluate("test").accuracy > 0.8
    assert dead["bad"][0] == 0
    assert dead["bad"].max() > 0.7
    assert dead["default"].max() < 0.1


def test_a_well_contracts_the_cloud_while_it_learns():
    light = {"field.samples": 200, "run.steps": 120, "record.every": 120}
    light |= {"record.observables": ["entropy"], "record.properties": []}
    change = {}
    for k in (0.003, 0.0):
        simulation, frames = played("contraction", **light, **{"dynamics.confinement": k})
        change[k] = np.diff(curve(frames, "entropy_raw_0.5"))[-1]
        assert simulation.evaluate("test").accuracy > 0.95
    assert change[0.003] < -0.15
    assert change[0.0] > 0.05


def test_the_lagrangian_changes_its_sign_without_harm():
    light = ["run.steps=500", "record.observables=['energy', 'conservation']", "record.properties=['lagrangian']"]
    simulation, frames = played("zero_crossings", light)
    crossings = curve(frames, "lagrangian_crossings")
    assert (np.diff(crossings) >= 0).all()
    assert crossings[-1] > 3 * simulation.graph.particles
    total = curve(frames, "total_energy")
    assert np.ptp(total) < 1e-3 * total[0]
    speed = max(np.linalg.norm(v, axis=-1).max() for k, v in simulation.system.v.items() if k.startswith("q:"))
    assert speed < 3
    assert all(np.isfinite(f.properties["lagrangian"]).all() for f in frames)


def test_feedback_scenario_trains_its_field_and_learns():
    light = {"field.samples": 200, "run.steps": 80, "record.every": 80, "record.observables": ["conservation"]}
    simulation, frames = played("feedback", **light)
    first, last = (f.properties["potential"] for f in (frames[0], frames[-1]))
    np.testing.assert_array_equal(first, 1)
    assert last.std() > 0.02
    assert simulation.evaluate("test").accuracy > 0.93


def test_trained_eta_scenario_keeps_the_sum_of_eta():
    light = {"field.samples": 200, "run.steps": 60, "record.every": 30}
    _, frames = played("trained_eta", **light)
    sums = curve(frames, "eta_sum")
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)
    eta, mass = frames[-1].properties["eta"], frames[-1].properties["mass"]
    assert eta.max() > 1.5 * eta.min()
    assert len(np.unique(mass)) > 0.9 * len(mass)
