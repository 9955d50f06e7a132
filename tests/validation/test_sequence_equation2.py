"""Eq. (2): against its own words in plain loops, against closed forms, and its gradients against finite differences."""

import itertools

import numpy as np
import pytest
from scipy.linalg import expm
from worlds import motion

from dynsim.dynamics.eq2 import Eq2
from dynsim.fields.equation2 import Ticks
from dynsim.fields.sequence import SequenceField, TickField, Window
from dynsim.forces import forces
from dynsim.kernels import reference
from dynsim.sequences import Task, lorenz
from dynsim.signals import all_weights
from dynsim.system.graph import Graph, Link, Subsystem, System
from dynsim.system.initialise import initial_positions
from dynsim.system.rule import RuleStart, propagator, starting_rule

DIM, EPS, STEP = 3, 0.1, 2e-6
START = RuleStart(signals=2, spin=1.5, decay=0.2, push=0.5)


def graph_of(sizes, links, copies=2, metric="l2"):
    """Subsystems a, b, c, ... and links (source, target, delay)."""
    named = tuple(Link(s, t, metric, 3.0, EPS, k) for s, t, k in links)
    return Graph(tuple(Subsystem(n, size) for n, size in zip("abcdef", sizes)), named, copies, DIM)


def system_of(graph, seed=0, start=START, answers=2, still=()):
    """A system at rest, everything drawn; matrices of the kinds in `still` are 0."""
    rule = starting_rule(graph, start, answers, np.random.default_rng(seed))
    rule = {k: np.zeros_like(a) if k[0] in still else a for k, a in rule.items()}
    x = initial_positions(graph, reference, seed, "float64", {k.name: 0.4 for k in graph.links}, plain=rule)
    v = {k: np.zeros_like(a) for k, a in x.items()}
    return System(graph, x, v, {}, {k: np.ones((1,) * a.ndim) for k, a in x.items()})


def in_words(system, inputs, ticks, dt, act=np.tanh):
    """Eq. (2) sub-model by sub-model, updates sequential; (emitted, positions) by subsystem, a list over ticks."""
    graph, x = system.graph, system.x
    q = {n: [x[f"q:{n}"]] for n in graph.order}
    emitted = {n: [] for n in graph.order}
    for t in range(ticks):
        for n in graph.order:
            A, B, C, D, E, F = (x[f"{kind}:{n}"] for kind in "ABCDEF")
            copies, size, _ = q[n][t].shape
            says, moved = np.zeros((size, len(A))), q[n][t].copy()
            for i in range(size):
                R = np.zeros(len(A))
                if inputs is not None and n == graph.subsystems[0].name and i < inputs.shape[1]:
                    R[0] += inputs[t, i]
                for link in graph.incoming[n]:
                    sent = t - link.delay
                    for j in range(graph.by_name[link.source].size if sent >= 0 else 0):
                        if (link.source, j) != (n, i):
                            mu, gain = x[f"mu:{link.name}"][:, 0], x[f"gain:{link.name}"][0, 0]
                            away = q[link.source][sent][:, j] - q[n][t][:, i]
                            phi = gain * mu @ np.sqrt((away**2).sum(-1) + EPS**2)
                            R = R + emitted[link.source][sent][j] * phi
                before = emitted[n][t - 1][i] if t else np.zeros(len(A))
                speed = np.array([D @ R + E @ before + F @ q[n][t][h, i] for h in range(copies)])
                says[i] = act(A @ R + B @ q[n][t][:, i].mean(0) + C @ speed.mean(0))
                moved[:, i] += speed @ propagator(F, dt).T
            emitted[n].append(says)
            q[n].append(moved)
    return emitted, q


LOOP = [("a", "b", 0), ("b", "b", 1), ("b", "a", 2)]


def test_a_tick_is_eq2_in_words(kernels):
    system, inputs = system_of(graph_of((3, 4), LOOP)), np.random.default_rng(1).standard_normal((7, 2))
    run = Ticks(kernels, system, 1, 7, 0.3, "sequential")
    run.run(inputs[None])
    emitted, q = in_words(system, inputs, 7, 0.3)
    for n in "ab":
        np.testing.assert_allclose(run.emitted[n][:, 0], emitted[n], atol=1e-12)
        np.testing.assert_allclose(run.q[n][:, 0], q[n], atol=1e-12)


def test_windows_side_by_side_do_not_see_each_other():
    system, inputs = system_of(graph_of((3, 4), LOOP)), np.random.default_rng(1).standard_normal((3, 6, 2))
    together = Ticks(reference, system, 3, 6, 0.3, "sequential")
    together.run(inputs)
    alone = Ticks(reference, system, 1, 6, 0.3, "sequential")
    alone.run(inputs[1:2])
    np.testing.assert_allclose(together.emitted["b"][:, 1], alone.emitted["b"][:, 0], atol=1e-14)


