"""Recipes: phases of one run, each moving what it should, that go on bit by bit and give models that can be used."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dynsim import RunFolder, Scenario, Simulation, Trajectory, checkpoint, load_model, resume, run
from dynsim.backend.formats import save_model
from dynsim.backend.inference import Model
from dynsim.backend.report import final_table
from dynsim.backend.twin import dense_twin
from dynsim.dynamics.damping import Friction
from dynsim.dynamics.integrators import PLAIN, Adam, Beside, KickDrift, Motion
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.errors import OptionError, ScenarioError, ShapeError
from dynsim.fields import network
from dynsim.fields.data import Shifts
from dynsim.fields.target import relative_errors
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.recipes import kind_of, path_integrals, phases, weight_groups
from dynsim.runfolder import CHECKPOINT, MODEL, SUMMARY, TRAJECTORY
from dynsim.runs import reopen, start
from dynsim.signals import all_weights
from dynsim.system.graph import group_kind

TEXT = """
name = "small"
[system]
network = [
  { op = "reshape", shape = [8, 8, 1] },
  { op = "conv", name = "conv1", channels = 4, kernel = 3, padding = 1, metric = "weights" },
  { op = "batchnorm", momentum = 0.5 },
  { op = "relu" },
  { op = "maxpool" },
  { op = "conv", name = "conv2", channels = 6, kernel = 3, copies = 3 },
  { op = "relu" },
  { op = "flatten" },
  { op = "dense", name = "fc", size = 16 },
  { op = "relu" },
  { op = "dense", name = "output", size = "auto" },
]
copies = 4
dim = 5
[field]
dataset = "digits"
samples = 400
validation = 0.2
per_feature = false
batch = 64
[dynamics]
dt = 0.25
eta = 0.1
plain_rate = 0.003
[recipe]
epochs = 3
rate = 0.03
fit_steps = 60
fit_rate = 0.05
[run]
epochs = 2
[record]
every = 4
observables = ["loss", "accuracy"]
properties = ["signal"]
"""
PER_EPOCH = 5
LINKS = ("conv2.in>conv2.out", "fc.in>fc", "fc>output")  # those with particles


def scenario(recipe, *settings):
    return Scenario.from_text(TEXT, [f"recipe.name={recipe}", *settings])


def finished(simulation):
    while not simulation.done:
        simulation.step()
    return simulation


def changed(before, after):
    """Kinds of groups that are in both states and differ, running statistics apart."""
    both = before.x.keys() & after.x.keys()
    kinds = {group_kind(k) for k in both if not np.array_equal(before.x[k], after.x[k])}
    return kinds - {"mean", "variance"}


def without_weights(system):
    return system.replace(x={k: a for k, a in system.x.items() if k not in weight_groups(system.graph)})


def assert_same_state(ours, theirs):
    for group in ("x", "v", "force", "memory", "mass"):
        a, b = getattr(ours, group), getattr(theirs, group)
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[k], b[k]) for k in a), group
    assert ours.totals == theirs.totals
    assert (ours.step, ours.time, ours.event_step, ours.event_span) == (
        theirs.step,
        theirs.time,
        theirs.event_step,
        theirs.event_span,
    )


# Phases -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "settings", "wanted"),
    [
        ("direct", [], [("coordinates", 0, 10, 0)]),
        ("finetune", [], [("weights", 0, 15, 0), ("fit", 15, 60, 15), ("coordinates", 75, 10, 15)]),
        ("finetune", ["recipe.epochs=0", "run.steps=3"], [("fit", 0, 60, 0), ("coordinates", 60, 3, 0)]),
        ("alternate", [], [("weights", 0, 5, 0), ("fit", 5, 60, 5), ("weights", 65, 5, 5), ("fit", 70, 60, 10)]),
        (
            "alternate",
            ["run.steps=7"],
            [("weights", 0, 5, 0), ("fit", 5, 60, 5), ("weights", 65, 2, 5), ("fit", 67, 60, 7)],
        ),
    ],
)
def test_phases_follow_each_other_and_no_batch_is_seen_twice(recipe, settings, wanted):
    parts = phases(scenario(recipe, *settings), PER_EPOCH)
    assert [(p.kind, p.start, p.steps, p.batches) for p in parts] == wanted
    seen = [p.batch(k) for p in parts if p.kind != "fit" for k in range(p.start, p.start + p.steps)]
    assert seen == list(range(len(seen)))


@pytest.mark.parametrize("recipe", ["direct", "finetune", "alternate"])
def test_a_run_goes_through_its_phases(recipe):
    simulation = Simulation(scenario(recipe, "recipe.fit_steps=6", "run.device=reference"))
    assert simulation.field.steps_per_epoch == PER_EPOCH
    parts = phases(simulation.scenario, PER_EPOCH)
    for part in parts:
        assert simulation.phase == part
        assert kind_of(simulation.system) == part.kind
        assert (simulation.system.step, simulation.system.age) == (part.start, 0)
        assert simulation.system.event_span == part.steps
        assert all(not a.any() for a in simulation.system.v.values())
        for _ in range(part.steps):
            simulation.step()
    assert simulation.done
    assert simulation.stopped == "all steps done"


@pytest.fixture(scope="module")
def tuned():
    """A finetune run: its states at the start of every phase and at the end, with training loss and stress there."""
    simulation, seen = (
        Simulation(
            scenario("finetune", "recipe.epochs=10", "recipe.fit_steps=150", "run.epochs=16", "dynamics.dt=0.5")
        ),
        [],
    )
    for part in phases(simulation.scenario, PER_EPOCH):
        begun = simulation.system
        errors = relative_errors(begun, all_weights(simulation.kernels, begun))
        seen.append((part.kind, begun, simulation.evaluate("train"), errors))
        while simulation.system.step < part.start + part.steps - 1:
            simulation.step()
        last = simulation.system
        errors = relative_errors(last, all_weights(simulation.kernels, last))
        seen.append((part.kind, last, simulation.evaluate("train"), errors))
        simulation.step()
    seen.append(("end", simulation.system, simulation.evaluate("train"), {}))
    return seen


def test_weights_train_before_particles_move(tuned):
    (_, start_, at_first, _), (_, trained, at_last, _) = tuned[:2]
    assert changed(start_, trained) == set(PLAIN) & {group_kind(k) for k in start_.x} == {
        "weight", "bias", "scale", "shift",
    }  # fmt: skip
    assert set(weight_groups(trained.graph)) == {f"weight:{k}" for k in LINKS}
    assert at_last.loss < at_first.loss / 2


def test_the_fit_moves_particles_and_nothing_else_and_lowers_the_stress(tuned):
    (_, before, at_first, first), (_, after, at_last, last) = tuned[2:4]
    assert changed(before, after) == {"q", "mu"}
    assert not before.x.keys() & set(weight_groups(before.graph))
    assert first.keys() == last.keys() == set(LINKS)
    assert all(last[k] < 0.7 * first[k] for k in LINKS)
    assert at_last.accuracy > at_first.accuracy + 0.2


def test_coordinates_end_better_than_the_fit(tuned):
    (_, before, at_first, _), (_, after, _, _), (_, end, at_last, _) = tuned[4:]
    assert changed(before, after) == {"q", "mu", "gain", "weight", "bias", "scale", "shift"}
    assert not any(k.startswith("target:") for k in end.memory)
    assert at_last.loss < at_first.loss
    assert at_last.accuracy > 0.8


def test_alternate_writes_back():
    simulation = Simulation(scenario("alternate"))
    second = phases(simulation.scenario, PER_EPOCH)[2]
    while simulation.system.step < second.start:
        simulation.step()
    waiting = without_weights(simulation.system)
    for key, w in path_integrals(waiting, simulation.kernels).items():
        np.testing.assert_array_equal(simulation.system.x[key], w)
    np.testing.assert_array_equal(
        simulation.logits(simulation.data.test.x), simulation.logits(simulation.data.test.x, waiting)
    )
    begun = simulation.evaluate("train").loss
    finished(simulation)
    assert kind_of(simulation.system) == "fit"
    assert simulation.evaluate("train").loss < begun


def test_direct_learns():
    simulation = Simulation(scenario("direct", "run.epochs=60", "dynamics.dt=0.5"))
    before = simulation.evaluate("train")
    after = finished(simulation).evaluate("train")
    assert after.accuracy > 0.6
    assert after.loss < before.loss / 2


def test_given_weights_are_taken_instead_of_drawn_ones():
    given = {"weight:fc>output": np.full((16, 10), 0.25), "bias:fc": np.arange(16.0)}
    x = Simulation(scenario("finetune", "recipe.epochs=0"), given=given).system
    assert np.all(x.memory["target:fc>output"] == 0.25)
    assert np.array_equal(x.x["bias:fc"][:, 0], np.arange(16))


def test_a_fit_to_weights_that_nobody_trained_is_refused():
    with pytest.raises(OptionError, match=r"recipe\.epochs: there are no trained weights to fit"):
        Simulation(scenario("finetune", "recipe.epochs=0"))


def test_the_well_of_the_dynamics_does_not_bend_a_fit():
    states = []
    for well in (0.0, 1.0):
        simulation = Simulation(scenario("finetune", "recipe.epochs=1", f"dynamics.confinement={well}"))
        while simulation.phase.kind != "coordinates":
            simulation.step()
        states.append(simulation.system.x)
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])


def test_no_accuracy_of_waiting_weights_ends_a_run():
    simulation = Simulation(scenario("finetune", "run.stop.accuracy=0.12"))
    seen = []
    while not simulation.done:
        simulation.step()
        seen.append((kind_of(simulation.system), simulation.validation_accuracy))
    assert max(a for kind, a in seen if kind == "weights" and a == a) > 0.12
    assert simulation.phase.kind != "weights"
    assert simulation.stopped.startswith("validation accuracy")


# The same bits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["finetune", "alternate"])
def test_the_same_bits_twice_and_from_a_checkpoint_in_every_phase(recipe, tmp_path):
    settings = ["recipe.fit_steps=8", "run.device=reference"]
    parts = phases(scenario(recipe, *settings), PER_EPOCH)
    stops = sorted({k for p in parts for k in (p.start, p.start + 2)})
    path, whole = tmp_path / "c.safetensors", Simulation(scenario(recipe, *settings))
    again = Simulation(scenario(recipe, *settings))
    while not whole.done:
        if whole.system.step in stops:  # killed here, and gone on in a fresh process's simulation
            checkpoint.save(path, again, 0.0)
            again = Simulation(scenario(recipe, *settings))
            checkpoint.load(path, again)
            assert_same_state(again.system, whole.system)
        whole.step()
        again.step()
        assert np.array_equal([*again.last_row.values()], [*whole.last_row.values()], equal_nan=True)
    assert_same_state(again.system, whole.system)
    assert again.stopped == whole.stopped


@pytest.mark.parametrize("recipe", ["direct", "finetune", "alternate"])
def test_runs_stopped_in_any_phase_end_in_the_same_model(recipe, tmp_path):
    settings = ["recipe.fit_steps=8", "run.steps=7"]
    whole = run(scenario(recipe, *settings), tmp_path / "whole")
    parts = phases(scenario(recipe, *settings), PER_EPOCH)
    folder = tmp_path / "stopped"
    with start(scenario(recipe, *settings), folder) as recording:
        for _ in range(parts[0].start + 2):
            recording.step()
        recording.save()
    for part in parts[1:]:
        with reopen(folder) as recording:
            while recording.simulation.system.step < part.start + 1:
                recording.step()
            recording.save()
    again, moved = resume(folder)
    assert moved
    assert (again / MODEL).read_bytes() == (whole / MODEL).read_bytes()
    with Trajectory(again / TRAJECTORY) as ours, Trajectory(whole / TRAJECTORY) as theirs:
        assert np.array_equal(ours.steps, theirs.steps)
        assert np.array_equal(ours.history["loss"], theirs.history["loss"])
    assert again.summary["final"] == whole.summary["final"]


def test_a_finished_alternate_run_goes_on_as_if_it_had_been_longer(tmp_path):
    short, long = (["recipe.fit_steps=8", f"run.epochs={n}"] for n in (1, 3))
    whole = run(scenario("alternate", *long), tmp_path / "whole")
    folder = run(scenario("alternate", *short), tmp_path / "short")
    assert folder.summary["steps"] == 13
    again, moved = resume(folder.path, ["run.epochs=3"])
    assert moved
    assert again.summary["steps"] == 39
    assert (again / MODEL).read_bytes() == (whole / MODEL).read_bytes()


def test_more_epochs_for_finetune_are_for_the_coordinates(tmp_path, capsys):
    folder = run(scenario("finetune", "recipe.fit_steps=8"), tmp_path / "r")
    again, moved = resume(folder.path, ["run.epochs=3"])
    assert moved
    assert again.summary["steps"] == 15 + 8 + 15
    final_table(again)
    assert "run.epochs counts the phase on coordinates alone; the 38 steps" in capsys.readouterr().out
    with Trajectory(again / TRAJECTORY) as t:
        assert [(step, kind) for step, kind, _ in t.events] == [(33, "learning")]


def test_a_longer_plan_does_not_stretch_the_phase_on_weights(tmp_path):
    with start(scenario("finetune", "recipe.fit_steps=8"), tmp_path / "r") as recording:
        recording.step()
        recording.save()
    whole = run(scenario("finetune", "recipe.fit_steps=8", "run.epochs=3"), tmp_path / "whole")
    again, _ = resume(tmp_path / "r", ["run.epochs=3"])
    assert (again / MODEL).read_bytes() == (whole / MODEL).read_bytes()


@pytest.mark.parametrize("setting", ["recipe.fit_steps=9", "recipe.name=alternate", "recipe.rate=0.1"])
def test_another_recipe_is_another_run(setting, tmp_path):
    folder = run(scenario("direct", "run.steps=2", "recipe.fit_steps=8"), tmp_path / "r")
    with pytest.raises(ScenarioError, match=rf"{setting.partition('=')[0]} cannot change when a run goes on"):
        resume(folder.path, [setting])


def test_a_run_out_of_time_while_weights_train_leaves_the_model_of_these_weights(tmp_path):
    folder = run(scenario("finetune", "run.stop.time=1e-9"), tmp_path / "r")
    assert folder.summary["stopped"].startswith("time limit")
    assert folder.summary["steps"] < 15
    with start(scenario("finetune"), tmp_path / "same") as recording:
        for _ in range(folder.summary["steps"]):
            recording.step()
        simulation = recording.simulation
    raw = simulation.data.test.x * simulation.data.scaling.scale + simulation.data.scaling.centre
    logits = load_model(folder / MODEL).logits(raw)
    np.testing.assert_allclose(logits, simulation.logits(simulation.data.test.x), rtol=1e-4, atol=1e-5)


# What a run leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["direct", "finetune", "alternate"])
def test_frames_of_any_phase_can_be_classified(recipe):
    simulation = Simulation(scenario(recipe, "recipe.fit_steps=12", "run.device=reference"))
    frames, states = [], []
    for frame in simulation:
        frames.append(frame)
        states.append(simulation.system)
    assert {p.kind for p in phases(simulation.scenario, PER_EPOCH)} == {kind_of(s) for s in states}
    for frame, state in zip(frames, states):
        again, waiting = simulation.state_at(frame), without_weights(state)
        assert again.x.keys() == waiting.x.keys()
        np.testing.assert_array_equal(
            simulation.evaluate("test", again).confusion, simulation.evaluate("test", waiting).confusion
        )


@pytest.mark.parametrize("recipe", ["direct", "finetune", "alternate"])
def test_a_model_file_with_running_statistics_comes_back(recipe, tmp_path):
    simulation = finished(Simulation(scenario(recipe, "recipe.fit_steps=8")))
    model = Model.of(simulation)
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert (again.graph, again.network, again.classes) == (model.graph, model.network, model.classes)
    assert again.x.keys() == model.x.keys()
    assert np.abs(again.x["mean:batchnorm1"]).max() > 0
    X = np.random.default_rng(0).random((7, 64)).astype(np.float32)
    np.testing.assert_array_equal(again.logits(X), model.logits(X))


def test_a_killed_run_has_a_checkpoint_and_a_summary_only_when_done(tmp_path):
    with start(scenario("finetune", "recipe.fit_steps=8"), tmp_path / "r") as recording:
        recording.step()
        recording.save()
    folder = RunFolder.open(tmp_path / "r")
    assert (folder / CHECKPOINT).exists()
    assert not (folder / SUMMARY).exists()


def test_in_chunks_as_at_once(monkeypatch):
    simulation = Simulation(scenario("direct", "run.dtype=float64", "run.device=reference"))
    at_once = simulation.logits(simulation.data.test.x)
    calls, forward = [], network.forward
    monkeypatch.setattr(network, "forward", lambda *a, **k: calls.append(len(a[3])) or forward(*a, **k))
    monkeypatch.setattr(network, "MOST_NUMBERS", 9000)
    np.testing.assert_allclose(simulation.logits(simulation.data.test.x), at_once, atol=1e-13)
    assert len(calls) > 10
    assert sum(calls) == len(at_once)
    assert simulation.logits(simulation.data.test.x[:0]).shape == (0, 10)


def test_the_twin_has_the_same_layers_without_particles():
    simulation = finished(Simulation(scenario("finetune", "run.twin=0.02", "recipe.fit_steps=8", "run.epochs=5")))
    twin = dense_twin(simulation)
    assert twin.total_steps == (3 + 5) * PER_EPOCH  # as many batches as the network saw
    assert twin.graph.particles == 0
    assert {f"weight:{k}" for k in LINKS} < twin.system.x.keys()
    assert twin.integrator == Adam()  # at its own rate, not at that of what is plain beside particles
    assert finished(twin).evaluate("train").accuracy > 0.5


# What is refused ----------------------------------------------------------------------------------------------------


def test_batches_are_counted_so_they_keep_their_size():
    with pytest.raises(OptionError, match=r"field\.batch: the phases of a recipe are counted in batches"):
        Simulation(scenario("alternate", "run.device=reference")).set_parameter("field.batch", 16)
    direct = Simulation(scenario("direct", "run.device=reference"))
    direct.set_parameter("field.batch", 16)
    assert direct.field.batch == 16


def test_only_images_can_be_shifted():
    data = Simulation(scenario("direct", "run.device=reference")).data
    with pytest.raises(ShapeError, match="only images can be shifted"):
        Shifts(1, replace(data, input_shape=(64,)))


# Pieces -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("main", [KickDrift(), Adam()])
def test_beside_moves_each_half_as_its_integrator_alone_would(main):
    """The forces are the same and constant, so that either half goes its way."""
    system = Simulation(scenario("direct", "run.device=reference")).system
    rng = np.random.default_rng(0)
    force = {k: rng.standard_normal(a.shape).astype(a.dtype) for k, a in system.v.items()}
    received = {s.name: np.ones(s.size) for s in system.graph.subsystems}
    motion = Motion(
        reference,
        lambda state, _: ({k: force[k] for k in state.v}, Response(0.0, {}, received=received)),
        Friction(rate=0.1),
        SpeedLimit(eta=0.02),
        0.5,
    )
    system = system.replace(event_span=20)
    plain = {k for k in system.v if group_kind(k) in PLAIN}
    assert plain
    assert plain < system.v.keys()
    halves = {True: plain, False: system.v.keys() - plain}
    alone = {
        is_plain: system.replace(v={k: a for k, a in system.v.items() if k in keys})
        for is_plain, keys in halves.items()
    }
    both, rate = system, 0.003
    for _ in range(5):
        both, _ = Beside(main, rate).step(both, motion)
        alone[False], _ = main.step(alone[False], motion)
        alone[True], _ = Adam().step(alone[True], replace(motion, limit=SpeedLimit(eta=rate)))
    for is_plain, keys in halves.items():
        for key in keys:
            np.testing.assert_array_equal(both.x[key], alone[is_plain].x[key])
            np.testing.assert_array_equal(both.v[key], alone[is_plain].v[key])
    assert both.totals == alone[False].totals
    assert (both.step, both.time) == (5, 2.5)


@pytest.mark.parametrize(("centre", "per_feature"), [("true", "false"), ("true", "true"), ("false", "true")])
def test_shifts_keep_images_and_background(centre, per_feature):
    """What comes in from outside is the background of raw images, 0, whatever the scaling."""
    settings = [f"field.centre={centre}", f"field.per_feature={per_feature}", "field.augment=2"]
    simulation = Simulation(scenario("direct", "run.device=reference", *settings))
    shifts, images, scaling = simulation.field.augment, simulation.data.train.x[:40], simulation.data.scaling

    def raw(x):
        return np.round(16 * (x * scaling.scale + scaling.centre)).reshape(-1, 8, 8)  # of 0 ... 16

    shifted = shifts(images, np.random.default_rng(0))
    found = set()
    for before, after in zip(raw(images), raw(shifted)):
        big = np.pad(before, 2)
        places = {(i, j) for i in range(5) for j in range(5) if np.array_equal(big[i : i + 8, j : j + 8], after)}
        assert places
        found |= places
    assert len(found) > 15
    assert np.array_equal(shifted, shifts(images, np.random.default_rng(0)))
    assert (shifted.dtype, shifted.shape) == (images.dtype, images.shape)


def test_every_step_shifts_anew_and_only_when_training():
    plain, moved = (
        Simulation(scenario("direct", "run.device=reference", f"field.augment={n}", "field.batch=400")) for n in (0, 1)
    )
    first, second, first_again = (moved.push(moved.system, k)[1].loss for k in (0, 1, 0))
    assert first != second
    assert first == first_again != plain.push(plain.system, 0)[1].loss
    assert np.array_equal(plain.logits(plain.data.test.x), moved.logits(moved.data.test.x))


def test_the_summary_of_a_recipe_is_that_of_its_model(tmp_path):
    folder = run(scenario("finetune", "recipe.fit_steps=20"), tmp_path / "r")
    summary = json.loads((folder / SUMMARY).read_text())
    model = load_model(folder / MODEL)
    data = Simulation(scenario("finetune", "run.device=reference")).data
    raw = data.test.x * data.scaling.scale + data.scaling.centre
    accuracy = float((model.logits(raw).argmax(axis=1) == data.test.y).mean())
    assert accuracy == pytest.approx(summary["final"]["test_accuracy"], abs=0.003)
    assert summary["parameters"] == sum(a.size for k, a in model.x.items() if group_kind(k) not in ("mean", "variance"))
