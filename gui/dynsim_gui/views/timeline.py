"""The row below the particles: play, step, speed, scrub over the recorded frames, follow the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import qtawesome
from qtpy.QtCore import QEvent, QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QAction, QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionSlider,
    QToolButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from dynsim_gui.models.palette import ACCENT, CANVAS, CATEGORIES, DIM, GOOD, TEXT, WARN

EVENT_COLOURS = {"set": ACCENT, "kick": WARN, "move": CATEGORIES[3], "learning": GOOD}
STEPS_A_SECOND = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, None)
FRAMES_A_SECOND = (5.0, 15.0, 30.0, 60.0, 120.0)
NEAR = 4  # pixels within which events share a tooltip
MOST_LINES = 8

# key: (text, icon of the Material Design set, whether it is a switch)
BUTTONS = {
    "reset": ("Reset to the start", "restart", False),
    "back": ("Step back", "skip-previous", False),
    "play": ("Play / pause", "play", True),
    "forward": ("Step forward", "skip-next", False),
    "loop": ("Loop", "repeat", True),
    "live": ("LIVE", "circle", True),
    "branch": ("Continue from here", "source-branch", False),
    "screenshot": ("Screenshot", "camera-outline", False),
    "movie": ("Movie", "movie-open-outline", False),
}


class FrameSlider(QSlider):
    """A slider over frames that jumps to a click, with marks where something happened."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.setMinimumSize(90, 30)
        self.setPageStep(10)
        self.events: tuple[tuple[int, str, str], ...] = ()

    def show_events(self, events: Iterable[tuple[int, str, str]]) -> None:
        """(frame, kind, text) of each."""
        self.events = tuple(events)
        self.update()

    def _groove(self) -> tuple[int, int]:
        """Where the handle's centre starts, and how far it can go, in pixels."""
        option = QStyleOptionSlider()
        self.initStyleOption(option)
        style, control = self.style(), QStyle.ComplexControl.CC_Slider
        groove = style.subControlRect(control, option, QStyle.SubControl.SC_SliderGroove, self)
        handle = style.subControlRect(control, option, QStyle.SubControl.SC_SliderHandle, self).width()
        return groove.left() + handle // 2, groove.width() - handle

    def place(self, frame: int) -> int:
        """x of a frame in pixels."""
        start, span = self._groove()
        return start + QStyle.sliderPositionFromValue(self.minimum(), self.maximum(), frame, span)

    def frame_at(self, x: float) -> int:
        """The frame nearest to a pixel."""
        start, span = self._groove()
        return QStyle.sliderValueFromPosition(self.minimum(), self.maximum(), round(x) - start, span)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.setValue(self.frame_at(event.position().x()))
        super().mousePressEvent(event)  # the handle is below the mouse now: dragging goes on from here

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        for frame, kind, _ in self.events:
            painter.fillRect(self.place(frame) - 1, 1, 2, 6, QColor(EVENT_COLOURS.get(kind, DIM)))
        painter.end()
        super().paintEvent(event)

    def event_text(self, x: float) -> str:
        """What happened near a pixel, a line for each event."""
        near = [f"{kind}: {text}" for frame, kind, text in self.events if abs(self.place(frame) - x) <= NEAR]
        more = [f"and {len(near) - MOST_LINES} more"] if len(near) > MOST_LINES else []
        return "\n".join(near[:MOST_LINES] + more)

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            QToolTip.showText(event.globalPos(), self.event_text(event.pos().x()), self)
            return True
        return super().event(event)


