"""The window as a person uses it: real engines, real run folders, keys and mouse."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QFileDialog, QInputDialog, QTableWidget

from dynsim import commands as c
from dynsim import runs
from dynsim.backend.formats import load_model
from dynsim.backend.questions import answer
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.trajectory import Trajectory
from dynsim_gui import theme
from dynsim_gui.actions import ACTIONS
from dynsim_gui.models import palette
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import quantities
from dynsim_gui.models.viewer import Viewer
from dynsim_gui.window import Window

PATIENCE = 60.0
QUICK = ("system.layers=['auto', 8, 'auto']", "system.copies=4", "record.every=5", "run.steps=60")
ENDLESS = (*QUICK, "run.steps=1000000")
LEFT = Qt.MouseButton.LeftButton
KEYS = [(a.id, key) for a in ACTIONS for key in a.keys]


class Desk:
    """A window, and a person before it who waits for what must come."""

    def __init__(self) -> None:
        self.viewer = Viewer(Appearance(packets=False))  # a software renderer would draw nothing else
        self.window = Window(self.viewer)
        self.failures = []
        self.viewer.failed.connect(self.failures.append)
        self.window.show()
        self.front()

    def until(self, done, what="it"):
        """The value that something becomes true with, while the window lives on."""
        end = time.monotonic() + PATIENCE
        while not (value := done()):
            assert time.monotonic() < end, f"waited in vain for {what}: {self.viewer.status}, {self.said}"
            QTest.qWait(5)
        return value

    def press(self, keys: str) -> None:
        """A key where the focus is."""
        combination = QKeySequence(keys)[0]
        target = QApplication.focusWidget() or self.window
        QTest.keyClick(target, combination.key(), combination.keyboardModifiers())

    @property
    def said(self) -> str:
        """What the banner says."""
        return self.window.banner.text.text() if self.window.banner.isVisible() else ""

    @property
    def step(self) -> int:
        """Shown on the screen."""
        return self.viewer.shown.step

    @property
    def position(self) -> np.ndarray:
        return self.viewer.shown.properties["position"]

    def open(self, plan, *, play=False) -> None:
        """And wait until it is there."""
        self.window.open(plan, play=play)
        live = not isinstance(plan, c.Look)
        self.until(
            lambda: self.viewer.run is not None and self.viewer.run.live == live and self.viewer.shown, "a frame"
        )
        if not live:
            self.until(lambda: self.viewer.run.links, "the engine behind the replay")

    def pause(self) -> None:
        """Where it is; the last frame is on the screen."""
        self.window.actions_["last"].trigger()
        self.viewer.pause()
        still = lambda: self.viewer.status.phase in ("paused", "done") and self.step == self.viewer.status.step  # noqa: E731
        self.until(still, "a pause")

    def take(self, steps: int) -> None:
        """So many steps of the engine."""
        self.until(lambda: self.viewer.status.step == self.step, "the engine's report")
        wanted = self.step + steps
        self.viewer.step(steps)
        self.until(lambda: self.step == wanted and self.viewer.status.phase != "running", f"step {wanted}")

    def seek(self, step: int) -> None:
        """To a recorded frame, until it is seen."""
        self.viewer.seek_step(step)
        self.until(lambda: not self.viewer.playback.follow and self.step == step, f"frame {step}")
        place = self.window.particles.stage.view
        self.until(lambda: np.array_equal(self.window.particles.positions, place(self.position)), "the picture")

    def logged(self, kind: str) -> list[str]:
        """Details of the events of a kind that the window knows of."""
        return [detail for _, k, detail in self.viewer.logged if k == kind]

    def click(self, x: float, y: float) -> None:
        QTest.mouseClick(self.window.particles.scene.canvas.native, LEFT, pos=QPoint(round(x), round(y)))

    def front(self) -> None:
        """Before all other windows, with the keyboard."""
        self.window.raise_()
        self.window.activateWindow()
        self.until(self.window.isActiveWindow, "the window to be active")
        self.window.particles.scene.canvas.native.setFocus()

    def leave(self) -> None:
        """Nothing is open any more."""
        self.viewer.close()
        self.viewer.run = self.viewer.shown = None
        self.viewer.status.phase = "empty"
        self.window.banner.hide()
        self.window.update_actions()

    def close(self) -> None:
        self.window.close()
        self.window.deleteLater()


@pytest.fixture(scope="module")
def home(tmp_path_factory, qapp):
    """Runs without a folder of their own, and the window's memory, go here."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home").resolve()
        patch.setenv("DYNSIM_GUI_MEMORY", str(folder / "window.json"))
        patch.chdir(folder)
        theme.apply(qapp)
        yield folder


