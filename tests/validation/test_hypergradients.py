"""eta_i, m_i and U_i learn by the slope of the next step's energy: by finite differences, and in whole runs."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import UNDAMPED, coordinates, march, motion, network_world

from dynsim import checkpoint
from dynsim.dynamics.damping import FeedbackDamping, Friction, SignalDamping
from dynsim.dynamics.hypergradient import FARTHEST, Hypergradient, slopes
from dynsim.dynamics.integrators import Eq10Literal, Flow, KickDrift, kinetic_energy
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import ScenarioError
from dynsim.kernels import reference
from dynsim.observables import find
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.stacking import cast_of

DT = 0.3


def world_of(law=UNDAMPED, limit=None, integrator=None, warm_up=3):
    """(system after a few steps, world, integrator): particles move in a network, some of them at their limit."""
    system, field = network_world(speed=0.1)
    system = system.replace(v=coordinates(system.v), event_span=10)
    system = system.replace(memory=law.start(system, 5))
    world = motion(reference, field, law, limit or SpeedLimit(enabled=False), dt=DT)
    # It learns nothing here, but everything is remembered from which it could.
    world = replace(world, hyper=Hypergradient(()))
    integrator = integrator or KickDrift()
    for state, _ in march(system, integrator, world, warm_up):
        system = state
    return system, world, integrator


def energy_after(system, world, integrator):
    """(state after a step, energy and force there)."""
    after, _ = integrator.step(system, world)
    force, response = world.push(after, after.step)
    return after, response.loss, force


def own(system, kind, name):
    """The numbers of a subsystem's particles, each with its own."""
    q = system.x[f"q:{name}"]
    if kind == "mass":
        return np.broadcast_to(system.mass[f"q:{name}"], (*q.shape[:2], 1)).copy()
    return np.array(system.memory.get(f"{kind}:{name}", np.ones((*q.shape[:2], 1))))


def with_own(system, kind, name, values):
    if kind == "mass":
        return system.replace(mass=system.mass | {f"q:{name}": values})
    return system.replace(memory=system.memory | {f"{kind}:{name}": values})


def differences(system, world, integrator, kind, name, places, h=1e-5):
    """-dE(q')/d theta at some places of the numbers of a kind; ln of an eta or a mass."""
    result = []
    for place in places:
        energy = []
        for sign in (1, -1):
            values = own(system, kind, name)
            values[place] = values[place] + sign * h if kind == "potential" else values[place] * np.exp(sign * h)
            energy.append(energy_after(with_own(system, kind, name, values), world, integrator)[1])
        result.append(-(energy[0] - energy[1]) / (2 * h))
    return np.array(result)


LIMITED = SpeedLimit(eta=0.02, rate=0.05, warmup=0.0)
SIGNALS = [
    SignalDamping(clip=None, slopes=True),
    FeedbackDamping(clip=None, slopes=True),
    FeedbackDamping(order=1.0, clip=(-2.0, 2.0), potential="drawn", slopes=True),
]


@pytest.mark.parametrize(
    ("kind", "law", "limit", "integrator"),
    [
        ("eta", Friction(rate=0.4), LIMITED, KickDrift()),
        ("eta", UNDAMPED, LIMITED, Flow()),
        ("eta", Friction(rate=0.1), LIMITED, Eq10Literal()),
        ("mass", Friction(rate=0.4), SpeedLimit(enabled=False), KickDrift()),
        ("mass", Friction(rate=0.4), LIMITED, KickDrift()),
        ("mass", UNDAMPED, SpeedLimit(enabled=False), Flow()),
        *(("potential", law, SpeedLimit(enabled=False), KickDrift()) for law in SIGNALS),
        ("potential", SIGNALS[0], LIMITED, KickDrift()),
    ],
    ids=lambda x: getattr(x, "name", None) or (x if isinstance(x, str) else "limit" if x.enabled else "free"),
)
def test_slopes_are_those_of_the_energy_after_the_next_step(kind, law, limit, integrator):
    system, world, integrator = world_of(law, limit, integrator)
    after, _, force = energy_after(system, world, integrator)
    compared, at_limit = [], 0
    for name in ("in", "hid", "out"):
        gradient, size = slopes(after, force[f"q:{name}"], name, DT)[kind]
        at_limit += np.count_nonzero(after.memory[f"shortened:{name}"] < 1)
        assert (np.linalg.norm(gradient, axis=-1, keepdims=True) <= size * (1 + 1e-9)).all()
        places = [tuple(p) for p in np.argwhere(np.ones(gradient.shape, bool))[::3]]
        expected = differences(system, world, integrator, kind, name, places)
        np.testing.assert_allclose([gradient[p] for p in places], expected, rtol=2e-5, atol=1e-9)
        compared += list(expected)
    assert np.abs(compared).max() > 1e-5
    assert (at_limit > 5) == (limit.enabled or integrator.name == "eq10-literal")


