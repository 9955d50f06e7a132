"""Exported classifiers answer as the model does, and what cannot be exported says why."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from dynsim import Model, Scenario, Simulation
from dynsim.backend import export as exporting
from dynsim.backend.cost import cost
from dynsim.backend.dense import dense_arrays, from_dense_arrays
from dynsim.backend.estimator import DynClassifier, DynRegressor
from dynsim.backend.export import export
from dynsim.backend.formats import load_model, save_model
from dynsim.backend.onnx_export import onnx_model
from dynsim.cli import app
from dynsim.cli_export import export as export_command
from dynsim.errors import DeviceError, FileFormatError, OptionError, RunFolderError
from dynsim.runs import run
from dynsim.signals import ACTIVATIONS
from dynsim.system.metric import METRICS

PARTICLES = [name for name, m in METRICS.items() if m.particles]
LENET = ["field.samples=256", "recipe.name=direct", "run.epochs=1"]
IMAGE = """
[system]
network = [
  { op = "reshape", shape = [8, 8, 1] },
  { op = "conv", channels = 4, kernel = 3, padding = 1, policy = "k2", copies = 1 },
  { op = "gelu" },
  { op = "averagepool", size = 3 },
  { op = "conv", channels = 6, kernel = 2, stride = 2, bias = false },
  { op = "batchnorm" },
  { op = "flatten" },
  { op = "dense", size = "auto" },
]
copies = 2
dim = 3
"""
TOKENS = """
[system]
network = [
  { op = "reshape", shape = [8, 8] },
  { op = "dense", name = "embedded", size = 12 },
  { op = "attention", heads = 2, key = 8, value = 6 },
  { op = "add", of = "embedded" },
  { op = "layernorm" },
  { op = "batchnorm" },
  { op = "tanh" },
  { op = "mean" },
  { op = "dense", size = "auto" },
]
copies = 2
dim = 3
"""
REST = """
[field]
dataset = "digits"
samples = 64
batch = 32
[run]
epochs = 2
"""


def of(simulation, steps=3):
    for _ in range(steps):
        simulation.step()
    return Model.of(simulation)


def quick(*settings):
    return Scenario.load("quickstart", ["run.epochs=1", "field.samples=64", *settings])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    from dynsim.progress import Progress

    folder = tmp_path_factory.mktemp("export") / "run"
    run(quick("system.layers=[64, 12, 10]", "record.every=1000"), folder, Progress(quiet=True))
    return folder


def onnx_logits(model, X, form):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    session = runtime.InferenceSession(onnx_model(model, form).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"inputs": X.astype(np.float32)})


def close(theirs, ours):
    return np.abs(theirs - ours).max() <= 1e-5 * max(1, np.abs(ours).max())


# ONNX ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dense", "dyn"])
@pytest.mark.parametrize("metric", PARTICLES)
def test_onnx_of_every_metric(metric, form):
    model = of(Simulation(quick(f"system.metric={metric}", "system.copies=2", "system.dim=3")))
    X = np.random.default_rng(0).uniform(size=(9, 64))
    logits, probabilities = onnx_logits(model, X, form)
    assert close(logits, model.logits(X))
    assert probabilities == pytest.approx(model.probabilities(X), abs=1e-5)


@pytest.mark.parametrize("form", ["dense", "dyn"])
@pytest.mark.parametrize("text", [IMAGE, TOKENS], ids=["image", "tokens"])
def test_onnx_of_every_layer(text, form):
    model = of(Simulation(Scenario.from_text(text + REST)))
    X = np.random.default_rng(0).uniform(size=(5, 64))
    assert close(onnx_logits(model, X, form)[0], model.logits(X))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnx_of_every_activation(activation):
    model = of(Simulation(quick(f"system.activation={activation}")))
    X = np.random.default_rng(0).uniform(size=(5, 64))
    assert close(onnx_logits(model, X, "dense")[0], model.logits(X))


@pytest.mark.parametrize("form", ["dense", "dyn"])
def test_onnx_of_lenet(form):
    model = of(Simulation(Scenario.load("lenet", LENET)))
    X = np.random.default_rng(0).uniform(size=(4, 784))
    assert close(onnx_logits(model, X, form)[0], model.logits(X))


def test_onnx_of_links_that_skip_a_layer():
    model = of(Simulation(quick("system.layers=[64, 8, 6, 10]", "system.links=[[0, 1], [1, 2], [0, 2], [2, 3]]")))
    X = np.random.default_rng(0).uniform(size=(5, 64))
    assert close(onnx_logits(model, X, "dyn")[0], model.logits(X))
    again = from_dense_arrays(model, dense_arrays(model))
    assert np.array_equal(again.logits(X), model.logits(X))


def test_onnx_stores_what_its_form_says():
    pytest.importorskip("onnx")
    model = of(Simulation(quick("system.metric=l2", "system.copies=2", "system.dim=3")))
    stored = {
        form: {t.name: tuple(t.dims) for t in onnx_model(model, form).graph.initializer if t.data_type == 1}
        for form in ("dense", "dyn")
    }
    assert stored["dense"]["input>hidden.weight"] == (64, 64)
    assert not any(name.endswith("weight") for name in stored["dyn"])
    assert stored["dyn"]["input.q"] == (2, 64, 3)
    coordinates = sum(int(np.prod(s)) for n, s in stored["dyn"].items() if not n.startswith(("scaling", "float")))
    assert coordinates == cost(model).parameters
    classes = {p.key: p.value for p in onnx_model(model).metadata_props}["classes"]
    assert json.loads(classes) == list(range(10))


def test_onnx_takes_any_number_of_samples():
    model = of(Simulation(quick()))
    for n in (1, 7):
        assert onnx_logits(model, np.zeros((n, 64)), "dyn")[0].shape == (n, 10)


def test_onnx_of_a_regression():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    model = DynRegressor(hidden=(4,), copies=2, epochs=1).fit(X, X[:, :2]).model_
    (values,) = onnx_logits(model, X, "dyn")
    assert close(values, model.logits(X))


# Other files -----------------------------------------------------------------------------------------------------


def test_dense_arrays_make_the_same_classifier():
    model = of(Simulation(Scenario.from_text(IMAGE + REST)))
    arrays = dense_arrays(model)
    assert arrays["conv1.weight"].shape == (3, 3, 1, 4)
    assert arrays["conv2.weight"].shape == (2, 2, 4, 6)
    assert arrays["batchnorm1.variance"].shape == (6,)
    X = np.random.default_rng(0).uniform(size=(5, 64))
    assert close(from_dense_arrays(model, arrays).logits(X), model.logits(X))


def test_dense_weights_by_hand():
    """What the file's documentation promises: R = relu((x - centre) / scale W + b) W + b."""
    model = of(Simulation(quick()))
    a, X = dense_arrays(model), np.random.default_rng(0).uniform(size=(5, 64)).astype(np.float32)
    hidden = np.maximum((X - a["scaling.centre"]) / a["scaling.scale"] @ a["hidden.weight"] + a["hidden.bias"], 0)
    assert close(hidden @ a["output.weight"] + a["output.bias"], model.logits(X))


