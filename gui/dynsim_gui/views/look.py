"""How particles are shown: the choices of the appearance as controls."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QSlider,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import QUANTITIES, Quantity
from dynsim_gui.models.palette import MAPS

SWITCHES = ("links", "packets", "trails", "shapes", "spin")


class LookView(QWidget):
    """Controls of an `Appearance`; both follow each other.

    Parameters
    ----------
    actions : the switches are the actions of the menus.
    """

    def __init__(self, appearance: Appearance, actions: dict[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._appearance = appearance
        self.colour, self.map, self.projection = QComboBox(), QComboBox(), QComboBox()
        self.axes = [QSpinBox() for _ in range(3)]
        self.size, self.count = QSlider(Qt.Orientation.Horizontal), QSlider(Qt.Orientation.Horizontal)
        self._quantities: Mapping[str, Quantity] = {}
        self.map.addItems(MAPS)
        self.projection.addItem("axes of R^d", "axes")
        self.projection.addItem("principal axes", "pca")
        self.projection.addItem("t-SNE (computes)", "tsne")
        self.projection.setToolTip("t-SNE is computed only when it is chosen here; the run stands still for seconds")
        self.size.setRange(0, 24)
        self.size.setToolTip("Size of the particles; at the left end it follows their number")
        self.count.setRange(0, 200)
        self.count.setToolTip("Strongest pairs of every link that are drawn")
        self._lay_out(actions)
        self._connect()
        self.offer(QUANTITIES)
        appearance.events.connect(lambda _: self.refresh())

    def offer(self, quantities: Mapping[str, Quantity]) -> None:
        """What particles can be coloured by."""
        if quantities.keys() != self._quantities.keys():
            self.colour.clear()
            for q in quantities.values():
                self.colour.addItem(q.label, q.name)
        self._quantities = quantities
        self.refresh()

    def _lay_out(self, actions: dict[str, QAction]) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        grid.setVerticalSpacing(6)
        axes = QHBoxLayout()
        axes.setSpacing(4)
        for box in self.axes:
            box.setMinimum(1)
            box.setToolTip("Coordinate of R^d")
            axes.addWidget(box)
        rows = (
            ("Colour by", self.colour),
            ("Map", self.map),
            ("View", self.projection),
            ("Axes", axes),
            ("Size", self.size),
            ("Links", self.count),
        )
        for k, (name, item) in enumerate(rows):
            label = QLabel(name)
            label.setObjectName("dim")
            grid.addWidget(label, k, 0)
            grid.addLayout(item, k, 1) if isinstance(item, QHBoxLayout) else grid.addWidget(item, k, 1)
        column.addLayout(grid)
        switches = QGridLayout()
        switches.setSpacing(4)
        for k, name in enumerate(SWITCHES):
            button = QToolButton()
            button.setDefaultAction(actions[name])
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
            button.setSizePolicy(self.colour.sizePolicy())
            switches.addWidget(button, k // 3, k % 3)
        column.addLayout(switches)
        column.addStretch(1)

    def _connect(self) -> None:
        a = self._appearance
        self.colour.activated.connect(lambda _: setattr(a, "colour_by", self.colour.currentData()))
        self.map.activated.connect(lambda _: setattr(a, "colour_map", self.map.currentText()))
        self.projection.activated.connect(lambda _: setattr(a, "projection", self.projection.currentData()))
        self.size.valueChanged.connect(lambda v: setattr(a, "point_size", float(v)))
        self.count.valueChanged.connect(lambda v: setattr(a, "link_count", v))
        for box in self.axes:
            box.valueChanged.connect(lambda _: setattr(a, "axes", tuple(b.value() - 1 for b in self.axes)))

    def show_dimension(self, dim: int) -> None:
        """Axes that there are."""
        for box in self.axes:
            box.blockSignals(True)
            box.setMaximum(max(dim, 3))
            box.blockSignals(False)
        self.refresh()

    def refresh(self) -> None:
        """Show the appearance as it is."""
        a = self._appearance
        widgets = (self.colour, self.map, self.projection, self.size, self.count, *self.axes)
        for w in widgets:
            w.blockSignals(True)
        self.colour.setCurrentIndex(self.colour.findData(a.colour_by))
        self.map.setCurrentText(a.colour_map)
        chosen = self._quantities.get(a.colour_by)
        self.map.setEnabled(chosen is not None and chosen.kind == "continuous")
        self.projection.setCurrentIndex(self.projection.findData(a.projection))
        self.size.setValue(int(a.point_size))
        self.count.setValue(a.link_count)
        for box, axis in zip(self.axes, a.axes):
            box.setValue(axis + 1)
            box.setEnabled(a.projection == "axes")
        for w in widgets:
            w.blockSignals(False)
