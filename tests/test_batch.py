"""A batch: every run of its file in a folder, what is finished kept, what is broken gone on with, failures told."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from typer.testing import CliRunner

from dynsim import Scenario, batch, runs
from dynsim.batch import Batch, perform
from dynsim.batchfile import read
from dynsim.cli import app
from dynsim.errors import DeviceError, FileFormatError, RunFolderError, ScenarioError
from dynsim.lock import Lock
from dynsim.runfolder import MODEL, SUMMARY, RunFolder
from dynsim.wanted import WhileWanted, wanted

FILE = """
[[run]]
scenario = "moons"
name = "small"
seeds = 2
set = { run.steps = 8, system.copies = 2 }
[[run]]
scenario = "moons"
name = "bad"
set = { run.steps = 8, "dynamics.eta" = 1e30, dynamics.dt = 1e20 }
"""


def submit(work, *given):
    future = Future()
    try:
        future.set_result(work(*given))
    except Exception as error:
        future.set_exception(error)
    return future


@contextmanager
def pool(jobs=None, dask=None, folder=None):
    assert folder.is_dir()
    yield SimpleNamespace(slots=1, submit=submit)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Runs are made in this process."""
    monkeypatch.setattr(batch, "workers", pool)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of FILE after its end."""
    place = tmp_path_factory.mktemp("batch")
    (place / "many.toml").write_text(FILE)
    with mock.patch.object(batch, "workers", pool):
        Batch(place / "many.toml", place / "out").run()
    return place / "out"


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "many.toml"
    path.write_text(FILE)
    return path


def told(folder):
    return json.loads((folder / batch.SUMMARY).read_text())


def states(folder):
    return {run["folder"]: run["state"] for run in told(folder)["runs"]}


def command(*arguments):
    return CliRunner().invoke(app, ["batch", *map(str, arguments), "--quiet"])


def test_each_run_has_its_folder_and_a_failure_stops_no_other(file, tmp_path):
    out = tmp_path / "out"
    found = command(file, "--out", out, "--json")
    assert found.exit_code == 1
    assert json.loads(found.stdout) == told(out)
    assert states(out) == {"small-seed0": "done", "small-seed1": "done", "bad-seed0": "failed"}
    assert (told(out)["done"], told(out)["failed"], told(out)["waiting"]) == (2, 1, 0)
    *good, bad = told(out)["runs"]
    assert "running away" in bad["reason"]
    for run in good:
        summary = json.loads((out / run["folder"] / SUMMARY).read_text())
        assert run["summary"]["final"] == summary["final"]
        assert summary["seed"] == run["seed"]
    assert "bad-seed0" in command(file, "--out", out).stdout  # for a person too


def test_a_run_of_a_batch_is_the_run_alone(finished, tmp_path):
    alone = Scenario.load("moons", ["run.steps=8", "system.copies=2", "run.seed=1"])
    theirs = (runs.run(alone, tmp_path / "alone") / MODEL).read_bytes()
    assert (finished / "small-seed1" / MODEL).read_bytes() == theirs


def test_what_is_finished_is_kept_and_what_is_broken_goes_on(file, out):
    model = (out / "small-seed1" / MODEL).read_bytes()
    before = (out / "small-seed0" / SUMMARY).stat().st_mtime_ns
    for name in (SUMMARY, MODEL):
        (out / "small-seed1" / name).unlink()
    again = Batch(file, out)
    again.run()
    assert again.members["small-seed0"].kept
    assert not again.members["small-seed1"].kept
    assert (out / "small-seed0" / SUMMARY).stat().st_mtime_ns == before
    assert (out / "small-seed1" / MODEL).read_bytes() == model
    assert "resumed" in (out / "small-seed1" / "log.txt").read_text()


def test_the_remains_of_a_run_that_never_began_are_cleared_and_nothing_else(file, tmp_path):
    out = tmp_path / "out"
    (out / "small-seed0" / "checkpoints").mkdir(parents=True)
    (out / "small-seed0" / "lock").touch()
    (out / "small-seed1").mkdir()
    (out / "small-seed1" / "thesis.txt").write_text("mine")
    Batch(file, out).run()
    assert states(out)["small-seed0"] == "done"
    assert "exists already" in told(out)["runs"][1]["reason"]
    assert (out / "small-seed1" / "thesis.txt").read_text() == "mine"


def test_other_settings_do_not_go_into_the_same_folder(file, out):
    model = (out / "small-seed0" / MODEL).read_bytes()
    file.write_text(FILE.replace("copies = 2", "copies = 3"))
    for _ in range(2):
        changed = Batch(file, out)
        changed.run()
        assert "another run" in changed.members["small-seed0"].reason
    assert (out / "small-seed0" / MODEL).read_bytes() == model
    file.write_text(FILE)
    again = Batch(file, out)
    again.run()
    assert again.members["small-seed0"].kept


def test_what_is_wrong_with_a_table_and_with_its_scenario_is_said_together(tmp_path):
    (tmp_path / "b.toml").write_text('[[run]]\nscenario = "mooons"\nseeds = -1\n')
    with pytest.raises(ScenarioError) as refused:
        read(tmp_path / "b.toml")
    said = str(refused.value)
    assert re.search(r"not a number of seeds\s+given:\s+-1\s+allowed: 1 to 10,000, or a list\n +try: ", said)
    assert "did you mean 'moons'" in said


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ScenarioError, match=r"no such file\n.*\n  try: "):
        read(tmp_path / "none.toml")
    with pytest.raises(ScenarioError, match="not a file"):
        read(tmp_path)


def test_everything_that_is_wrong_with_a_file_is_said_at_once_and_nothing_is_written(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(
        '[[run]]\nscenario = "mons"\n[[run]]\nscenario = "moons"\nsed = 3\nseeds = []\n'
        '[[run]]\nscenario = "moons"\nset = { run.stps = 5 }\n[[run]]\nscenario = "xor"\nseeds = [1, 1]\n'
    )
    found = command(path, "--out", tmp_path / "out")
    assert isinstance(found.exception, ScenarioError)
    for words in ("did you mean 'moons'", "sed: unknown key", "seeds", "run.stps", "xor-seed1"):
        assert words in str(found.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text", ["", "run = 5", "[[run]]\nscenario = 3", "[[runs]]\n", "\x00", "[run]\nscenario = 'x'"]
)
def test_a_file_that_is_no_list_of_runs_is_refused(text, tmp_path):
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(ScenarioError):
        read(tmp_path / "b.toml")


def test_a_scenario_is_looked_for_beside_the_batch_file(tmp_path, monkeypatch):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "own.toml").write_text(Scenario.load("moons", ["run.steps=7"]).to_toml())
    (tmp_path / "files" / "b.toml").write_text('[[run]]\nscenario = "own.toml"\nseeds = [3]\n')
    monkeypatch.chdir(tmp_path)
    (planned,) = read("files/b.toml")
    assert (planned.scenario.run.steps, planned.scenario.run.seed) == (7, 3)


def test_the_summary_says_of_a_run_that_it_runs(file, tmp_path, monkeypatch):
    """Also where it was written just before it began: it is written again without waiting for an end."""
    out = tmp_path / "out"

    def perform(path, text, token):
        deadline = time.monotonic() + 60
        while states(out)[Path(path).name] != "running" and time.monotonic() < deadline:
            time.sleep(0.01)
        return {}, "" if time.monotonic() < deadline else "nobody says that it runs"

    monkeypatch.setattr(batch, "perform", perform)
    with ThreadPoolExecutor(1) as threads:
        monkeypatch.setattr(
            batch, "workers", lambda *given: nullcontext(SimpleNamespace(slots=1, submit=threads.submit))
        )
        Batch(file, out).run()
    assert set(states(out).values()) == {"done"}


def test_a_run_that_nobody_wants_any_more_breaks_off_and_goes_on_later(tmp_path, monkeypatch):
    """As one on a cluster does: its worker hears nothing of the end of the command."""
    monkeypatch.setattr("dynsim.wanted.LOOK", 0.0)
    scenario = Scenario.load("moons", ["run.steps=60", "run.checkpoint_steps=20", "record.every=7"])
    checkpoint = tmp_path / "left" / "checkpoints" / "latest.safetensors"
    with wanted(tmp_path) as token:
        whole = perform(tmp_path / "whole", scenario.to_toml(), token)

        class Ends(WhileWanted):
            def update(self, *given):
                if checkpoint.exists():
                    token.unlink(missing_ok=True)
                super().update(*given)

        with mock.patch.object(batch, "WhileWanted", Ends):
            assert "has ended" in perform(tmp_path / "left", scenario.to_toml(), token)[1]
    assert not RunFolder(tmp_path / "left").summary
    with wanted(tmp_path) as token:
        later = perform(tmp_path / "left", scenario.to_toml(), token)
    assert later[1] == ""
    assert later[0]["final"] == whole[0]["final"]
    with pytest.raises(RunFolderError, match="not seen"):
        WhileWanted(token)


def test_two_at_one_folder_are_told_apart_and_a_damaged_summary_is_named(file, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with Lock(out / "lock", create=True, what="this batch"), pytest.raises(RunFolderError, match="in use"):
        Batch(file, out).run()
    (out / batch.SUMMARY).write_text("{}")
    with pytest.raises(FileFormatError, match=r"batch\.json"):
        Batch(file, out).run()


def test_a_signal_ends_it_and_the_same_command_goes_on(tmp_path):
    file, out = tmp_path / "long.toml", tmp_path / "out"
    file.write_text(
        '[[run]]\nscenario = "moons"\nseeds = [1]\nset = { run.steps = 3 }\n'
        '[[run]]\nscenario = "moons"\nset = { run.steps = 300, run.checkpoint_steps = 40 }\n'
        '[[run]]\nscenario = "moons"\nseeds = [2]\nset = { run.steps = 3 }\n'
    )
    call = [sys.executable, "-m", "dynsim", "batch", str(file), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    checkpoint = out / "moons-seed0" / "checkpoints" / "latest.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "same command again" in said
    assert list(states(out).values()) == ["done", "interrupted", "waiting"]
    assert command(file, "--out", out).exit_code == 0
    assert list(states(out).values()) == ["done"] * 3
    assert "resumed" in (out / "moons-seed0" / "log.txt").read_text()


def test_a_file_that_asks_for_fewer_and_then_for_more_keeps_what_is_there(tmp_path):
    file, out = tmp_path / "b.toml", tmp_path / "out"
    for seeds, states_then in ((2, ["done"] * 2), (1, ["done"]), (2, ["done"] * 2)):
        file.write_text(f'[[run]]\nscenario = "moons"\nseeds = {seeds}\nset = {{ run.steps = 4, system.copies = 2 }}\n')
        batch = Batch(file, out)
        batch.run()
        assert list(states(out).values()) == states_then
    assert all(member.kept for member in batch.members.values())


def test_half_a_file_of_a_killed_run_is_in_nobodys_way(tmp_path):
    file, left = tmp_path / "b.toml", tmp_path / "out" / "moons-seed0"
    file.write_text('[[run]]\nscenario = "moons"\nset = { run.steps = 4, system.copies = 2 }\n')
    (left / "checkpoints").mkdir(parents=True)
    (left / "scenario.toml.tmp").write_text("[sys")
    Batch(file, tmp_path / "out").run()
    assert list(states(tmp_path / "out").values()) == ["done"]


def test_a_batch_whose_workers_are_lost_is_interrupted_and_not_failed(file, tmp_path, monkeypatch):
    def lost(*given):
        return submit(mock.Mock(side_effect=DeviceError("the Dask scheduler is lost")))

    monkeypatch.setattr(batch, "workers", lambda *given: nullcontext(SimpleNamespace(slots=1, submit=lost)))
    with pytest.raises(DeviceError):
        Batch(file, tmp_path / "out").run()
    assert set(states(tmp_path / "out").values()) == {"interrupted", "waiting"}
