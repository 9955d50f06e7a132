"""Runs that are stopped, locked, damaged and gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from dynsim import (
    RunFolder,
    Scenario,
    Simulation,
    Trajectory,
    checkpoint,
    files,
    preparing,
    resume,
    run,
    runs,
    stopping,
)
from dynsim.cli import app
from dynsim.errors import FileFormatError, RunFolderError
from dynsim.following import follow
from dynsim.recording import Recording
from dynsim.runfolder import CHECKPOINT, MODEL, SUMMARY, TRAJECTORY
from dynsim.runs import Interrupted, branch, reopen, start

TEXT = """
name = "small"
[system]
layers = ["auto", 8, "auto"]
copies = 2
[field]
dataset = "moons"
validation = 0.2
batch = 16
[run]
steps = 40
checkpoint_steps = 10
device = "reference"
[record]
every = 4
"""
PREVIOUS = CHECKPOINT.with_name(CHECKPOINT.name + ".prev")


def scenario(*settings):
    return Scenario.from_text(TEXT, settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(scenario(), tmp_path_factory.mktemp("whole") / "r")


def assert_same_run(folder, whole):
    """Model, trajectory and final numbers, bit by bit; no frame missing, none twice."""
    assert (folder / MODEL).read_bytes() == (whole / MODEL).read_bytes()
    assert folder.summary["observables"] == whole.summary["observables"]
    with Trajectory(folder / TRAJECTORY) as ours, Trajectory(whole / TRAJECTORY) as theirs:
        assert ours.steps.tolist() == theirs.steps.tolist()
        assert all(np.array_equal(ours.history[n], theirs.history[n], equal_nan=True) for n in theirs.history)
        for i in range(len(ours)):
            assert np.array_equal(ours.frame(i).properties["position"], theirs.frame(i).properties["position"])


def call(number, at):
    """Something that sends a signal to this process when it is called for the `at`th time."""

    def wrap(original):
        calls = []

        def sends(*arguments, **named):
            calls.append(0)
            if len(calls) == at:
                os.kill(os.getpid(), number)
            return original(*arguments, **named)

        return sends

    return wrap


def interrupted(monkeypatch, where, name, number, at=1, act=lambda: None):
    """The signal arrives when `where.name` is called; what the run says."""
    with monkeypatch.context() as patch:
        patch.setattr(where, name, call(number, at)(getattr(where, name)))
        with pytest.raises(Interrupted) as caught:
            act()
    assert caught.value.number == number
    return caught.value


# Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [1, 17, 40])
def test_a_signal_in_a_step_lets_it_end_and_the_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, whole, number, at):
    out = tmp_path / "r"
    error = interrupted(monkeypatch, Simulation, "step", number, at, lambda: run(scenario(), out))
    assert f"dynsim resume {out}" in str(error)
    folder = RunFolder.open(out)
    assert checkpoint.peek(folder.checkpoint)["step"] == at
    assert folder.summary is None
    assert_same_run(resume(out)[0], whole)


@pytest.mark.parametrize(
    ("where", "name"),
    [(preparing, "compile_for"), (runs, "new_trajectory"), (runs, "_write_scenario"), (Simulation, "recorded_names")],
)
def test_a_signal_before_the_first_step_leaves_nothing_or_what_can_be_resumed(
    tmp_path, monkeypatch, where, name, whole
):
    out = tmp_path / "r"
    interrupted(monkeypatch, where, name, signal.SIGTERM, 1, lambda: run(scenario(), out))
    if name in ("compile_for", "recorded_names"):
        assert not out.exists()
    else:
        assert_same_run(resume(out)[0], whole)


def test_a_signal_while_it_is_evaluated_leaves_what_can_be_resumed(tmp_path, monkeypatch, whole):
    out = tmp_path / "r"
    interrupted(monkeypatch, Recording, "_evaluate", signal.SIGINT, 1, lambda: run(scenario(), out))
    assert_same_run(resume(out)[0], whole)


def test_a_step_that_takes_too_long_is_given_up_as_if_it_had_not_begun(tmp_path, monkeypatch, whole):
    out = tmp_path / "r"

    class Endless:
        name, order = "endless", 1

        def step(self, system, motion):
            signal.raise_signal(signal.SIGTERM)
            while True:  # a compiler at work
                pass

    original = Simulation.step

    def step(simulation):
        if simulation.system.step == 21:
            monkeypatch.setattr(simulation, "integrator", Endless())
        original(simulation)

    with monkeypatch.context() as patch:
        patch.setattr(Simulation, "step", step)
        with pytest.raises(Interrupted):
            run(scenario(), out)
    assert checkpoint.peek(out / CHECKPOINT)["step"] == 21
    assert_same_run(resume(out)[0], whole)


def test_the_handlers_are_as_before(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    run(scenario("run.steps=4"), tmp_path / "r")
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


# Two processes ------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_told_who_is_first(tmp_path, whole):
    recording = start(scenario(), tmp_path / "r")
    recording.step()
    out = recording.folder.path
    attempts = (
        lambda: resume(out),
        lambda: reopen(out),
        lambda: runs.repair(out),
        lambda: runs.repair(out / TRAJECTORY),
    )
    for attempt in attempts:
        with pytest.raises(RunFolderError, match=rf"in use(.|\n)*process {os.getpid()}, since 20"):
            attempt()
    other = subprocess.run(
        [sys.executable, "-m", "dynsim", "resume", str(out), "-q"], capture_output=True, text=True, check=False
    )
    assert other.returncode == 1
    assert f"process {os.getpid()}" in other.stderr
    assert "Traceback" not in other.stderr
    assert "running: process" in CliRunner().invoke(app, ["info", str(out)]).output  # looking is allowed
    recording.close()
    assert_same_run(resume(out)[0], whole)


def test_the_lock_dies_with_a_killed_process(tmp_path, whole):
    (tmp_path / "small.toml").write_text(TEXT)
    code = f"""