def test_a_number_goes_where_its_slope_points_by_no_more_than_the_rate():
    """ln eta += a cos(F', v'), ln m -= a cos(F', T F): bounded, right in sign, none of it below the limit."""
    system, world, integrator = world_of(Friction(rate=0.4), LIMITED)
    after, _, force = energy_after(system, world, integrator)
    learned = Hypergradient(("eta", "mass"), rate=0.1).learn(after, force, DT)
    for name in ("in", "hid", "out"):
        eta, mass = (np.log(learned.memory[f"{k}:{name}"][..., 0]) for k in ("eta", "mass"))
        v, f = after.v[f"q:{name}"], force[f"q:{name}"]
        cosine = (f * v).sum(-1) / np.linalg.norm(f, axis=-1) / np.linalg.norm(v, axis=-1)
        limited = after.memory[f"shortened:{name}"][..., 0] < 1
        np.testing.assert_allclose(eta, np.where(limited, 0.1 * cosine, 0), atol=1e-12)
        assert 0 < np.abs(mass).max() <= 0.1 * (1 + 1e-9)
        ratio = learned.mass[f"q:{name}"] / after.mass[f"q:{name}"]
        np.testing.assert_allclose(np.log(ratio[..., 0]), mass, atol=1e-12)


def test_a_mass_falls_where_forces_agree_and_rises_where_they_alternate():
    system, world, integrator = world_of()
    after, _, _ = energy_after(system, world, integrator)
    for sign in (1, -1):
        again = {k: sign * f for k, f in after.force.items()}
        mass = Hypergradient(("mass",), rate=0.1).learn(after, again, DT).memory["mass:hid"]
        np.testing.assert_allclose(np.log(mass), -0.1 * sign, rtol=1e-9)


def test_no_number_leaves_its_bounds():
    system, world, integrator = world_of(limit=LIMITED)
    after, _, _ = energy_after(system, world, integrator)
    for _ in range(12):
        after = Hypergradient(("eta",), rate=1.0).learn(after, after.v, DT)
    limited = after.memory["shortened:hid"] < 1
    np.testing.assert_allclose(after.memory["eta:hid"][limited], FARTHEST)


def test_kinetic_energy_knows_every_mass():
    system, _ = network_world(speed=0.7)
    q = system.v["q:hid"]
    mass = np.random.default_rng(0).uniform(0.5, 2, (*q.shape[:2], 1))
    one = kinetic_energy(system.replace(v={"q:hid": q}, mass={"q:hid": mass}))
    assert one == pytest.approx(0.5 * (mass * q**2).sum(), rel=1e-12)


def scenario(**settings):
    """Moons, few particles, every number trained."""
    base = {
        "system.layers": ["auto", 6, "auto"],
        "system.copies": 2,
        "system.dim": 3,
        "field.samples": 120,
        "run.steps": 30,
        "run.dtype": "float64",
        "record.observables": ["conservation"],
        "record.properties": ["eta", "mass", "potential"],
        "dynamics.law": "signal",
        "dynamics.hyper.trained": ["eta", "mass", "potential"],
    }
    return Scenario.load("moons").changed(**(base | settings))


