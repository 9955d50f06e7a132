"""The engine on a device whose arrays are as strict as a GPU's: every scenario, law, metric and recipe."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from dynsim import Scenario, Simulation, Trajectory, resume, run, simulation
from dynsim.backend import inference
from dynsim.backend.estimator import DynClassifier
from dynsim.backend.inference import Model
from dynsim.backend.questions import answer
from dynsim.commands import Boundary, Embed, Evaluate, Predict, StrongestLinks
from dynsim.dynamics.damping import LAWS
from dynsim.dynamics.integrators import INTEGRATORS
from dynsim.errors import DeviceError, DivergenceError
from dynsim.kernels import reference
from dynsim.kernels.load import load, load_host
from dynsim.observables import OBSERVABLES, named
from dynsim.runfolder import TRAJECTORY
from dynsim.runs import start
from dynsim.shipped import shipped_scenarios
from dynsim.signals import ACTIVATIONS
from dynsim.summary import summarise
from dynsim.system.metric import METRICS
from tests import strict_device
from tests.cupy_offers import offered
from tests.strict_device import DeviceArray

QUICK = {"run.device": "reference", "run.twin": None}
SMALL = QUICK | {"field.samples": 200, "field.batch": 16}
LAYERS = """
name = "images"
[system]
network = [
  { op = "reshape", shape = [8, 8, 1] },
  { op = "conv", channels = 3, kernel = 3, stride = 2, padding = 1 },
  { op = "batchnorm" },
  { op = "gelu" },
  { op = "averagepool" },
  { op = "conv", channels = 4, kernel = 2, policy = "k2" },
  { op = "sigmoid" },
  { op = "flatten" },
  { op = "dense", size = "auto" },
]
copies = 2
dim = 3
[field]
dataset = "digits"
samples = 200
validation = 0.2
augment = 1
batch = 16
[run]
steps = 4
device = "reference"
"""


@pytest.fixture
def on_device(monkeypatch):
    """Makes simulations on the strict device, whatever device they ask for."""

    def made(scenario, **options):
        with monkeypatch.context() as patch:
            patch.setattr(simulation, "load", lambda _: strict_device)
            return Simulation(scenario, **options)

    return made


def both(scenario, on_device):
    theirs = Simulation(scenario)
    return on_device(scenario, data=theirs.data), theirs


def stepped(simulations, steps=3):
    for it in simulations:
        for _ in range(steps):
            it.step()


def assert_agree(mine, theirs):
    """State, frame and scalars on the strict device as on the reference, to rounding."""
    tolerance = {"rtol": 1e-5, "atol": 1e-7} if mine.scenario.run.dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    for part, wanted in zip(mine.system.state, theirs.system.state):
        assert part.keys() == wanted.keys()
        assert all(isinstance(a, DeviceArray) for a in part.values())
        for key, a in part.items():
            assert (a.dtype, a.shape) == (wanted[key].dtype, wanted[key].shape), key
            np.testing.assert_allclose(a.held, wanted[key], **tolerance, err_msg=key)
    shown, wanted = mine.frame(), theirs.frame()
    for kind in ("properties", "history", "scalars"):
        values, right = getattr(shown, kind), getattr(wanted, kind)
        assert list(values) == list(right)
        for key, value in values.items():
            np.testing.assert_allclose(value, right[key], rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", [name for name, _ in shipped_scenarios()])
def test_shipped_scenarios_run_on_a_device(name, on_device):
    scenario = Scenario.load(name)
    settings = SMALL if scenario.field.kind == "network" else QUICK
    if name.startswith("mnist"):
        settings = settings | {"system.layers": ["auto", 8, "auto"], "system.copies": 2}
    if name == "lorenz":
        settings = settings | {"sequence.length": 64, "sequence.ticks": 12, "sequence.washout": 2}
    pair = both(scenario.changed(**settings), on_device)
    stepped(pair)
    assert_agree(*pair)


@pytest.mark.parametrize("integrator", [name for name in INTEGRATORS if name != "eq2"])  # of sequences
@pytest.mark.parametrize("law", LAWS)
def test_laws_and_integrators_run_on_a_device(law, integrator, on_device):
    chosen = {"dynamics.law": law, "dynamics.integrator": integrator, "dynamics.confinement": 0.1}
    pair = both(Scenario.load("moons").changed(**SMALL, **chosen), on_device)
    stepped(pair)
    assert_agree(*pair)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_run_on_a_device(metric, on_device):
    pair = both(Scenario.load("moons").changed(**SMALL, **{"system.metric": metric}), on_device)
    stepped(pair)
    assert_agree(*pair)


def test_every_observable_sees_a_device(on_device):
    measured = {"record.observables": list(named("scalar")), "record.properties": list(named("per_particle"))}
    assert len(OBSERVABLES) == sum(map(len, measured.values()))
    pair = both(Scenario.load("medium").changed(**SMALL, **measured, **{"dynamics.law": "signal"}), on_device)
    stepped(pair, 2)
    assert_agree(*pair)


@pytest.mark.parametrize("settings", [{"system.medium.law": "damping"}, {"system.interactive": True}])
def test_media_and_interactive_links_run_on_a_device(settings, on_device):
    pair = both(Scenario.load("medium").changed(**SMALL, **settings), on_device)
    stepped(pair)
    assert_agree(*pair)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_run_on_a_device(activation, on_device):
    pair = both(Scenario.load("moons").changed(**SMALL, **{"system.activation": activation}), on_device)
    stepped(pair, 2)
    assert_agree(*pair)


@pytest.mark.parametrize("recipe", ["direct", "alternate", "finetune"])
def test_recipes_with_images_and_norms_run_on_a_device(recipe, on_device):
    settings = [f'recipe.name="{recipe}"', "recipe.epochs=1", "recipe.fit_steps=3"]
    pair = both(Scenario.from_text(LAYERS, settings), on_device)
    stepped(pair, min(pair[0].total_steps, 16))
    assert_agree(*pair)
    assert pair[0].evaluate("test").loss == pytest.approx(pair[1].evaluate("test").loss, rel=1e-5)


def test_all_that_particles_learn_is_learned_on_a_device(on_device):
    hyper = {"dynamics.law": "signal", "dynamics.hyper.trained": ["eta", "mass", "potential"]}
    pair = both(Scenario.load("moons").changed(**SMALL, **hyper, **{"dynamics.hyper.conserve": True}), on_device)
    stepped(pair, 5)
    assert_agree(*pair)


@pytest.mark.parametrize("integrator", ["kick-drift", "adam"])
def test_particles_merge_while_they_learn_on_a_device(integrator, on_device):
    settings = {"merge.radius": 0.6, "merge.every": 6, "merge.across": True, "dynamics.integrator": integrator}
    settings["record.observables"] = ["loss", "merging"]
    pair = both(Scenario.load("moons").changed(**SMALL, **settings), on_device)
    stepped(pair, 8)
    assert_agree(*pair)
    assert pair[0].scalars()["merged"] > 0.05
    for it in pair:
        it.kick(0.5)
        it.move(0, [0.5] * it.graph.dim)
    stepped(pair, 2)
    assert_agree(*pair)


def test_what_is_done_to_a_run_is_done_on_a_device(on_device):
    pair = both(Scenario.load("moons").changed(**SMALL), on_device)
    stepped(pair, 2)
    for it in pair:
        it.set_parameter("dynamics.law", "signal")
        it.set_parameter("field.batch", 8)
        it.kick(0.5)
        it.move(3, [0.25] * it.graph.dim, [0.5] * it.graph.dim)
    assert pair[0].motion_of(3) == pair[1].motion_of(3)
    stepped(pair, 2)
    assert_agree(*pair)


def test_questions_are_answered_and_models_made_from_a_device(on_device):
    pair = both(Scenario.load("moons").changed(**SMALL, **{"field.validation": 0.2}), on_device)
    stepped(pair, 2)
    model, right = map(Model.of, pair)
    for key, a in model.x.items():
        np.testing.assert_allclose(a, right.x[key], rtol=1e-5)
    X = pair[0].data.scaling.undo(pair[0].data.test.x)
    for question in (Predict(X), Evaluate("validation"), Boundary(8), StrongestLinks(5), Embed("output", 3.0)):
        here, there = (answer(it, question) for it in pair)
        for a, b in zip(_numbers(here), _numbers(there), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    state, wanted = (it.state_at(it.frame()) for it in pair)
    answers = [answer(it, StrongestLinks(3), where)[0].stress for it, where in zip(pair, (state, wanted))]
    np.testing.assert_allclose(*answers, rtol=1e-4)


def _numbers(said):
    """All numbers in an answer, however it holds them."""
    if isinstance(said, tuple | list):
        return [a for part in said for a in _numbers(part)]
    if isinstance(said, dict):
        return _numbers(list(said.values()))
    if is_dataclass(said):
        return _numbers([getattr(said, f.name) for f in fields(said)])
    return [said] if isinstance(said, np.ndarray | float | int) and not isinstance(said, str) else []


@pytest.mark.parametrize("first", ["reference", "cpu"])
def test_a_checkpoint_goes_on_on_another_device(first, tmp_path, monkeypatch):
    """cpu stands for the strict device here: a run begun there goes on on the reference, and the other way round."""
    second = {"reference": "cpu", "cpu": "reference"}[first]
    text = Scenario.load("moons").changed(**SMALL, **{"run.steps": 8, "dynamics.law": "signal"})
    monkeypatch.setattr(simulation, "load", lambda name: strict_device if name == "cpu" else load(name))
    recording = start(text.changed(**{"run.device": first}), tmp_path / "run")
    with recording:
        for _ in range(4):
            recording.step()
        recording.save()
    folder, went_on = resume(tmp_path / "run", [f"run.device={second}"])
    assert went_on
    assert (folder.summary["device"] == "strict_device") == (second == "cpu")
    whole = run(text, tmp_path / "whole")
    assert folder.summary["final"] == pytest.approx(whole.summary["final"], rel=1e-4, nan_ok=True)
    with Trajectory(folder / TRAJECTORY) as mixed, Trajectory(whole / TRAJECTORY) as plain:
        assert mixed.steps.tolist() == plain.steps.tolist()
        for name, a in plain.frame(len(plain) - 1).properties.items():
            np.testing.assert_allclose(mixed.frame(len(mixed) - 1).properties[name], a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["fit_matrix", "sine_bank", "moons"])
def test_a_summary_tells_of_a_device_what_it_tells_of_the_host(name, on_device):
    pair = both(Scenario.load(name).changed(**(SMALL if name == "moons" else QUICK)), on_device)
    stepped(pair, 2)
    mine, theirs = (summarise(it, 1.0, 1.0) for it in pair)
    assert mine["device"] == "strict_device"
    for found in (mine, theirs):
        found["final"] = {k: a for k, a in found["final"].items() if a is not None}
    assert mine["final"] == pytest.approx(theirs["final"], rel=1e-4, nan_ok=True)
    assert mine["observables"] == pytest.approx(theirs["observables"], rel=1e-4, abs=1e-6, nan_ok=True)


def test_an_estimator_learns_goes_on_and_predicts_on_a_device(monkeypatch):
    X = np.random.default_rng(0).standard_normal((60, 2))
    y = (X[:, 0] > X[:, 1]).astype(int)
    said = []
    for kernels in (strict_device, reference):
        for module in (simulation, inference):
            monkeypatch.setattr(module, "load", lambda _, kernels=kernels: kernels)
        it = DynClassifier(hidden=(4,), copies=2, dim=3, epochs=2, device="reference", warm_start=True, random_state=0)
        said.append(it.fit(X, y).fit(X, y).predict_proba(X))
    np.testing.assert_allclose(*said, rtol=1e-4, atol=1e-6)


def test_a_blow_up_on_a_device_names_the_particle(on_device):
    mine = on_device(Scenario.load("moons").changed(**SMALL))
    mine.step()
    mine.system.x["q:hidden"][0, 3] = np.nan
    with pytest.raises(DivergenceError, match="NaN before the step") as caught:
        mine.step()
    assert "sub-model 3, copy 0 of 'hidden'" in str(caught.value)


def test_what_needs_arrays_of_the_host_refuses_a_device():
    assert load_host("auto") is load("cpu")
    with pytest.raises(DeviceError, match="host only"):
        load_host("cuda")


@pytest.mark.parametrize(
    "forbidden",
    [
        np.asarray,  # would copy to the host
        lambda a: a + np.ones(3),
        lambda a: a[np.arange(2)],
        lambda a: np.ones(3, like=a),  # NumPy asks for a parameter that CuPy's has not
        lambda a: np.add.reduce(a),
        lambda a: np.divide(a, a, where=a > 0),
        lambda a: a.max(initial=0),
        np.nanquantile,  # CuPy has none
    ],
)
def test_the_strict_device_refuses_what_a_card_cannot_do(forbidden):
    with pytest.raises(TypeError):
        forbidden(DeviceArray(np.arange(3.0)))


def test_what_cupy_offers_is_written_down():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if cupy.__version__ != strict_device.KNOWN["version"]:
        pytest.skip(f"another CuPy, {cupy.__version__}")
    assert offered(cupy) == strict_device.KNOWN
