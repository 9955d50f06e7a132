"""The timeline: every button says what it is asked for, and shows what it is told."""

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction

from dynsim_gui.views.timeline import BUTTONS, Timeline


@pytest.fixture
def timeline(qtbot):
    t = Timeline()
    qtbot.addWidget(t)
    t.resize(900, 60)
    t.show()
    qtbot.waitExposed(t)
    t.show_range(400, 0, 4000)
    t.show_position(0, 0)
    return t


def heard(signal):
    """What a signal says from now on."""
    said = []
    signal.connect(lambda *values: said.append(values))
    return said


def test_every_button_of_its_own_has_its_signal(timeline):
    signals = {
        "reset": timeline.reset_requested,
        "back": timeline.stepped,
        "play": timeline.play_toggled,
        "forward": timeline.stepped,
        "loop": timeline.loop_toggled,
        "live": timeline.live_requested,
        "branch": timeline.branch_requested,
        "screenshot": timeline.screenshot_requested,
        "movie": timeline.movie_requested,
    }
    assert signals.keys() == BUTTONS.keys()
    timeline.show_live(True, False)
    expected = {"back": (-1,), "forward": (1,), "loop": (True,)}
    for key, signal in signals.items():
        said = heard(signal)
        timeline.buttons[key].click()
        assert said == [expected.get(key, ())], key


def test_a_given_action_is_the_button(qtbot):
    newest = QAction("Newest frame")
    newest.setCheckable(True)
    t = Timeline({"live": newest})
    qtbot.addWidget(t)
    triggered, requested = heard(newest.triggered), heard(t.live_requested)
    t.show_live(True, False)
    t.buttons["live"].click()
    assert len(triggered) == 1
    assert not requested
    newest.setEnabled(False)
    assert not t.buttons["live"].isEnabled()
    assert t.buttons["live"].text() == "LIVE"
    t.show_live(True, True)
    assert newest.isChecked()
    assert newest.isEnabled()
    assert t.buttons["live"].text() == "LIVE"


def test_showing_never_asks(timeline):
    asked = [heard(s) for s in (timeline.seeked, timeline.play_toggled, timeline.loop_toggled, timeline.speed_changed)]
    timeline.show_position(24, 1230)
    timeline.show_range(500, 1230, 4000)
    timeline.show_playing(True)
    timeline.show_loop(True)
    timeline.show_live(True, True)
    timeline.show_speed(60.0, True)
    timeline.show_speed(15.0, False)
    assert asked == [[], [], [], []]


def test_the_label_counts_from_one(timeline):
    timeline.show_position(23, 1230)
    assert "step 1,230 / 4,000" in timeline.label.text()
    assert "frame 24 / 400" in timeline.label.text()
    timeline.show_live(True, True)
    timeline.show_range(401, 4010, 0)
    assert "step 4,010<" in timeline.label.text()
    assert "frame 401 / 401" in timeline.label.text()


def test_the_slider_jumps_to_a_click_and_goes_on_from_there(timeline, qtbot):
    said, slider = heard(timeline.seeked), timeline.slider
    for frame in (30, 100, 399):
        x = slider.place(frame)
        qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(x, slider.height() // 2))
        assert abs(slider.value() - frame) <= 2
        timeline.show_position(7, 70)
        assert abs(slider.value() - frame) <= 2, "a handle that is held stays with the mouse"
        qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(x, slider.height() // 2))
        timeline.show_position(7, 70)
        assert slider.value() == 7
    assert len(said) == 3


def test_pixels_and_frames_agree(timeline):
    frames = range(0, 400, 25)
    back = [timeline.slider.frame_at(timeline.slider.place(k)) for k in frames]
    assert all(abs(a - b) <= 1 for a, b in zip(back, frames))


def test_events_are_told_where_they_are(timeline):
    timeline.show_events([(100, "kick", "strength 3"), (100, "set", "dynamics.dt = 0.2"), (300, "move", "particle 7")])
    slider = timeline.slider
    assert slider.event_text(slider.place(100)) == "kick: strength 3\nset: dynamics.dt = 0.2"
    assert slider.event_text(slider.place(300) + 2) == "move: particle 7"
    assert slider.event_text(slider.place(200)) == ""
    picture = slider.grab().toImage()
    marked, bare = (picture.pixelColor(slider.place(k), 3).name() for k in (300, 200))
    assert marked == "#cc79a7"
    assert bare != marked


def test_many_events_in_one_place_are_cut(timeline):
    timeline.show_events([(5, "set", str(k)) for k in range(50)])
    assert timeline.slider.event_text(timeline.slider.place(5)).splitlines()[-1] == "and 42 more"


@pytest.mark.parametrize(
    ("typed", "rate", "text"),
    [
        ("45", [(45.0,)], "45 steps/s"),
        ("0.5 steps/s", [(0.5,)], "0.5 steps/s"),
        ("MAX", [(None,)], "max"),
        ("30", [], "30 steps/s"),
        ("-3", [], "30 steps/s"),
        ("nan", [], "30 steps/s"),
        ("fast", [], "30 steps/s"),
        ("", [], "30 steps/s"),
    ],
)
def test_a_speed_is_typed(timeline, qtbot, typed, rate, text):
    timeline.show_speed(30.0, True)
    said, line = heard(timeline.speed_changed), timeline.speed.lineEdit()
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClicks(line, typed)
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert said == rate
    assert line.text() == text


def test_presets_follow_what_is_played(timeline):
    box, said = timeline.speed, heard(timeline.speed_changed)
    timeline.show_speed(None, True)
    assert box.currentText() == "max"
    assert [box.itemText(i) for i in range(box.count())][-2:] == ["120 steps/s", "max"]
    timeline.show_speed(30.0, False)
    assert [box.itemText(i) for i in range(box.count())] == [f"{r} frames/s" for r in (5, 15, 30, 60, 120)]
    assert box.currentText() == "30 frames/s"
    box.activated.emit(3)
    assert said == [(60.0,)]


def test_live_is_lit_only_while_following(timeline):
    timeline.show_live(True, True)
    lit = timeline.buttons["live"].icon().cacheKey()
    assert timeline.buttons["live"].isChecked()
    timeline.show_live(True, False)
    assert not timeline.buttons["live"].isChecked()
    assert timeline.buttons["live"].icon().cacheKey() != lit
    timeline.show_live(False, False)
    assert not timeline.buttons["live"].isEnabled()