def stepped(simulation, steps):
    for _ in range(steps):
        simulation.step()
    return simulation


def test_eq57_holds_for_eta_only_where_it_is_asked_for():
    sums = {}
    for conserve in (True, False):
        simulation = stepped(Simulation(scenario(**{"dynamics.hyper.conserve": conserve})), 25)
        eta = find("eta").compute(simulation.snapshot())
        sums[conserve] = simulation.scalars()["eta_sum"]
        assert sums[conserve] == pytest.approx(sum(a.sum() for a in eta.values()), rel=1e-12)
        assert np.concatenate([a.ravel() for a in eta.values()]).std() > 1e-3
    start = 0.1 * simulation.graph.particles
    assert sums[True] == pytest.approx(start, rel=1e-12)
    assert abs(sums[False] - start) > 1e-3 * start


def test_no_particle_outruns_its_own_eta():
    simulation = stepped(Simulation(scenario(**{"dynamics.limit": True, "dynamics.hyper.rate": 0.3})), 12)
    before = simulation.system
    after = stepped(simulation, 1).system
    for name in ("input", "hidden", "output"):
        moved = np.linalg.norm(after[name].q - before[name].q, axis=-1)
        allowed = simulation.limit.eta * simulation.limit.envelope(before) * after.memory[f"eta:{name}"][..., 0]
        assert (moved <= allowed * (1 + 1e-9)).all()
        assert np.isclose(moved, allowed, rtol=1e-9).any()


def test_what_is_learned_is_shown_and_goes_on_from_a_checkpoint(tmp_path):
    whole = stepped(Simulation(scenario()), 20)
    half = stepped(Simulation(scenario()), 11)
    half.frame()  # looking changes nothing
    checkpoint.save(tmp_path / "c", half, 1.0)
    again = Simulation(scenario())
    checkpoint.load(tmp_path / "c", again)
    stepped(again, 9)
    for part in ("x", "v", "mass", "memory"):
        one, other = getattr(whole.system, part), getattr(again.system, part)
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    shown = again.look(("eta", "mass", "potential")).properties
    mass = cast_of(again.system, again.projection, "float64").mass
    np.testing.assert_array_equal(shown["mass"], mass)
    assert all(len(np.unique(shown[name])) > 10 for name in ("eta", "mass", "potential"))


def test_moving_a_particle_teaches_nothing():
    """What a hand did is not what a number did: the step after an intervention learns nothing."""
    simulation = stepped(Simulation(scenario()), 5)
    before = simulation.system.memory["eta:hidden"]
    simulation.move(3, [0.1, 0.2, 0.3])
    stepped(simulation, 1)
    np.testing.assert_array_equal(simulation.system.memory["eta:hidden"], before)
    stepped(simulation, 1)
    assert np.abs(simulation.system.memory["eta:hidden"] - before).max() > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dynamics.integrator": "leapfrog"}, "leapfrog has no eta to learn"),
        ({"dynamics.integrator": "adam", "dynamics.hyper.trained": ["mass"]}, "adam has no mass to learn"),
        ({"dynamics.integrator": "eq10-literal", "dynamics.hyper.trained": ["mass"]}, "has no mass"),
        ({"dynamics.integrator": "flow", "dynamics.hyper.trained": ["potential"]}, "has no potential"),
        ({"dynamics.law": "friction"}, "this law has no potential"),
        ({"dynamics.limit": False}, "nobody feels an eta"),
        ({"dynamics.hyper.trained": ["mass"], "dynamics.hyper.conserve": True}, "no sum to conserve"),
        ({"dynamics.hyper.trained": ["speed"]}, "eta, mass, potential"),
        ({"dynamics.law": "lagrangian", "dynamics.potential": "drawn", "dynamics.hyper.trained": []}, "no potential"),
    ],
)
def test_what_means_nothing_is_refused(settings, said):
    with pytest.raises(ScenarioError) as refused:
        scenario(**settings)
    assert said in str(refused.value)
