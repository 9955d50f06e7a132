"""The other Lagrangian of Appendix G, L_ik = S_ik Phi_i: what S is, what damps, and what cancels."""

import numpy as np
import pytest
from worlds import constant_motion, coordinates, last, march, motion, moving, network_world, pair_graph, target_world

from dynsim.dynamics.damping import FeedbackDamping, Friction
from dynsim.dynamics.hypergradient import Hypergradient
from dynsim.dynamics.integrators import KickDrift, Leapfrog
from dynsim.dynamics.lagrangian import fed_back
from dynsim.forces import Response, Stress
from dynsim.kernels import reference
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.simulation import Simulation

DT = 0.1


@pytest.mark.parametrize("world", [network_world, target_world], ids=["network", "target"])
def test_s_is_the_stress_of_every_pair_summed_over_partners(kernels, world):
    """sum_k S_ik by its definition, -dE/dphi_ik over every partner on every link, without the short cut."""
    system, field = world()
    response = field.respond(system, all_weights(kernels, system), 0)
    heard = fed_back(system.graph, response)
    for s in system.graph.subsystems:
        pairs = np.zeros(s.size)
        for link in system.graph.links:
            f = response.stress[link.name].dense(kernels)
            pairs += f.sum(1) if link.source == s.name else f.sum(0) if link.target == s.name else 0
        np.testing.assert_allclose(heard[s.name], pairs, rtol=1e-9, atol=1e-12)
        assert np.abs(pairs).max() > 1e-3


def test_a_sub_model_whose_links_push_nothing_hears_nothing():
    system, field = network_world()
    response = field.respond(system, all_weights(reference, system), 0)
    silent = Response(0.0, {"in>hid": response.stress["in>hid"]})
    np.testing.assert_array_equal(fed_back(system.graph, silent)["out"], 0)


def prescribed(law, potential=None, steps=60):
    """Yield (system, Phi_i sum_k S_ik of each group) while `law` damps free particles under a prescribed feedback."""
    system = moving(pair_graph(), seed=3)
    system = system.replace(memory=law.start(system, 7))
    rng = np.random.default_rng(4)
    swing = {s.name: rng.standard_normal((3, s.size)) for s in system.graph.subsystems}
    world = constant_motion({}, law)
    for n in range(steps):
        heard = {k: a + b * np.sin(0.3 * n) + c * np.cos(0.17 * n) for k, (a, b, c) in swing.items()}
        if potential is not None:
            field = {f"potential:{k}": potential(n) * np.ones((2, len(r), 1)) for k, r in heard.items()}
            system = system.replace(memory=system.memory | field)
        system = world.damp(system, heard, DT)
        L = {f"q:{k}": system.memory[f"potential:{k}"] * r[None, :, None] for k, r in heard.items()}
        yield system, L


@pytest.mark.parametrize("order", [0.5, 1])
@pytest.mark.parametrize("potential", [None, lambda n: 1 + 0.5 * np.sin(n)], ids=["constant", "changing"])
def test_feedback_law_has_an_invariant_through_zero_crossings(order, potential):
    """|v|^2 (L^2 + eps^2)^order, whatever Phi does in between."""
    states = list(prescribed(FeedbackDamping(order=order, clip=None), potential))
    first, L_first = states[0]
    crossings = 0
    for (_, L_before), (after, L_after) in zip(states, states[1:]):
        for k, L in L_after.items():
            eps = 0.01 * np.abs(L_first[k]).mean()
            crossings += np.count_nonzero(L * L_before[k] < 0)
            was, now = (s.v[k] ** 2 * (x**2 + eps**2) ** order for s, x in ((first, L_first[k]), (after, L)))
            np.testing.assert_allclose(now, was, rtol=1e-12)
    assert crossings > 30
    counted = sum(int(a) for k, a in after.memory.items() if k.startswith("lagrangian-crossings:"))
    assert counted == crossings


@pytest.mark.parametrize("order", [0.5, 1])
def test_clipped_feedback_law_only_brakes_and_never_hard(order):
    states = [s for s, _ in prescribed(FeedbackDamping(order=order))]
    ratios = np.concatenate([(b.v[k] / a.v[k]).ravel() for a, b in zip(states, states[1:]) for k in b.v])
    assert ratios.max() == 1
    assert ratios.min() == pytest.approx(np.exp(-0.35 * order), rel=1e-12)


