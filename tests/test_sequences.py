"""Sequences: what is asked for and never shown, rivals, and a run from its scenario to its evaluation."""

import json

import numpy as np
import pytest

from dynsim import Scenario, checkpoint, runs
from dynsim.backend.report import evaluate_run, final_table, print_evaluation
from dynsim.build import build_graph
from dynsim.errors import DataError, ResourceError, RunFolderError, ScenarioError
from dynsim.reproduce import sequences as study
from dynsim.reproduce.study import Sample
from dynsim.sequences import Task, lags_for, lorenz, r_squared, ridge, rivals, sines
from dynsim.simulation import Simulation
from dynsim.trajectory.reader import Trajectory

SMALL = """
[system]
layers = ["auto", 6]
copies = 2
dim = 3
[field]
kind = "sequence"
dataset = "lorenz"
batch = 2
[sequence]
signals = 2
length = 120
ahead = 2
held_out = 0.25
ticks = 16
washout = 4
[dynamics]
integrator = "adam"
eta = 0.02
[run]
steps = 6
dtype = "float64"
device = "reference"
[record]
every = 2
observables = ["loss", "r2"]
"""


# Data and rivals ---------------------------------------------------------------------------------------------------


def test_sines_are_seeded_and_one_column_a_frequency():
    bank = sines(3, 400, 5)
    np.testing.assert_array_equal(bank, sines(3, 400, 5))
    assert not np.allclose(bank, sines(4, 400, 5))
    strongest = np.abs(np.fft.rfft(bank, axis=0)).argmax(axis=0)
    assert np.abs(strongest - np.arange(1, 6)).max() <= 1
    assert np.abs(bank).max() <= 1


def test_lorenz_obeys_its_equations():
    fine = lorenz(0, 200, dt=0.01)
    x, y, z = fine[1:-1].T
    rate = np.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z], axis=1)
    measured = (fine[2:] - fine[:-2]) / 0.02
    assert np.abs(rate - measured).max() < 0.01 * np.abs(rate).max()
    assert fine[:, 2].min() > 0
    assert fine[:, 2].max() < 50


def test_what_is_asked_for_lies_ahead_and_the_end_stays_unseen():
    values = lorenz(0, 100)
    task = Task.of(values, drive="past", held_out=0.2, ahead=3, observed=(0,), predicted=(0, 2))
    np.testing.assert_array_equal(task.targets[:-3, 0], task.inputs[3:, 0])
    assert (task.inputs.shape[1], task.targets.shape[1]) == (1, 2)
    values[task.cut :] *= 100
    other = Task.of(values, drive="past", held_out=0.2, ahead=3, observed=(0,), predicted=(0, 2))
    np.testing.assert_array_equal(other.inputs[: task.cut], task.inputs[: task.cut])
    clock = Task.of(values, drive="clock").inputs
    np.testing.assert_allclose((clock**2).sum(axis=1), 1)


@pytest.mark.parametrize("settings", [{"observed": (5,)}, {"held_out": 0.99, "ahead": 95}])
def test_tasks_that_cannot_be(settings):
    with pytest.raises(DataError):
        Task.of(lorenz(0, 100), drive="past", **settings)


def test_the_linear_rival_finds_what_is_linear():
    """A damped oscillation is an AR(2): the ridge foretells it, persistence does not."""
    t = np.arange(300)
    task = Task.of((np.exp(-t / 400) * np.cos(0.3 * t))[:, None], drive="past", held_out=0.3, ahead=2)
    held = slice(task.cut, None)
    assert r_squared(task.targets[held], ridge(task, 2).answers[held]) > 0.999
    assert r_squared(task.targets[held], task.known[held]) < 0.7


def test_the_linear_rival_has_as_many_numbers():
    task = Task.of(lorenz(0, 2000), drive="past", ahead=5)
    for name, rival in rivals(task, 700).items():
        assert rival.parameters == (0 if name == "persistence" else pytest.approx(700, abs=9))
    assert lags_for(task, 1) == 1
    assert rivals(Task.of(sines(0, 50), drive="none"), 100) == {}