# Gradients ---------------------------------------------------------------------------------------------------------


def pushed(kernels, system, updates):
    """The field of a short driven task on a system."""
    task = Task.of(lorenz(0, 40), drive="past", held_out=0.25, ahead=2, predicted=(0, 2))
    window = Window(ticks=6, washout=2, batch=2)
    return motion(kernels, SequenceField(system.graph, task, kernels, window=window, dt=0.3, updates=updates))


@pytest.mark.parametrize(
    ("metric", "updates", "links"),
    [
        ("l2", "sequential", LOOP),
        ("l2", "simultaneous", LOOP),
        ("plummer", "sequential", [("a", "b", 1), ("b", "b", 3), ("b", "a", 2)]),
        ("reciprocal", "simultaneous", [("a", "b", 0), ("b", "b", 1)]),
        ("dot", "sequential", LOOP),
    ],
)
def test_back_through_all_ticks(kernels, metric, updates, links):
    """Positions at tick 0, mu, gain, learned eps, A to F and the read-out, each against central differences."""
    system = system_of(graph_of((3, 4), links, metric=metric))
    world = pushed(kernels, system, updates)
    force, _ = world.push(system, 0)
    kinds = {k.split(":")[0] for k in force}
    assert kinds >= {"q", "mu", "gain", *"ABCDEF", "readout"}
    assert ("eps" in kinds) == (metric in ("plummer", "reciprocal"))
    rng = np.random.default_rng(0)
    for key, f in force.items():
        n = rng.standard_normal(f.shape)
        n /= np.linalg.norm(n)
        losses = [
            world.push(system.replace(x=system.x | {key: system.x[key] + s * n}), 0)[1].loss for s in (STEP, -STEP)
        ]
        slope = (losses[0] - losses[1]) / (2 * STEP)
        assert abs((f * n).sum() + slope) < 1e-6 * max(np.linalg.norm(f), 1e-3), key


# Motion ------------------------------------------------------------------------------------------------------------


def march(system, ticks, dt, kernels=reference, updates="sequential"):
    """The state after so many ticks of the integrator."""
    field = TickField(system.graph, None, kernels, dt=dt, updates=updates)

    def push(state, step):
        response = field.respond(state, all_weights(kernels, state), step)
        return forces(kernels, state, response), response

    world = motion(kernels, field, dt=dt)
    for _ in range(ticks):
        system, _ = Eq2().step(system, world)
    return system


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("dt", [0.05, 0.8])
def test_without_signals_they_turn_as_the_exponential_says(decay, dt):
    """Circles, or spirals, whatever dt: q(t) = exp(F t) q(0)."""
    system = system_of(graph_of((5,), [("a", "a", 1)]), start=RuleStart(2, 1.5, decay, 0.0))
    after, turned = march(system, 100, dt), expm(100 * dt * system.x["F:a"])
    np.testing.assert_allclose(after.x["q:a"], system.x["q:a"] @ turned.T, atol=1e-12)
    if not decay:
        lengths = [np.linalg.norm(s.x["q:a"], axis=-1) for s in (system, after)]
        np.testing.assert_allclose(*lengths, rtol=1e-12)
        assert np.abs(after.x["q:a"] - system.x["q:a"]).max() > 0.1


def test_eulers_step_would_leave_every_orbit():
    w, dt = 1.5, 0.2
    F = np.array([[0.0, -w], [w, 0.0]])
    q = np.array([1.0, 0.0])
    assert np.linalg.norm(q + dt * F @ q) == pytest.approx(np.sqrt(1 + (w * dt) ** 2), rel=1e-14)
    assert np.linalg.norm(q + propagator(F, dt) @ F @ q) == pytest.approx(1, rel=1e-14)


def test_where_signals_push_the_order_is_1():
    system = system_of(graph_of((5,), [("a", "a", 1)]))
    ends = [march(system, round(1 / dt), dt).x["q:a"] for dt in (0.04, 0.02, 0.01, 0.005)]
    steps = [np.linalg.norm(fine - coarse) for coarse, fine in itertools.pairwise(ends)]
    assert np.log2(np.array(steps[:-1]) / steps[1:]) == pytest.approx([1, 1], abs=0.1)