@pytest.fixture(scope="module")
def finished(home):
    """A finished run folder of moons."""
    return runs.run(Scenario.load("moons", QUICK), home / "finished")


@pytest.fixture(scope="module")
def digits(home):
    """A finished run folder of digits."""
    settings = ("system.layers=['auto', 12, 'auto']", "record.every=20", "run.steps=60")
    return runs.run(Scenario.load("quickstart", settings), home / "digits")


@pytest.fixture(scope="module")
def live(home, qapp):
    """A window on an engine that could go on for long; tests pause it when they begin."""
    desk = Desk()
    desk.viewer.playback.speed = None
    desk.open(c.New("moons", ENDLESS, home / "live"))
    desk.take(12)
    yield desk
    desk.close()


@pytest.fixture
def running(live):
    """The same window, paused at its newest step."""
    live.front()
    live.pause()
    live.window.banner.hide()
    yield live
    live.viewer.select(None)
    live.pause()


@pytest.fixture(scope="module")
def replaying(finished, qapp):
    """A window on the finished run."""
    desk = Desk()
    desk.open(c.Look(finished.path))
    yield desk
    desk.close()


@pytest.fixture
def replay(replaying):
    """The same window at the last frame."""
    replaying.front()
    replaying.viewer.playback.loop, replaying.viewer.playback.rate = False, 30.0
    replaying.press("F")
    replaying.seek(60)
    yield replaying
    replaying.viewer.pause()


@pytest.fixture(scope="module")
def empty(home, qapp):
    """A window on nothing."""
    desk = Desk()
    yield desk
    desk.close()


@pytest.fixture
def desk(empty):
    """The same window, for what a test opens."""
    empty.front()
    yield empty
    empty.leave()


# The table of actions --------------------------------------------------------------------------------------------


def test_no_key_is_given_twice(live):
    keys = [QKeySequence(key).toString() for _, key in KEYS]
    keys += [dock.toggleViewAction().shortcut().toString() for dock in live.window.docks.values()]
    assert "Ctrl+6" in keys
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize(("name", "key"), KEYS, ids=[f"{name} {key}" for name, key in KEYS])
def test_every_key_does_its_action_and_no_other(live, monkeypatch, name, key):
    done = []
    monkeypatch.setattr(live.window, "perform", lambda action: done.append(action.id))
    live.window.refresh.stop()
    for action in live.window.actions_.values():
        action.setEnabled(True)
    live.press(key)
    live.window.refresh.start()
    live.window.update_actions()
    assert done == [name]


def test_panels_are_shown_and_hidden_by_their_keys(running):
    for k, dock in enumerate(running.window.docks.values()):
        shown = dock.toggleViewAction().isChecked()
        running.press(f"Ctrl+{k + 1}")
        assert dock.toggleViewAction().isChecked() is not shown
        running.press(f"Ctrl+{k + 1}")
        assert dock.toggleViewAction().isChecked() is shown


def test_actions_are_offered_only_where_they_can_be_done(desk, finished):
    enabled = lambda: {name for name, a in desk.window.actions_.items() if a.isEnabled()}  # noqa: E731
    assert not enabled() & {"play", "forward", "back", "branch", "kick", "undo", "reset", "movie", "screenshot"}
    desk.open(c.Look(finished.path))
    desk.until(lambda: "play" in enabled(), "the actions")
    assert {"play", "forward", "back", "branch", "reset", "loop", "movie"} <= enabled()
    assert not enabled() & {"kick", "undo", "break", "save", "free"}


def test_keys_typed_into_a_box_are_text(running):
    box = running.window.parameters.rows["dynamics.eta"].box
    box.lineEdit().setFocus()
    running.until(lambda: QApplication.focusWidget() in (box, box.lineEdit()), "the focus")
    links, speed = running.viewer.appearance.links, running.viewer.playback.speed
    box.lineEdit().selectAll()
    for key in "0.125":
        running.press(key)
    assert box.lineEdit().text() == "0.125"
    assert (running.viewer.appearance.links, running.viewer.playback.speed) == (links, speed)
    running.press("Return")
    running.until(lambda: running.viewer.parameters["dynamics.eta"] == 0.125, "the engine to take it")
    running.window.particles.scene.canvas.native.setFocus()


# Time: live ------------------------------------------------------------------------------------------------------


def test_space_plays_and_pauses(running):
    before = running.step
    running.press("Space")
    running.until(lambda: running.viewer.status.phase == "running" and running.step > before, "steps")
    running.until(lambda: running.window.header.phase.text() == "running", "the header")
    running.until(running.window.actions_["play"].isChecked, "the button")
    running.press("Space")
    running.until(lambda: running.viewer.status.phase == "paused", "a pause")
    running.until(lambda: running.window.header.phase.text() == "paused", "the header")
    assert not running.viewer.playing


