"""One's own data: what is in a file, the library's word on a bad one, a first scenario that learns it."""

import threading

import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog

from dynsim import Scenario, Simulation
from dynsim.errors import DataError
from dynsim_gui.models.datafile import HEAD, PRESETS, examine, first_scenario


@pytest.fixture
def pictures(tmp_path):
    """60 pictures of 6 x 6 in three classes."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "pictures.npz", X=rng.normal(y[:, None, None], 1, (60, 6, 6)).astype("f4"), y=y)
    return tmp_path / "pictures.npz"


@pytest.fixture
def flowers(tmp_path):
    rows = [f"{k % 7},{k % 5},{'rose' if k % 3 else 'tulip'}" for k in range(100)]
    (tmp_path / "flowers.csv").write_text("\n".join(["petal,sepal,label", *rows]))
    return tmp_path / "flowers.csv"


@pytest.fixture
def bad(tmp_path):
    (tmp_path / "bad.csv").write_text("a,b,label\n1,2,x\n3,oops,y\n")
    return tmp_path / "bad.csv"


def test_a_file_tells_what_it_holds(pictures, flowers):
    file = examine(pictures)
    assert (file.train, file.test, file.features, file.shape, file.image) == (48, 12, 36, (6, 6), (6, 6))
    assert sum(n for _, n in file.classes) == file.train
    assert file.head.shape == (HEAD, 36)
    picture = file.picture(3)
    assert (picture.shape, picture.dtype, picture.min(), picture.max()) == ((6, 6), np.uint8, 0, 255)
    assert np.argmax(picture) == np.argmax(file.head[3])
    table = examine(flowers)
    assert [label for label, _ in table.classes] == ["rose", "tulip"]
    assert set(table.labels) <= {"rose", "tulip"}
    assert table.image is None


def test_flat_squares_can_be_looked_at_and_flat_pictures_are_black(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((8, 25)), y=np.arange(8) % 2)
    file = examine(tmp_path / "a.npz")
    assert file.image == (5, 5)
    assert file.picture(0).max() == 0


def test_a_bad_file_is_the_librarys_error(bad):
    with pytest.raises(DataError, match="line 3, column 2"):
        examine(bad)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_the_first_scenario_learns_the_file(flowers, preset):
    draft = first_scenario(examine(flowers), preset, epochs=2)
    assert draft.problems() == {}
    simulation = Simulation(Scenario.from_text(draft.toml()))
    assert [s.size for s in simulation.graph.subsystems] == [2, preset.hidden, 2]
    assert simulation.graph.copies == preset.copies
    simulation.step()
    assert simulation.system.step == 1


# The dialog -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dialog(qtbot):
    from dynsim_gui.views.open_data import OpenDataDialog

    widget = OpenDataDialog()
    qtbot.addWidget(widget)
    widget.show()
    return widget


def shown(dialog, qtbot, path):
    dialog.open(path)
    qtbot.waitUntil(lambda: dialog.file is not None and dialog.file.path == path)


def test_a_file_is_previewed_and_run(dialog, qtbot, pictures):
    assert not dialog.run_button.isEnabled()
    shown(dialog, qtbot, pictures)
    assert "48 training and 12 test samples, 36 features (6 × 6), 3 classes" in dialog.facts.text()
    assert dialog.classes.rowCount() == 3
    assert dialog.rows.cellWidget(0, 0) is not None  # pictures
    dialog.pictures.click()
    assert dialog.rows.horizontalHeaderItem(0).text() == "label"
    assert float(dialog.rows.item(1, 2).text()) == pytest.approx(dialog.file.head[1, 1], rel=1e-3)
    dialog.preset.setCurrentIndex(1)
    dialog.epochs.setValue(7)
    with qtbot.waitSignals([dialog.run_requested, dialog.accepted]) as asked:
        dialog.run_button.click()
    scenario = Scenario.from_text(asked.all_signals_and_args[0].args[0])
    assert (scenario.run.epochs, scenario.system.layers[1]) == (7, PRESETS[1].hidden)
    assert scenario.field.dataset == str(pictures)


def test_a_file_can_be_opened_in_the_form(dialog, qtbot, flowers):
    shown(dialog, qtbot, flowers)
    with qtbot.waitSignal(dialog.form_requested) as asked:
        dialog.form_button.click()
    assert asked.args[0].value("field.dataset") == str(flowers)


def test_the_librarys_error_is_shown_in_place_and_goes_with_the_next_file(dialog, qtbot, bad, flowers):
    dialog.open(bad)
    qtbot.waitUntil(lambda: not dialog.complaint.isHidden())
    assert "not a finite number" in dialog.complaint.text()
    assert "numbers such as 1.5" in dialog.complaint.text()
    assert not dialog.run_button.isEnabled()
    shown(dialog, qtbot, flowers)
    assert dialog.complaint.isHidden()


def test_the_window_lives_while_a_file_is_read_and_a_late_answer_is_dropped(dialog, qtbot, flowers, monkeypatch):
    from dynsim_gui.views import open_data

    gate, reading = threading.Event(), threading.Event()

    def slow(path):
        reading.set()
        assert gate.wait(10)
        return examine(path)

    monkeypatch.setattr(open_data, "examine", slow)
    dialog.open("first.csv")
    first = dialog._examination
    assert reading.wait(10)
    assert dialog.busy.isVisible()
    monkeypatch.setattr(open_data, "examine", examine)
    shown(dialog, qtbot, flowers)
    with qtbot.waitSignal(first.failed):
        gate.set()  # first.csv is not there, but nobody asks any more
    assert dialog.complaint.isHidden()
    assert dialog.file.path == flowers


def test_a_dropped_and_a_typed_and_a_chosen_file_are_opened(dialog, qtbot, flowers, pictures, monkeypatch):
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(flowers))])
    arguments = Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    dialog.dropEvent(QDropEvent(QPoint(5, 5).toPointF(), *arguments))
    qtbot.waitUntil(lambda: dialog.file is not None and dialog.file.path == flowers)
    dialog.path.selectAll()
    qtbot.keyClicks(dialog.path, str(pictures))
    qtbot.keyClick(dialog.path, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.file is not None and dialog.file.path == pictures)
    assert dialog.isVisible()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(flowers), ""))
    dialog.browse.click()
    qtbot.waitUntil(lambda: dialog.file is not None and dialog.file.path == flowers)
