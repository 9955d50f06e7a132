"""The papers' tables again: studies that go on where they stopped, and LeNet-5 in all its forms."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from dynsim import datasets
from dynsim.errors import OptionError
from dynsim.observables.entropy import structural_entropy
from dynsim.reproduce import downhill, fig7, fig8, lenet, picture, quantised, resolution, structure
from dynsim.reproduce.command import TABLES, reproduce
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, raw_file
from dynsim.reproduce.table import Table, judged, paired
from dynsim.simulation import Simulation

FEW = {"field.samples": 256, "dynamics.eta": 0.01}


def counted(folder, n):
    """A unit of work that leaves a trace of every call."""
    trace = folder / f"calls-{n}"
    trace.write_text(trace.read_text() + "x" if trace.exists() else "x")
    return {"twice": 2 * n}


def summed(folder, names):
    """A unit that reads the files of others."""
    return {"sum": sum(json.loads(raw_file(folder, n).read_text())["twice"] for n in names)}


def test_a_study_goes_on_where_it_stopped(tmp_path):
    units = [Unit(f"n{k}", counted, {"n": k}) for k in range(3)]
    first = Study(tmp_path, 1, quiet=True).run("some", units[:2])
    assert [first[f"n{k}"]["twice"] for k in range(2)] == [0, 2]
    total = Unit("total", summed, {"names": ["n0", "n1", "n2"]}, needs=("n0", "n1", "n2"))
    second = Study(tmp_path, 2, quiet=True).run("all", [total, *units])
    assert second["total"]["sum"] == 6
    assert [(tmp_path / f"calls-{k}").read_text() for k in range(3)] == ["x"] * 3


def test_other_settings_are_done_again(tmp_path):
    study = Study(tmp_path, 1, quiet=True)
    assert study.run("a", [Unit("n", counted, {"n": 1})])["n"]["twice"] == 2
    assert study.run("a", [Unit("n", counted, {"n": 5})])["n"]["twice"] == 10


def test_samples_have_mean_and_deviation_and_pairs_theirs():
    a, b = Sample((99.0, 99.2, 99.4)), Sample((98.9, 99.2, 99.3))
    assert str(a) == "99.20 ± 0.20"
    assert paired(a, b).mean == pytest.approx(0.2 / 3)
    assert "not reached" in judged("FIXED", a, 99.3)
    assert "not reached" not in judged("FIXED", a, 99.1)


def test_a_table_says_what_it_knows(tmp_path):
    table = Table("t", "Title", "source", "about.", ("form", "n", "accuracy"), [("a", 12345, Sample((1.0, 2.0)))])
    table.verdict.append("It holds.")
    table.save(tmp_path)
    text = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert "| a | 12,345 | 1.50 ± 0.71 |" in text
    assert "- It holds." in text
    saved = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    accuracy = {"mean": 1.5, "deviation": 0.5**0.5, "values": [1, 2]}
    assert saved["rows"] == [{"form": "a", "n": 12345, "accuracy": accuracy}]


def test_table_1_counts_what_is_laid_out(tmp_path):
    (table,) = reproduce("table1", tmp_path, quiet=True)
    counts = {row[0]: dict(zip(table.columns, row)) for row in table.rows}
    assert counts["dense 784 to 512"]["sub-models"] == counts["dense 784 to 512"]["printed"] == 1296
    conv = counts["conv 5 x 5, 6 to 16, 2k"]
    assert (conv["sub-models"], conv["printed"]) == (110, 220)
    assert counts["conv 5 x 5, 6 to 16, k²"]["sub-models"] == 25 * 22
    assert "P(64) + P(192)" in counts["attention, d_k 64, d_v 64"]["subsystems"]


@pytest.mark.parametrize(("given", "where"), [({"name": "tabel1"}, ""), ({"name": "table1", "seeds": 0}, "--seeds")])
def test_bad_questions_are_refused(given, where, tmp_path):
    with pytest.raises(OptionError) as refused:
        reproduce(**given, folder=tmp_path, quiet=True)
    assert where in str(refused.value) or ", ".join(TABLES) in str(refused.value)
    assert not list(tmp_path.rglob("*.md"))


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """A LeNet-5 that has seen 256 images, and what was made of it."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "raw").mkdir()
    row = (2, 3)
    numbers = {
        "baseline": lenet.baseline(folder, 0, 2, FEW),
        "fixed": lenet.fixed(folder, row, 0, 200, FEW),
        "svd": lenet.truncated(folder, row, 0, FEW),
        "unfixed": lenet.unfixed(folder, row, 0, 1, "physics", FEW),
    }
    return folder, numbers