def test_a_step_is_one_step(running):
    before = running.step
    for key, steps in (("Right", 1), (".", 1), ("Shift+Right", 10)):
        running.press(key)
        before += steps
        running.until(lambda: running.step == running.viewer.status.step >= before, f"step {before}")  # noqa: B023
        running.until(lambda: not running.viewer.playing, "the pause")
        assert running.step == running.viewer.history.last_step == before


def test_back_shows_what_was_recorded_while_the_engine_goes_on(running):
    running.press("Space")
    running.until(lambda: running.viewer.status.phase == "running", "the engine")
    running.press("Left")
    viewer = running.viewer
    running.until(lambda: not viewer.playback.follow and viewer._shown_index == viewer.playback.index >= 0, "the past")
    step, index = running.step, viewer.playback.index
    with Trajectory(running.viewer.run.folder / "trajectory.h5") as t:
        assert t.frame(index).step == step
        assert np.array_equal(running.position, t.frame(index).properties["position"])
    later = running.viewer.status.step + 10
    running.until(lambda: running.viewer.status.step > later, "the engine to go on")
    assert running.step == step
    assert running.viewer.status.phase == "running"
    running.press("Left")
    running.until(lambda: running.step == step - 5, "the frame before")
    running.press("Home")
    running.until(lambda: running.step == 0, "the first frame")
    running.press("End")
    running.until(lambda: running.viewer.playback.follow and running.step > later, "the newest frame")


def test_scrubbing_the_slider_leads_to_the_frame(running):
    slider = running.window.timeline.slider
    running.until(lambda: slider.maximum() == len(running.viewer.feed.steps) - 1, "the slider")
    QTest.mouseClick(slider, LEFT, pos=QPoint(slider.place(1), slider.height() // 2))
    running.until(lambda: running.step == 5, "the second frame")
    with Trajectory(running.viewer.run.folder / "trajectory.h5") as t:
        assert np.array_equal(running.position, t.frame(1).properties["position"])
    running.until(lambda: "step 5" in running.window.timeline.label.text(), "the label")


def test_the_speed_has_keys_and_is_shown(running):
    p, box = running.viewer.playback, running.window.timeline.speed
    p.speed = 30.0
    running.press("+")
    assert p.speed == 60.0
    running.until(lambda: box.currentText() == "60 steps/s", "the speed")
    running.press("-")
    running.press("-")
    assert p.speed == 15.0
    running.press("0")
    assert p.speed is None
    running.until(lambda: box.currentText() == "max", "the speed")


def test_it_stops_when_a_condition_comes_true(running, monkeypatch):
    wanted = running.step + 7
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, **k: (f"step >= {wanted}", True))
    running.press("Ctrl+B")
    running.press("Space")
    running.until(lambda: running.viewer.status.note.startswith("breakpoint"), "the breakpoint")
    running.until(lambda: running.step == wanted and running.viewer.status.phase == "paused", "the pause")
    running.until(lambda: "breakpoint" in running.window.header.progress.text(), "the header")
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, **k: ("accuracy", True))
    running.press("Ctrl+B")
    running.until(lambda: "not a condition" in running.said, "the reason")
    monkeypatch.setattr(QInputDialog, "getText", lambda *a, **k: ("", True))
    running.press("Ctrl+B")


def test_saving_writes_a_checkpoint(running):
    running.take(1)
    step, folder = running.step, running.viewer.run.folder
    running.press("Ctrl+S")
    running.until(lambda: list((folder / "checkpoints").glob(f"*{step}*")), "the checkpoint")


# Touch -----------------------------------------------------------------------------------------------------------


def test_a_kick_is_logged_and_marked(running):
    kicks = len(running.logged("kick"))
    running.press("K")
    running.until(lambda: len(running.logged("kick")) == kicks + 1, "the event")
    running.take(5)
    marks = lambda: [kind for _, kind, _ in running.window.timeline.slider.events]  # noqa: E731
    running.until(lambda: "kick" in marks(), "the mark")


def test_a_slider_reaches_the_engine_and_the_trajectory(running):
    row = running.window.parameters.rows["dynamics.confinement"]
    position = row.parameter.position(0.02)
    row.slider.setValue(position)
    value = row.parameter.value(position)
    running.until(lambda: running.viewer.parameters["dynamics.confinement"] == value, "the engine to take it")
    assert any("dynamics.confinement" in detail for detail in running.logged("set"))
    running.take(6)

    def recorded():
        with Trajectory(running.viewer.run.folder / "trajectory.h5") as t:
            return any(kind == "set" and f'"value": {value}' in detail for _, kind, detail in t.events)

    running.until(recorded, "the event in the file")
    assert not row.complaint.isVisible()
    row.settle(0.0)
    running.until(lambda: running.viewer.parameters["dynamics.confinement"] == 0.0, "the engine to take it back")


