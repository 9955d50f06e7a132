"""The scenario form: every field of the library, the library's messages at their fields, a scenario that runs."""

import tomllib
from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from dynsim import Scenario
from dynsim.errors import ScenarioError
from dynsim.scenario import find
from dynsim.shipped import shipped_scenarios
from dynsim.validation import set_key
from dynsim_gui.models.scenario_form import ScenarioDraft, form_fields, form_groups

NAMES = [name for name, _ in shipped_scenarios()]


def flat(raw, prefix=""):
    for key, value in raw.items():
        path = prefix + key
        yield from flat(value, f"{path}.") if isinstance(value, dict) and path not in form_fields() else [(path, value)]


# The model ------------------------------------------------------------------------------------------------------------


def test_the_groups_hold_every_key_of_a_scenario():
    assert [g.path for g in form_groups()] == [
        "", "system", "system.medium", "system.initial", "field", "sequence", "dynamics", "dynamics.hyper", "run",
        "run.stop", "recipe", "merge", "record",
    ]  # fmt: skip
    whole = Scenario.load("quickstart").model_dump()
    assert set(form_fields()) == {path for path, _ in flat(whole)}


def test_fields_say_what_the_library_says():
    fields = form_fields()
    dt, copies, law = fields["dynamics.dt"], fields["system.copies"], fields["dynamics.law"]
    assert (dt.kind, dt.default, dt.minimum, dt.exclusive, dt.bounds) == ("number", 1.0, 0, {"minimum"}, "more than 0")
    assert (law.kind, law.options) == ("choice", ("friction", "lagrangian", "signal", "feedback"))
    assert (copies.kind, copies.default) == ("literal", "auto")
    assert {fields[k].optional for k in ("system.layers", "system.network")} == {True}  # one of them
    assert fields["field.dataset"].kind == "path"
    assert "mnist" in fields["field.dataset"].options
    assert {fields[k].kind for k in ("system.layers", "record.axes")} == {"list"}
    assert {fields[k].kind for k in ("system.links", "system.network", "system.initial.mu")} == {"literal"}
    assert fields["dynamics.limit"].kind == "flag"
    assert fields["record.properties"].kind == "choices"


@pytest.mark.parametrize("name", NAMES)
def test_text_of_every_written_value_means_the_value(name):
    for path, value in flat(tomllib.loads(find(name).read_text())):
        spec = form_fields()[path]
        assert spec.kind in ("choices", "flag") or spec.read(spec.write(value)) == value


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("system.layers", "auto, 64, auto", ["auto", 64, "auto"]),
        ("system.layers", '["auto", 3]', ["auto", 3]),
        ("dynamics.dt", "1e-4", 1e-4),
        ("dynamics.dt", "fast", "fast"),
        ("dynamics.dt", "  ", None),
        ("run.seed", "9223372036854775807", 2**63 - 1),
        ("system.copies", "auto", "auto"),
        ("system.copies", "4", 4),
        ("system.links", "[[0, 1], [1, 2]]", [[0, 1], [1, 2]]),
        ("system.network", '[{op = "dense", size = "auto"}]', [{"op": "dense", "size": "auto"}]),
        ("field.target", "normal", "normal"),
        ("field.target", "[[1.5]]", [[1.5]]),
        ("system.initial.mu", '{"input>output" = [0.7]}', {"input>output": [0.7]}),
    ],
)
def test_typed_text_becomes_a_value(path, text, value):
    assert form_fields()[path].read(text) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_draft_of_a_shipped_scenario_is_that_scenario(name):
    draft = ScenarioDraft.load(name)
    assert draft.problems() == {}
    assert draft.changed_paths() == ()
    again = Scenario.from_text(draft.toml())
    assert again.model_dump() == Scenario.load(name).model_dump()
    assert again.about == Scenario.load(name).about


def test_what_is_wrong_is_said_in_the_librarys_words_at_its_field():
    draft = ScenarioDraft.load("moons")
    wrong = {"dynamics.dt": -1.0, "dynamics.law": "fricton", "system.layers": ["auto", -2, "auto"], "run.eta": 1}
    for path, value in wrong.items():
        draft.set(path, value)
    problems = draft.problems()
    assert set(problems) == {"dynamics.dt", "dynamics.law", "system.layers", "run"}
    raw = tomllib.loads(find("moons").read_text())
    for path, value in wrong.items():
        set_key(raw, path, value)
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(raw)
    for problem in caught.value.problems:
        place = next(p for p in problems if problem.where.startswith(p))
        assert problem.what in problems[place]
        assert (problem.hint or "") in problems[place]
    assert problems["system.layers"].startswith("item 2: ")
    assert draft.unknown_keys() == ["run.eta"]


