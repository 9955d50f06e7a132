"""A run that is touched: what is changed when, that it is all in the log, and that it can be lived through again."""

import json
import shutil

import numpy as np
import pytest

from dynsim import RunFolder, Scenario, Simulation, Trajectory, checkpoint, resume, runs
from dynsim.errors import DivergenceError, FileFormatError, OptionError, ScenarioError, ShapeError
from dynsim.runfolder import CHECKPOINT, KEPT_CHECKPOINTS, MODEL, SUMMARY, TRAJECTORY
from dynsim.runs import branch, reopen, start
from dynsim.simulation import LIVE_PARAMETERS

TEXT = """
name = "touched"
[system]
layers = ["auto", 6, "auto"]
copies = 3
dim = 4
[field]
dataset = "moons"
samples = 120
validation = 0.2
batch = 16
[run]
steps = 60
device = "reference"
[record]
every = 7
"""


def scenario(*settings):
    return Scenario.from_text(TEXT, settings)


def simulation(*settings, steps=0):
    result = Simulation(scenario(*settings))
    while result.system.step < steps:
        result.step()
    return result


def same(a, b):
    """Whether two systems are equal in every bit."""
    groups = all(
        getattr(a, g).keys() == getattr(b, g).keys()
        and all(np.array_equal(getattr(a, g)[k], getattr(b, g)[k]) for k in getattr(a, g))
        for g in ("x", "v", "force", "memory")
    )
    numbers = ("totals", "step", "time", "event_step", "event_span")
    return groups and all(getattr(a, n) == getattr(b, n) for n in numbers)


def assert_same_history(a, b, last=None):
    """Frames, history and events of two trajectory files are equal, up to a step of the first."""
    with Trajectory(a) as ours, Trajectory(b) as theirs:
        last = ours.steps[-1] if last is None else last
        steps = ours.steps[ours.steps <= last]
        np.testing.assert_array_equal(steps, theirs.steps[theirs.steps <= last])
        for i in range(len(steps)):
            one, other = ours.frame(i), theirs.frame(i)
            assert one.properties.keys() == other.properties.keys()
            for name, values in one.properties.items():
                np.testing.assert_array_equal(values, other.properties[name], strict=True, err_msg=name)
            np.testing.assert_array_equal(one.positions, other.positions)
            for name, values in one.history.items():
                np.testing.assert_array_equal(values, other.history[name], err_msg=name)
        kept = [[e for e in t.events if e[0] < last and e[1] != "branch"] for t in (ours, theirs)]
        assert kept[0] == kept[1]


# What is done at which step. Together they touch every kind of event, at steps with a frame (14, 28) and without.
TOUCHES = {
    5: lambda s: s.set_parameter("dynamics.eta", 0.05),
    14: lambda s: s.kick(0.7),
    20: lambda s: (s.set_parameter("field.batch", 24), s.set_parameter("dynamics.law", "signal")),
    28: lambda s: s.move(7, [0.5, -0.25, 1 / 3, 0.1]),
    31: lambda s: (s.move(25, [0.1, 0.2, 0.3, 0.4]), s.set_parameter("dynamics.dt", 0.7)),
    40: lambda s: s.extend(10),
}


def drive(recording, until, touches=TOUCHES, finish=False):
    """Steps up to `until`, each touch done when its step has been reached, as from a window."""
    while recording.simulation.system.step < until:
        recording.step()
        if recording.simulation.system.step in touches:
            touches[recording.simulation.system.step](recording.simulation)
            recording.note()
    if finish:
        recording.finish()


@pytest.fixture(scope="module", params=["float32", "float64"])
def touched(request, tmp_path_factory):
    """A finished run of 70 steps that has been touched, and the settings it had."""
    settings = (f"run.dtype={request.param}", "record.properties=['velocity','force','lambda','emitted']")
    with start(scenario(*settings), tmp_path_factory.mktemp("runs") / "whole") as recording:
        for until in (13, 36, 70):
            drive(recording, until, finish=until == 70)
            recording.save()
    return recording, settings


# Parameters ----------------------------------------------------------------------------------------------------------

