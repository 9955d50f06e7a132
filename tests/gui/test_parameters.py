"""Live parameters: sliders that mean what their boxes say, told at most ten times a second, the last one always."""

import math

import pytest
from qtpy.QtCore import Qt

from dynsim import Scenario
from dynsim.build import build_law
from dynsim.dynamics.damping import LAWS
from dynsim.interventions import LIVE_PARAMETERS
from dynsim_gui.models.parameters import (
    BY_KEY,
    PARAMETERS,
    STEPS,
    friction_rate,
    inapplicable,
    kept,
    scenario_values,
)

SLIDERS = [p for p in PARAMETERS if p.kind == "number"]
VALUES = {
    "dynamics.dt": 1.0,
    "dynamics.eta": 0.1,
    "dynamics.friction": 0.9,
    "dynamics.law": "friction",
    "dynamics.limit": True,
    "dynamics.decay": 0.004,
    "dynamics.coefficients": 0.005,
    "dynamics.confinement": 0.0,
    "field.batch": 128,
}


def test_the_table_is_the_engines():
    assert set(BY_KEY) == set(LIVE_PARAMETERS)
    assert set(BY_KEY["dynamics.law"].options) == set(LAWS)


@pytest.mark.parametrize("parameter", SLIDERS, ids=lambda p: p.key)
def test_a_slider_and_its_value_agree(parameter):
    values = [parameter.value(k) for k in range(STEPS + 1)]
    assert values == sorted(values)
    assert [parameter.value(parameter.position(v)) for v in values] == values
    if not parameter.integer:
        assert [parameter.position(v) for v in values] == list(range(STEPS + 1))
    assert values[-1] == parameter.highest
    assert values[0] == (0 if parameter.zero else parameter.lowest)
    assert all(parameter.read(parameter.write(v)) == v for v in values)


@pytest.mark.parametrize("parameter", SLIDERS, ids=lambda p: p.key)
def test_values_beyond_the_slider_stand_at_its_ends(parameter):
    assert parameter.position(parameter.highest * 50) == STEPS
    assert parameter.position(-1.0) == 0
    assert parameter.position(parameter.lowest / 50) <= 1


@pytest.mark.parametrize("law", ["friction", "signal"])
@pytest.mark.parametrize("settings", [[], ["dynamics.friction=0.7", "dynamics.dt=0.3"], ["dynamics.order=0.75"]])
def test_lambda_is_the_engines_lambda(law, settings):
    scenario = Scenario.load("moons", [f"dynamics.law={law}", *settings])
    values = scenario_values(scenario.to_toml())
    assert math.isclose(friction_rate(values), build_law(scenario).rate, abs_tol=1e-15)
    assert kept(values) == scenario.dynamics.kept


def test_what_has_no_meaning_says_why():
    assert inapplicable(VALUES) == {}
    assert set(inapplicable({**VALUES, "dynamics.law": "lagrangian"})) == {"dynamics.friction"}
    assert set(inapplicable({**VALUES, "field.kind": "target"})) == {"field.batch"}
    assert "not part of this run" in inapplicable({})["dynamics.dt"]


# The widget -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def view(qtbot):
    from dynsim_gui.views.parameters import ParametersView

    widget = ParametersView()
    qtbot.addWidget(widget)
    widget.remember(VALUES)
    widget.show(VALUES)
    widget.enable(True)
    widget.show()
    return widget


@pytest.fixture
def told(view):
    changes = []
    view.parameter_changed.connect(lambda key, value: changes.append((key, value)))
    return changes


def test_showing_tells_nobody(view, told, qtbot):
    view.show({**VALUES, "dynamics.dt": 0.5, "dynamics.law": "signal", "dynamics.limit": False, "field.batch": 64})
    qtbot.wait(150)
    assert told == []
    assert view.rows["dynamics.dt"].box.lineEdit().text() == "0.5"
    assert view.rows["dynamics.law"].combo.currentText() == "signal"
    assert not view.rows["dynamics.limit"].switch.isChecked()


def test_a_slider_tells_at_most_ten_times_a_second_and_always_its_last(view, told, qtbot):
    slider = view.rows["dynamics.eta"].slider
    slider.setSliderDown(True)
    for position in range(200, 260):
        slider.setValue(position)
    assert len(told) == 1  # the rest waits
    slider.setSliderDown(False)
    last = BY_KEY["dynamics.eta"].value(259)
    assert told[-1] == ("dynamics.eta", last)
    assert len(told) == 2
    assert view.rows["dynamics.eta"].box.lineEdit().text() == BY_KEY["dynamics.eta"].write(last)