def test_tick_by_tick_is_the_whole_in_one(kernels):
    """What is carried from step to step is enough: delays reach back over several ticks."""
    system = system_of(graph_of((3, 4), [("a", "b", 3), ("b", "b", 1), ("b", "a", 2)]))
    run = Ticks(kernels, system, 1, 12, 0.2, "sequential")
    run.run(None)
    after = march(system, 12, 0.2, kernels)
    for n in "ab":
        np.testing.assert_allclose(after.x[f"q:{n}"], run.q[n][-1, 0], atol=1e-12)


# The loop within a tick --------------------------------------------------------------------------------------------


def test_without_tanh_signals_that_amplify_run_away():
    loud = system_of(graph_of((4,), [("a", "a", 1)]))
    loud = loud.replace(x=loud.x | {"A:a": 8 * np.eye(2)})
    linear, _ = in_words(loud, None, 14, 0.1, act=lambda r: r)
    bounded, _ = in_words(loud, None, 14, 0.1)
    assert np.abs(linear["a"][-1]).max() > 1e6
    assert np.abs(bounded["a"]).max() <= 1


def test_an_emission_that_needs_itself_has_no_answer_where_c_e_is_large():
    """E = ... + C E E: iterated within a tick it diverges where the spectral radius of C E is above 1."""
    C, E = np.array([[1.5, 0.0]]), np.array([[1.0], [0.0]])
    said = np.array([0.1])
    for _ in range(50):
        said = 0.1 + C @ E @ said
    assert abs(said[0]) > 1e6


# Appendix J --------------------------------------------------------------------------------------------------------

CHAIN = [("a", "b", 0), ("b", "c", 0), ("c", "d", 0)]


def heard(system, subsystem, updates, at=2, ticks=12):
    """The tick at which a subsystem first says something else because of a pulse at the input in tick `at`."""
    pulse = np.zeros((1, ticks, 1))
    pulse[0, at] = 1.0
    runs = [Ticks(reference, system, 1, ticks, 0.1, updates) for _ in range(2)]
    runs[0].run(None)
    runs[1].run(pulse)
    changed = np.abs(runs[0].emitted[subsystem] - runs[1].emitted[subsystem]).max(axis=(1, 2, 3)) > 1e-12
    return int(changed.argmax())


def test_a_signal_crosses_a_chain_in_one_tick_or_in_one_tick_a_link():
    system = system_of(graph_of((2, 3, 3, 2), CHAIN))
    assert [heard(system, n, "sequential") for n in "abcd"] == [2, 2, 2, 2]
    assert [heard(system, n, "simultaneous") for n in "abcd"] == [2, 3, 4, 5]


@pytest.mark.parametrize("updates", ["sequential", "simultaneous"])
def test_signals_arrive_as_late_as_their_link_says(updates):
    system = system_of(graph_of((2, 3, 3), [("a", "b", 4), ("b", "c", 3)]))
    assert [heard(system, n, updates) for n in "abc"] == [2, 6, 9]


def test_simultaneous_updates_know_no_order():
    """Subsystems listed, and so updated, in any order give the same; one after the other they do not."""
    links = [("a", "b", 0), ("b", "c", 0), ("c", "a", 1)]
    system, runs = system_of(graph_of((3, 3, 3), links)), []
    for names in itertools.permutations("abc"):
        run = Ticks(reference, system, 1, 10, 0.1, "simultaneous")
        run.order = names
        run.run(None)
        runs.append(run.emitted["c"])
    for other in runs[1:]:
        np.testing.assert_array_equal(other, runs[0])
    chained = Ticks(reference, system, 1, 10, 0.1, "sequential")
    chained.run(None)
    assert np.abs(chained.emitted["c"] - runs[0]).max() > 1e-3


def test_both_ways_of_updating_rest_at_the_same_points():
    """A system that is drawn to the origin settles under a constant input, where and how loud does not depend on it."""
    start = RuleStart(signals=2, spin=0.5, decay=1.0, push=0.3)
    system = system_of(graph_of((2, 3, 3), [("a", "b", 0), ("b", "c", 0), ("c", "b", 1)]), start=start)
    ends = {}
    for updates in ("sequential", "simultaneous"):
        run = Ticks(reference, system, 1, 500, 0.2, updates)
        run.run(np.full((1, 500, 2), 0.7))
        assert np.abs(run.emitted["c"][-1] - run.emitted["c"][-2]).max() < 1e-12
        ends[updates] = run
    for n in "abc":
        np.testing.assert_allclose(ends["sequential"].q[n][-1], ends["simultaneous"].q[n][-1], atol=1e-10)
        np.testing.assert_allclose(ends["sequential"].emitted[n][-1], ends["simultaneous"].emitted[n][-1], atol=1e-10)