@pytest.mark.parametrize("to", ["npz", "safetensors"])
def test_files_of_arrays(finished, tmp_path, to):
    out = tmp_path / f"weights.{to}"
    report = export(finished, to, out)
    if to == "npz":
        with np.load(out, allow_pickle=False) as file:
            arrays = dict(file)
    else:
        arrays = load_file(out)
    assert {n: a.shape for n, a in arrays.items()} == {
        "hidden.weight": (64, 12),
        "hidden.bias": (12,),
        "output.weight": (12, 10),
        "output.bias": (10,),
        "scaling.centre": (64,),
        "scaling.scale": (),
    }
    assert report["parity"]["real"] <= report["parity"]["limit"] == 1e-5
    assert report["parity"]["same_answer"] == 1
    assert report["dense"]["parameters"] == 64 * 12 + 12 + 12 * 10 + 10
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, f"{out.name}.md"]


def test_sklearn_file(finished, tmp_path):
    pytest.importorskip("skops")
    out = tmp_path / "classifier.skops"
    report = export(finished, "sklearn", out)
    again = exporting.load_sklearn(out)
    assert isinstance(again, DynClassifier)
    X = np.random.default_rng(0).uniform(size=(5, 64))
    assert np.array_equal(again.predict_proba(X), DynClassifier.from_run(finished).predict_proba(X))
    assert report["parity"]["real"] == 0
    out.write_bytes(out.read_bytes()[:500])
    with pytest.raises(FileFormatError, match="export it again"):
        exporting.load_sklearn(out)


def test_a_card_lies_beside_it(finished, tmp_path):
    pytest.importorskip("onnxruntime")
    report = export(finished, "onnx", tmp_path / "net.onnx", "dyn")
    card = (tmp_path / "net.onnx.md").read_text()
    price = cost(load_model(finished / "model.safetensors"))
    for number in (price.parameters, price.bytes, price.macs, report["dense"]["bytes"]):
        assert f"{number:,}" in card
    assert f"{100 * report['test_accuracy']:.2f} %" in card
    assert report["file_bytes"] == (tmp_path / "net.onnx").stat().st_size
    assert report["wall_clock"]["dyn_us_per_sample"] > 0 < report["wall_clock"]["dense_us_per_sample"]


