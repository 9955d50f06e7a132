"""An engine in a process of its own, and the feeds that its frames come from."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from dynsim import commands as c
from dynsim import runs
from dynsim.backend.inference import Model
from dynsim.conditions import Condition
from dynsim.engine import Engine
from dynsim.errors import OptionError
from dynsim.feed import FileFeed, LiveFeed, MemoryFeed
from dynsim.frame import Cast, Frame
from dynsim.ring import FrameRing
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.trajectory import Trajectory

PATIENCE = 60.0
QUICK = ("system.layers=['auto', 8, 'auto']", "system.copies=2", "record.every=5", "run.steps=60")


class Driver:
    """An engine with everything that it has said."""

    def __init__(self, plan=None):
        self.engine = Engine(plan)
        self.said = []
        self.feed = None

    def send(self, command):
        self.engine.send(command)

    def poll(self):
        for message in self.engine.poll():
            self.said.append(message)
            if isinstance(message, c.Opened) and message.live:
                if self.feed is not None:
                    self.feed.close()
                self.feed = LiveFeed(message)
            if isinstance(message, c.Report) and self.feed is not None:
                self.feed.take(message)

    def until(self, done, what="it"):
        """Poll until something is so; the value that it is so with."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.poll()
            value = done()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError(f"waited in vain for {what}; last said: {self.said[-3:]}")

    def heard(self, kind, since=0):
        return self.until(lambda: next((m for m in self.said[since:] if isinstance(m, kind)), None), kind.__name__)

    def report(self, test, since=0):
        reports = lambda: (m for m in self.said[since:] if isinstance(m, c.Report))  # noqa: E731
        return self.until(lambda: next((r for r in reports() if test(r)), None), "a report")

    def ask(self, question):
        got = []
        self.engine.ask(question, lambda value, error: got.append((value, error)))
        return self.until(lambda: got and got[0], "an answer")

    def frame(self):
        """The newest frame on the screen."""
        return self.until(lambda: self.feed.poll().frame, "a frame")

    def close(self):
        if self.feed is not None:
            if self.engine.lost:
                self.feed.release()
            self.feed.close()
        self.engine.close()


