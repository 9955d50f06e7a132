"""The command line as a newcomer meets it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dynsim import __version__
from dynsim.cli import app, main
from dynsim.kernels import cards
from dynsim.progress import counted

COMMANDS = ("run", "resume", "scenarios", "info", "evaluate", "convert", "export", "reproduce", "doctor", "cite")
COMMANDS += ("batch", "compare", "merge", "bench", "repair", "report")
TINY = ["--set", "run.steps=6", "--set", "record.every=2", "--quiet"]


class Shown(NamedTuple):
    stdout: str
    stderr: str


def dynsim(*arguments, expect=0):
    """stdout and stderr of `dynsim ...`, run through the entry point; its exit code must be `expect`."""
    out, err = StringIO(), StringIO()
    code = 0
    with mock.patch.object(sys, "argv", ["dynsim", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert code == expect, out.getvalue() + err.getvalue()
    return Shown(out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    dynsim("run", "quickstart", "--out", out, *TINY)
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert len(result.output.splitlines()) > 5


def test_the_list_of_commands_cuts_no_sentence():
    _, _, listed = dynsim("--help").stdout.partition("Commands:")
    lines = listed.strip().splitlines()
    assert len(lines) == len(get_command(app).commands)  # each on a line of its own
    assert "..." not in listed
    assert max(map(len, lines)) <= 80


def test_the_version_is_that_of_the_package():
    assert dynsim("--version").stdout.split() == ["dynsim", __version__]


def test_defaults_are_told_in_one_way():
    told = " ".join(dynsim("convert", "--help").stdout.split())
    assert all(f"[default: {value}]" in told for value in ("l2", "3", "9", "auto", "0"))


def test_a_run_leaves_its_folder(finished):
    names = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    assert names >= {
        "scenario.toml",
        "summary.json",
        "log.txt",
        "trajectory.h5",
        "checkpoints/latest.safetensors",
        "model.safetensors",
    }
    summary = json.loads((finished / "summary.json").read_text())
    assert summary.keys() >= {
        "scenario", "seed", "device", "versions", "steps", "wall_s", "steps_per_s", "final",
        "parameters", "bytes", "macs", "observables",
    }  # fmt: skip
    assert summary["final"].keys() >= {"train_loss", "train_accuracy", "test_accuracy"}
    assert summary["steps"] == 6


def test_the_final_table_names_the_next_commands(tmp_path):
    out = tmp_path / "r"
    shown = dynsim("run", "quickstart", "--out", out, *TINY).stdout
    for line in [s.strip() for s in shown.split("Next:")[1].splitlines() if s.strip()]:
        words = line.split()
        assert words[0] == "dynsim"
        if words[1] != "resume":
            dynsim(*words[1:])


def test_an_existing_out_is_refused(finished):
    before = (finished / "summary.json").read_text()
    assert "exists already" in dynsim("run", "quickstart", "--out", finished, *TINY, expect=1).stderr
    assert (finished / "summary.json").read_text() == before


def test_three_errors_at_once_exit_2_and_write_nothing(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[system]\nlayers = [2, 3]\nmetrik = "l2"\n[field]\nbatch = 0\n[run]\nsteps = -1\n')
    shown = dynsim("run", path, "--out", tmp_path / "out", expect=2).stderr
    for key in ("system.metrik", "field.batch", "run.steps"):
        assert key in shown
    assert not (tmp_path / "out").exists()


def test_too_large_for_memory_is_refused_with_an_estimate(tmp_path):
    big = ["--set", "system.layers=[1000000,1000000,10]", "--out", tmp_path / "big"]
    assert "GiB needed" in dynsim("run", "quickstart", *big, expect=1).stderr
    assert not (tmp_path / "big").exists()


@pytest.mark.skipif(not cards.why_not(), reason="there is a CUDA device")
def test_a_missing_device_is_named(tmp_path):
    shown = dynsim("run", "quickstart", "--device", "cuda", "--out", tmp_path / "r", expect=1).stderr
    assert "CUDA" in shown
    assert not (tmp_path / "r").exists()


def test_info_of_run_trajectory_model_and_scenario(finished):
    for path in (finished, finished / "trajectory.h5", finished / "model.safetensors", finished / "scenario.toml"):
        assert json.loads(dynsim("info", path, "--json").stdout)
    shown = dynsim("info", finished).stdout
    assert "particles" in shown
    assert f"{json.loads((finished / 'summary.json').read_text())['parameters']:,}" in shown


def test_evaluate_prints_json(finished):
    result = json.loads(dynsim("evaluate", finished, "--json").stdout)
    summary = json.loads((finished / "summary.json").read_text())
    assert result["test_accuracy"] == pytest.approx(summary["final"]["test_accuracy"])
    assert sum(map(sum, result["confusion"])) == result["samples"] == 360
    assert result["inference_s"] > 0


def test_cite_names_the_paper_and_the_data(finished):
    shown = dynsim("cite", finished).stdout
    assert "pei2023dynamics" in shown
    assert "alpaydin1998digits" in shown


def test_doctor_agrees_with_itself():
    found = json.loads(dynsim("doctor", "--json").stdout)
    assert found["devices"]["reference"] == "yes"
    assert not any(check["error"] for check in found["checks on cpu"].values())
    assert all(check["difference"] < 2e-5 for check in found["checks on cpu"].values())


def test_scenarios_are_listed_with_a_line_each():
    lines = dynsim("scenarios").stdout.splitlines()
    assert {line.split()[0] for line in lines} >= {"quickstart", "mnist_mlp", "gas", "eq10_literal"}
    assert all(len(line.split()) > 4 for line in lines)


def test_resume_of_a_finished_run_says_so(finished):
    assert "finished" in dynsim("resume", finished).stdout
    assert "more than its 6 steps" in dynsim("resume", finished, "--set", "run.steps=3", expect=2).stderr


def test_wrong_folders_are_named(tmp_path):
    for command in ("resume", "evaluate", "cite", "info"):
        assert str(tmp_path) in dynsim(command, tmp_path, expect=1).stderr


@pytest.mark.parametrize("command", ["resume", "evaluate", "cite", "report", "info", "info --follow", "compare"])
def test_a_folder_that_is_not_there_has_one_exit_code_and_a_way_on(command, tmp_path):
    shown = dynsim(*command.split(), tmp_path / "nowhere", expect=1).stderr
    assert "no such f" in shown
    assert "  try:  " in shown


def test_what_holds_runs_or_lies_beside_them_is_told_the_way_on(finished, tmp_path):
    assert f"try:     one of the runs in it, such as {finished}" in dynsim("cite", finished.parent, expect=1).stderr
    assert f"did you mean '{finished}'" in dynsim("cite", finished.with_name("tinny"), expect=1).stderr
    assert f"try:     its folder, {finished}" in dynsim("cite", finished / "trajectory.h5", expect=1).stderr
    (tmp_path / "sweep.json").touch()
    assert f"try:     dynsim compare {tmp_path}" in dynsim("info", tmp_path, expect=1).stderr


@pytest.mark.parametrize(("number", "said"), [(0, "0 events"), (1, "1 event"), (1234, "1,234 events")])
def test_what_is_counted_is_singular_where_it_is_one(number, said):
    assert counted(number, "event") == said


def test_a_signal_ends_cleanly_and_can_be_resumed(tmp_path):
    out = tmp_path / "r"
    settings = ("--set", "run.steps=100000", "--set", "run.checkpoint=0.1")
    arguments = ["run", "quickstart", "--out", str(out), *settings, "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "dynsim", *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    # the first checkpoint says that steps are being taken, and signals heard
    while not (out / "checkpoints" / "latest.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, shown
    assert "dynsim resume" in shown
    assert (out / "checkpoints" / "latest.safetensors").exists()
    dynsim("resume", out, "--set", "run.stop.time=0.2", "--quiet")
    assert json.loads((out / "summary.json").read_text())["steps"] > 0


def test_main_prints_our_errors_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dynsim", "run", "nosuch"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "no such scenario" in shown
    assert "Traceback" not in shown


def test_paths_of_a_scenario_start_at_its_folder(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    np.savez(tmp_path / "mine.npz", X=X, y=(X[:, 0] > 0).astype(int))
    text = '[system]\nlayers = ["auto", 4, "auto"]\n[field]\ndataset = "mine.npz"\n[run]\nsteps = 4\n'
    (tmp_path / "own.toml").write_text(text)
    dynsim("run", tmp_path / "own.toml", "--out", tmp_path / "r", "-q")
    assert Path(os.fspath(tmp_path / "mine.npz")).as_posix() in (tmp_path / "r" / "scenario.toml").read_text()
    assert json.loads(dynsim("evaluate", tmp_path / "r", "--json").stdout)["samples"] == 12


def test_a_table_of_the_papers_is_made_again(tmp_path):
    result = CliRunner().invoke(app, ["reproduce", "table1", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0
    (table,) = json.loads(result.output)
    assert table["rows"][0] | {"sub-models": 1296} == table["rows"][0]
    assert (tmp_path / "table1.md").is_file()


class Terminal(StringIO):
    """Somewhere to print to that says it is a terminal."""

    def isatty(self):
        return True


MARK, COLOUR = re.compile("\x1b"), re.compile(r"\x1b\[(\d+;)*[349]\d")  # not bold, which is no colour


@pytest.mark.parametrize(("environment", "marks"), [({}, MARK), ({"NO_COLOR": "1"}, COLOUR), ({"TERM": "dumb"}, MARK)])
def test_colours_are_for_terminals_that_want_them(finished, environment, marks, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for command in (("evaluate", finished), ("compare", finished), ("merge", finished, "--radius", "0.1")):
        out, called = Terminal(), mock.patch.object(sys, "argv", ["dynsim", *map(str, command)])
        with called, redirect_stdout(out), pytest.raises(SystemExit):
            main()
        assert (marks.search(out.getvalue()) is not None) == (not environment), command
        assert "\x1b" not in dynsim(*command).stdout  # into a pipe


def test_quiet_and_verbose_mean_the_same_everywhere(finished, tmp_path):
    for command in (("info", finished), ("evaluate", finished), ("repair", finished), ("scenarios",)):
        assert dynsim(*command, "-q").stderr == dynsim(*command).stderr == ""
        assert dynsim(*command, "-q").stdout
    said = dynsim("run", "quickstart", "--out", tmp_path / "r", *TINY[:-1], "-v").stderr
    assert "seed 0" in said  # as log.txt has it
    assert "took" in said
    assert "Traceback" in dynsim("info", tmp_path, "-v", expect=1).stderr
    assert "Traceback" not in dynsim("info", tmp_path, expect=1).stderr