# Scenarios ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["field.dataset=lorentz"], "field.dataset"),
        (["field.dataset="], "field.dataset"),
        (["sequence.drive=future"], "sequence.drive"),
        (["sequence.updates=random"], "sequence.updates"),
        (["sequence.held_out=1.0"], "sequence.held_out"),
        (["system.delays=[1]"], "system.delays"),
        (["system.medium.law=length"], "system.medium.law"),
        (["system.links=[[0,1],[1,1]]", "system.delays=[0,0]"], "system.links"),
        (["system.layers=['auto','auto']"], "system.layers"),
        (["system.interactive=true"], "system.interactive"),
        (["recipe.name=finetune"], "recipe.name"),
        (["run.twin=0.01"], "run.twin"),
        (["field.validation=0.2"], "field.validation"),
        (["run.stop.stress=0.1"], "run.stop.stress"),
        (["field.kind=network", "field.dataset=moons", "dynamics.integrator=eq2"], "dynamics.integrator"),
        (
            ["field.kind=network", "field.dataset=moons", "system.links=[[0,1]]", "system.delays=[1]"],
            "system.delays",
        ),
    ],
)
def test_bad_settings_name_their_key(settings, key):
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_text(SMALL, settings)
    assert key in {p.where for p in caught.value.problems}


def test_a_layer_that_hears_itself_does_so_a_tick_later():
    named = Scenario.load("lorenz", ["system.links=[[0,1],[1,1]]"])
    assert [k.delay for k in build_graph(named, [3, 24]).links] == [0, 1]


@pytest.mark.parametrize(
    ("settings", "where"),
    [(["sequence.ticks=4"], "sequence.ticks"), (["system.layers=[2,6]"], "system.layers")],
)
def test_what_does_not_fit_the_data_is_refused(settings, where):
    with pytest.raises(ValueError, match=where):
        Simulation(Scenario.from_text(SMALL, settings))


def test_a_window_that_memory_cannot_hold_is_refused():
    """Before anything runs: path integrals of all ticks are kept for the way back."""
    settings = ["sequence.drive=none", "sequence.length=400000", "system.layers=[3000]", "field.dataset=sines"]
    with pytest.raises(ResourceError, match="does not fit into memory"):
        Simulation(Scenario.from_text(SMALL, settings))


# Runs --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run of a few steps."""
    return runs.run(Scenario.from_text(SMALL), tmp_path_factory.mktemp("runs") / "small")


def test_a_run_says_what_it_and_its_rivals_reach(folder, capsys):
    final_table(folder)
    print_evaluation(found := evaluate_run(folder.path))
    text = capsys.readouterr().out
    assert "held out" in text
    assert "persistence" in text
    assert "ridge AR" in text
    summary = folder.summary
    assert summary["final"]["r2_test"] == pytest.approx(found["r2_test"], abs=1e-12)
    assert len(found["r2_by_column"]) == 3
    assert summary["macs"] > 0
    json.dumps(found)


def test_frames_hold_all_that_answers_need(folder):
    simulation = Simulation(folder.scenario)
    with Trajectory(folder / "trajectory.h5") as past:
        state = simulation.state_at(past.frame(-1))
        assert {"A:output", "F:input", "readout:output"} <= set(past.cast.groups)
        assert list(past.history["r2"]) == pytest.approx(past.history["r2"])
    assert simulation.field.scores(state)["r2_test"] == folder.summary["final"]["r2_test"]


def test_a_stopped_run_goes_on_as_if_it_had_not_been(folder, tmp_path):
    half = Simulation(folder.scenario)
    for _ in range(3):
        half.step()
    checkpoint.save(tmp_path / "half.safetensors", half, 0.0)
    other = Simulation(folder.scenario)
    checkpoint.load(tmp_path / "half.safetensors", other)
    while not other.done:
        other.step()
    assert other.field.scores(other.system) == {k: folder.summary["final"][k] for k in ("r2_train", "r2_test")}


def test_windows_are_the_same_whoever_asks_again():
    first, second = (Simulation(Scenario.from_text(SMALL)) for _ in range(2))
    first.step()
    assert first.push(second.system, 5)[1].loss == second.push(second.system, 5)[1].loss
    assert first.push(second.system, 4)[1].loss != second.push(second.system, 5)[1].loss