import os, signal
from dynsim import Scenario, runs
recording = runs.start(Scenario.load({str(tmp_path / "small.toml")!r}), {str(tmp_path / "r")!r})
for _ in range(13):
    recording.step()
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    told = list(follow(tmp_path / "r"))
    assert told[-1].ended.startswith("killed")
    assert f"dynsim resume {tmp_path / 'r'}" in told[-1].ended
    assert_same_run(resume(tmp_path / "r")[0], whole)


def test_a_source_can_be_branched_from_while_it_runs(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        for _ in range(12):
            recording.step()
        recording.save()
        with branch(tmp_path / "r", 8, tmp_path / "b") as other:
            assert other.simulation.system.step == 8
            assert other.folder.writer


# Damaged and foreign checkpoints --------------------------------------------------------------------------------------


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink()  # its other names keep the sound bytes
    path.write_bytes(raw)


def stopped_at(step, out):
    recording = start(scenario(), out)
    while recording.simulation.system.step < step:
        recording.step()
    recording.save()
    recording.close()
    return recording.folder


@pytest.mark.parametrize("lost", [1, 2])
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(tmp_path, whole, lost):
    folder = stopped_at(33, tmp_path / "r")
    for path in (folder / CHECKPOINT, folder / PREVIOUS)[:lost]:
        damage(path)
    again, _ = resume(folder.path)
    log = (folder / "log.txt").read_text()
    assert log.count("is damaged") == lost
    assert f"resumed at step {33 if lost == 2 else 30} of 40" in log  # step-000000033 has a sound name of its own
    assert_same_run(again, whole)


def test_a_run_without_a_sound_checkpoint_says_so(tmp_path):
    folder = stopped_at(12, tmp_path / "r")
    for path in folder.saved:
        path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="damaged") as caught:
        resume(folder.path)
    assert "begins anew" in str(caught.value)


def test_a_flipped_note_is_noticed(tmp_path):
    simulation = Simulation(scenario())
    checkpoint.save(tmp_path / "c", simulation, 0.0)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes().replace(b'"total_steps\\": 40', b'"total_steps\\": 41'))
    with pytest.raises(checkpoint.DamagedCheckpointError, match="sha256"):
        checkpoint.load(tmp_path / "c", simulation)


def test_a_checkpoint_of_another_scenario_names_what_differs(tmp_path):
    checkpoint.save(tmp_path / "c", Simulation(scenario("dynamics.eta=0.2", "run.seed=3")), 0.0)
    with pytest.raises(FileFormatError) as caught:
        checkpoint.load(tmp_path / "c", Simulation(scenario()))
    assert "dynamics.eta is 0.2 there and 0.1 here; run.seed is 3 there and 0 here" in str(caught.value)


