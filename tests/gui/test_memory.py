"""What a window remembers: closed and opened again it is as it was, and a damaged memory does no harm."""

import json
import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from dynsim import commands as c
from dynsim import runs
from dynsim.scenario import Scenario
from dynsim_gui import memory
from dynsim_gui.models.viewer import Viewer
from dynsim_gui.window import Window

PATIENCE = 60.0
QUICK = ("system.layers=['auto', 8, 'auto']", "system.copies=2", "record.every=5", "run.steps=30")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run folder."""
    return runs.run(Scenario.load("moons", QUICK), tmp_path_factory.mktemp("runs") / "moons")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where the window's memory lies."""
    path = tmp_path / "there" / "window.json"
    monkeypatch.setenv("DYNSIM_GUI_MEMORY", str(path))
    return path


def until(done):
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "waited in vain"
        QTest.qWait(5)


@pytest.fixture
def windows(file, qapp):
    """`windows()` opens one as the program does: with the memory of the last one, or with what is `saved`."""
    made = []

    def open_window(saved=None):
        window = Window(Viewer())
        made.append(window)
        memory.restore_look(window, memory.read() if saved is None else saved)
        window.show()
        until(window.isVisible)
        return window

    yield open_window
    for window in made:
        window.close()
        window.deleteLater()


def look_at(window, path):
    """A run is opened, and its first picture is there."""
    window.open(c.Look(path))
    until(lambda: len(window.particles.positions))


def test_a_window_comes_back_as_it_was(windows, finished, file):
    first = windows()
    look_at(first, finished.path)
    viewer, look = first.viewer, first.viewer.appearance
    look.colour_by, look.axes, look.links, look.point_size = "lambda", (2, 0, 1), False, 7.0
    first.docks["density"].hide()
    first.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, first.docks["look"])
    first.resize(1300, 820)
    first.particles.place_camera(first.particles.scene.camera_state() | {"azimuth": 123.0, "scale_factor": 9.0})
    viewer.playback.loop, viewer.playback.rate, viewer.playback.speed = True, 15.0, None
    viewer.select(3)
    viewer.select(5, add=True)
    viewer.seek(2)
    until(lambda: viewer.shown.step == 10)
    until(lambda: first.width() == 1300)
    camera = first.particles.scene.camera_state()
    first.close()

    saved = json.loads(file.read_text())
    second = windows()
    assert saved["run"] == str(finished.path)
    look_at(second, finished.path)
    memory.restore_place(second, saved)
    again = second.viewer
    until(lambda: again.shown.step == 10)
    assert again.appearance == look
    assert again.selected == (3, 5)
    assert not again.playback.follow
    assert (again.playback.loop, again.playback.rate, again.playback.speed) == (True, 15.0, None)
    assert (second.width(), second.height()) == (1300, 820)
    assert not second.docks["density"].toggleViewAction().isChecked()
    assert second.dockWidgetArea(second.docks["look"]) == Qt.DockWidgetArea.RightDockWidgetArea
    until(lambda: second.particles.stage.fitted)
    for name, value in second.particles.scene.camera_state().items():
        assert np.allclose(value, camera[name]), name


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"window"', "\x00\xff", '{"version": 99, "loop": true}'])
def test_an_unreadable_memory_is_none(file, text):
    file.parent.mkdir()
    file.write_text(text, encoding="latin-1")
    assert memory.read() == {} or memory.read()["version"] == 99


def test_no_memory_is_none(file):
    assert memory.read() == {}


def test_a_memory_that_cannot_be_written_is_no_error(windows, file):
    file.parent.write_text("a file where a folder should be")
    window = windows()
    window.close()
    assert not window.isVisible()


# One thing wrong at a time; everything else is as a window writes it.
DAMAGE = {
    "geometry": ["%%%", "AAAA", 5],
    "layout": ["%%%", "AAAA", ["x"]],
    "appearance": [
        [1],
        "viridis",
        {"colour_by": "no such quantity"},
        {"colour_by": 7},
        {"axes": ["a", "b", "c"]},
        {"axes": [90, 91, 92]},
        {"axes": [-50, 0, 1]},
        {"projection": "fisheye"},
        {"link_count": -5},
        {"point_size": -1.0},
        {"density_cell": 0.0},
    ],
    "camera": ["here", {"azimuth": "north"}, {"no such": 1}, {"center": [1]}],
    "speed": ["fast", -1, True],
    "rate": [0, "slow", None],
    "loop": ["yes"],
    "selected": [5, ["x"], [-1, 10**6], {"a": 1}],
    "step": ["first", 1e9, -4],
    "version": [None, "1", 2],
}


@pytest.fixture(scope="module")
def untouched(finished, qapp):
    """What a window writes."""
    window = Window(Viewer())
    window.show()
    look_at(window, finished.path)
    window.viewer.select(2)
    saved = json.loads(json.dumps(memory.collect(window)))
    yield window, saved
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "write", lambda window: None)
        window.close()
    window.deleteLater()


def test_who_followed_follows_again(untouched):
    window, _ = untouched
    window.viewer.seek(1)
    until(lambda: window.viewer.shown.step == 5)
    assert memory.collect(window)["step"] == 5
    window.viewer.go_live()
    assert memory.collect(window)["step"] is None


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in DAMAGE.items() for v in values])
def test_what_is_damaged_is_left_out(untouched, name, value):
    window, saved = untouched
    viewer = window.viewer
    memory.restore_look(window, saved)
    memory.restore_place(window, saved)
    broken = dict(saved)
    broken[name] = {**saved[name], **value} if isinstance(value, dict) and isinstance(saved[name], dict) else value
    memory.restore_look(window, broken)
    memory.restore_place(window, broken)
    viewer.seek(1)
    until(lambda: viewer.shown.step == 5)
    revision = window.particles.version
    window.particles.draw()
    window.density.draw()
    assert window.particles.version == revision
    assert np.isfinite(window.particles.positions).all()
    assert len(window.particles.positions) == viewer.run.cast.n
    assert viewer.playback.rate > 0
    memory.restore_look(window, saved)