def test_what_is_wrong_with_a_layer_is_said_at_the_layers():
    draft = ScenarioDraft.load("lenet")
    layers = draft.value("system.network")
    assert draft.changed_paths() == ()
    draft.set("system.network", [*layers[:1], {"op": "conv", "chanels": 6, "kernel": 5}, *layers[2:]])
    problems = draft.problems()
    assert set(problems) == {"system.network"}
    assert "item 2, conv, chanels: unknown key of layer 'conv'" in problems["system.network"]
    assert "did you mean 'channels'?" in problems["system.network"]
    draft.set("system.network", layers)
    assert draft.problems() == {}


def test_a_blank_draft_says_what_is_missing():
    assert set(ScenarioDraft.blank().problems()) == {"system.layers", "field.dataset", "run.epochs"}


def test_epochs_and_steps_take_each_other_out_but_clearing_one_leaves_the_other():
    draft = ScenarioDraft.load("quickstart")
    draft.set("run.steps", 9)
    assert (draft.value("run.epochs"), draft.value("run.steps")) == (None, 9)
    draft.set("run.epochs", None)
    assert draft.value("run.steps") == 9
    assert draft.problems() == {}


def test_a_changed_draft_does_not_promise_what_its_origin_promised():
    draft = ScenarioDraft.load("moons")
    draft.set("dynamics.dt", 0.5)
    assert draft.changed_paths() == ("dynamics.dt",)
    assert "Expected" not in draft.toml()
    assert "changed: dynamics.dt" in draft.toml()
    draft.set("dynamics.dt", None)
    assert draft.changed_paths() == ()
    assert "Expected" in draft.toml()


def test_a_file_that_is_not_there_is_said_and_found_beside_the_scenario(tmp_path):
    (tmp_path / "own.toml").write_text(ScenarioDraft.load("moons").toml().replace('"moons"', '"points.csv"', 2))
    draft = ScenarioDraft.load(tmp_path / "own.toml")
    draft.set("field.dataset", "points.csv")
    assert "there is no such file" in draft.problems()["field.dataset"]
    (tmp_path / "points.csv").write_text("1,2,a\n3,4,b\n")
    assert draft.problems() == {}


def test_saving_elsewhere_still_finds_the_data(tmp_path):
    (tmp_path / "points.csv").write_text("1,2,a\n3,4,b\n")
    draft = ScenarioDraft({**tomllib.loads(find("moons").read_text())}, "own", folder=tmp_path)
    draft.set("field.dataset", "points.csv")
    (tmp_path / "deep").mkdir()
    draft.save(tmp_path / "deep" / "saved.toml")
    saved = Scenario.load(tmp_path / "deep" / "saved.toml")
    assert saved.located(saved.field.dataset) == (tmp_path / "points.csv").resolve()
    draft.save(tmp_path / "saved.toml")
    assert Scenario.load(tmp_path / "saved.toml").field.dataset == "points.csv"


@pytest.mark.parametrize("text", ["[system\n", "system = 3\n", "[run]\nstop = 1\n"])
def test_what_is_not_a_scenario_is_refused(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError):
        ScenarioDraft.load(path)


# The widget -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def form(qtbot):
    from dynsim_gui.views.scenario_form import ScenarioForm

    widget = ScenarioForm()
    qtbot.addWidget(widget)
    widget.load("quickstart")
    widget.show()
    return widget


def type_into(qtbot, line, text):
    line.selectAll()
    qtbot.keyClicks(line, text)


def test_typing_is_checked_and_the_message_stands_at_the_field(form, qtbot):
    row = form.rows["dynamics.dt"]
    tab = [form.tabs.tabText(k) for k in range(form.tabs.count())].index("Dynamics")
    form.tabs.setCurrentIndex(tab)
    type_into(qtbot, row.editor.lineEdit(), "-1e-3")
    assert not form.run_button.isEnabled()  # not even before it was checked
    qtbot.waitUntil(lambda: row.complaint.isVisible())
    assert "greater than 0" in row.complaint.text()
    assert row.frame.wrong
    assert form.tabs.tabText(tab) == "Dynamics (1)"
    assert "1 problem" in form.count.text()
    assert row.editor.lineEdit().text() == "-1e-3"  # as typed
    type_into(qtbot, row.editor.lineEdit(), "1e-3")
    qtbot.waitUntil(form.run_button.isEnabled)
    assert row.complaint.isHidden()
    assert row.editor.lineEdit().text() == "1e-3"
    assert tomllib.loads(form.preview.toPlainText())["dynamics"]["dt"] == 0.001


def test_run_hands_over_the_text_with_its_folder(form, qtbot):
    type_into(qtbot, form.rows["system.layers"].editor, "auto, 12, auto")
    with qtbot.waitSignal(form.run_requested) as asked:
        form._timer.timeout.emit()
        qtbot.mouseClick(form.run_button, Qt.MouseButton.LeftButton)
    toml, folder = asked.args
    assert Scenario.from_text(toml).system.layers == ["auto", 12, "auto"]
    assert folder == find("quickstart").parent