def test_forms_of_lenet_start_from_the_same_weights(forms):
    folder, numbers = forms
    weights, fitted = load_arrays(folder, "baseline-0"), load_arrays(folder, lenet.fixed_name((2, 3), 0))
    for key in ("bias:fc1", "scale:batchnorm1", "variance:batchnorm2", "weight:conv1.in>conv1.out"):
        np.testing.assert_array_equal(weights[key], fitted[key])
    assert (numbers["fixed"]["memory"], numbers["fixed"]["disk"]) == (14502, 2038)
    assert 0 < max(numbers["fixed"]["relative_error"].values()) < 1


def test_the_rival_has_no_more_numbers(forms):
    folder, numbers = forms
    fitted = load_arrays(folder, lenet.fixed_name((2, 3), 0))
    budget = sum(a.size for k, a in fitted.items() if k.startswith(("q:", "mu:", "gain:")))
    assert 0.98 * budget < numbers["svd"]["numbers"] <= budget
    assert all(numbers["svd"]["ranks"].values())


def test_motion_goes_on_from_the_fit(forms):
    folder, _ = forms
    fitted = load_arrays(folder, lenet.fixed_name((2, 3), 0))
    moved = load_arrays(folder, f"un{lenet.fixed_name((2, 3), 0)}-physics")
    steps = np.linalg.norm(moved["q:fc1"] - fitted["q:fc1"], axis=-1)
    assert 0 < steps.max() <= 2 * FEW["dynamics.eta"]  # two steps of an epoch of 256 images


def test_weights_by_the_k2_policy_are_the_same_kernel(forms):
    folder, _ = forms
    weights = load_arrays(folder, "baseline-0")
    cells = lenet.for_policy(weights, "k2")
    whole = weights["weight:conv2.in>conv2.out"][..., 0].reshape(5, 6, 5, 16)
    np.testing.assert_array_equal(cells["weight:conv2.in3.1>conv2.out3.1"][..., 0], whole[3, :, 1])


def test_few_values_are_few(forms):
    folder, _ = forms
    x = load_arrays(folder, lenet.fixed_name((2, 3), 0))
    coarse = quantised.coarse(x, 0.1, "floor")
    assert len(np.unique(coarse["q:fc1"])) <= 11
    assert (coarse["q:fc1"] <= x["q:fc1"] + 1e-6).all()
    np.testing.assert_array_equal(coarse["bias:fc1"], x["bias:fc1"])


def test_particles_are_only_where_they_are_asked_for():
    image = datasets.load("mnist", samples=200)
    few = replace(image, X_test=image.X_test[:9], y_test=image.y_test[:9])
    links = {}
    for name, layers in fig8.LAYERS.items():
        graph = Simulation(fig8.partly_scenario(layers, 0, FEW), dataset=few).graph
        links[name] = {k.name: math.prod(graph.shape(k)) for k in graph.links if k.kind.particles}
        assert sum(links[name].values()) == fig8.replaced(name)
    assert links["fc2, fc3"] == {"fc1>fc2": 120 * 84, "fc2>output": 840}


def test_a_layer_is_fitted_until_its_stress_is_low_and_moves_on_with_the_rest(forms, monkeypatch):
    folder, _ = forms
    monkeypatch.setattr(fig8, "PARTLY", (0.0,))
    found = fig8.partly(folder, ["output"], 0.5, 0, 400, 1, FEW)
    assert found["stress"] < 0.5
    assert 0 < found["steps"] < 400
    assert found["parameters"] == 61750 - 840 + 94 * 9 * 3 + 3 + 1


def test_interactive_links_have_the_numbers_of_isolated_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(fig8, "DELTAS", (0.1,))
    scenario, settings = fig8.BOTH["digits"]
    quick = settings | resolution.QUICK | {"run.twin": 0.01}
    found = {form: fig8.linked(tmp_path, scenario, form, 0, quick) for form in fig8.FORMS}
    assert found["isolated"]["parameters"] == found["interactive"]["parameters"] == 5052
    assert found["weights"]["parameters"] == 65 * 64 + 65 * 10
    assert found["isolated"]["floor 0"] != found["interactive"]["floor 0"]


def test_psi_is_that_of_the_truncated_model(kernels):
    scenario, settings = resolution.NETS["digits, 2 layers"]
    simulation, untrained = resolution.trained(scenario, 0, settings | resolution.QUICK)
    found = resolution.measured(simulation, untrained, [10, 30])
    for delta, psi, psi_null in zip(found["deltas"], found["psi"], found["psi_null"]):
        for state, expected in ((simulation.system, psi), (untrained, psi_null)):
            q = resolution.cloud(state.replace(x=resolution.truncated(state.x, delta, "floor")))
            assert structural_entropy(kernels, q, 1e-6) == pytest.approx(expected, rel=1e-3)
    assert found["test_accuracy"] >= found["floor test"][1]