def test_a_refused_value_is_explained_at_its_row(running):
    running.window.bring("touch")
    row = running.window.parameters.rows["dynamics.dt"]
    before = running.viewer.parameters["dynamics.dt"]
    row.box.lineEdit().setFocus()
    row.box.lineEdit().selectAll()
    QTest.keyClicks(row.box, "-2")
    QTest.keyClick(row.box, Qt.Key.Key_Return)
    running.until(row.complaint.isVisible, "the complaint")
    assert "dt" in row.complaint.text()
    assert running.viewer.parameters["dynamics.dt"] == before
    row.settle(before)
    running.until(lambda: not row.complaint.isVisible(), "the complaint to go")
    running.window.particles.scene.canvas.native.setFocus()


def seen(desk, index):
    """Pixel (x, y) of a particle on the canvas."""
    return desk.window.particles.scene.project(desk.window.particles.positions)[0][index]


def unobstructed(desk, margin=14.0):
    """Particles on the canvas that no other is near to."""
    scene = desk.window.particles.scene
    pixels, depth = scene.project(desk.window.particles.positions)
    away = np.hypot(*(pixels[:, None] - pixels[None]).transpose(2, 0, 1))
    np.fill_diagonal(away, np.inf)
    width, height = scene.canvas.size
    inside = (pixels > 10).all(axis=1) & (pixels < (width - 10, height - 10)).all(axis=1)
    return [int(k) for k in np.flatnonzero((away.min(axis=1) > margin) & inside & (depth > 0))]


def test_a_click_selects_the_particle_under_the_mouse(replay):
    replay.seek(0)
    replay.press("F")
    cast, sample = replay.viewer.run.cast, []
    while len(sample) < 30:
        QApplication.processEvents()  # a panel that has come to the front may have moved the canvas
        particle = next(k for k in unobstructed(replay) if k not in sample)
        replay.click(*seen(replay, particle))
        assert replay.viewer.selected == (particle,)
        sample.append(particle)
    assert replay.window.docks["particle"].isVisible()
    name = cast.subsystems[cast.subsystem[particle]]
    replay.until(lambda: name in replay.window.inspector.title.text(), "the inspector")
    replay.press("Esc")
    assert replay.viewer.selected == ()


def test_a_dragged_particle_moves_in_the_engine_and_comes_back(running):
    running.take(1)
    view, viewer = running.window.particles, running.viewer
    native = view.scene.canvas.native
    particle = unobstructed(running)[0]
    running.click(*seen(running, particle))
    assert viewer.selected == (particle,)
    running.until(lambda: "force" in viewer.shown.properties, "the numbers of the selected")
    before, others = running.position.copy(), np.arange(viewer.run.cast.n) != particle
    QApplication.processEvents()
    start = QPoint(*(round(v) for v in seen(running, particle)))
    QTest.mousePress(native, LEFT, pos=start)
    for k in range(1, 5):
        QTest.mouseMove(native, start + QPoint(9 * k, -5 * k))
        QApplication.processEvents()
    QTest.mouseRelease(native, LEFT, pos=start + QPoint(36, -20))
    running.until(lambda: running.logged("move") and not np.array_equal(running.position, before), "the move")
    assert np.array_equal(running.position[others], before[others])
    running.until(lambda: "accuracy" in view.said.text(), "the classifier's answer")
    end = start.x() + 36, start.y() - 20
    running.until(lambda: np.hypot(*(seen(running, particle) - end)) < 3, "the particle under the mouse")
    moves = len(running.logged("move"))
    running.press("Ctrl+Z")
    running.until(lambda: len(running.logged("move")) > moves, "the undoing")
    running.until(lambda: np.array_equal(running.position, before), "the exact place")


# Looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["links", "packets", "trails", "shapes", "spin"])
def test_switches(running, name):
    key = next(k for n, k in KEYS if n == name)
    look, action = running.viewer.appearance, running.window.actions_[name]
    before = getattr(look, name)
    running.press(key)
    assert getattr(look, name) is not before
    assert action.isChecked() is not before
    running.press(key)
    assert getattr(look, name) is before
    assert action.isChecked() is before


def test_colours_go_round(running):
    offered = quantities(running.viewer.run.cast)
    look, names = running.viewer.appearance, list(offered)
    seen = []
    for _ in names:
        running.press("C")
        seen.append(look.colour_by)
        wanted = offered[look.colour_by]
        running.until(lambda: not wanted.missing(running.viewer.shown), f"frames with {look.colour_by}")  # noqa: B023
    assert sorted(seen) == sorted(names)
    running.press("Shift+C")
    assert look.colour_by == seen[-2]
    running.press("C")


