"""Run folders: what is in them, that they go on bit by bit, and that every shipped scenario runs."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dynsim import RunFolder, Scenario, Simulation, Trajectory, checkpoint, load_model, resume, run
from dynsim.backend.cost import cost
from dynsim.errors import FileFormatError, RunFolderError, ScenarioError
from dynsim.runfolder import CHECKPOINT, MODEL, SUMMARY, TRAJECTORY
from dynsim.runs import smoke
from dynsim.shipped import shipped_scenarios

TEXT = """
name = "small"
[system]
layers = ["auto", 12, "auto"]
copies = 4
[field]
dataset = "digits"
validation = 0.2
batch = 32
[dynamics]
law = "{law}"
integrator = "{integrator}"
[run]
steps = 60
[record]
every = 7
properties = ["velocity", "force", "lagrangian", "lambda", "signal"]
"""


def scenario(law="friction", integrator="kick-drift", *settings):
    return Scenario.from_text(TEXT.format(law=law, integrator=integrator), settings)


@pytest.mark.parametrize("name", [n for n, _ in shipped_scenarios()])
def test_every_shipped_scenario_runs(name, tmp_path):
    folder = run(smoke(Scenario.load(name)), tmp_path / name)
    assert folder.summary["steps"] > 0
    with Trajectory(folder / TRAJECTORY) as t:
        assert len(t) >= 2
        assert np.isfinite(t.frame(len(t) - 1).positions).all()


@pytest.mark.parametrize(
    ("law", "integrator"),
    [("friction", "kick-drift"), ("signal", "leapfrog"), ("lagrangian", "kick-drift"), ("friction", "adam")],
)
def test_from_a_checkpoint_the_same_bits(law, integrator, tmp_path):
    whole = Simulation(scenario(law, integrator))
    part = Simulation(scenario(law, integrator))
    for simulation, steps in ((whole, 60), (part, 23)):
        simulation.frame()
        while simulation.system.step < steps:
            simulation.step()
    checkpoint.save(tmp_path / "c.safetensors", part, 0.0)
    again = Simulation(scenario(law, integrator))
    checkpoint.load(tmp_path / "c.safetensors", again)
    assert [r["step"] for r in again.pending] == [r["step"] for r in part.pending]
    while not again.done:
        again.step()
    for group in ("x", "v", "force", "memory"):
        ours, theirs = getattr(again.system, group), getattr(whole.system, group)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[k], theirs[k]) for k in ours)
    assert again.system.totals == whole.system.totals


def test_killed_runs_go_on_to_the_same_model(tmp_path):
    settings = ["run.steps=400", "run.checkpoint=0.05", "record.every=3"]
    whole = run(scenario("friction", "kick-drift", *settings), tmp_path / "whole")
    file = tmp_path / "small.toml"
    file.write_text(scenario("friction", "kick-drift", *settings).to_toml())
    out = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-m", "dynsim", "run", str(file), "--out", str(out), "-q"])
    deadline = time.monotonic() + 120
    while not (out / CHECKPOINT).exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (out / CHECKPOINT).exists()
    folder, moved = resume(out)
    assert moved == (child.returncode == -signal.SIGKILL)
    assert (folder / MODEL).read_bytes() == (whole / MODEL).read_bytes()
    with Trajectory(folder / TRAJECTORY) as ours, Trajectory(whole / TRAJECTORY) as theirs:
        assert np.array_equal(ours.steps, theirs.steps)
        assert np.array_equal(ours.history["loss"], theirs.history["loss"])
        assert np.array_equal(ours.frame(len(ours) - 1).positions, theirs.frame(len(theirs) - 1).positions)


def test_without_a_checkpoint_a_run_starts_again(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    model = (folder / MODEL).read_bytes()
    for name in (SUMMARY, CHECKPOINT, MODEL):
        (folder / name).unlink()
    again, moved = resume(folder.path)
    assert moved
    assert (again / MODEL).read_bytes() == model


def test_more_steps_open_the_limit_again(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    again, moved = resume(folder.path, ["run.steps=90"])
    assert moved
    assert again.summary["steps"] == 90
    with Trajectory(again / TRAJECTORY) as t:
        assert np.all(np.diff(t.steps) > 0)
        assert np.array_equal(t.history["step"], np.arange(1, 91))
        assert [(step, kind) for step, kind, _ in t.events] == [(60, "learning")]
        assert t.history["limit"][59] < t.history["limit"][65]


def test_a_finished_run_is_left_alone(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    before = (folder / SUMMARY).read_bytes()
    assert resume(folder.path)[1] is False
    assert resume(folder.path, ["run.steps=60"])[1] is False
    assert (folder / SUMMARY).read_bytes() == before


def test_killed_between_the_last_step_and_the_summary(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    before = folder.summary
    (folder / SUMMARY).unlink()
    (folder / MODEL).unlink()
    again, moved = resume(folder.path)
    assert moved
    assert again.summary["final"] == before["final"]


def test_another_scenario_is_refused_on_resume(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    with pytest.raises(ScenarioError, match=r"dynamics.eta, record.properties cannot change"):
        resume(folder.path, ["dynamics.eta=0.3", "run.steps=90", "record.properties=[]"])
    assert folder.summary["steps"] == 60
    (folder / CHECKPOINT).write_bytes((run(scenario("signal"), tmp_path / "other") / CHECKPOINT).read_bytes())
    with pytest.raises(FileFormatError, match="another scenario"):
        resume(folder.path, ["run.steps=90"])


def test_own_data_can_be_resumed(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'far' if a * a + b * b > 1 else 'near'}" for a, b in rng.standard_normal((80, 2))]
    (tmp_path / "mine.csv").write_text("a,b,label\n" + "\n".join(rows))
    monkeypatch.chdir(tmp_path)
    text = '[system]\nlayers = ["auto", 6, "auto"]\n[field]\ndataset = "mine.csv"\n[run]\nsteps = 10\n'
    run(Scenario.from_text(text), "r")
    monkeypatch.chdir("r")
    folder, moved = resume(".", ["run.steps=20"])
    assert moved
    assert folder.summary["steps"] == 20


def test_a_damaged_checkpoint_is_refused(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    raw = bytearray((folder / CHECKPOINT).read_bytes())
    raw[-100] ^= 1
    (folder / CHECKPOINT).write_bytes(raw)
    with pytest.raises(FileFormatError, match="damaged"):
        resume(folder.path, ["run.steps=90"])


def test_equal_runs_leave_equal_models_of_the_stated_size(tmp_path):
    first, second = (run(scenario(), tmp_path / name) / MODEL for name in "ab")
    raw = first.read_bytes()
    assert raw == second.read_bytes()
    header = int.from_bytes(raw[:8], "little")
    model = load_model(first)
    assert cost(model).bytes == len(raw) - 8 - header
    # coordinates, mu and gain of two links, biases: 4 copies of 64 + 12 + 10 sub-models in R^9
    assert cost(model).parameters == 4 * 9 * (64 + 12 + 10) + 2 * 4 + 2 + 12 + 10


def test_the_twin_has_the_same_widths_and_says_its_numbers(tmp_path):
    twin = run(scenario("friction", "kick-drift", "run.twin=0.01"), tmp_path / "r").summary["twin"]
    assert twin["parameters"] == 64 * 12 + 12 * 10 + 12 + 10
    assert twin["final"]["test_accuracy"] > 0.5


def test_open_says_what_is_not_a_run(tmp_path):
    with pytest.raises(RunFolderError, match="not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunFolderError, match="no such folder"):
        RunFolder.open(tmp_path / "nothing")


def test_stops_at_a_stress_and_at_an_accuracy(tmp_path):
    easy = ["run.stop.accuracy=0.3", "run.steps=4000"]
    assert "validation accuracy" in run(scenario("friction", "kick-drift", *easy), tmp_path / "a").summary["stopped"]
    target = '[system]\nlayers = [3, 3]\ncopies = 3\n[field]\nkind = "target"\ntarget = "normal"\n[run]\nsteps = 5000\n'
    text = target + "[dynamics]\ndt = 0.5\neta = 0.3\nfriction = 0.9\n[run.stop]\nstress = 1e-2\n"
    folder = run(Scenario.from_text(text), tmp_path / "b")
    assert "equilibrium" in folder.summary["stopped"]
    assert folder.summary["observables"]["loss"] < 1e-2


def test_mdanalysis_reads_a_real_run(tmp_path):
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    folder = run(scenario(), tmp_path / "r")
    with Trajectory(folder / TRAJECTORY) as t:
        universe = mda.Universe.empty(t.cast.n, trajectory=False)
        universe.load_new(str(folder / TRAJECTORY), format="H5MD", convert_units=False)
        assert universe.trajectory.n_frames == len(t)
        last = universe.trajectory[len(t) - 1]
        assert np.array_equal(last.positions, t.frame(len(t) - 1).positions)
        universe.trajectory.close()


def test_the_recording_of_mnist_stays_small():
    s = Scenario.load("mnist_mlp")
    particles = s.system.copies * sum(s.system.layers)
    frames = s.run.epochs * (57_000 // s.field.batch) / s.record.every + 2
    assert frames * particles * 4 * (3 + s.system.dim) < 100e6


def test_summary_is_strict_json(tmp_path):
    folder = run(scenario(), tmp_path / "r")
    text = (folder / SUMMARY).read_text()
    assert json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} in summary.json"))