class SpeedBox(QComboBox):
    """A rate typed or chosen, such as "30 steps/s" or "max".

    `rate_changed` tells the rate, None for as fast as it goes.
    """

    rate_changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.setCompleter(None)
        self.setMinimumContentsLength(9)
        self.setMaxVisibleItems(10)
        self._rate: float | None = 30.0
        self._live = False
        self._show_presets(True)
        self.activated.connect(lambda i: self._take(self.itemData(i)))
        self.lineEdit().editingFinished.connect(self._typed)

    def show_rate(self, rate: float | None, live: bool) -> None:
        """Of the engine (steps a second) or of the replay (frames a second)."""
        if live != self._live:
            self._show_presets(live)
        if rate != self._rate or not self.lineEdit().hasFocus():
            self._rate = rate
            self.lineEdit().setText(self._text(rate))

    def _show_presets(self, live: bool) -> None:
        self._live = live
        with QSignalBlocker(self):
            self.clear()
            for rate in STEPS_A_SECOND if live else FRAMES_A_SECOND:
                self.addItem(self._text(rate), rate)
            self.lineEdit().setText(self._text(self._rate))
        self.setToolTip(f"{'Steps of the engine' if live else 'Recorded frames'} per second: type or choose")

    def _text(self, rate: float | None) -> str:
        return "max" if rate is None else f"{rate:g} {'steps/s' if self._live else 'frames/s'}"

    def _typed(self) -> None:
        text = self.lineEdit().text().strip().lower()
        if text == "max" and self._live:
            self._take(None)
            return
        try:
            rate = float((text.split() or [""])[0].removesuffix("steps/s").removesuffix("frames/s"))
        except ValueError:
            rate = 0.0
        self._take(rate if 0 < rate < float("inf") else self._rate)

    def _take(self, rate: float | None) -> None:
        changed, self._rate = rate != self._rate, rate
        self.lineEdit().setText(self._text(rate))
        if changed:
            self.rate_changed.emit(rate)