def test_an_emptied_field_is_the_default_again(form, qtbot):
    line = form.rows["dynamics.eta"].editor.lineEdit()
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    form.check()
    assert form.draft.value("dynamics.eta") is None
    assert line.placeholderText() == "0.1"
    assert not form.rows["dynamics.eta"].back.isEnabled()


def test_steps_clear_epochs_on_the_screen(form, qtbot):
    form.tabs.setCurrentIndex(3)
    type_into(qtbot, form.rows["run.steps"].editor.lineEdit(), "70")
    qtbot.waitUntil(lambda: form.rows["run.epochs"].editor.lineEdit().text() == "")
    assert form.run_button.isEnabled()


def test_every_editor_writes_what_it_is_told(form, qtbot):
    rows = form.rows
    rows["system.metric"].editor.textActivated.emit("l1")
    rows["dynamics.limit"].editor.click()
    rows["record.properties"].editor.boxes["force"].click()
    rows["field.dataset"].editor.combo.textActivated.emit("mnist")
    rows["system.dim"].editor.stepBy(2)
    rows["dynamics.dt"].editor.stepBy(-1)
    wanted = {
        "system.metric": "l1",
        "dynamics.limit": False,
        "field.dataset": "mnist",
        "system.dim": 11,
        "dynamics.dt": 0.5,
    }
    assert {path: form.draft.value(path) for path in wanted} == wanted
    assert "force" not in form.draft.value("record.properties")
    form.check()
    rows["system.metric"].back.click()
    form.check()
    assert form.draft.value("system.metric") is None
    assert rows["system.metric"].editor.currentText() == "l2"


def test_rare_fields_are_hidden_until_asked_for_written_or_wrong(form):
    row = form.rows["dynamics.warmup"]
    assert row.isHidden()
    form.show_all.setChecked(True)
    assert not row.isHidden()
    form.show_all.setChecked(False)
    assert row.isHidden()
    form.draft.set("dynamics.warmup", 3.0)
    form.check()
    assert not row.isHidden()
    assert row.frame.wrong


def test_a_stranger_is_named_at_its_table_and_can_be_removed(form, qtbot):
    form.draft.set("dynamics.metrc", 1)
    form.check()
    note = form.notes["dynamics"]
    assert "unknown key" in note.text()
    note.linkActivated.emit("dynamics.metrc")
    qtbot.waitUntil(form.run_button.isEnabled)
    assert note.isHidden()


def test_own_file_and_save(form, qtbot, tmp_path, monkeypatch):
    (tmp_path / "own.csv").write_text("1,2,a\n3,4,b\n")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "own.csv"), ""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "own.toml"), ""))
    form.rows["field.dataset"].editor.own.click()
    with qtbot.waitSignal(form.saved) as saved:
        form.save_button.click()
    assert saved.args == [Path(tmp_path / "own.toml")]
    assert Scenario.load(tmp_path / "own.toml").field.dataset == str(tmp_path / "own.csv")


def test_starting_from_another_asks_before_changes_are_lost(form, monkeypatch):
    answers = iter([QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes])
    monkeypatch.setattr(QMessageBox, "question", lambda *_: next(answers))
    form.draft.set("dynamics.dt", 0.3)
    xor = form.start.findData("xor")
    form.start.activated.emit(xor)
    assert form.draft.value("dynamics.dt") == 0.3
    form.start.activated.emit(xor)
    assert form.draft.value("field.dataset") == "xor"
    assert form.start.currentIndex() == xor


def test_an_unreadable_file_leaves_the_form_as_it_was(form, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(QMessageBox, "warning", lambda *arguments: said.append(arguments[2]))
    (tmp_path / "broken.toml").write_text("[system\n")
    form.load(tmp_path / "broken.toml")
    assert "not a readable TOML file" in said[0]
    assert form.draft.origin == "quickstart"


def test_the_focused_field_explains_itself(form, qtbot):
    form.activateWindow()
    form.rows["system.dim"].editor.setFocus()
    qtbot.waitUntil(lambda: "system.dim" in form.about.text())
    assert "default 9" in form.about.text()


def test_the_dialog_closes_after_run(qtbot):
    from dynsim_gui.views.scenario_form import ScenarioDialog

    dialog = ScenarioDialog(ScenarioDraft.load("xor"))
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.keyClick(dialog.form.rows["name"].editor, Qt.Key.Key_Return)  # Return in a field starts nothing
    QApplication.processEvents()
    assert dialog.isVisible()
    with qtbot.waitSignals([dialog.form.run_requested, dialog.accepted]):
        dialog.form.run_button.click()