def test_axes_and_principal_axes(running):
    look, view = running.viewer.appearance, running.window.particles
    q = running.position
    running.until(lambda: np.allclose(view.positions, q[:, :3]), "the first axes")
    running.press("X")
    assert look.axes == (3, 4, 5)
    running.until(lambda: np.allclose(view.positions, q[:, 3:6]), "the next axes")
    running.press("P")
    assert look.projection == "pca"
    running.until(lambda: view.positions.std() > q[:, :3].std(), "the widest axes")
    running.press("P")
    look.axes = (0, 1, 2)
    running.until(lambda: np.allclose(view.positions, q[:, :3]), "the first axes again")


def test_fit_brings_all_particles_back(running):
    scene = running.window.particles.scene
    running.window.particles.place_camera(scene.camera_state() | {"center": [50.0, 0.0, 0.0]})
    assert not unobstructed(running)
    running.press("F")
    running.until(lambda: unobstructed(running), "the particles")


def test_full_screen_and_back(running):
    running.press("F11")
    running.until(running.window.isFullScreen, "the full screen")
    running.press("F11")
    running.until(lambda: not running.window.isFullScreen(), "the window")


# Dialogs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "kind"), [("Ctrl+N", "ScenarioDialog"), ("Ctrl+D", "OpenDataDialog"), ("F1", "QDialog")]
)
def test_a_dialog_opens_beside_the_window(running, key, kind):
    running.press(key)
    dialogs = lambda: [d for d in running.window.findChildren(QDialog) if d.isVisible()]  # noqa: E731
    dialog = running.until(dialogs, "the dialog")[0]
    assert type(dialog).__name__ == kind
    assert not dialog.isModal()
    if key == "F1":
        table = dialog.findChild(QTableWidget)
        rows = {tuple(table.item(r, k).text() for k in (1, 2)) for r in range(table.rowCount())}
        assert {(a.text.rstrip("…"), " or ".join(a.keys)) for a in ACTIONS} <= rows
    dialog.close()
    running.until(lambda: not dialogs(), "the dialog to close")


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("Ctrl+O", "getExistingDirectory"),
        ("Ctrl+Shift+O", "getOpenFileName"),
        ("F12", "getSaveFileName"),
        ("Ctrl+M", "getSaveFileName"),
        ("Ctrl+E", "getSaveFileName"),
    ],
)
def test_files_are_asked_for_and_may_be_declined(running, monkeypatch, key, asked):
    titles = []

    def decline(parent, title, *rest):
        titles.append(title)
        return "" if asked == "getExistingDirectory" else ("", "")

    monkeypatch.setattr(QFileDialog, asked, decline)
    running.until(running.window.actions_["movie"].isEnabled, "a recorded frame")
    run = running.viewer.run
    running.press(key)
    assert len(titles) == 1
    assert running.viewer.run is run
    assert not running.said


def test_pictures_and_tables_are_saved(running, monkeypatch, tmp_path):
    picture, table = tmp_path / "a.png", tmp_path / "a.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a: (str(picture), ""))
    running.press("F12")
    assert len(np.unique(np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3), axis=0)) > 50
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a: (str(table), ""))
    running.press("Ctrl+E")
    assert len(table.read_text().splitlines()) > len(running.viewer.history)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a: (str(tmp_path / "no" / "b.png"), ""))
    running.press("F12")
    assert "b.png" in running.said


# Replay ----------------------------------------------------------------------------------------------------------


@contextmanager
def noted(desk):
    """The steps of the frames that are shown meanwhile."""
    steps, note = [], lambda: steps.append(desk.step)
    desk.viewer.frame_changed.connect(note)
    yield steps
    desk.viewer.frame_changed.disconnect(note)


def test_a_finished_run_is_replayed(replay):
    replay.until(lambda: replay.window.header.phase.text() == "replay", "the header")
    with noted(replay) as steps:
        replay.press("Space")
        assert replay.viewer.playing
        replay.until(lambda: not replay.viewer.playing and replay.step == 60, "the end")
    assert steps == sorted(set(steps))
    assert len(steps) > 2


def test_steps_of_a_replay_are_frames(replay):
    for key, step in (("Left", 55), ("Shift+Left", 5), ("Right", 10), ("Home", 0), (",", 0), ("Shift+Right", 50)):
        replay.press(key)
        replay.until(lambda: replay.step == step, f"step {step} after {key}")  # noqa: B023
    replay.press("Ctrl+R")
    replay.until(lambda: replay.step == 0, "the first frame")