OTHER = {
    "dynamics.dt": 0.6,
    "dynamics.eta": 0.02,
    "dynamics.law": "lagrangian",
    "dynamics.friction": 0.5,
    "dynamics.confinement": 0.3,
    "dynamics.decay": 0.5,
    "dynamics.coefficients": 1e-5,
    "dynamics.limit": False,
    "field.batch": 30,
}


@pytest.mark.parametrize("integrator", ["kick-drift", "leapfrog"])
@pytest.mark.parametrize("key", LIVE_PARAMETERS)
def test_a_parameter_changes_the_motion_from_the_next_step(key, integrator):
    settings = (f'dynamics.integrator="{integrator}"',)
    plain, changed = (simulation(*settings, steps=12) for _ in range(2))
    before = changed.frame()
    changed.set_parameter(key, OTHER[key])
    assert all(np.array_equal(plain.system.x[k], a) for k, a in changed.system.x.items())
    assert before.step == changed.system.step == 12
    assert changed.look().scalars["limit"] == changed.scalars()["limit"]  # what is shown is of now
    plain.step()
    changed.step()
    assert any(not np.array_equal(plain.system.x[k], a) for k, a in changed.system.x.items())
    assert changed.total_steps == 60
    assert [(12, "set", {"key": key, "value": OTHER[key]})] == [(s, k, json.loads(d)) for s, k, d in changed.events]
    assert changed.changes[key] == OTHER[key]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("dynamics.eta", -1, ScenarioError),
        ("dynamics.law", "magic", ScenarioError),
        ("field.batch", 0, ScenarioError),
        ("dynamics.dt", float("nan"), ScenarioError),
        ("run.seed", 3, OptionError),
        ("dynamics.ets", 0.1, OptionError),
    ],
)
def test_what_is_not_allowed_changes_nothing(key, value, error):
    s = simulation(steps=3)
    scenario_before, system_before, law = s.scenario, s.system, s.law
    with pytest.raises(error):
        s.set_parameter(key, value)
    assert (s.scenario, s.law, s.changes, s.events) == (scenario_before, law, {}, [])
    assert same(s.system, system_before)


def test_a_target_has_no_batch():
    text = '[system]\nlayers = [3, 3]\ncopies = 2\n[field]\nkind = "target"\ntarget = "normal"\n[run]\nsteps = 5\n'
    with pytest.raises(OptionError, match="no batches"):
        Simulation(Scenario.from_text(text)).set_parameter("field.batch", 3)


def test_every_law_follows_every_other():
    s = simulation("dynamics.friction=0.8")
    for law in ("signal", "lagrangian", "friction", "lagrangian", "signal", "friction"):
        s.step()
        s.set_parameter("dynamics.law", law)
        s.step()
        assert s.law.name == law
        assert any(k.startswith("potential:") for k in s.system.memory) == (law == "signal")
    # its own default, not what was given for another law
    assert s.scenario.dynamics.kept == 0.9
    s.set_parameter("dynamics.friction", 0.95)
    assert s.scenario.dynamics.kept == 0.95


def test_batches_after_a_change_are_those_of_a_run_that_always_had_them():
    changed, always = simulation(steps=9), simulation("field.batch=24")
    changed.set_parameter("field.batch", 24)
    for step in range(9, 20):
        np.testing.assert_array_equal(changed.field.batch_indices(step), always.field.batch_indices(step))


# Kicks, moves, more steps ----------------------------------------------------------------------------------------


def test_a_kick_opens_the_limit_and_strikes_at_the_speed_asked_for():
    s = simulation("dynamics.warmup=0", "dynamics.eta=0.2", "dynamics.dt=0.5", steps=30)
    before = s.system
    s.kick(3.0)
    impulse = [s.system.v[k] - before.v[k] for k in before.v if k.startswith("q:")]
    rms = np.sqrt(np.mean(np.concatenate([np.square(a).sum(-1).ravel() for a in impulse])))
    assert rms == pytest.approx(3.0 * 0.2 / 0.5, rel=0.15)
    assert (s.system.age, s.system.event_span) == (0, 30)
    assert all(np.array_equal(s.system.v[k], a) for k, a in before.v.items() if not k.startswith("q:"))
    again = simulation("dynamics.warmup=0", "dynamics.eta=0.2", "dynamics.dt=0.5", steps=30)
    again.kick(3.0)
    assert same(again.system, s.system)
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(OptionError):
            s.kick(wrong)


