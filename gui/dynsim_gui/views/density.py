"""The density view: particles per cell on two axes of the view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.density import PLANES, DensityMap, caption
from dynsim_gui.views.widgets import on_its_own
from dynsim_gui.visuals.density import DensityScene

# delta in standard deviations at the ends of the slider.
FINEST, COARSEST = 0.02, 1.0


class DensityView(QWidget):
    """A picture of counts, its cells and what they say.

    Parameters
    ----------
    positions : gives (n, 3) positions in the particle view. labels : names of its axes.
    """

    def __init__(
        self,
        appearance: Appearance,
        positions: Callable[[], np.ndarray],
        labels: Callable[[], tuple[str, str, str]],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._appearance, self._positions, self._labels = appearance, positions, labels
        self._map = DensityMap()
        self._scene: DensityScene | None = None
        self.plane, self.log, self.smooth = QComboBox(), QCheckBox("log"), QCheckBox("smooth")
        self.cell, self.caption = QSlider(Qt.Orientation.Horizontal), QLabel()
        self.changes = 0
        self.plane.addItems([f"axes {name}" for name in PLANES])
        self.plane.setToolTip("Axes of the particle view")
        self.cell.setRange(0, 100)
        self.cell.setToolTip("Side δ of the cells, those of ψ(δ)")
        self.log.setToolTip("Logarithmic colours")
        self.smooth.setToolTip("A Gaussian of one cell; the sum stays")
        self.caption.setObjectName("dim")
        self._lay_out()
        self._show_choices()
        self._connect()
        self.setMinimumSize(260, 220)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setContentsMargins(8, 6, 8, 4)
        row.setSpacing(8)
        label = QLabel("δ")
        for item in (self.plane, label, self.cell, self.log, self.smooth):
            row.addWidget(item)
        row.setStretchFactor(self.cell, 1)
        foot = QHBoxLayout()
        foot.setContentsMargins(8, 3, 8, 5)
        foot.addWidget(self.caption)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addLayout(foot)
        self._column = column

    def _connect(self) -> None:
        a = self._appearance
        self.plane.activated.connect(lambda _: self._changed())
        self.log.toggled.connect(lambda on: setattr(a, "density_log", on))
        self.smooth.toggled.connect(lambda on: setattr(a, "density_smooth", 1.0 if on else 0.0))
        self.cell.valueChanged.connect(lambda v: setattr(a, "density_cell", FINEST * (COARSEST / FINEST) ** (v / 100)))

    def _show_choices(self) -> None:
        a = self._appearance
        self.log.setChecked(a.density_log)
        self.smooth.setChecked(a.density_smooth > 0)
        self.cell.setValue(round(100 * np.log(a.density_cell / FINEST) / np.log(COARSEST / FINEST)))

    def _changed(self) -> None:
        self.changes += 1

    @property
    def scene(self) -> DensityScene:
        """Made when it is first drawn: its axes and letters take half a second of a window's start. (Not when it is
        first shown: Qt shows a dock behind others for a moment.)"""
        if self._scene is None:
            self._scene = DensityScene()
            self._column.insertWidget(1, on_its_own(self._scene.canvas.native), 1)
        return self._scene

    def draw(self) -> None:
        """The particles as they are."""
        positions = self._positions()
        if not len(positions):
            self.caption.setText("no particles yet")
            return
        plane = self.plane.currentText().removeprefix("axes ")
        density = self._map.of(positions, plane, self._appearance)
        across, up = (self._labels()[axis] for axis in PLANES[plane])
        self.scene.label_axes(across, up)
        self.scene.show(density.counts, density.x_edges, density.y_edges, log=self._appearance.density_log)
        self.caption.setText(caption(positions, density))
