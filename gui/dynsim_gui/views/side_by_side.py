"""Two recorded runs beside each other: both clouds at one step, and one number of both over all steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget

from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.comparison import Timeline, common_curves
from dynsim_gui.models.curves import peaks, short
from dynsim_gui.models.palette import ACCENT, WARN
from dynsim_gui.recorded import Recorded
from dynsim_gui.views.legend import Legend
from dynsim_gui.views.plot import Plot
from dynsim_gui.views.widgets import on_its_own
from dynsim_gui.visuals.particles import ParticleScene
from dynsim_gui.visuals.stage import Stage

COLOURS = (ACCENT, WARN)
PLOT_HEIGHT = 150


class Side(QWidget):
    """One run: its name in the colour of its curve, its particles, what their colours mean."""

    def __init__(self, recorded: Recorded, colour: str) -> None:
        super().__init__()
        self.recorded, self.appearance = recorded, Appearance(links=False, packets=False)
        recorded.choose_colour(self.appearance, asked=False)
        self.stage = Stage(ParticleScene(), self.appearance, recorded.run.cast.dim)
        self.legend, self.title = Legend(), QLabel()
        self._name = f"<b style='color:{colour}'>━ {recorded.run.title}</b>"
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.title)
        column.addWidget(on_its_own(self.stage.scene.canvas.native), 1)
        column.addWidget(self.legend)
        self.setMinimumWidth(320)

    def show_frame(self, i: int) -> None:
        """Of the recording."""
        scene = self.recorded.scene(i)
        self.title.setText(f"{self._name} &nbsp;step {scene.frame.step:,} of {self.recorded.steps[-1]:,}")
        self.legend.show_colouring(self.stage.draw(scene))

    def turn_as(self, other: Side) -> None:
        """Look from the side that the other is looked at from; each cloud stays in its own place and size."""
        seen, here = other.stage.scene.camera_state(), self.stage.scene.camera_state()
        turned = here | {name: seen[name] for name in ("azimuth", "elevation")}
        if turned != here:
            self.stage.scene.restore_camera(turned)

    def end(self) -> None:
        self.stage.scene.canvas.close()
        self.recorded.close()


class SideBySide(QWidget):
    """Two runs at one step; `left` asks to go back.

    Raises what opening a run raises.
    """

    left = Signal()

    def __init__(self, first: Path, second: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        one = Recorded(first)
        try:
            two = Recorded(second)
        except BaseException:
            one.close()
            raise
        self.curves = common_curves([path / "trajectory.h5" for path in (first, second)])
        self.timeline = Timeline(one.steps, two.steps)
        self.sides = tuple(Side(run, colour) for run, colour in zip((one, two), COLOURS))
        self.plot, self.choice = Plot(), QComboBox()
        self.lines = [self.plot.plot(pen=pg.mkPen(colour, width=1)) for colour in COLOURS]
        self.values, self.back = QLabel(), QPushButton("Back to the table")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self._lay_out()
        self._fill()

    def _lay_out(self) -> None:
        column, pair, row = QVBoxLayout(self), QHBoxLayout(), QHBoxLayout()
        for side in self.sides:
            pair.addWidget(side, 1)
        for widget in (self.back, self.choice, self.values):
            row.addWidget(widget)
        row.addStretch(1)
        self.plot.setFixedHeight(PLOT_HEIGHT)
        column.addLayout(pair, 1)
        column.addWidget(self.slider)
        column.addLayout(row)
        column.addWidget(self.plot)

    def _fill(self) -> None:
        self.choice.addItems(list(self.curves))
        self.slider.setRange(0, len(self.timeline.steps) - 1)
        self.back.clicked.connect(self.left)
        self.choice.currentTextChanged.connect(self._draw_curves)
        self.slider.valueChanged.connect(self.seek)
        for side, other in zip(self.sides, self.sides[::-1]):
            side.stage.scene.canvas.events.mouse_move.connect(lambda _, a=side, b=other: b.turn_as(a))
        self.plot.clicked.connect(lambda step: self.slider.setValue(self._nearest(step)))
        self.plot.spanned.connect(self.plot.span)
        self.plot.unspanned.connect(self._whole)
        self._draw_curves()
        self.slider.setValue(self.slider.maximum())
        self.seek(self.slider.value())

    def _nearest(self, step: float) -> int:
        return int(np.abs(self.timeline.steps - step).argmin())

    def _whole(self) -> None:
        self.plot.span(float(self.timeline.steps[0]), float(self.timeline.steps[-1]))

    def _draw_curves(self) -> None:
        for line, (steps, values) in zip(self.lines, self.curves.get(self.choice.currentText(), ())):
            line.setData(*peaks(np.asarray(steps, float), np.asarray(values, float)))
        self._whole()
        self._tell()

    def seek(self, place: int) -> None:
        """Both at this place of the common timeline."""
        for side, frame in zip(self.sides, self.timeline.frames(place)):
            side.show_frame(frame)
        self.plot.cursor(float(self.timeline.steps[place]))
        self._tell()

    def _tell(self) -> None:
        """The number of both at the step."""
        step, said = self.timeline.steps[self.slider.value()], []
        for colour, (steps, values) in zip(COLOURS, self.curves.get(self.choice.currentText(), ())):
            row = int(np.searchsorted(steps, step, "right")) - 1
            said.append(f"<span style='color:{colour}'>{short(values[row]) if row >= 0 else '-'}</span>")
        self.values.setText(f"at step {step:,}: " + " &nbsp; ".join(said))

    def end(self) -> None:
        """Close the files and the canvases."""
        for side in self.sides:
            side.end()