def test_a_kick_without_strength_only_opens_the_limit():
    s = simulation(steps=60)
    before = s.system
    s.kick()
    assert all(np.array_equal(s.system.v[k], a) for k, a in before.v.items())
    assert s.system.event_span == 60
    assert s.stopped == ""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_particle_is_put_exactly_there_and_back(dtype):
    s = simulation(f"run.dtype={dtype}", steps=10)
    before, accuracy = s.frame().properties["position"], s.evaluate("train")
    home = s.motion_of(20)[0]
    s.move(20, [1 / 3, -2.5, 1e-30, 4.0])
    there = s.look(("velocity",)).properties
    np.testing.assert_array_equal(there["position"][20], np.array([1 / 3, -2.5, 1e-30, 4.0], dtype))
    np.testing.assert_array_equal(there["velocity"][20], 0)
    assert (np.flatnonzero((there["position"] != before).any(axis=1)) == [20]).all()
    assert s.evaluate("train").loss != accuracy.loss
    s.move(20, home)
    np.testing.assert_array_equal(s.look().properties["position"], before, strict=True)
    assert s.evaluate("train").loss == accuracy.loss


def test_a_moved_particle_moves_on_from_there():
    for integrator in ("kick-drift", "leapfrog"):
        moved, plain = (simulation(f'dynamics.integrator="{integrator}"', steps=10) for _ in range(2))
        moved.move(0, [2, 2, 2, 2])
        moved.step()
        plain.step()
        assert np.abs(np.array(moved.motion_of(0)[0]) - 2).max() < 0.2
        assert moved.motion_of(1)[0] != plain.motion_of(1)[0] or moved.motion_of(20)[0] != plain.motion_of(20)[0]


@pytest.mark.parametrize(
    ("particle", "position", "error"),
    [
        (-1, [0, 0, 0, 0], OptionError),
        (20, [0, 0, 0], ShapeError),
        (10**6, [0, 0, 0, 0], OptionError),
        (1.5, [0, 0, 0, 0], OptionError),
        (0, [0, 0, 0, float("nan")], OptionError),
        (0, [0, 0, 0, 1e39], OptionError),
        (0, [0, 0, 0, "a"], OptionError),
    ],
)
def test_a_particle_cannot_be_put_anywhere(particle, position, error):
    s = simulation(steps=2)
    before = s.system
    with pytest.raises(error):
        s.move(particle, position)
    assert s.system is before
    assert s.events == []


def test_a_long_move_is_told_in_parts_that_can_be_done_again():
    s, again = (simulation("system.dim=70", "run.dtype='float64'", steps=2) for _ in range(2))
    s.move(3, np.linspace(-1, 1, 70) / 3)
    assert [json.loads(d)["first"] for _, _, d in s.events] == [0, 16, 32, 48, 64]
    assert all(len(d) <= 1024 for _, _, d in s.events)
    for event in s.events:
        again.apply(event)
    assert again.events == s.events
    assert same(again.system, s.system)


def test_more_steps_after_the_end():
    s = simulation(steps=60)
    assert s.done
    s.extend(25)
    assert (s.done, s.total_steps, s.system.event_span, s.system.age) == (False, 85, 25, 0)
    while not s.done:
        s.step()
    assert s.system.step == 85
    with pytest.raises(OptionError):
        s.extend(0)


def test_all_that_was_done_can_be_done_again():
    first, again = simulation(), simulation()
    for step in range(45):
        first.step()
        if step in TOUCHES:
            TOUCHES[step](first)
    events = list(first.events)
    while again.system.step < 45:
        again.step()
        for event in events:
            if event[0] == again.system.step:
                again.apply(event)
    assert again.events == events
    assert (again.total_steps, again.changes) == (first.total_steps, first.changes)
    assert same(again.system, first.system)


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        ("set", "no json"),
        ("set", '{"key": "dynamics.eta"}'),
        ("set", '{"key": "dynamics.eta", "value": "much"}'),
        ("kick", '{"strength": "strong", "span": 3}'),
        ("kick", '{"strength": 1, "span": 3.5}'),
        ("move", '{"particle": 0, "first": 2, "q": [0, 0, 0], "v": [0, 0, 0]}'),
        ("move", "[]"),
        ("extend", '{"steps": -2}'),
        ("dance", "{}"),
    ],
)
def test_a_malformed_event_is_refused(kind, detail):
    s = simulation(steps=1)
    before = s.system
    with pytest.raises(FileFormatError, match="done again"):
        s.apply((1, kind, detail))
    assert s.system is before
    assert s.events == []


