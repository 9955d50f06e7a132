"""A pool of sub-models without a graph, Eq. (2): any may hear any other, and positions tell who hears whom."""

import numpy as np
import pytest
from test_layers import layer, matrices, simulation_of, values_of
from test_vector_signals import check_forces

from dynsim import Model, Scenario, Simulation
from dynsim.backend.cost import cost
from dynsim.backend.dense import dense_arrays, from_dense_arrays
from dynsim.backend.formats import load_model, save_model
from dynsim.backend.onnx_export import onnx_model
from dynsim.observables.routes import ROUTES, Routes, roles
from dynsim.signals import all_weights

FLAT, TENSOR = (6,), (2, 3)
METRICS = ("l1", "l2", "lp", "squared", "reciprocal", "plummer", "dot", "weights")


def pool(**keys):
    return layer("routed", name="pool", **{"free": 4, "ticks": 3} | keys)


# Eq. (2) ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_forces_are_gradients(metric, device):
    """Of one link that serves every tick; its stress is the sum of theirs."""
    check_forces(simulation_of([pool(metric=metric)], FLAT, device), bound=2e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh", "sigmoid", "identity"])
def test_forces_are_gradients_behind_other_layers(activation):
    check_forces(simulation_of([layer("dense", size=5), layer("tanh"), pool(activation=activation)], FLAT))


def test_forces_of_vector_signals_are_gradients():
    """Signals of R^3, value and position of Fig. 3, mixed by one matrix A at every tick."""
    simulation = simulation_of([layer("positions"), pool(), layer("magnitude")], TENSOR)
    assert "weight:pool.mix" in simulation.system.x
    check_forces(simulation)


def by_hand(simulation, ticks, held, read):
    """Every sub-model sends to every other one, written out tick by tick."""
    x = simulation.field.x
    (phi,), bias = matrices(simulation, "pool.1.received"), simulation.system.x["bias:pool"][:, 0]
    e = np.zeros((len(x), len(phi)))
    for _ in range(ticks):
        e[:, :held] = x
        r = np.zeros_like(e)
        for j in range(len(phi)):
            r[:, j] = bias[j] + sum(e[:, i] * phi[i, j] for i in range(len(phi)) if i != j)
        e = np.tanh(r)
    return r[:, -read:]


@pytest.mark.parametrize("ticks", [1, 2, 4])
def test_ticks_by_hand(ticks, device):
    simulation = simulation_of([pool(ticks=ticks)], FLAT, device)
    np.testing.assert_allclose(values_of(simulation)["pool"], by_hand(simulation, ticks, 6, 3), atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_sub_model_does_not_hear_itself(metric):
    """j != i in Eq. (2): phi_ii is 0, which a decay c / |v| alone would not make it, and nothing is felt by it."""
    simulation = simulation_of([pool(metric=metric)], FLAT)
    (phi,) = matrices(simulation, "pool.1.received")
    assert (np.diag(phi) == 0).all()
    if metric == "weights":
        force, _ = simulation.push(simulation.system, 0)
        assert (np.diag(force["weight:pool>pool"][..., 0]) == 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_hearing_is_mutual(metric):
    """However: distances are symmetric, so that within one pool phi_ij = phi_ji; only free weights can be one-sided."""
    (phi,) = matrices(simulation_of([pool(metric=metric)], FLAT), "pool.1.received")
    assert np.allclose(phi, phi.T, atol=1e-12) == (metric != "weights")


def test_the_stress_of_all_ticks_adds_up():
    """F = sum over ticks of E^T Phi: as of a pool whose ticks have links of their own, all with the same weights."""
    simulation = simulation_of([pool()], FLAT)
    _, response = simulation.push(simulation.system, 0)
    stress = response.stress["pool>pool"]
    assert len(stress.emitted) == len(stress.feedback) == 3 * 6
    parts = [stress.emitted[k : k + 6].T @ stress.feedback[k : k + 6] for k in (0, 6, 12)]
    np.testing.assert_allclose(stress.dense(simulation.kernels), sum(parts), atol=1e-14)
    assert min(np.abs(part).max() for part in parts) > 1e-6


def test_one_link_takes_a_tick_and_closes_the_circle():
    (link,) = simulation_of([pool()], FLAT).graph.links
    assert (link.name, link.delay, link.to_itself) == ("pool>pool", 1, True)


# Learning -----------------------------------------------------------------------------------------------------------


def learned(dataset="xor", steps=200, network=None, **keys):
    raw = {
        "system": {"network": network or [pool(**{"free": 12, "metric": "l2"} | keys)], "copies": 8},
        "field": {"dataset": dataset, "batch": 600},
        "dynamics": {"eta": 0.1, "decay": 0.02},
        "run": {"steps": steps},
        "record": {"observables": ["loss", "accuracy", "routes"]},
    }
    simulation = Simulation(Scenario.from_dict(raw))
    while not simulation.done:
        simulation.step()
    return simulation


def accuracy(simulation, system=None):
    test = simulation.data.test
    return float((simulation.logits(test.x, system).argmax(1) == test.y).mean())


@pytest.fixture(scope="module")
def trained():
    return learned()


def test_xor_needs_free_sub_models_and_the_pool_finds_them(trained):
    """Without free sub-models and with one tick the pool is a linear classifier, which XOR leaves at chance."""
    assert accuracy(trained) > 0.93
    assert accuracy(learned(free=0, ticks=1)) < 0.65


def test_who_hears_whom_is_measured(trained):
    heard = Routes().compute(trained.snapshot())
    assert tuple(heard) == ROUTES
    for hearer in ("free", "read"):
        assert sum(v for k, v in heard.items() if k.endswith(hearer)) == pytest.approx(1, abs=1e-12)
    assert heard["routes_data_free"] > 0.05
    assert heard["routes_free_read"] > 0.05
    direct = Routes().compute(learned(free=0, ticks=1, steps=2).snapshot())
    assert direct["routes_data_read"] > 0.9
    assert direct["routes_free_read"] == direct["routes_data_free"] == 0
    no_pool = simulation_of([layer("dense", size="auto")], FLAT)
    assert Routes().compute(no_pool.snapshot()) == {}


def moved(simulation, order, *groups):
    """The system after its pool's sub-models have changed places by `order`, in the named groups only."""
    x = dict(simulation.system.x)
    for key in groups:
        x[key] = x[key][:, order] if key.startswith("q:") else x[key][order]
    return simulation.system.replace(x=x)


def test_sub_models_are_their_positions(trained):
    """Free sub-models that exchange positions and biases have only exchanged names; those that exchange positions
    with the ones that hold data or are read hear and are heard by the wrong ones."""
    part, rng = roles(trained.graph.by_name["pool"]), np.random.default_rng(0)
    order = np.arange(trained.graph.by_name["pool"].size)
    order[part["free"]] = rng.permutation(order[part["free"]])
    test = trained.data.test
    renamed = trained.logits(test.x, moved(trained, order, "q:pool", "bias:pool"))
    np.testing.assert_allclose(renamed, trained.logits(test.x), atol=1e-3)
    everyone = rng.permutation(len(order))
    assert accuracy(trained, moved(trained, everyone, "q:pool")) < accuracy(trained) - 0.2


def test_copies_that_are_shuffled_apart_lose_the_routes(trained):
    """Free sub-models whose copies exchange places each by its own order: positions alone held what was learned."""
    part, rng = roles(trained.graph.by_name["pool"]), np.random.default_rng(1)
    q = trained.system.x["q:pool"].copy()
    for copy in q:
        copy[part["free"]] = rng.permutation(copy[part["free"]])
    assert accuracy(trained, trained.system.replace(x=trained.system.x | {"q:pool": q})) < accuracy(trained) - 0.1


# As a model ---------------------------------------------------------------------------------------------------------


def test_a_stored_model_answers_alike(trained, tmp_path):
    model = Model.of(trained)
    save_model(model, tmp_path / "model.dynsim")
    loaded = load_model(tmp_path / "model.dynsim")
    assert (loaded.network, loaded.graph) == (model.network, model.graph)
    X = np.random.default_rng(0).uniform(size=(5, 2))
    np.testing.assert_array_equal(loaded.logits(X), model.logits(X))
    plain = from_dense_arrays(model, dense_arrays(model))
    np.testing.assert_allclose(plain.logits(X), model.logits(X), atol=1e-4)
    assert cost(model).macs == 3 * 16**2


@pytest.mark.parametrize("form", ["dense", "dyn"])
@pytest.mark.parametrize("metric", ["l2", "reciprocal", "dot"])
def test_onnx(metric, form):
    runtime = pytest.importorskip("onnxruntime")
    network = [layer("positions"), pool(metric=metric, activation="gelu"), layer("magnitude")]
    model = Model.of(learned("moons", steps=2, network=network))
    X = np.random.default_rng(0).uniform(size=(5, 2)).astype(np.float32)
    session = runtime.InferenceSession(onnx_model(model, form).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"inputs": X})[0], model.logits(X), atol=1e-5)


def test_a_pool_can_be_fitted_to_weights():
    """Alg. 1 on a pool: weights of all pairs first, then positions that make them."""
    network = [pool(free=6, ticks=2)]
    raw = {
        "system": {"network": network, "copies": 8},
        "field": {"dataset": "moons", "batch": 600},
        "recipe": {"name": "finetune", "epochs": 30, "rate": 0.02, "fit_steps": 200},
        "run": {"epochs": 5},
    }
    simulation = Simulation(Scenario.from_dict(raw))
    while not simulation.done:
        simulation.step()
    assert accuracy(simulation) > 0.8
    assert (np.diag(all_weights(simulation.kernels, simulation.system)["pool>pool"].matrix()) == 0).all()


def test_the_scenario():
    """routing.toml, cut short: it learns, and free sub-models are heard."""
    simulation = Simulation(Scenario.load("routing", ["run.steps=120"]))
    while not simulation.done:
        simulation.step()
    assert accuracy(simulation) > 0.7
    assert Routes().compute(simulation.snapshot())["routes_free_read"] > 0.05