def test_a_checkpoint_of_another_version_names_both(tmp_path, monkeypatch):
    simulation = Simulation(scenario())
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "versions", lambda: {"dynsim": "9.9"})
        checkpoint.save(tmp_path / "c", simulation, 0.0)
    with pytest.raises(FileFormatError) as caught:
        checkpoint.load(tmp_path / "c", simulation)
    assert "written by dynsim 9.9" in str(caught.value)
    assert f"dynsim {checkpoint.versions()['dynsim']} " in str(caught.value)


def test_another_numpy_is_told(tmp_path, monkeypatch):
    simulation, here = Simulation(scenario()), checkpoint.versions()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "versions", lambda: here | {"numpy": "1.0"})
        checkpoint.save(tmp_path / "c", simulation, 0.0)
    assert checkpoint.load(tmp_path / "c", simulation).versions == {"numpy": "1.0"}


def test_every_so_many_steps(tmp_path):
    folder = stopped_at(35, tmp_path / "r")
    assert list(folder.checkpoints) == [10, 20, 30, 35]
    assert checkpoint.peek(folder / PREVIOUS)["step"] == 30


def test_a_longer_run_goes_back_over_its_lengthening(tmp_path):
    """The checkpoint before it knows nothing of the learning event, which is then had again."""
    both = [run(scenario(), tmp_path / name) for name in "ab"]
    for folder in both:
        reopen(folder.path, ["run.steps=60"]).close()
    damage(both[1] / CHECKPOINT)
    damage(both[1].numbered(40))
    first, second = (resume(folder.path)[0] for folder in both)
    assert second.summary["steps"] == 60
    assert_same_run(second, first)


# Clocks and disks ----------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_does_no_harm(tmp_path, monkeypatch, whole):
    import time

    back = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(back)))
    monkeypatch.setattr(time, "time_ns", lambda: next(back) * 10**9)
    folder = run(scenario("run.checkpoint=0.01"), tmp_path / "r")
    assert 0 < folder.summary["wall_s"] < 600
    assert len(folder.checkpoints) > 3
    assert_same_run(folder, whole)


@pytest.mark.parametrize("filled", ["trajectory", "checkpoint"])
def test_a_full_disk_leaves_the_checkpoint_before_usable(tmp_path, monkeypatch, whole, filled):
    out = tmp_path / "r"
    original = os.fsync

    def full(descriptor):
        of_trajectory = os.path.samestat(os.fstat(descriptor), os.stat(out / TRAJECTORY))
        if of_trajectory == (filled == "trajectory") and checkpoint.peek(out / CHECKPOINT)["step"] >= 20:
            raise OSError(28, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        recording = start(scenario(), out)
        for _ in range(11):
            recording.step()
        patch.setattr(files.os, "fsync", full)
        with recording, pytest.raises(RunFolderError, match="No space left") as caught:
            deque((recording.step() for _ in range(29)), 0)
    assert ("MiB are needed" in str(caught.value)) == (filled == "checkpoint")
    assert f"make room in {out / 'checkpoints' if filled == 'checkpoint' else out}" in str(caught.value)
    assert not list(out.rglob("*.tmp"))
    assert checkpoint.peek(out / CHECKPOINT)["step"] == 20
    assert_same_run(resume(out)[0], whole)


def test_a_disk_too_full_or_not_to_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "Simulation", lambda *_: pytest.fail("work was begun"))
    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))
        with pytest.raises(RunFolderError, match=r"nearly full(.|\n)*make room"):
            run(scenario(), tmp_path / "r")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RunFolderError, match="cannot be written to"):
        run(scenario(), tmp_path / "new" / "r")
    assert not list(tmp_path.iterdir())


def test_a_read_only_run_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    folder = stopped_at(8, tmp_path / "r")
    original = os.open

    def read_only(path, flags, *mode, **named):
        if flags & (os.O_RDWR | os.O_WRONLY) and str(path).startswith(str(folder.path)):
            raise OSError(30, "Read-only file system")
        return original(path, flags, *mode, **named)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(preparing, "Simulation", lambda *_: pytest.fail("work was begun"))
    for attempt in (lambda: resume(folder.path), lambda: runs.repair(folder.path)):
        with pytest.raises(RunFolderError, match="Read-only file system"):
            attempt()