# Looking -------------------------------------------------------------------------------------------------------------


def test_looking_leaves_no_trace():
    watched, alone = (simulation("record.properties=['velocity','signal']") for _ in range(2))
    everything = ("velocity", "force", "lagrangian", "lambda", "signal", "emitted")
    for step in range(1, 15):
        watched.look(everything)
        for s in (watched, alone):
            s.step()
            if step == 9:
                s.set_parameter("dynamics.eta", 0.3)
        watched.look(("velocity",))
    one, other = watched.frame(), alone.frame()
    assert len(one.history["step"]) == 14
    assert one.events == other.events != ()
    assert one.scalars == other.scalars
    for left, right in ((one.history, other.history), (one.properties, other.properties)):
        assert left.keys() == right.keys()
        assert all(np.array_equal(left[k], right[k], equal_nan=True) for k in left)
    assert same(watched.system, alone.system)


def test_a_look_has_the_scalars_of_a_step_and_what_was_asked_for():
    s = simulation(steps=5)
    seen = s.look(("emitted", "signal"))
    of_frame, of_step = s.recorded_names()
    assert set(seen.scalars) == {*of_step, "speed_limit", "validation_accuracy"} < set(of_frame)
    assert set(seen.properties) == {"position", "emitted", "signal", *s.cast.groups}
    hidden = seen.properties["emitted"][s.cast.subsystem == 1]
    received = seen.properties["signal"][s.cast.subsystem == 1]
    assert (hidden <= received + 1e-6).all()  # ReLU takes, never adds
    assert (hidden > 0).any()
    assert seen.scalars["speed_limit"] == pytest.approx(seen.scalars["limit"] / s.scenario.dynamics.dt)
    with pytest.raises(OptionError, match="unknown property"):
        s.look(("loss",))


def test_a_recorded_frame_is_the_state_it_was(tmp_path):
    metric = "system.metric='plummer'"  # one that learns eps, so that every kind of group is there
    with start(scenario(metric), tmp_path / "r") as recording:
        seen = []
        while not recording.simulation.done:
            frame = recording.step()
            if frame is not None:
                s = recording.simulation
                seen.append((s.evaluate("test"), s.push(s.system, s.system.step)[0]))
    kinds = {name.split(":")[0] for name in recording.simulation.cast.groups}
    assert kinds == {"mu", "gain", "eps", "bias"}
    fresh = simulation(metric)
    with Trajectory(tmp_path / "r" / TRAJECTORY) as t:
        assert dict(t.cast.groups) == dict(fresh.cast.groups)
        for i, (evaluation, force) in enumerate(seen, start=1):
            state = fresh.state_at(t.frame(i))
            ours = fresh.evaluate("test", state)
            assert (ours.loss, ours.accuracy) == (evaluation.loss, evaluation.accuracy)
            again = fresh.push(state, state.step)[0]
            assert all(np.array_equal(force[k], again[k]) for k in force)
    with pytest.raises(ShapeError, match="not one of this system"):
        simulation().state_at(simulation("system.copies=2").frame())


# Run folders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [3, 14, 21, 33, 45])
def test_a_touched_run_goes_on_as_if_never_interrupted(touched, tmp_path, saved):
    whole, settings = touched
    with start(scenario(*settings), tmp_path / "part") as part:
        drive(part, saved)
        part.save()
        drive(part, min(saved + 9, 69), {k: lambda s: s.kick(5.0) for k in range(70)})  # another fate, and a kill
    with reopen(tmp_path / "part") as again:
        assert again.simulation.system.step == saved
        drive(again, 70, finish=True)
    assert same(again.simulation.system, whole.simulation.system)
    assert again.simulation.total_steps == 70
    assert_same_history(whole.folder / TRAJECTORY, again.folder / TRAJECTORY)
    assert (whole.folder / MODEL).read_bytes() == (again.folder / MODEL).read_bytes()