class Timeline(QWidget):
    """Where in time the window looks, and the buttons that change it.

    Parameters
    ----------
    actions : by the keys of `BUTTONS`. A button with an action given here triggers that action and no signal of ours,
        so that menu, shortcut and button are one thing; the others get an action and a signal of their own.
    """

    play_toggled = Signal()
    stepped = Signal(int)
    seeked = Signal(int)
    loop_toggled = Signal(bool)
    speed_changed = Signal(object)
    live_requested = Signal()
    reset_requested = Signal()
    branch_requested = Signal()
    screenshot_requested = Signal()
    movie_requested = Signal()

    def __init__(self, actions: Mapping[str, QAction] | None = None, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._frames = self._frame = self._step = self._total = 0
        self._playing: bool | None = None
        self._following: bool | None = None
        self._icons = {on: qtawesome.icon(f"mdi6.{'pause' if on else 'play'}", color=TEXT) for on in (True, False)}
        self._lamps = {
            on: qtawesome.icon("mdi6.circle", color=GOOD if on else DIM, color_disabled=CANVAS, scale_factor=0.8)
            for on in (True, False)
        }
        given = actions or {}
        self.actions_used = {key: given.get(key) or self._own_action(key) for key in BUTTONS}
        self.buttons = {key: self._button(key) for key in BUTTONS}
        self.slider, self.speed, self.label = FrameSlider(), SpeedBox(), QLabel()
        self.slider.valueChanged.connect(self.seeked)
        self.speed.rate_changed.connect(self.speed_changed)
        self._lay_out()
        self.actions_used["live"].changed.connect(self._name_live)
        self._name_live()
        self.show_playing(False)
        self.show_live(False, False)
        self.show_range(0, 0, 0)

    def _own_action(self, key: str) -> QAction:
        text, icon, switch = BUTTONS[key]
        action = QAction(qtawesome.icon(f"mdi6.{icon}", color=TEXT), text, self)
        action.setCheckable(switch)
        action.triggered.connect(
            {
                "reset": lambda: self.reset_requested.emit(),
                "back": lambda: self.stepped.emit(-1),
                "play": lambda: self.play_toggled.emit(),
                "forward": lambda: self.stepped.emit(1),
                "loop": lambda: self.loop_toggled.emit(action.isChecked()),
                "live": lambda: self.live_requested.emit(),
                "branch": lambda: self.branch_requested.emit(),
                "screenshot": lambda: self.screenshot_requested.emit(),
                "movie": lambda: self.movie_requested.emit(),
            }[key]
        )
        return action

    def _button(self, key: str) -> QToolButton:
        button = QToolButton()
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.setDefaultAction(self.actions_used[key])
        button.setAutoRaise(True)
        button.setStyleSheet("QToolButton { padding: 4px; }")
        size = 24 if key == "play" else 16
        button.setIconSize(QSize(size, size))
        if key == "live":
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        return button

    def _lay_out(self) -> None:
        column, row = QVBoxLayout(self), QHBoxLayout()
        column.setContentsMargins(6, 2, 6, 3)
        column.setSpacing(0)
        column.addWidget(self.slider)  # on a line of its own: a pixel for every frame, as far as there are pixels
        column.addLayout(row)
        row.setSpacing(3)
        for key in ("reset", "back", "play", "forward", "loop"):
            row.addWidget(self.buttons[key])
        row.addWidget(self.speed)
        row.addStretch(1)
        row.addWidget(self.buttons["live"])
        row.addWidget(self.label)
        for key in ("branch", "screenshot", "movie"):
            row.addWidget(self.buttons[key])

    # Showing ---------------------------------------------------------------------------------------------------

    def show_range(self, frames: int, step: int, total: int) -> None:
        """Recorded frames, the step shown, and steps planned (0: not known)."""
        self._frames, self._step, self._total = frames, step, total
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, max(frames - 1, 0))
            if self._following and not self.slider.isSliderDown():
                self.slider.setValue(frames - 1)
        self.slider.setEnabled(frames > 1)
        self.slider.update()
        self._write()

    def show_position(self, frame_index: int, step: int) -> None:
        """The frame shown, from 0, and its step; a handle that is being dragged stays with the mouse."""
        self._frame, self._step = frame_index, step
        if not self.slider.isSliderDown():
            with QSignalBlocker(self.slider):
                self.slider.setValue(frame_index)
            self.slider.update()
        self._write()

    def show_playing(self, playing: bool) -> None:
        """Whether what is shown moves by itself."""
        if playing != self._playing:
            self._playing = playing
            self.actions_used["play"].setIcon(self._icons[playing])
        self._check("play", playing)

    def show_live(self, live_possible: bool, following: bool) -> None:
        """Whether there is something to follow, and whether it is followed."""
        if following != self._following:
            self._following = following
            self.actions_used["live"].setIcon(self._lamps[following])
            self._write()
        self.actions_used["live"].setEnabled(live_possible)
        self._check("live", following)

    def show_events(self, events: Iterable[tuple[int, str, str]]) -> None:
        """(frame index, kind, text) of what happened."""
        self.slider.show_events(events)

    def show_loop(self, on: bool) -> None:
        """Whether the replay begins again at its end."""
        self._check("loop", on)

    def show_speed(self, rate: float | None, live: bool) -> None:
        """Of the engine in steps a second (None: as fast as it goes), or of the replay in frames a second."""
        self.speed.show_rate(rate, live)

    def _check(self, key: str, on: bool) -> None:
        if self.actions_used[key].isCheckable():
            self.actions_used[key].setChecked(on)

    def _name_live(self) -> None:
        """A change of the action has given its button the menu's longer text."""
        self.buttons["live"].setText(BUTTONS["live"][0])

    def _write(self) -> None:
        step = f"step {self._step:,}" + (f" / {self._total:,}" if self._total else "")
        number = self._frames if self._following else self._frame + 1
        frame = f"frame {number:,} / {self._frames:,}" if self._frames else "no frames"
        text = f"{step}<br><span style='color:{DIM}'>{frame}</span>"
        if text != self.label.text():
            self.label.setText(text)
            # as wide as it has ever been: the slider must not tremble with the digits
            self.label.setMinimumWidth(max(self.label.minimumWidth(), self.label.sizeHint().width()))