# Following and repairing ----------------------------------------------------------------------------------------------


def test_a_finished_run_is_told_at_once(whole):
    (told,) = follow(whole.path)
    assert (told.step, told.total, told.ended) == (40, 40, "finished: all steps done")
    assert told.scalars["loss"] == whole.summary["observables"]["loss"]
    shown = CliRunner().invoke(app, ["info", "--follow", str(whole.path)]).output
    assert "step 40/40" in shown
    assert "loss" in shown
    (line,) = CliRunner().invoke(app, ["info", "--follow", "--json", str(whole.path)]).output.splitlines()
    assert json.loads(line)["ended"] == "finished: all steps done"


def test_a_running_one_is_told_as_it_goes(tmp_path):
    recording = start(scenario(), tmp_path / "r")
    arguments = ["info", "--follow", "--json", str(tmp_path / "r")]
    with subprocess.Popen([sys.executable, "-m", "dynsim", *arguments], stdout=subprocess.PIPE, text=True) as follower:
        assert json.loads(follower.stdout.readline())["step"] == 0
        for _ in range(19):
            recording.step()
        recording.simulation.kick(1.0)
        recording.note()
        recording.step()
        recording.save()
        told, events = {"step": 0}, []
        while told["step"] < 20:
            told = json.loads(follower.stdout.readline())
            events += [event[:2] for event in told["events"]]
        assert (told["step"], told["total"], told["ended"]) == (20, 40, "")
        assert told["rate"] > 0
        assert told["eta"] > 0
        assert events == [[19, "kick"]]
        recording.simulation.extend(5)
        while not recording.simulation.done:
            recording.step()
        recording.finish()
        recording.close()
        last = json.loads(follower.stdout.readlines()[-1])
    assert (last["step"], last["total"], last["ended"]) == (45, 45, "finished: all steps done")
    assert follower.returncode == 0


def test_repair_says_what_it_did_and_does_it_once(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        for _ in range(14):
            recording.step()
        recording.save()
        killed = (tmp_path / "r" / TRAJECTORY).read_bytes()
    (tmp_path / "r" / TRAJECTORY).write_bytes(killed)
    first, second = (CliRunner().invoke(app, ["repair", str(tmp_path / "r")]).output for _ in range(2))
    assert "mark of a killed writer is off; 4 frames, 12 steps and 0 events are kept" in first
    assert "nothing to repair: 4 frames" in second
    assert not (tmp_path / "r" / SUMMARY).exists()
    with pytest.raises(FileNotFoundError):
        runs.repair(tmp_path / "nothing.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(FileFormatError, match="HDF5"):
        runs.repair(tmp_path / "text.h5")


def test_a_signal_that_was_caught_while_the_program_was_loaded_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "_early", [])
    with pytest.raises(SystemExit, match="143"):
        stopping.end(signal.SIGTERM, None)
    with pytest.raises(Interrupted, match="SIGTERM"):
        run(scenario(), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_run_that_ends_while_another_process_waits_for_its_lock_keeps_its_numbers(tmp_path, monkeypatch):
    folder = run(scenario(), tmp_path / "r")
    numbers, lock = (folder / SUMMARY).read_bytes(), RunFolder.lock
    (folder / SUMMARY).unlink()

    def ends(self):
        (folder / SUMMARY).write_bytes(numbers)
        return lock(self)

    monkeypatch.setattr(RunFolder, "lock", ends)
    assert not resume(folder.path)[1]
    assert (folder / SUMMARY).read_bytes() == numbers


def test_steps_that_a_copied_trajectory_lacks_are_told(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        while recording.simulation.system.step < 10:
            recording.step()
        recording.save()
        older = (tmp_path / "r" / TRAJECTORY).read_bytes()
        while recording.simulation.system.step < 20:
            recording.step()
        recording.save()
    (tmp_path / "r" / TRAJECTORY).write_bytes(older)
    folder, _ = resume(tmp_path / "r")
    assert "ends at step 8: the steps until 20 are missing" in (folder / "log.txt").read_text()