def test_the_rate_of_a_replay_has_keys(replay):
    replay.press("-")
    assert replay.viewer.playback.rate == 15.0
    replay.until(lambda: replay.window.timeline.speed.currentText() == "15 frames/s", "the rate")


def test_a_loop_goes_round_until_it_is_paused(replay):
    replay.viewer.playback.rate = 120.0
    replay.press("O")
    assert replay.viewer.playback.loop
    with noted(replay) as steps:
        replay.press("Space")
        replay.until(lambda: sum(b < a for a, b in zip(steps, steps[1:])) >= 2, "two rounds")
        assert replay.viewer.playing
        replay.press("Space")
    assert not replay.viewer.playing


def test_every_frame_of_a_replay_is_that_of_the_file(replay, finished):
    with Trajectory(finished / "trajectory.h5") as t:
        for i in range(len(t)):
            frame = t.frame(i)
            replay.seek(frame.step)
            assert np.array_equal(replay.position, frame.properties["position"])
            assert np.array_equal(replay.window.particles.positions, frame.positions)


def test_a_run_that_is_still_written_appears_on_the_screen(desk, home):
    folder = home / "headless"
    settings = [a for s in ENDLESS for a in ("--set", s)]
    start = [sys.executable, "-m", "dynsim", "run", "moons", *settings, "--out", str(folder), "--quiet"]
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        desk.until(lambda: (folder / "trajectory.h5").is_file() or process.poll() is not None, "the file")
        assert process.poll() is None, process.stderr.read().decode()
        desk.until(lambda: attached(desk, folder), "the first frame")
        first = desk.step
        desk.until(lambda: desk.step > first + 50 and desk.viewer.playback.follow, "new frames")
        desk.until(lambda: "following" in desk.window.header.phase.text(), "the header")
        desk.press("Home")
        desk.until(lambda: desk.step == 0, "the first frame")
        known = desk.viewer.status.step
        desk.until(lambda: desk.viewer.status.step > known + 50, "the run to go on")
        assert desk.step == 0
        desk.press("L")
        desk.until(lambda: desk.step > known, "the newest frame")
    finally:
        process.terminate()
        process.communicate()
    desk.until(lambda: desk.step == last_recorded(folder), "the last frame")


def attached(desk, folder):
    """Whether the window has opened a run folder; its file may not be ready at the first try."""
    desk.window.open(c.Look(folder))
    return desk.viewer.shown is not None


def last_recorded(folder):
    with Trajectory(folder / "trajectory.h5") as t:
        return int(t.steps[-1])


def test_a_branch_goes_on_where_it_was_looked_at(desk, finished, home):
    desk.open(c.Look(finished.path))
    desk.viewer.playback.speed = 1.0
    desk.window.timeline.slider.setValue(6)
    desk.until(lambda: desk.step == 30, "frame 6")
    place = desk.position.copy()
    starts = []
    desk.viewer.frame_changed.connect(lambda: starts.append((desk.viewer.run.live, desk.step)))
    desk.press("B")
    desk.until(lambda: desk.viewer.live and desk.viewer.status.phase == "running", "the branch")
    desk.until(lambda: any(live for live, _ in starts), "a frame of the branch")
    step = next(s for live, s in starts if live)
    assert 30 <= step < 40  # it plays at once, a step a second
    folder = desk.viewer.run.folder
    assert folder.parent == (home / "runs").resolve()
    assert folder != finished.path
    desk.viewer.playback.speed = None
    desk.until(lambda: desk.viewer.status.phase == "done", "the end")
    desk.viewer.close()
    with Trajectory(folder / "trajectory.h5") as ours, Trajectory(finished / "trajectory.h5") as theirs:
        assert ours.steps.tolist() == theirs.steps.tolist()
        assert np.array_equal(ours.frame(6).properties["position"], place)
        assert np.array_equal(ours.frame(-1).properties["position"], theirs.frame(-1).properties["position"])


def test_reset_begins_anew_in_another_folder(desk, home):
    desk.open(c.New("two_particles"))
    old = desk.viewer.run.folder
    desk.take(4)
    desk.press("Ctrl+R")
    desk.until(lambda: desk.viewer.run.folder != old and desk.viewer.shown is not None, "the other run")
    desk.until(lambda: desk.viewer.status.phase == "paused", "a pause")
    assert desk.step == 0
    assert old.is_dir()
    assert (desk.viewer.run.folder / "trajectory.h5").is_file()
    assert desk.window.windowTitle().startswith(desk.viewer.run.folder.name)


# Misfortunes -----------------------------------------------------------------------------------------------------