def test_what_was_done_after_a_checkpoint_at_the_same_step_is_forgotten_with_it(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        drive(recording, 14, {})
        recording.simulation.set_parameter("dynamics.eta", 0.3)
        recording.note()
        recording.save()
        recording.simulation.kick(9.0)
        recording.note()
    with reopen(tmp_path / "r") as again:
        assert again.simulation.scenario.dynamics.eta == 0.3
        again.step()
    with Trajectory(tmp_path / "r" / TRAJECTORY) as t:
        assert [kind for _, kind, _ in t.events] == ["set"]


def test_the_log_is_in_the_file_while_the_run_stands_still(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        drive(recording, 7, {})
        recording.simulation.kick()
        recording.note()
        recording.save()
        with Trajectory(tmp_path / "r" / TRAJECTORY) as t:
            assert [(step, kind) for step, kind, _ in t.events] == [(7, "kick")]
            assert len(t) == 2


def test_a_finished_run_may_be_extended_and_is_then_not_finished(tmp_path):
    with start(scenario("run.steps=14"), tmp_path / "r") as recording:
        drive(recording, 14, {}, finish=True)
    with reopen(tmp_path / "r") as recording:
        assert recording.folder.summary["steps"] == 14  # looking at it does not undo it
        recording.simulation.extend(6)
        recording.save()
        recording.step()
        assert recording.folder.summary is None
    folder, moved = resume(tmp_path / "r")
    assert moved
    assert folder.summary["steps"] == 20
    assert json.loads((folder / SUMMARY).read_text())["stopped"] == "all steps done"


@pytest.mark.parametrize("step", [0, 3, 14, 17, 21, 28, 35, 45, 70])
def test_a_branch_begins_with_the_same_bits(touched, tmp_path, step):
    whole, settings = touched
    source = RunFolder(shutil.copytree(whole.folder.path, tmp_path / "whole"))
    assert list(source.checkpoints) == [13, 36, 70]
    if step % 2:
        for path in source.checkpoints.values():
            path.unlink()  # replayed from step 0
    with branch(source.path, step, tmp_path / "b") as b:
        reference = simulation(*settings)
        reference.look()  # as every recording does at step 0, so that forces are known
        while reference.system.step < step:
            if reference.system.step in TOUCHES:
                TOUCHES[reference.system.step](reference)
            reference.step()
        assert same(b.simulation.system, reference.system)
        assert b.simulation.changes == reference.changes
        assert [row["step"] for row in b.simulation.pending] == list(range(step - step % 7 + 1, step + 1))
        assert set(b.folder.checkpoints) == {step, *(at for at in source.checkpoints if at <= step)}
        with Trajectory(whole.folder / TRAJECTORY) as t:
            for i in np.flatnonzero(t.steps == step):
                recorded = t.frame(int(i)).properties
                now = b.simulation.look(("velocity",)).properties
                assert all(np.array_equal(recorded[k], a) for k, a in now.items())
        # what was done at this step is not in the frame of this step, so it is done again here
        if step in TOUCHES:
            TOUCHES[step](b.simulation)
        drive(b, 70, {k: f for k, f in TOUCHES.items() if k != step})
    assert_same_history(whole.folder / TRAJECTORY, tmp_path / "b" / TRAJECTORY)
    with Trajectory(tmp_path / "b" / TRAJECTORY) as t:
        told = [(at, json.loads(detail)) for at, kind, detail in t.events if kind == "branch"]
        assert told == [(step, {"source": "whole", "step": step})]
        np.testing.assert_array_equal(t.history["step"], np.arange(1, t.steps[-1] + 1))


def test_a_branch_of_a_branch_of_a_running_run(tmp_path):
    with start(scenario(), tmp_path / "a") as a:
        drive(a, 33)
        a.save()
        with branch(tmp_path / "a", 32, tmp_path / "b") as b:  # behind the last frame, known from the checkpoint
            drive(b, 45, {38: lambda s: s.kick(2.0)})
            b.save()
            with branch(tmp_path / "b", 43, tmp_path / "c") as c:
                c.save()
            with branch(tmp_path / "b", 12, tmp_path / "d") as d:
                d.save()
            with pytest.raises(OptionError, match="has not been there"):
                branch(tmp_path / "b", 46, tmp_path / "e")
            with pytest.raises(OptionError, match="has not been there"):
                branch(tmp_path / "b", -1, tmp_path / "e")
            assert not (tmp_path / "e").exists()
    for name, last in (("b", 28), ("c", 28), ("d", 7)):
        assert_same_history(tmp_path / "a" / TRAJECTORY, tmp_path / name / TRAJECTORY, last)
    assert_same_history(tmp_path / "b" / TRAJECTORY, tmp_path / "c" / TRAJECTORY, 42)
    ours = simulation()
    for step in range(1, 44):
        ours.step()
        if step in TOUCHES and step < 32:
            TOUCHES[step](ours)
        if step == 38:
            ours.kick(2.0)
    state = simulation()
    checkpoint.load(RunFolder.open(tmp_path / "c").checkpoint, state)
    assert all(np.array_equal(ours.system.x[k], a) for k, a in state.system.x.items())
    folder, moved = resume(tmp_path / "c")
    assert moved
    assert folder.summary["steps"] == 60


def test_a_branch_of_a_run_that_was_resumed_with_more_steps(tmp_path):
    folder = runs.run(scenario("run.steps=20"), tmp_path / "r")
    resume(folder.path, ["run.steps=40"])
    for path in folder.checkpoints.values():
        path.unlink()
    with branch(folder.path, 35, tmp_path / "b") as b:
        assert b.simulation.total_steps == 40
        drive(b, 40, {})
    assert_same_history(folder / TRAJECTORY, tmp_path / "b" / TRAJECTORY)


def test_a_branch_leaves_out_what_was_done_at_its_step_even_where_a_checkpoint_knows_it(tmp_path):
    with start(scenario(), tmp_path / "r") as recording:
        drive(recording, 14, {14: lambda s: s.move(3, [3, 3, 3, 3])})
        recording.save()
    with branch(tmp_path / "r", 14, tmp_path / "b") as b, Trajectory(tmp_path / "r" / TRAJECTORY) as t:
        np.testing.assert_array_equal(b.simulation.look().properties["position"], t.frame(-1).properties["position"])
        assert b.simulation.motion_of(3)[0] != (3, 3, 3, 3)
        assert b.simulation.logged == 1  # only where it branched


def test_a_longer_run_that_is_killed_at_once_stays_longer(tmp_path):
    folder = runs.run(scenario("run.steps=20"), tmp_path / "r")
    reopen(folder.path, ["run.steps=40"]).close()
    with reopen(folder.path) as again:
        assert (again.simulation.system.step, again.simulation.total_steps) == (20, 40)
        assert (again.simulation.system.age, again.simulation.system.event_span) == (0, 20)


def test_branches_find_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = runs.run(scenario("run.steps=8"))
    for name in ("touched-branch", "touched-branch-2"):
        with branch(folder.path, 4) as b:
            assert b.folder.path.name == name


def test_checkpoints_are_thinned_evenly(tmp_path):
    with start(scenario("run.steps=400"), tmp_path / "r") as recording:
        for step in range(1, 201):
            recording.step()
            if step % 4 == 0:
                recording.save()
        folder = recording.folder
        steps = list(folder.checkpoints)
        assert len(steps) == KEPT_CHECKPOINTS
        assert steps[-1] == 200
        gaps = np.diff([0, *steps])
        assert gaps.max() <= 4 * gaps.min()
        assert folder.checkpoints_until(steps[3])[0] == folder.checkpoints[steps[3]]
        assert folder.checkpoints_until(steps[3] - 1)[0] == folder.checkpoints[steps[2]]
        assert folder.checkpoints_until(steps[0] - 1) == []
        assert folder.checkpoints[200].samefile(folder / CHECKPOINT)


def test_a_recording_is_closed_whatever_happens(tmp_path):
    recording = start(scenario(), tmp_path / "r")
    recording.simulation.system.x["q:input"][:] = np.nan
    with pytest.raises(DivergenceError), recording:
        recording.step()
    recording.close()
    with Trajectory(tmp_path / "r" / TRAJECTORY) as t:
        assert len(t) == 1
    recording = start(scenario(), tmp_path / "s")
    recording.close()
    recording.close()
