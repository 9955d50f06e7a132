"""The papers' tables again: studies that go on where they stopped, and LeNet-5 in all its forms."""

import json

import numpy as np
import pytest

from dynsim.errors import OptionError
from dynsim.reproduce import lenet, quantised
from dynsim.reproduce.command import TABLES, reproduce
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, raw_file
from dynsim.reproduce.table import Table, judged, paired

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
