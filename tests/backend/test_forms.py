"""Every form of a link says the same; the quickest one is taken."""

import json
from functools import cache

import numpy as np
import pytest

from dynsim import Model, Scenario, Simulation
from dynsim.backend.choice import forms_of, weights_in
from dynsim.backend.forms import measure
from dynsim.errors import ShapeError
from dynsim.fields.network import predict_logits

X = np.random.default_rng(0).uniform(size=(40, 64)).astype(np.float32)


@cache
def model(*settings):
    simulation = Simulation(Scenario.load("quickstart", ["run.epochs=1", "system.layers=[64, 20, 10]", *settings]))
    for _ in range(3):
        simulation.step()
    return Model.of(simulation)


@pytest.mark.parametrize(
    ("metric", "forms"),
    [
        ("l1", {"dense", "sorted"}),
        ("squared", {"dense", "factored"}),
        ("dot", {"dense", "factored"}),
        ("l2", {"dense"}),
    ],
)
def test_forms_agree(metric, forms):
    it = model(f"system.metric={metric}", "system.copies=2", "system.dim=3")
    timings = measure(it, X)
    exact = it.logits(X, "reference")
    assert set(timings.logits) == forms
    for form, logits in timings.logits.items():
        assert logits == pytest.approx(exact, abs=1e-5 * float(np.abs(exact).max())), form


def test_takes_the_quickest():
    it = model("system.metric=l1", "system.copies=2", "system.dim=3")
    timings = measure(it, X)
    assert timings.chosen.keys() == {"input>hidden", "hidden>output"}
    for link, form in timings.chosen.items():
        assert timings.us[link][form] == min(timings.us[link].values()) > 0
    assert timings.us_per_sample > 0 < timings.dense_us_per_sample


def test_report_is_json():
    it = model("system.metric=squared")
    timings = measure(it, X)
    report = json.loads(json.dumps(timings.report()))
    assert report["batch"] == 40
    assert report["forms"]["input>hidden"]["form"] == timings.chosen["input>hidden"]
    assert report["forms"]["input>hidden"]["dense_us"] == timings.us["input>hidden"]["dense"]
    assert report["inference_us_per_sample"] > 0


def test_weights_without_particles_are_dense():
    twin = model("system.metric=l1")
    x = dict(twin.x) | {"weight:input>hidden": np.ones((64, 20, 1), np.float32)}
    mixed = Model(twin.graph, x, twin.scaling, twin.classes, twin.network)
    assert forms_of(mixed, mixed.graph.links[0]) == ("dense",)
    assert forms_of(mixed, mixed.graph.links[1]) == ("dense", "sorted")


def test_any_mixture_of_forms_predicts():
    it = model("system.metric=l1", "system.copies=2", "system.dim=3")
    weights = weights_in(it, {"input>hidden": "sorted"})
    logits = predict_logits(it.network, weights, it.x, it.scaling(X))
    assert logits == pytest.approx(it.logits(X), abs=1e-4)


@pytest.mark.parametrize("batch", [X[:0], X[:, :5]])
def test_a_batch_of_another_shape(batch):
    with pytest.raises(ShapeError, match="64"):
        measure(model("system.metric=l1"), batch)
