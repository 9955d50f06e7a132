"""Eq. (61): every copy of a sub-model meets every other copy, by the difference of their densities."""

from dataclasses import replace

import numpy as np
import pytest
from test_gradients import assert_forces_are_gradients
from worlds import METRICS, moving, network_world, pair_graph, target_world

from dynsim import Scenario, Simulation
from dynsim.backend.cost import cost
from dynsim.backend.formats import load_model, save_model
from dynsim.backend.forms import measure
from dynsim.backend.inference import Model
from dynsim.backend.onnx_export import INPUT, onnx_model
from dynsim.errors import ScenarioError, ShapeError
from dynsim.kernels import reference
from dynsim.signals import link_weights
from dynsim.system.graph import Graph
from dynsim.system.initialise import initial_positions, masses
from dynsim.system.interaction import copies_of, expanded, folded, pairs


def interactive(graph: Graph) -> Graph:
    return replace(graph, links=tuple(replace(k, interactive=True) for k in graph.links))


def interactive_pair(metric="l2", copies=3, seed=0):
    return moving(interactive(pair_graph(metric, copies=copies)), seed, ("q", "mu", "gain", "eps"))


def matrix(system, kernels=reference):
    return link_weights(kernels, system, system.graph.links[0]).matrix()


@pytest.mark.parametrize("metric", METRICS)
def test_path_integral_is_the_sum_over_all_pairs_of_copies(kernels, metric):
    system = interactive_pair(metric)
    (link,) = system.graph.links
    a, b, mu = system["a"].q, system["b"].q, system.x["mu:a>b"][:, 0]
    eps = system.x["eps:a>b"][0, 0] if "eps:a>b" in system.x else link.eps
    expected = np.zeros((5, 4))
    for h in range(3):
        for other in range(3):
            f = reference.metric_value(metric, a[h][:, None], b[other], eps, link.p)
            expected += system.x["gain:a>b"][0, 0] * (mu[h] - mu[other]) * f
    np.testing.assert_allclose(matrix(system, kernels), expected, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_forces_are_the_gradient(kernels, metric):
    system, field = target_world(metric, kinds=("q", "mu", "gain", "eps"), copies=3)
    assert_forces_are_gradients(kernels, system.replace(graph=interactive(system.graph)), field)


@pytest.mark.parametrize("metric", ["l1", "squared"])
def test_forces_are_the_gradient_in_a_network_with_shared_sub_models(kernels, metric):
    system, field = network_world(metric)
    assert_forces_are_gradients(kernels, system.replace(graph=interactive(system.graph)), field)


def test_a_common_density_changes_nothing():
    """Only differences of mu count; without the mechanism it shifts every path integral."""
    system = interactive_pair()
    shifted = system.replace(x=system.x | {"mu:a>b": system.x["mu:a>b"] + 0.7})
    np.testing.assert_allclose(matrix(shifted), matrix(system), atol=1e-12)
    isolated = [s.replace(graph=pair_graph(copies=3)) for s in (system, shifted)]
    assert np.abs(matrix(isolated[1]) - matrix(isolated[0])).min() > 0.1


def test_a_common_translation_of_all_copies_changes_nothing():
    system = interactive_pair("l1")
    moved = system.replace(x=system.x | {f"q:{s}": system.x[f"q:{s}"] + [0.3, -2.0, 1.1] for s in "ab"})
    np.testing.assert_allclose(matrix(moved), matrix(system), atol=1e-12)


def test_densities_that_are_equal_carry_nothing():
    system = interactive_pair()
    np.testing.assert_array_equal(matrix(system.replace(x=system.x | {"mu:a>b": np.ones((3, 1))})), 0)


@pytest.mark.parametrize("copies", [2, 3, 5])
def test_folding_is_the_transpose_of_expanding(copies):
    rng = np.random.default_rng(copies)
    q_a, q_b = rng.standard_normal((copies, 4, 2)), rng.standard_normal((copies, 3, 2))
    mu = rng.standard_normal(copies)
    wide = expanded(q_a, q_b, mu)
    assert len(pairs(copies)[0]) == copies * (copies - 1) == len(wide[2])
    assert copies_of(len(wide[2])) == copies
    weights = [rng.standard_normal(a.shape) for a in wide]
    thin = folded(*weights)
    ahead = sum((a * w).sum() for a, w in zip(wide, weights))
    assert ahead == pytest.approx(sum((a * w).sum() for a, w in zip((q_a, q_b, mu), thin)), rel=1e-12)


def test_start_has_the_wanted_spread_and_masses_of_its_own():
    """m_q counts the H - 1 terms of a particle: the mean square of d phi / dq by brute force."""
    graph = interactive(pair_graph(m=40, n=30, copies=4))
    x = initial_positions(graph, reference, 0, "float64", {"a>b": 0.2})
    system = moving(graph, 0).replace(x=x)
    assert matrix(system).std() == pytest.approx(0.2, rel=1e-9)
    (link,) = graph.links
    _, q_a, q_b, mu, gain, eps, p = system.link_arguments(link)
    u = reference.metric_gradient("l2", q_a[:, :, None], q_b[:, None], eps, p)[0]
    on_pairs = gain * mu[:, None, None, None] * u
    slopes = on_pairs.reshape(4, 3, *on_pairs.shape[1:])
    # d phi_ij / d q_ih = sum over the copies h' that h meets; their directions are independent at the start
    wanted = 30 * (slopes**2).sum(axis=1).sum(-1).mean() / graph.dim
    assert masses(graph, reference, x)["q:a"].item() == pytest.approx(wanted, rel=0.05)


def test_one_copy_is_refused():
    with pytest.raises(ShapeError, match="one copy carries nothing"):
        interactive(pair_graph(copies=1))
    with pytest.raises(ScenarioError, match="one copy carries nothing"):
        Scenario.load("moons", ["system.interactive=true", "system.copies=1"])


def run(settings=()):
    simulation = Simulation(Scenario.load("moons", ["run.steps=60", "run.device='reference'", *settings]))
    while not simulation.done:
        simulation.step()
    return simulation


def test_scenario_learns_at_the_same_number_of_parameters_and_more_work():
    small = ["system.layers=['auto', 12, 'auto']", "system.copies=3", "system.dim=4"]
    isolated, together = run(small), run([*small, "system.interactive=true"])
    assert together.evaluate("train").accuracy > 0.9
    costs = [cost(Model.of(s)) for s in (isolated, together)]
    assert costs[0].parameters == costs[1].parameters
    assert costs[1].build_macs == 2 * costs[0].build_macs


@pytest.mark.parametrize("metric", ["l1", "squared", "reciprocal"])
def test_every_form_answers_alike(metric, tmp_path):
    """Model file, sorted inference (Eq. 8-9) and ONNX from coordinates know the pairs of copies."""
    model = Model.of(run(["run.steps=2", f"system.metric={metric!r}", "system.interactive=true", "system.copies=3"]))
    inputs = np.random.default_rng(0).standard_normal((6, 2)).astype(np.float32)
    logits = model.logits(inputs)
    save_model(model, tmp_path / "m")
    np.testing.assert_array_equal(load_model(tmp_path / "m").logits(inputs), logits)
    timings = measure(model, inputs)
    for form in timings.logits:
        np.testing.assert_allclose(timings.logits[form], logits, atol=2e-5)
    assert ("sorted" in timings.logits) == (metric == "l1")
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    proto = onnx_model(model, "dyn")
    assert {tuple(a.dims) for a in proto.graph.initializer if a.name == "hidden.q"} == {(3, 16, 9)}  # stored once
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {INPUT: inputs})[0], logits, atol=2e-5)


def fitted(interactive):
    """|T - phi| / |T| of the scenario."""
    settings = [f"system.interactive={str(interactive).lower()}", "record.observables=['loss']", "run.device='cpu'"]
    simulation = Simulation(Scenario.load("interactive", settings))
    while not simulation.done:
        simulation.step()
    return np.linalg.norm(simulation.response.stress["input>output"].matrix) / np.linalg.norm(simulation.field.target)


def test_scenario_fits_a_random_matrix_better_than_isolated_copies():
    """At the same number of parameters and of steps, which cost three times as much."""
    assert fitted(True) < 0.9 * fitted(False) < 0.12