@pytest.fixture
def driver():
    made = []

    def make(plan=None):
        made.append(Driver(plan))
        return made[-1]

    yield make
    for d in made:
        d.close()
        assert d.engine.exit_code is not None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run folder."""
    return runs.run(Scenario.load("moons", QUICK), tmp_path_factory.mktemp("runs") / "moons")


def at_pause(d, step):
    return d.report(lambda r: r.step == step and r.phase in ("paused", "done"))


def test_steps_are_taken_recorded_and_reported_once(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Step(12))
    at_pause(d, 12)
    rows = np.concatenate([r.history["step"] for r in d.said if isinstance(r, c.Report) and len(r.history)])
    assert rows.tolist() == list(range(1, 13))
    d.send(c.Play())
    d.report(lambda r: r.phase == "done")
    d.close()
    with Trajectory(tmp_path / "run" / "trajectory.h5") as t:
        assert t.steps.tolist() == list(range(0, 61, 5))
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_the_engine_computes_what_a_headless_run_does(driver, tmp_path, finished):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.send(c.Play())
    d.report(lambda r: r.phase == "done")
    d.close()
    with Trajectory(tmp_path / "run" / "trajectory.h5") as ours, Trajectory(finished / "trajectory.h5") as theirs:
        assert np.array_equal(ours.frame(-1).properties["position"], theirs.frame(-1).properties["position"])
        assert dict(ours.frame(-1).scalars) == dict(theirs.frame(-1).scalars)


def test_a_frame_on_the_screen_is_the_frame_in_the_file(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Watch(("velocity", "lambda")))
    d.send(c.Step(10))
    at_pause(d, 10)
    live = d.until(lambda: (f := d.feed.poll().frame) and f.step == 10 and f, "the frame of step 10")
    recorded = d.until(lambda: (d.feed.poll() or True) and 10 in d.feed.steps and d.feed.frame(2), "the record")
    assert recorded.step == 10
    for name in ("position", "velocity", "lambda", "mu:input>hidden", "bias:hidden"):
        assert np.array_equal(live.properties[name], recorded.properties[name]), name
    assert "force" not in live.properties


def test_a_parameter_takes_effect_and_is_logged(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.SetParameter("dynamics.eta", 0.02))
    report = d.report(lambda r: r.parameters.get("dynamics.eta") == 0.02)
    assert report.events[0][:2] == (0, "set")
    d.send(c.Play())
    d.report(lambda r: r.phase == "done")
    d.close()
    with Trajectory(tmp_path / "run" / "trajectory.h5") as t:
        assert any(kind == "set" and "dynamics.eta" in detail for _, kind, detail in t.events)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (c.SetParameter("dynamics.dt", -1.0), "dt"),
        (c.SetParameter("system.dim", 3), "dim"),
        (c.Move(10**6, (0.0,)), "particle"),
        (c.Undo(), "nothing to undo"),
        (c.Speed(0.0), "speed"),
        (c.Breakpoint("accuracy"), "condition"),
        (c.Breakpoint("acuracy > 0.9"), "accuracy"),
        (c.Open(c.New("no such scenario")), "no such scenario"),
        (c.Open(c.Branch("nowhere", 3)), "no such folder"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_changes(driver, tmp_path, command, words):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(command)
    assert words in d.heard(c.Refused).message
    if not isinstance(command, c.Open):
        d.send(c.Step(3))
        at_pause(d, 3)


def test_undo_brings_a_dragged_particle_back_bit_by_bit(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Step(5))
    at_pause(d, 5)
    before = d.until(lambda: (f := d.feed.poll().frame) and f.step == 5 and f).properties["position"]
    dim = before.shape[1]
    for k in range(3):
        d.send(c.Move(4, tuple(np.full(dim, 0.5 + k)), gesture=1))
    moved = d.until(lambda: (f := d.feed.poll().frame) and f.properties["position"][4, 0] == 2.5 and f)
    assert np.array_equal(np.delete(moved.properties["position"], 4, 0), np.delete(before, 4, 0))
    d.send(c.Undo())
    again = d.until(lambda: (f := d.feed.poll().frame) and f.properties["position"][4, 0] != 2.5 and f)
    assert np.array_equal(again.properties["position"], before)


def test_a_killed_engine_is_noticed_and_its_run_goes_on_from_the_checkpoint(driver, tmp_path):
    d = driver(c.New("moons", (*QUICK, "run.steps=100000"), tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Step(20))
    at_pause(d, 20)
    d.send(c.Save())
    d.until(lambda: (tmp_path / "run" / "checkpoints" / "latest.safetensors").is_file())
    d.send(c.Play())
    d.report(lambda r: r.step > 25)
    os.kill(d.engine.pid, signal.SIGKILL)
    d.until(lambda: d.engine.lost, "the loss")
    d.close()
    assert d.engine.exit_code == -signal.SIGKILL
    other = driver(c.Resume(tmp_path / "run"))
    other.heard(c.Opened)
    assert other.frame().step >= 20


def test_closing_leaves_a_run_that_can_be_resumed(driver, tmp_path):
    d = driver(c.New("moons", (*QUICK, "run.steps=100000"), tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Play())
    d.report(lambda r: r.step > 10)
    d.close()
    assert d.engine.exit_code == 0
    recording = runs.reopen(tmp_path / "run")
    with recording:
        assert recording.simulation.system.step > 10


def test_a_branch_starts_bit_by_bit_where_the_other_run_was(driver, tmp_path, finished):
    d = driver(c.Branch(finished.path, 30, tmp_path / "branch"))
    opened = d.heard(c.Opened)
    assert opened.folder == tmp_path / "branch"
    frame = d.frame()
    with Trajectory(finished / "trajectory.h5") as t:
        recorded = t.frame(6)
    assert (frame.step, recorded.step) == (30, 30)
    assert np.array_equal(frame.properties["position"], recorded.properties["position"])
    d.send(c.Play())
    d.report(lambda r: r.phase == "done")
    d.close()
    with Trajectory(tmp_path / "branch" / "trajectory.h5") as ours, Trajectory(finished / "trajectory.h5") as theirs:
        assert ours.steps.tolist() == theirs.steps.tolist()
        assert np.array_equal(ours.frame(-1).properties["position"], theirs.frame(-1).properties["position"])


def test_it_pauses_when_a_condition_comes_true(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Breakpoint("step >= 17"))
    d.send(c.Play())
    report = at_pause(d, 17)
    assert report.note == "breakpoint: step >= 17"


def test_a_capped_engine_is_no_faster_than_its_cap(driver, tmp_path):
    d = driver(c.New("moons", (*QUICK, "run.steps=100000"), tmp_path / "run"))
    d.heard(c.Opened)
    d.send(c.Speed(20.0))
    d.send(c.Play())
    first = d.report(lambda r: r.step > 0)
    begun = time.monotonic()
    last = d.report(lambda r: r.step >= first.step + 15)
    # A step may be due at once, and another may be on its way.
    assert last.step - first.step <= 20 * (time.monotonic() - begun) + 4


def test_play_after_the_end_goes_on_with_a_learning_event(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "run"))
    d.send(c.Play())
    d.report(lambda r: r.phase == "done" and r.step == 60)
    since = len(d.said)
    d.send(c.Play())
    report = d.report(lambda r: r.phase == "done" and r.step == 120, since)
    assert report.total == 120


def test_questions_about_a_recorded_frame_are_answered_as_of_then(driver, finished):
    d = driver(c.Open(c.Look(finished.path)).plan)
    opened = d.heard(c.Opened)
    assert not opened.live
    assert opened.classes == (0, 1)
    simulation = Simulation(finished.scenario)
    with Trajectory(finished / "trajectory.h5") as t:
        last, first = t.frame(-1), t.frame(0)
    answers = [d.ask(c.Evaluate("test", frame=f))[0] for f in (first, last)]
    assert [a.step for a in answers] == [0, 60]
    assert answers[1].accuracy == finished.summary["final"]["test_accuracy"]
    assert answers[0].accuracy == simulation.evaluate("test").accuracy
    X = simulation.data.test.x[:5] * simulation.data.scaling.scale + simulation.data.scaling.centre
    prediction = d.ask(c.Predict(X, frame=last))[0]
    from dynsim.backend.formats import load_model

    model: Model = load_model(finished.model)
    assert np.allclose(prediction.probabilities, model.probabilities(X), atol=1e-6)


def test_an_unanswerable_question_gets_its_reason(driver, finished):
    d = driver(c.Look(finished.path))
    d.heard(c.Opened)
    value, error = d.ask(c.Predict(np.zeros((1, 3), np.float32)))
    assert value is None
    assert "features" in error


def test_another_can_be_opened_in_the_same_engine(driver, tmp_path):
    d = driver(c.New("moons", QUICK, tmp_path / "a"))
    d.heard(c.Opened)
    since = len(d.said)
    d.send(c.Open(c.New("two_particles", (), tmp_path / "b")))
    opened = d.heard(c.Opened, since)
    assert opened.cast.n == 2
    assert opened.classes == ()
    d.send(c.Step(2))
    at_pause(d, 2)


# Feeds -------------------------------------------------------------------------------------------------------------


def test_a_finished_file_is_told_once_and_wholly(finished):
    feed = FileFeed(finished / "trajectory.h5", period=0.0)
    news = feed.poll()
    assert news.frame.step == 60
    assert news.history["step"].tolist() == list(range(1, 61))
    assert news.scalars["step"].tolist() == feed.steps.tolist() == list(range(0, 61, 5))
    assert not feed.poll()
    with Trajectory(finished / "trajectory.h5") as t:
        assert np.array_equal(feed.frame(3).properties["position"], t.frame(3).properties["position"])
    steps, values = feed.trace(7, "position", most=4)
    assert steps[[0, -1]].tolist() == [0, 60]
    assert np.array_equal(values[-1], feed.frame(12).properties["position"][7])
    feed.close()


def test_memory_and_file_tell_the_same(finished):
    with Trajectory(finished / "trajectory.h5") as t:
        memory = MemoryFeed(t.cast, [t.frame(i) for i in range(len(t))], t.scenario)
        of_file = FileFeed(finished / "trajectory.h5", period=0.0)
        a, b = memory.poll(), of_file.poll()
        assert np.array_equal(a.history["loss"], b.history["loss"])
        assert np.array_equal(a.scalars["loss"], b.scalars["loss"], equal_nan=True)
        assert a.events == b.events
        assert np.array_equal(memory.trace(3, "position")[1], of_file.trace(3, "position")[1])
        of_file.close()


# The ring ------------------------------------------------------------------------------------------------------------


def small_cast(n=2000, dim=4):
    return Cast(
        subsystems=("a",),
        subsystem=np.zeros(n, np.int32),
        index=np.arange(n, dtype=np.int32),
        copy=np.zeros(n, np.int32),
        mass=np.ones(n, np.float32),
        projection=np.eye(3, dim, dtype=np.float32),
        groups={"mu:a>a": (2,)},
    )


def test_no_frame_from_the_ring_is_torn():
    cast = small_cast()
    ring = FrameRing(cast)
    reader = FrameRing(cast, ring.name)
    stop = threading.Event()

    def write():
        k = 0
        while not stop.is_set():
            k += 1
            q = np.full((cast.n, cast.dim), k, np.float32)
            ring.publish(Frame(k, float(k), q[:, :3], {"position": q, "mu:a>a": q[:2, 0]}, {}))

    thread = threading.Thread(target=write)
    thread.start()
    seen, looked = 0, 0
    while looked < 300:
        frame = reader.newest(seen)
        if frame is None:
            continue
        looked += 1
        assert frame.revision > seen
        seen = frame.revision
        assert (frame.properties["position"] == frame.step).all()
        assert (frame.properties["mu:a>a"] == frame.step).all()
        assert frame.time == frame.step
        assert set(frame.properties) == {"position", "mu:a>a"}
    stop.set()
    thread.join()
    reader.close()
    ring.close()


def test_an_empty_ring_has_no_frame():
    cast = small_cast(3)
    ring = FrameRing(cast)
    assert ring.newest() is None
    ring.close()


@pytest.mark.parametrize(
    ("text", "scalars", "true"),
    [
        ("accuracy > 0.97", {"accuracy": 0.98}, True),
        ("accuracy > 0.97", {"accuracy": 0.97}, False),
        ("accuracy>=.97", {"accuracy": 0.97}, True),
        ("loss < 1e-3", {"loss": 5e-4}, True),
        ("loss < 1e-3", {}, False),
        ("loss < 1e-3", {"loss": float("nan")}, False),
    ],
)
def test_conditions(text, scalars, true):
    assert Condition.of(text, {"accuracy": 0, "loss": 0}).holds(scalars) is true


@pytest.mark.parametrize("text", ["accuracy", "accuracy > x", "> 3", "__import__('os') > 1", "a > 1 > 0", ""])
def test_no_conditions(text):
    with pytest.raises(OptionError):
        Condition.of(text, {"accuracy": 0.0, "a": 0.0, "x": 0.0})


def test_a_condition_on_what_is_not_measured_names_what_is():
    with pytest.raises(OptionError, match="accuracy"):
        Condition.of("acuracy > 0.9", {"accuracy": 0.0})