def test_a_killed_engine_leaves_the_window_and_a_way_on(desk, home):
    desk.open(c.New("moons", ENDLESS, home / "killed"))
    desk.viewer.playback.speed = None
    desk.take(20)
    desk.press("Ctrl+S")
    desk.until(lambda: (home / "killed" / "checkpoints" / "latest.safetensors").is_file(), "the checkpoint")
    desk.press("Space")
    desk.until(lambda: desk.step > 30, "steps")
    os.kill(desk.viewer.engine.pid, signal.SIGKILL)
    desk.until(lambda: desk.viewer.status.phase == "crashed", "the loss to be noticed")
    desk.until(lambda: desk.window.header.phase.text() == "engine lost", "the header")
    assert desk.window.isVisible()
    assert "has ended" in desk.said
    assert desk.window.banner.offer.defaultAction() is desk.window.actions_["recover"]
    desk.press("Home")
    desk.until(lambda: desk.step == 0, "the first frame")
    desk.press("Right")
    desk.until(lambda: desk.step == 5, "the second frame")
    desk.until(desk.window.actions_["recover"].isEnabled, "the way on")
    assert not desk.window.actions_["kick"].isEnabled()
    QTest.mouseClick(desk.window.banner.offer, LEFT)
    desk.until(lambda: desk.viewer.live and desk.viewer.status.phase == "paused" and desk.step >= 20, "the run again")
    assert desk.viewer.run.folder == (home / "killed").resolve()
    assert not desk.said
    before = desk.step
    desk.take(3)
    assert desk.step == before + 3


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (c.New("no such scenario"), "no such scenario"),
        (c.New("moons", ("dynamics.dt=-1",)), "dt"),
        (c.Look(Path("nowhere")), "nowhere"),
    ],
)
def test_what_cannot_be_opened_is_explained_and_the_window_goes_on(running, plan, words):
    run = running.viewer.run
    running.window.open(plan)
    running.until(lambda: words in running.said, "the reason")
    assert running.viewer.run is run
    running.until(lambda: running.viewer.status.phase == "paused", "what was open")
    running.take(1)


# Density and classifier ------------------------------------------------------------------------------------------


def test_the_density_counts_every_particle(replay, monkeypatch):
    shown = []
    monkeypatch.setattr(replay.window.density.scene, "show", lambda counts, x, y, log: shown.append((counts, x, y)))
    replay.window.bring("density")
    for step in (15, 60):
        replay.seek(step)
        across, up = replay.window.particles.positions[:, :2].T

        def agrees():
            counts, x, y = shown[-1]
            return np.array_equal(counts, np.histogram2d(across, up, (x, y))[0])  # noqa: B023

        replay.until(lambda: shown and agrees(), "the density of this frame")
        counts, x, y = shown[-1]
        in_range = (across >= x[0]) & (across <= x[-1]) & (up >= y[0]) & (up <= y[-1])
        assert counts.sum() == in_range.sum() == replay.viewer.run.cast.n
    assert "cells" in replay.window.density.caption.text()


def test_a_drawn_digit_is_classified_as_the_model_does(desk, digits):
    desk.open(c.Look(digits.path))
    view, stage = desk.window.classifier, desk.window.particles.stage
    desk.window.bring("classifier")
    view.choose_tab("draw")
    desk.until(view.pad.isVisible, "the pad")
    sheet = view.pad.sheet
    area = sheet.area()
    top, bottom = (QPointF(area.center().x(), area.top() + k * area.height()).toPoint() for k in (0.15, 0.85))
    QTest.mousePress(sheet, LEFT, pos=top)
    for t in np.linspace(0, 1, 8):
        QTest.mouseMove(sheet, top + (bottom - top) * float(t))
    QTest.mouseRelease(sheet, LEFT, pos=bottom)
    X = view.pad.pad.as_input(view.pad.centre_box.isChecked())
    assert X.any()
    model = load_model(digits.model)
    desk.until(lambda: stage.prediction is not None and close(stage.prediction, model.probabilities(X)), "the answer")
    assert stage.prediction.step == 60
    top_class = int(stage.prediction.probabilities[0].argmax())
    assert view.signals._verdict()[0].startswith(str(desk.viewer.run.classes[top_class]))

    simulation = Simulation(digits.scenario)
    with Trajectory(digits / "trajectory.h5") as t:
        then = answer(simulation, c.Predict(X), simulation.state_at(t.frame(0)))
    assert not np.allclose(then.probabilities, model.probabilities(X), atol=1e-3)
    desk.press("Home")
    desk.until(lambda: stage.prediction.step == 0 and close(stage.prediction, then.probabilities), "the answer of then")


def close(prediction, probabilities):
    return np.allclose(prediction.probabilities, probabilities, atol=1e-5)


