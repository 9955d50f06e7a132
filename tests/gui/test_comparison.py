"""Runs compared in the window: the engine's own table, sorted as a person likes, and two runs at one step."""

import time

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QTableWidgetSelectionRange, QWidget

from dynsim import runs
from dynsim.compare.cells import cells
from dynsim.compare.comparison import compare
from dynsim.scenario import Scenario
from dynsim.trajectory import Trajectory
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.comparison import ComparisonModel, Timeline, common_curves
from dynsim_gui.models.viewer import Viewer
from dynsim_gui.views.comparison import ComparisonDialog
from dynsim_gui.window import Window


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two groups: two seeds of one, a single run of the other, recorded at other steps."""
    out = tmp_path_factory.mktemp("compared")
    for name, settings in {
        "a0": ("run.seed=0", "record.every=2"),
        "a1": ("run.seed=1", "record.every=2"),
        "b0": ("run.seed=0", "record.every=3", "system.copies=3"),
    }.items():
        runs.run(Scenario.load("moons", ["run.steps=7", "system.copies=2", *settings]), out / name)
    (out / "broken").mkdir()
    (out / "broken" / "scenario.toml").write_text("nothing = [")
    return out


def wait(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        QTest.qWait(5)


@pytest.fixture
def dialog(qtbot, folder):
    made = ComparisonDialog()
    made.show()
    made.add(folder)
    wait(lambda: made.table.rowCount())
    yield made
    made.close()
    made.deleteLater()


def test_two_recordings_have_one_timeline():
    timeline = Timeline(np.array([0, 4, 8]), np.array([2, 4, 6]))
    assert timeline.steps.tolist() == [0, 2, 4, 6, 8]
    assert [timeline.frames(k) for k in range(5)] == [(0, 0), (0, 0), (1, 1), (1, 2), (2, 2)]


def test_curves_are_those_that_both_recorded(folder):
    found = common_curves([folder / "a0" / "trajectory.h5", folder / "b0" / "trajectory.h5"])
    assert next(iter(found)) == "loss"
    for path, (steps, values) in zip(("a0", "b0"), found["loss"]):
        with Trajectory(folder / path / "trajectory.h5") as trajectory:
            assert np.array_equal(values, trajectory.history["loss"])
            assert np.array_equal(steps, trajectory.history["step"])


def test_a_folder_that_cannot_be_compared_is_told_and_forgotten(folder, tmp_path):
    model = ComparisonModel()
    for path in (folder, tmp_path / "nowhere"):
        model.add(path)
        wait(model.poll)
    assert "no such folder" in model.error
    assert model.folders == [folder]
    assert model.tables
    for path in (tmp_path / "nowhere", folder / "a0"):  # before the first is read
        model.add(path)
    wait(model.poll)
    assert model.folders == [folder]
    model.close()


def test_the_table_is_the_one_of_the_command_line(dialog, folder):
    (task,) = compare([folder]).tasks
    for k, row in enumerate(task.rows):
        shown = [dialog.table.item(k, column).text() for column in range(dialog.table.columnCount() - 1)]
        assert shown == list(cells(task, row))
    assert "broken" in dialog.said.text()
    assert "standard deviation" in dialog.notes.text()


def test_a_click_on_a_head_sorts_by_numbers_and_buttons_stay_with_their_rows(dialog):
    heads = [dialog.table.horizontalHeaderItem(k).text() for k in range(dialog.table.columnCount())]
    column = heads.index("bytes")
    for order in (Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder):
        dialog.table.sortByColumn(column, order)
        sizes = [int(dialog.table.item(k, column).text().replace(",", "")) for k in range(2)]
        assert sizes == sorted(sizes, reverse=order == Qt.SortOrder.DescendingOrder)
        for k in range(2):
            several = dialog.table.item(k, heads.index("seeds")).text() == "2"
            assert dialog.table.cellWidget(k, len(heads) - 1).text() == ("Open…" if several else "Open")


def test_a_button_opens_its_run(dialog, folder):
    opened = []
    dialog.opened.connect(opened.append)
    last = dialog.table.columnCount() - 1
    buttons = {b.text(): b for b in (dialog.table.cellWidget(k, last) for k in range(2))}
    QTest.mouseClick(buttons["Open"], Qt.MouseButton.LeftButton, pos=QPoint(4, 4))
    for action in buttons["Open…"].menu().actions():
        action.trigger()
    assert opened == [folder / name for name in ("b0", "a0", "a1")]


def test_two_runs_side_by_side_are_at_one_step(dialog, folder):
    assert not dialog.pair_button.isEnabled()
    dialog.table.setRangeSelected(QTableWidgetSelectionRange(0, 0, 1, 0), True)
    dialog.pair_button.click()
    pair = dialog.pair
    assert pair.timeline.steps.tolist() == [0, 2, 3, 4, 6, 7]
    by_name = {side.recorded.run.title: side for side in pair.sides}
    assert by_name.keys() == {"a0", "b0"}
    pair.slider.setValue(3)
    assert "step 4 " in by_name["a0"].title.text()
    assert "step 3 " in by_name["b0"].title.text()
    with Trajectory(folder / "b0" / "trajectory.h5") as trajectory:
        q = trajectory.frame(1).properties["position"]
    assert np.allclose(by_name["b0"].stage.positions, q[:, :3])
    assert pair.plot.line.value() == 4
    x, y = pair.lines[0].getData()
    assert len(x) == 7
    pair.choice.setCurrentText("kinetic")
    assert not np.array_equal(y, pair.lines[0].getData()[1])
    one, other = (side.stage.scene for side in pair.sides)
    one.turn(30)
    pair.sides[1].turn_as(pair.sides[0])
    assert other.camera_state()["azimuth"] == one.camera_state()["azimuth"]
    QTest.qWait(50)
    pair.back.click()
    assert dialog.pair is None


def test_one_row_of_two_seeds_is_a_pair_too(dialog, folder, monkeypatch):
    asked = []

    class Pair(QWidget):
        left = Signal()

        def __init__(self, *paths):
            super().__init__()
            asked.extend(paths)

        def end(self):
            pass

    monkeypatch.setattr("dynsim_gui.views.comparison.SideBySide", Pair)
    several = next(k for k in range(2) if dialog.table.item(k, 0).text() and len(dialog.table._rows[k].runs) == 2)
    dialog.table.selectRow(several)
    dialog.show_pair()
    assert asked == [folder / "a0", folder / "a1"]


def test_folders_are_asked_for_and_can_be_forgotten(dialog, folder, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *given: str(folder / "b0"))
    dialog.clear_button.click()
    assert dialog.table.rowCount() == 0
    dialog.add_button.click()
    wait(lambda: dialog.table.rowCount() == 1)


def test_the_menu_opens_the_table_and_the_table_opens_a_run(qapp, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    window = Window(Viewer(Appearance(packets=False)))
    window.show()
    window.actions_["compare"].trigger()
    (dialog,) = window.findChildren(ComparisonDialog)
    dialog.opened.emit(folder / "b0")
    assert window.viewer.run.title == "b0"
    assert dialog.isVisible()
    window.close()
    dialog.close()
    window.deleteLater()