def test_rank_correlations_and_their_signs():
    delta = np.arange(10.0)
    assert resolution.spearman(delta, -(delta**3)) == pytest.approx(-1)
    assert resolution.spearman(delta, np.ones(10)) == 0
    stirred = delta[[1, 0, 3, 2, 5, 4, 7, 6, 9, 8]]
    assert resolution.spearman(stirred, delta) > 0.9
    assert resolution.spearman_given(stirred, delta[::-1], delta) == 0  # delta explains the other wholly
    sample = Sample((1.0, 2.0, 3.0))
    assert resolution.half_width(sample) == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert resolution.sign_of(sample) == 0
    assert resolution.sign_of(Sample((-1.0, -1.1, -0.9))) == -1


class Given(Study):
    """A study whose units have been made up."""

    def __init__(self, folder, numbers):
        super().__init__(folder, 1, quiet=True)
        self.numbers = numbers

    def run(self, title, units):
        return self.numbers


def made_up(seed, lapcurse, gain=0.0):
    """A run whose accuracy falls with delta, but for a gain in points at the fifth of ten."""
    rng, deltas = np.random.default_rng(seed), np.geomspace(0.002, 0.9, 10)
    accuracy = 0.9 - 0.05 * np.arange(10) ** 2 / 10
    accuracy[5] = 0.9 + gain / 100 * rng.uniform(0.9, 1.1)
    curves = {"deltas": deltas, "psi": deltas[::-1], "psi_null": deltas[::-1]}
    curves |= {f"{r} {p}": accuracy for r in resolution.ROUNDINGS for p in resolution.PARTS}
    curves |= {"lapcurse": lapcurse(accuracy, rng), "lapcurse_null": rng.uniform(size=10)}
    numbers = {k: np.asarray(v).tolist() for k, v in curves.items()}
    expected = {"expected": float(curves["lapcurse"].mean()), "expected_null": float(curves["lapcurse_null"].mean())}
    return numbers | expected | {"particles": 100, "parameters": 1000, "test_accuracy": 0.9, "validation_accuracy": 0.9}


def prepared(lapcurse, gain=0.0, seeds=4):
    names = {resolution.unit_name(net, s): s for net in resolution.NETS for s in range(seeds)}
    names |= {f"variant {name} {s}": s for name in [*structure.VARIANTS, "LeNet-5 (2, 3)"] for s in range(seeds)}
    return {name: made_up(s, lapcurse, gain) for name, s in names.items()}


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures take a second each."""
    monkeypatch.setattr(picture, "save", lambda made, path: path)


@pytest.mark.parametrize(
    ("lapcurse", "words"),
    [(lambda a, rng: 1 - a, "it holds"), (lambda a, rng: rng.uniform(size=10), "no more than the control")],
)
def test_fig_4_judges_by_the_control(lapcurse, words, tmp_path, undrawn):
    pytest.importorskip("matplotlib")
    tables = structure.fig4(Given(tmp_path, prepared(lapcurse)), 4, True)
    assert [t.name for t in tables] == ["fig4a", "fig4b"]
    assert all(words in v for v in tables[0].verdict)


@pytest.mark.parametrize(("gain", "words"), [(0.5, "a peak"), (0.0, "no peak")])
def test_fig_7b_finds_a_peak_only_where_there_is_one(gain, words, tmp_path, undrawn):
    pytest.importorskip("matplotlib")
    table = fig7.accuracy_against_lrpr(Given(tmp_path, prepared(lambda a, rng: a, gain)), 4, True)
    assert all(words in v for v in table.verdict)
    lrpr = table.rows[0][table.columns.index("LRPR chosen")]
    assert lrpr.mean == pytest.approx(math.log(1000 / np.geomspace(0.002, 0.9, 10)[5 if gain else 0]))


def test_scattered_points_have_their_expectation(tmp_path):
    pytest.importorskip("matplotlib")
    x = np.arange(12.0)
    means = picture.expectation(x[::-1], -x[::-1], bins=4)
    np.testing.assert_array_equal(means, [[1, 4, 7, 10], [-1, -4, -7, -10]])
    path = picture.scatters(tmp_path / "a.png", {"a": (x, x, x + 1), "b": (x, -x, x + 1)}, ("x", "y", "c"), "title")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_fig_6_says_which_way_particles_go(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    runs = {"moons": ("moons", {"run.steps": 60}), "moons, confined": ("moons", {"run.steps": 60} | downhill.WELL)}
    monkeypatch.setattr(downhill, "RUNS", runs)
    study = Given(tmp_path, {})
    for name, (scenario, settings) in runs.items():
        for seed in range(3):
            unit = downhill.unit_name(name, seed)
            study.numbers[unit] = downhill.moves(tmp_path, name, scenario, seed, settings)
    (table,) = structure.fig6(study, 3, True)
    free, confined = table.verdict
    assert "downhill by the gradient" in confined
    assert "downhill by the gradient" not in free
    places = load_arrays(tmp_path, downhill.unit_name("moons", 0))["places"]
    assert places.shape == (4, 160, 2)
    assert (tmp_path / "fig6-moons.png").is_file()