def test_equal_models_give_equal_files(finished, tmp_path):
    for name in ("first", "second"):
        export(finished, "safetensors", tmp_path / f"{name}.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_a_model_file_alone(finished, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((finished / "model.safetensors").read_bytes())
    parity = export(alone, "npz", tmp_path / "weights.npz")["parity"]
    assert parity["random"] <= 1e-5
    assert parity["real"] is None
    assert "does not say" in (tmp_path / "weights.npz.md").read_text()


def test_the_model_in_its_run_is_the_run(finished, tmp_path):
    report = export(finished / "model.safetensors", "npz", tmp_path / "weights.npz")
    assert report["test_accuracy"] is not None


# Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "name", "form", "word"),
    [
        ("onxn", "m.onnx", "dense", "onnx"),
        ("onnx", "m.npz", "dense", "--out"),
        ("onnx", "nowhere/m.onnx", "dense", "nowhere"),
        ("npz", "m.npz", "dyn", "--form"),
        ("onnx", "m.onnx", "coordinates", "dyn"),
    ],
)
def test_a_wrong_wish_names_what_is_allowed(finished, tmp_path, to, name, form, word):
    with pytest.raises(OptionError, match=word):
        export(finished, to, tmp_path / name, form)
    assert not list(tmp_path.iterdir())


def test_a_target_has_no_classifier(tmp_path):
    (tmp_path / "scenario.toml").write_text(Scenario.load("two_particles").to_toml())
    with pytest.raises(OptionError, match="no classifier"):
        export(tmp_path, "npz", tmp_path / "m.npz")


def test_an_unfinished_run_says_how_to_finish(tmp_path):
    (tmp_path / "scenario.toml").write_text(quick().to_toml())
    with pytest.raises(RunFolderError, match="dynsim resume"):
        export(tmp_path, "npz", tmp_path / "m.npz")


@pytest.mark.parametrize("damage", ["cut", "noise", "version"])
def test_a_damaged_model_is_named(finished, tmp_path, damage):
    raw = (finished / "model.safetensors").read_bytes()
    bad = {"cut": raw[:100], "noise": b"PK" + raw, "version": raw.replace(b"dynsim-model/", b"dynsim-madel/")}[damage]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(bad)
    with pytest.raises(FileFormatError, match=r"(?s)bad\.safetensors.*run its scenario again"):
        export(path, "npz", tmp_path / "m.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.safetensors"]


def test_what_answers_otherwise_is_not_written(finished, tmp_path, monkeypatch):
    arrays = exporting.dense_arrays

    def wrong(model):
        found = arrays(model)
        return found | {"output.bias": found["output.bias"] + 1}

    monkeypatch.setattr(exporting, "dense_arrays", wrong)
    with pytest.raises(FileFormatError, match="otherwise"):
        export(finished, "npz", tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


def test_not_a_number_is_no_parity(tmp_path):
    model = of(Simulation(quick()))
    x = dict(model.x) | {"bias:output": np.full_like(model.x["bias:output"], np.nan)}
    save_model(replace(model, x=x), tmp_path / "nan.safetensors")
    with pytest.raises(FileFormatError, match="otherwise"):
        export(tmp_path / "nan.safetensors", "npz", tmp_path / "m.npz")


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnx"), ("onnx", "onnxruntime"), ("sklearn", "skops")])
def test_a_missing_package_says_what_to_install(finished, tmp_path, monkeypatch, to, package):
    for name in (package, f"{package}.io"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    suffix = exporting.SUFFIXES[to]
    with pytest.raises(DeviceError, match=r"pip install 'dynsim\["):
        export(finished, to, tmp_path / f"m{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(finished, tmp_path):
    (tmp_path / "m.npz").mkdir()
    with pytest.raises(RunFolderError, match="cannot be written"):
        export(finished, "npz", tmp_path / "m.npz")


# Command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command():
    if "export" not in {c.name or c.callback.__name__ for c in app.registered_commands}:
        app.command()(export_command)
    return lambda *words: CliRunner().invoke(app, ["export", *map(str, words)], catch_exceptions=False)


def test_command_prints_parity(command, finished, tmp_path):
    shown = command(finished, "--to", "npz", "--out", tmp_path / "m.npz").output
    assert "random inputs" in shown
    assert "m.npz.md" in shown


def test_command_in_json(command, finished, tmp_path):
    pytest.importorskip("onnxruntime")
    said = command(finished, "--to", "onnx", "--form", "dyn", "--out", tmp_path / "m.onnx", "--json").output
    report = json.loads(said)
    assert report["form"] == "dyn"
    assert report["parity"]["random"] <= 1e-5