def test_a_constant_field_cancels_and_a_changing_one_does_not():
    """Lambda = d/dt ln |Phi S| does not know a Phi that stays: print's "constant field" is no field at all."""
    (*_, (none, _)), (*_, (seven, _)), (*_, (growing, _)) = (
        prescribed(FeedbackDamping(), potential) for potential in (None, lambda n: 7.0, lambda n: 1 + 0.1 * n)
    )
    for k in none.v:
        np.testing.assert_allclose(seven.v[k], none.v[k], rtol=1e-12)
        assert (np.abs(growing.v[k]) <= np.abs(none.v[k]) * (1 + 1e-12)).all()
        assert np.abs(growing.v[k]).mean() < 0.9 * np.abs(none.v[k]).mean()


def test_leapfrog_goes_on_from_what_it_heard():
    """A step that begins with the feedback of the step before is the step that asks again."""
    system, field = network_world(speed=0.3)
    law = FeedbackDamping()
    system = system.replace(memory=law.start(system, 0))
    world = motion(reference, field, law, dt=0.05)
    middle = last(march(system, Leapfrog(), world, 4))
    forgotten = middle.replace(memory={k: a for k, a in middle.memory.items() if not k.startswith("received:")})
    for key, x in last(march(middle, Leapfrog(), world, 3)).x.items():
        np.testing.assert_allclose(last(march(forgotten, Leapfrog(), world, 3)).x[key], x, rtol=1e-12, atol=1e-13)


def test_a_trained_field_brakes_who_climbs():
    """Phi_i grows where a particle moves against its force, so that Lambda rises there; it falls where one descends."""
    system, field = network_world(speed=0.5)
    system = system.replace(v=coordinates(system.v))
    law = FeedbackDamping(clip=None, slopes=True)
    system = system.replace(memory=law.start(system, 0))
    world = motion(reference, field, law, dt=0.05)
    world = type(world)(world.kernels, world.push, law, world.limit, world.dt, Hypergradient(("potential",), 0.1))
    system = last(march(system, KickDrift(), world, 3))
    force, _ = world.push(system, 3)
    learned = world.hyper.learn(system, force, world.dt)
    for name in ("in", "hid", "out"):
        key, phi = f"q:{name}", f"potential:{name}"
        free = system.v[key] - world.dt * system.force[key] / system.mass[key]
        climbs = (force[key] * free).sum(-1) < 0
        assert 0 < climbs.mean() < 1
        # L grows in size where Phi moves the way of its sign
        strengthened = ((learned.memory[phi] - system.memory[phi]) * np.sign(system.memory[phi]))[..., 0] > 0
        np.testing.assert_array_equal(strengthened, climbs)


def test_friction_beside_it_is_what_was_asked_for():
    world = constant_motion({}, FeedbackDamping(rate=2.0, order=1.0))
    system = moving(pair_graph(), seed=0)
    system = system.replace(memory=world.law.start(system, 0))
    slower = world.damp(system, {"a": np.ones(5), "b": np.ones(4)}, DT)
    plain = constant_motion({}, Friction(rate=2.0)).damp(system, {}, DT)
    for key in system.v:
        np.testing.assert_allclose(slower.v[key], plain.v[key], rtol=1e-12)


@pytest.mark.parametrize("trained", [[], ["potential"]], ids=["given", "trained"])
def test_moons_learn_under_the_feedback_law(trained):
    scenario = Scenario.load(
        "moons", ['dynamics.law="feedback"', "run.steps=60", "record.observables=['loss']", "field.samples=200"]
    ).changed(**{"dynamics.hyper.trained": trained})
    simulation = Simulation(scenario)
    while not simulation.done:
        simulation.step()
    assert simulation.evaluate("test").accuracy > 0.9
    potential = np.concatenate([simulation.system.memory[f"potential:{n}"].ravel() for n in ("input", "hidden")])
    assert (np.unique(potential).size > 1) == bool(trained)


def test_stress_of_a_product_is_never_built():
    """The sums over k cost O(N): emitted and feedback are enough."""
    graph = pair_graph(m=3, n=2)
    rng = np.random.default_rng(0)
    e, d = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))

    class Products(Stress):
        def dense(self, kernels):
            raise AssertionError("built")

    heard = fed_back(graph, Response(0.0, {"a>b": Products(emitted=e, feedback=d)}))
    np.testing.assert_allclose(heard["a"], (e.T @ d).sum(1), rtol=1e-12)
    np.testing.assert_allclose(heard["b"], (e.T @ d).sum(0), rtol=1e-12)