def test_the_last_value_arrives_without_a_release(view, told, qtbot):
    slider = view.rows["dynamics.eta"].slider
    for position in (100, 120, 140):
        slider.setValue(position)
    qtbot.waitUntil(lambda: told[-1][1] == BY_KEY["dynamics.eta"].value(140))
    assert len(told) == 2


def test_a_typed_value_may_lie_outside_of_the_slider(view, told, qtbot):
    row = view.rows["dynamics.dt"]
    row.box.lineEdit().selectAll()
    qtbot.keyClicks(row.box.lineEdit(), "250")
    assert told == []  # not while typing
    qtbot.keyClick(row.box.lineEdit(), Qt.Key.Key_Return)
    assert told == [("dynamics.dt", 250.0)]
    assert row.slider.value() == STEPS


def test_what_is_no_number_is_said_and_not_sent(view, told, qtbot):
    row = view.rows["field.batch"]
    row.box.lineEdit().selectAll()
    qtbot.keyClicks(row.box.lineEdit(), "many")
    qtbot.keyClick(row.box.lineEdit(), Qt.Key.Key_Return)
    assert told == []
    assert "not a whole number" in row.complaint.text()
    assert row.frame.wrong


def test_a_report_does_not_pull_a_value_back_before_the_engine_has_it(view, told):
    row = view.rows["dynamics.eta"]
    row.slider.setValue(100)
    view.show(VALUES)  # older than what was sent
    assert row.slider.value() == 100
    view.show({**VALUES, "dynamics.eta": row.shown})
    view.show({**VALUES, "dynamics.eta": 0.02})  # somebody else's change counts again
    assert row.box.lineEdit().text() == "0.02"


def test_a_refusal_stands_at_its_field_until_the_next_try(view, told, qtbot):
    row = view.rows["dynamics.dt"]
    row.slider.setValue(10)
    view.refuse("dynamics.dt", "Input should be greater than 0")
    view.show(VALUES)
    assert row.box.lineEdit().text() == "1"
    assert "greater than 0" in row.complaint.text()
    assert row.frame.wrong
    row.slider.setValue(50)
    assert not row.frame.wrong


def test_reset_brings_the_scenarios_value_back(view, told):
    row = view.rows["dynamics.coefficients"]
    assert not row.back.isEnabled()
    view.show({**VALUES, "dynamics.coefficients": 0.02})
    row.back.click()
    assert told == [("dynamics.coefficients", 0.005)]


def test_a_value_the_library_decided_is_reset_to_its_decision(view, told):
    view.remember({key: value for key, value in VALUES.items() if key != "dynamics.decay"})
    row = view.rows["dynamics.decay"]
    assert not row.back.isEnabled()
    row.slider.setValue(STEPS)
    view.show({**VALUES, "dynamics.decay": 0.1})
    row.back.click()
    assert told[-1] == ("dynamics.decay", None)


def test_not_live_and_not_applicable_are_disabled_with_the_reason(view):
    view.show({**VALUES, "dynamics.law": "lagrangian"})
    friction = view.rows["dynamics.friction"]
    assert not friction.slider.isEnabled()
    assert view.rows["dynamics.dt"].slider.isEnabled()
    assert "no friction beside it" in friction.toolTip()
    assert "no friction beside it" in friction.note.text()
    view.enable(False, "a replay")
    assert "a replay" in view.reason.text()
    assert not any(row.frame.isEnabled() for row in view.rows.values())
    assert not view.rows["dynamics.eta"].slider.isEnabled()
    assert not view.kick.isEnabled()


def test_lambda_is_shown_beside_what_is_kept(view):
    assert "Λ = 0.105" in view.rows["dynamics.friction"].note.text()


def test_choices_switches_and_kicks(view, told, qtbot):
    view.rows["dynamics.law"].combo.textActivated.emit("signal")
    view.rows["dynamics.limit"].switch.click()
    assert told == [("dynamics.law", "signal"), ("dynamics.limit", False)]
    view.strength.lineEdit().setText("2.5")
    with qtbot.waitSignal(view.kick_requested) as kicked:
        view.kick.click()
    assert kicked.args == [2.5]
    view.strength.lineEdit().setText("hard")
    with qtbot.assertNotEmitted(view.kick_requested):
        view.kick.click()
    assert "not a number" in view.kick_complaint.text()
