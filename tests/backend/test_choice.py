"""Dense, factored or sorted: the cost model's choice, and that every choice says the same."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dynsim import Model, Scenario, Simulation
from dynsim.backend import choice
from dynsim.backend.choice import FORMS, Shape, forms_of, predicted, preparation, quickest, seconds, weights_in
from dynsim.backend.machine import BATCHES, SIZES, Machine, machine
from dynsim.fields.network import predict_logits
from dynsim.kernels import sorted_l1
from dynsim.kernels.sharing import limited_to
from dynsim.signals import Weights

# A multiply-add takes 1 ns in a batch of one, 0.02 ns in a large one; a sorted step 2 ns, of a block 20 ns.
PLAIN = Machine(
    threads=1,
    product=np.outer([1e-9, 5e-11, 2e-11], np.ones(len(SIZES))),
    query=np.outer([0, 2e-9], np.ones(len(SIZES))),
    block=np.outer([0, 2e-8], np.ones(len(SIZES))),
    call=1e-5,
    wake=2e-5,
    distance=1e-10,
    order=1e-7,
)


@cache
def model(metric, *layers):
    settings = [f"system.metric={metric}", "system.copies=2", "system.dim=3", f"system.layers={[64, *layers, 10]}"]
    return Model.of(Simulation(Scenario.load("quickstart", ["run.epochs=1", *settings])))


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setattr(choice, "machine", lambda device: PLAIN)


def test_products_cost_what_was_measured_and_what_lies_between():
    assert PLAIN.multiplied(BATCHES[0], 512, 512) == pytest.approx(512**2 * 1e-9)
    assert PLAIN.multiplied(BATCHES[-1], 100, 100) == pytest.approx(BATCHES[-1] * 100**2 * 2e-11)
    between = PLAIN.multiplied(6, 100, 100) / (6 * 100**2)
    assert 5e-11 < between < 1e-9


def test_sorted_sums_grow_with_axes_and_whole_blocks():
    one, two = (PLAIN.sorted_sums(1, 1000, 1000, k) for k in (1, 2))
    assert two - one == pytest.approx(2000 * 2e-9)
    block, blocks = (PLAIN.sorted_sums(n * sorted_l1.LANES, 1000, 1000, 1) for n in (1, 2))
    assert blocks - block == pytest.approx(2000 * 2e-8)


def test_threads_share_blocks_and_large_products():
    pair = replace(PLAIN, threads=2)
    batch = 4 * sorted_l1.LANES
    alone = PLAIN.sorted_sums(batch, 1000, 1000, 10) - PLAIN.call
    assert pair.sorted_sums(batch, 1000, 1000, 10) - pair.call == pytest.approx(alone / 2)
    assert pair.multiplied(256, 512, 512) == pytest.approx(PLAIN.multiplied(256, 512, 512) / 2, rel=0.05)
    assert pair.multiplied(1, 64, 64) == PLAIN.multiplied(1, 64, 64)
    assert pair.sorted_sums(1, 200_000, 200_000, 8) < PLAIN.sorted_sums(1, 200_000, 200_000, 8)


@pytest.mark.parametrize("batch", [1, 32, 256])
def test_few_axes_are_sorted_and_many_are_not(batch):
    few, many = Shape(4096, 4096, 1), Shape(4096, 4096, 4096)
    assert seconds(PLAIN, "sorted", few, batch) < seconds(PLAIN, "dense", few, batch)
    assert seconds(PLAIN, "sorted", many, batch) > seconds(PLAIN, "dense", many, batch)
    assert seconds(PLAIN, "factored", few, batch) < seconds(PLAIN, "dense", few, batch)
    assert seconds(PLAIN, "factored", many, batch) > seconds(PLAIN, "dense", many, batch)


def test_what_is_not_prepared_costs_more():
    shape = Shape(1000, 500, 6)
    assert preparation(PLAIN, "sorted", shape, low_rank=False) == pytest.approx(6 * 1500 * 1e-7)
    assert preparation(PLAIN, "dense", shape, low_rank=False) == pytest.approx(6 * 1000 * 500 * 1e-10)
    assert preparation(PLAIN, "factored", shape, low_rank=True) == 0 < preparation(PLAIN, "dense", shape, low_rank=True)


def test_choice_of_a_network(plain):
    it = model("l1", 3000, 2000)
    assert quickest(it, 2, prepared=True) == {"hidden1>hidden2": "sorted"}  # the other links are too small to matter
    times = predicted(it, 2, prepared=False)["hidden1>hidden2"]
    assert times.keys() == {"dense", "sorted"}
    assert times["dense"] > predicted(it, 2, prepared=True)["hidden1>hidden2"]["dense"]
    assert quickest(model("l2", 3000, 2000), 2, prepared=True) == quickest(it, 2, True, "reference") == {}


def test_every_choice_predicts_the_same(plain):
    for metric in ("l1", "squared", "dot"):
        it = model(metric, 3000, 2000)
        X = np.random.default_rng(0).uniform(size=(3, 64)).astype(np.float32)
        as_trained = predict_logits(it.network, it.weights(), it.x, it.scaling(X))
        for form in set(forms_of(it, it.graph.links[1])):
            weights = weights_in(it, {"hidden1>hidden2": form})
            logits = predict_logits(it.network, weights, it.x, it.scaling(X))
            assert logits == pytest.approx(as_trained, abs=1e-4 * float(np.abs(as_trained).max())), form
        assert it.logits(X) == pytest.approx(as_trained, abs=1e-4 * float(np.abs(as_trained).max()))


def test_measured_once_in_a_process():
    on = machine("cpu")
    assert on is machine("cpu")
    assert on.product.shape == (len(BATCHES), len(SIZES))
    assert np.all(on.product > 0)
    assert {len(of) for of in (on.query, on.block)} == {2}
    for form in FORMS:
        assert 0 < seconds(on, form, Shape(300, 200, 4), 10) < 1


@pytest.mark.parametrize(("batch", "rank", "through_factors"), [(128, 8, True), (128, 60, False), (1, 60, True)])
def test_training_takes_the_way_with_fewer_multiply_adds(batch, rank, through_factors):
    """40 x 80: factors take 120 r a sample, W 3200, and 1600 r once for each of its two products."""
    calls = []

    def matmul(a, b):
        calls.append((a.shape[0], a.shape[1], b.shape[1]))
        return a @ b

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((40, rank)), rng.standard_normal((80, rank))
    weights, w = Weights(matmul, a=a, b=b, gain=0.5), 0.5 * a @ b.T
    emitted, feedback = rng.standard_normal((batch, 40)), rng.standard_normal((batch, 80))
    np.testing.assert_allclose(weights.receive(emitted), emitted @ w, atol=1e-11)
    np.testing.assert_allclose(weights.feed_back(feedback), feedback @ w.T, atol=1e-11)
    there, back = [(batch, 40, rank), (batch, rank, 80)], [(batch, 80, rank), (batch, rank, 40)]
    dense = [(40, rank, 80), (batch, 40, 80), (batch, 80, 40)]  # W once
    assert calls == (there + back if through_factors else dense)


def test_sorted_sums_have_the_same_bits_on_two_threads():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 20000)), rng.standard_normal((3, 30000))
    c, y = rng.standard_normal(3), rng.standard_normal((64, 20000)).astype(np.float32)
    prefix, merged = sorted_l1.prefix_order(a, b), sorted_l1.merged_steps(a, b)
    found = []
    for threads in (1, 2):
        with limited_to(threads):
            alone = sorted_l1.receive_singly(prefix, b, c, y[:1])
            found.append((alone, sorted_l1.receive_in_blocks(merged, c, 30000, y)))
    for one, some in zip(*found):
        np.testing.assert_array_equal(one, some)