def test_the_boundary_gets_its_picture(replay, finished):
    view = replay.window.classifier
    replay.window.bring("classifier")
    view.choose_tab("boundary")
    replay.until(lambda: "step 60" in view.boundary.legend.text(), "the map")
    wrong, samples = map(int, re.search(r"wrong: (\d+) of (\d+)", view.boundary.legend.text()).groups())
    accuracy = finished.summary["final"]["test_accuracy"]
    assert abs(wrong / samples - (1 - accuracy)) < 0.05
    colours = pixels(view.boundary.plot.grab()).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 20


def pixels(pixmap):
    """(h, w, 3) uint8."""
    image = pixmap.toImage().convertToFormat(pixmap.toImage().Format.Format_RGB888)
    rows = np.frombuffer(image.constBits().asarray(image.sizeInBytes()), np.uint8)
    return rows.reshape(image.height(), image.bytesPerLine())[:, : 3 * image.width()].reshape(-1, image.width(), 3)


def test_the_confusion_matrix_agrees_with_the_accuracy(replay, finished):
    view = replay.window.classifier
    replay.window.bring("classifier")
    view.choose_tab("confusion")
    replay.until(lambda: "step 60" in view.header.text(), "the evaluation")
    cell = lambda i, j: view.confusion.told_at(view.confusion.cell_area(i, j).center())  # noqa: E731
    counts = np.array([[int(cell(i, j).split()[0].replace(",", "")) for j in (0, 1)] for i in (0, 1)])
    accuracy = finished.summary["final"]["test_accuracy"]
    assert np.trace(counts) / counts.sum() == pytest.approx(accuracy)
    assert f"accuracy {100 * accuracy:.1f} % on {counts.sum():,} test samples" in view.header.text()


# Pictures --------------------------------------------------------------------------------------------------------


def test_particles_have_the_colours_of_the_legend_where_they_are_seen(replay):
    look, view = replay.viewer.appearance, replay.window.particles
    look.restore({"colour_by": "subsystem", "links": False, "packets": False, "trails": False, "point_size": 12.0})
    view.scene.depth_cue = False
    replay.seek(0)
    replay.press("F")
    replay.until(lambda: len(unobstructed(replay)) > 20, "the camera")
    picture = pixels(replay.window.grab())
    corner = view.scene.canvas.native.mapTo(replay.window, QPoint(0, 0))
    subsystem = replay.viewer.run.cast.subsystem
    for particle in unobstructed(replay):
        x, y = np.round(seen(replay, particle)).astype(int)
        colour = palette.rgb(palette.category(subsystem[particle]))
        assert np.abs(picture[corner.y() + y, corner.x() + x].astype(int) - colour).max() <= 3


def test_the_window_is_drawn_at_every_scale_of_the_screen(finished, tmp_path, display):
    show = ["--open", str(finished.path), "--at", "0", "--size", "1200x640", "--colour-by", "subsystem"]
    scales = ("1", "1.25", "2")
    started = []
    for scale in scales:
        start = [sys.executable, "-m", "dynsim_gui", *show, "--screenshot", str(tmp_path / f"{scale}.png")]
        environ = {**os.environ, "QT_SCALE_FACTOR": scale}
        started.append(subprocess.Popen(start, env=environ, stderr=subprocess.PIPE))
    for process in started:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors.decode()
    colour, parts = palette.rgb(palette.category(1)), []
    for scale in scales:
        with Image.open(tmp_path / f"{scale}.png") as image:
            picture = np.asarray(image.convert("RGB")).astype(int)
        assert picture.shape[1] == pytest.approx(1200 * float(scale), abs=2)
        parts.append((np.abs(picture - colour).max(axis=2) < 40).mean())
    # The particles of the second subsystem cover as much of the window at every scale.
    assert min(parts) > 1e-4
    assert max(parts) < 1.5 * min(parts)


# The end ---------------------------------------------------------------------------------------------------------


def _shared():
    """Files of shared memory that this process maps; others come and go beside it."""
    maps = psutil.Process().memory_maps()
    return {Path(m.path) for m in maps if m.path.startswith("/dev/shm/psm_")}


def test_nothing_is_left_when_the_window_closes(home, qapp):
    before = _shared()
    desk = Desk()
    desk.open(c.New("moons", ENDLESS, home / "closed"), play=True)
    desk.until(lambda: desk.step > 3, "steps")
    ours = _shared() - before
    assert ours
    engine = psutil.Process(desk.viewer.engine.pid)
    desk.press("Ctrl+Q")
    desk.until(lambda: not desk.window.isVisible(), "the window to close")
    desk.window.deleteLater()
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
    assert not any(memory.exists() for memory in ours)
    with runs.reopen(home / "closed") as recording:
        assert recording.simulation.system.step > 3
    shutil.rmtree(home / "closed")
