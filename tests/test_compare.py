"""The comparison: its statistics against closed forms, and that no run is dropped without a word."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dynsim import Scenario, runs
from dynsim.cli import app
from dynsim.compare.comparison import compare
from dynsim.compare.groups import difference, pareto
from dynsim.errors import OptionError, RunFolderError
from dynsim.runfolder import SCENARIO, SUMMARY

TEXT = """
name = "{name}"
[system]
layers = ["auto", 4, "auto"]
[field]
dataset = "{data}"
[run]
steps = 5
"""


def leave(folder, accuracy, seed=0, name="small", size=1000, data="moons", **settings):
    """A run folder as a finished run leaves it, without its trajectory; accuracy None: one that has not ended."""
    scenario = Scenario.from_text(TEXT.format(name=name, data=data)).changed(**settings, **{"run.seed": seed})
    folder.mkdir(parents=True)
    (folder / SCENARIO).write_text(scenario.to_toml())
    if accuracy is None:
        return folder
    final = {"train_loss": 1 - accuracy, "train_accuracy": None, "test_accuracy": accuracy}
    costs = {"parameters": size // 4, "bytes": size, "macs": 10, "wall_s": 1.0, "steps_per_s": 5.0, "threads": 1}
    summary = {"scenario": name, "stopped": "all steps done", "steps": 5, "final": final, "observables": {"psi": 0.5}}
    (folder / SUMMARY).write_text(json.dumps(summary | costs))
    return folder


def two_groups(folder):
    """Accuracies of two etas and three seeds; the differences are .01, .02 and .06."""
    for seed, (ours, theirs) in enumerate([(0.91, 0.90), (0.92, 0.90), (0.95, 0.89)]):
        leave(folder / f"a{seed}", theirs, seed, size=1000)
        leave(folder / f"b{seed}", ours, seed, size=2000, **{"dynamics.eta": 0.5})
    return folder


def command(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments), "--quiet"])


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path):
    (task,) = compare([two_groups(tmp_path)]).tasks
    best, other = task.rows
    assert (best.group.seeds, other.group.seeds) == ((0, 1, 2), (0, 1, 2))
    assert dict(best.group.settings) == {"dynamics.eta": 0.5}
    assert best.score.mean == pytest.approx(np.mean([0.91, 0.92, 0.95]))
    assert best.score.deviation == pytest.approx(np.std([0.91, 0.92, 0.95], ddof=1))
    assert task.reference == other.group.label  # the first that was given
    assert (best.front, other.front) == (True, True)  # one is better, the other smaller


def test_the_paired_difference_has_students_interval(tmp_path):
    (task,) = compare([two_groups(tmp_path)]).tasks
    found = task.rows[0].difference
    differences = np.array([0.01, 0.02, 0.06])
    reach = 4.302653 * differences.std(ddof=1) / np.sqrt(3)  # t of 97.5 % and two degrees of freedom, from a table
    assert found.mean == pytest.approx(0.03)
    assert (found.low, found.high) == pytest.approx((0.03 - reach, 0.03 + reach), rel=1e-6)
    assert not found.told_apart
    assert task.rows[1].difference is None


def test_the_interval_holds_the_truth_as_often_as_it_says(tmp_path):
    rng = np.random.default_rng(3)
    (task,) = compare([two_groups(tmp_path)]).tasks
    ours, theirs = (row.group for row in task.rows)
    inside = 0
    for _ in range(400):
        for group, shift in ((ours, 0.1), (theirs, 0.0)):
            for run in group.runs:
                run.numbers["test_accuracy"] = shift + 0.01 * rng.standard_normal()
        found = difference(ours, theirs, "test_accuracy")
        inside += found.low < 0.1 < found.high
    assert 0.92 < inside / 400 < 0.98  # 380 +- 4.4 of them


def test_only_common_seeds_are_paired(tmp_path):
    for seed in (0, 1):
        leave(tmp_path / f"a{seed}", 0.5, seed)
    leave(tmp_path / "b1", 0.9, 1, **{"dynamics.eta": 0.5})
    leave(tmp_path / "c7", 0.7, 7, **{"dynamics.eta": 0.6})
    rows = {row.group.settings["dynamics.eta"]: row for row in compare([tmp_path]).tasks[0].rows}
    assert rows[0.5].difference.seeds == (1,)
    assert rows[0.5].difference.mean == pytest.approx(0.4)
    assert rows[0.5].difference.low is None
    assert rows[0.6].difference is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_beaten_by_nobody_and_beats_all_others(points):
    front = [p for p, on in zip(points, pareto(points)) if on]
    for cost, gain in front:
        assert not any((c <= cost and g > gain) or (c < cost and g >= gain) for c, g in points)
    for cost, gain in set(points) - set(front):
        assert any(c <= cost and g >= gain for c, g in front)


def test_what_matters_is_found_among_what_does_not(tmp_path):
    pytest.importorskip("optuna")
    rng = np.random.default_rng(0)
    for k in range(24):
        eta, decay = 0.01 * 10 ** rng.uniform(0, 2), rng.uniform(0, 0.1)
        settings = {"dynamics.eta": eta, "dynamics.decay": decay}
        leave(tmp_path / f"r{k:02d}", 0.8 + 0.05 * np.log10(eta), **settings)
    (task,) = compare([tmp_path]).tasks
    assert sum(task.importance.shares.values()) == pytest.approx(1)
    assert task.importance.shares["dynamics.eta"] > 0.8


def test_why_there_is_no_importance_is_said(tmp_path):
    assert "there are 6" in compare([two_groups(tmp_path)]).tasks[0].importance.note


def test_tasks_are_kept_apart_and_a_loss_is_better_where_it_is_less(tmp_path):
    leave(tmp_path / "moons", 0.9)
    leave(tmp_path / "xor", 0.6, data="xor")
    found = compare([tmp_path])
    assert [task.name for task in found.tasks] == ["moons: test accuracy", "xor: test accuracy"]
    two_groups(tmp_path / "more")
    (task,) = compare([tmp_path / "more"], by="train_loss").tasks
    assert not task.higher
    assert task.rows[0].score.mean < task.rows[1].score.mean
    assert compare([tmp_path / "more"], by="steps_per_s").tasks[0].higher


def test_no_run_is_dropped_without_a_word(tmp_path):
    (tmp_path / "empty").mkdir()
    leave(tmp_path / "good", 0.9)
    leave(tmp_path / "again", 0.9)  # the same settings and seed
    leave(tmp_path / "unfinished", None)
    (leave(tmp_path / "stopped", None) / "log.txt").write_text("2024-01-01T00:00:00  stopped: it ran away\n")
    (leave(tmp_path / "damaged", 0.9) / SUMMARY).write_text("{")
    (leave(tmp_path / "illegal", 0.9) / SCENARIO).write_text("[system]\nlayers = 5\n")
    told = [{"folder": "never", "state": "failed", "reason": "no memory"}, {"number": 7, "state": "pruned"}]
    (tmp_path / "sweep.json").write_text(json.dumps({"trials": told}))
    found = compare([tmp_path, tmp_path / "empty"])
    why = {x.path.name: x.why for x in found.left_out}
    assert why.keys() == {"good", "unfinished", "stopped", "damaged", "illegal", "never", "trial 7", "empty"}
    assert "the same settings" in why["good"]
    assert why["stopped"] == "it ran away"
    assert "no memory" in why["never"]
    shown = command(tmp_path, tmp_path / "empty").stdout
    assert all(f"{tmp_path / name}: " in shown for name in why)


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no such folder"):
        compare([tmp_path / "nowhere"])
    (tmp_path / "notes.md").touch()
    with pytest.raises(RunFolderError, match="not a folder"):
        compare([tmp_path / "notes.md"])
    with pytest.raises(RunFolderError, match="no run in it"):
        compare([tmp_path])
    leave(tmp_path / "r", None)
    with pytest.raises(RunFolderError, match="unfinished"):
        compare([tmp_path])
    two_groups(tmp_path / "more")
    with pytest.raises(OptionError, match="did you mean 'train_loss'"):
        compare([tmp_path / "more"], by="train_los")
    with pytest.raises(OptionError, match="--reference"):
        compare([tmp_path / "more"], reference=tmp_path)


def test_the_reference_can_be_chosen(tmp_path):
    two_groups(tmp_path)
    (task,) = compare([tmp_path], reference=tmp_path / "b1").tasks
    assert task.reference == task.rows[0].group.label
    assert task.rows[1].difference.mean == pytest.approx(-0.03)


def test_the_files_hold_what_the_comparison_found(tmp_path):
    two_groups(tmp_path / "runs")
    found = command(tmp_path / "runs", "--csv", tmp_path / "t.csv", "--json")
    (task,) = json.loads(found.stdout)["tasks"]
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    for row, group in zip(rows, task["groups"], strict=True):
        accuracy = group["numbers"]["test_accuracy"]
        assert float(row["test_accuracy.mean"]) == accuracy["mean"]
        assert float(row["test_accuracy.deviation"]) == accuracy["deviation"]
        assert row["seeds"] == "0 1 2"
        assert float(row["dynamics.eta"]) == group["settings"]["dynamics.eta"]
    assert group["numbers"]["observables.psi"]["values"] == [0.5] * 3


def test_the_page_is_whole_and_shows_the_curves_of_real_runs(tmp_path):
    pytest.importorskip("matplotlib")
    for seed in (0, 1):
        scenario = Scenario.load("moons", ["run.steps=6", "system.copies=2", f"run.seed={seed}"])
        runs.run(scenario, tmp_path / "runs" / f"r{seed}")
    leave(tmp_path / "runs" / "broken", None)
    shown = command(tmp_path / "runs", "--html", tmp_path / "page.html")
    assert shown.exit_code == 0, shown.output
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for words in ("moons: test accuracy", "Loss", "Score against bytes", "broken"):
        assert words in page
    assert page.count("data:image/png;base64,") == 8  # scores, front, loss, accuracy; light and dark
    assert command(tmp_path / "runs", "--html", tmp_path / "page.txt").exit_code


def test_the_reference_is_found_however_it_is_named(tmp_path, monkeypatch):
    """By another path, and where it is the twin of a run that stands for it."""
    two_groups(tmp_path / "all")
    leave(tmp_path / "all" / "twin", 0.5, seed=0, size=2000, **{"dynamics.eta": 0.5})
    monkeypatch.chdir(tmp_path)
    for reference in (Path("all/b1"), tmp_path / "all" / "b1", Path("all/twin")):
        for folder in (Path("all"), tmp_path / "all"):
            (task,) = compare([folder], reference=reference).tasks
            assert task.reference == "dynamics.eta=0.5" or "0.5" in task.reference


@pytest.mark.parametrize(
    "damage", ['"wall_s": NaN', '"wall_s": Infinity', '"bytes": 1' + 400 * "0", '"final": {"test_accuracy": NaN}']
)
def test_numbers_that_are_none_are_named(damage, tmp_path):
    two_groups(tmp_path)
    summary = tmp_path / "a0" / SUMMARY
    key = damage.split(":")[0]
    kept = {k: v for k, v in json.loads(summary.read_text()).items() if f'"{k}"' != key}
    summary.write_text(json.dumps(kept)[:-1] + f", {damage}}}")
    found = compare([tmp_path])
    (left,) = found.left_out
    assert left.path == tmp_path / "a0"
    assert "is no number" in left.why


def test_lists_that_make_no_sense_hide_no_run(tmp_path):
    two_groups(tmp_path)
    (tmp_path / "sweep.json").write_text('{"trials": ' + 200_000 * "[")
    (tmp_path / "batch.json").write_text(json.dumps({"runs": [{"folder": 5000 * "x"}, {"folder": "a\u0000b"}]}))
    found = compare([tmp_path])
    assert sum(len(row.group.runs) for row in found.tasks[0].rows) == 6
    assert [left.why for left in found.left_out] == ["no run folder", "no run folder"]