def test_a_sequence_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    np.savetxt(path, np.cumsum(np.random.default_rng(0).standard_normal((60, 2)), axis=0), delimiter=",")
    settings = [f"field.dataset={str(path)!r}", "sequence.observed=[1]", "sequence.predicted=[0]"]
    simulation = Simulation(Scenario.from_text(SMALL, settings))
    simulation.step()
    assert simulation.field.task.targets.shape == (58, 1)
    assert simulation.graph.subsystems[0].size == 1
    assert np.isfinite(simulation.last_row["r2"])


def test_a_system_learns_a_wave_from_positions_alone():
    """No input at all: R^2 of one sine from below 0.5 to above 0.95 in 60 steps of Adam."""
    scenario = Scenario.load("sine_bank").changed(
        **{"sequence.waves": 1, "sequence.length": 40, "system.layers": [4], "system.dim": 4, "run.steps": 60}
    )
    simulation = Simulation(scenario)
    simulation.step()
    before = simulation.response.r2
    while not simulation.done:
        simulation.step()
    assert before < 0.5
    assert simulation.field.scores(simulation.system)["r2_train"] > 0.95


def test_windows_grow():
    settings = ["sequence.growth=1.0", "sequence.ticks=60", "run.steps=20"]
    simulation = Simulation(Scenario.from_text(SMALL, settings))
    lengths = [simulation.field._grown(simulation.system.replace(step=k)) for k in (0, 10, 20)]
    assert lengths[0] < lengths[1] < lengths[2] == 60


# Orbits ------------------------------------------------------------------------------------------------------------


def test_orbits_go_round_and_signals_bend_them(tmp_path):
    """`orbit` in short: left alone distances to the origin only decay; with signals they do not."""
    spread = {}
    for push in (0.0, 0.08):
        scenario = Scenario.load("orbit").changed(**{"sequence.push": push, "run.steps": 60, "system.layers": [10]})
        simulation = Simulation(scenario)
        before = np.linalg.norm(simulation.system.x["q:system"], axis=-1)
        while not simulation.done:
            simulation.step()
        ratio = np.linalg.norm(simulation.system.x["q:system"], axis=-1) / before
        spread[push] = np.abs(ratio / np.exp(-0.02 * 60 * 0.05) - 1).max()
    assert spread[0.0] < 1e-12
    assert spread[0.08] > 0.01


def test_where_nothing_is_learned_there_is_nothing_to_evaluate(tmp_path):
    scenario = Scenario.load("orbit").changed(**{"run.steps": 2, "system.layers": [4]})
    folder = runs.run(scenario, tmp_path / "orbit")
    with pytest.raises(RunFolderError, match="nothing was learned"):
        evaluate_run(folder.path)


# The study ---------------------------------------------------------------------------------------------------------


def test_the_control_has_the_best_readout_of_what_was_drawn():
    """The study's untrained control answers better than the drawn read-out, and learns from its training part."""
    simulation = Simulation(Scenario.from_text(SMALL))
    field, system = simulation.field, simulation.system
    drawn, fitted = field.answers(system), study.untrained(field, system)
    train = slice(field.window.washout, field.task.cut)
    target = field.task.targets[train]
    assert r_squared(target, fitted[train]) > max(0, r_squared(target, drawn[train]))


class Made:
    """A study whose units are not run: every R^2 is 90, that of the rivals less."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, title, units):
        keys = ("r2_train", "r2_test", *study.RIVALS.values(), "r2_untrained_train")
        numbers = {k: 90.0 if k in ("r2_train", "r2_test") else 40.0 for k in keys}
        sizes = {"parameters": 700, "values": 1000, "parameters_ridge AR": 701}
        return {u.name: {k: v + u.settings["seed"] / 10 for k, v in numbers.items()} | sizes for u in units}


def test_the_study_judges_by_its_numbers(tmp_path):
    sines, lorenz, updates = study.sequences(Made(tmp_path), 3, False)
    assert "90.10" in sines.verdict[0]
    assert "not reached" in sines.verdict[0]
    assert all(row.count("beats (50.00") == 3 for row in lorenz.verdict)
    assert all("level with" in v for v in updates.verdict)
    assert (tmp_path / "sequences-lorenz.png").stat().st_size > 10_000
    assert "loses to" in study._verdict(Sample((-1.0, -1.2)))
