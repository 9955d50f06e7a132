"""The little axes in the corner: which way the picture is turned."""

from __future__ import annotations

import numpy as np
from vispy.scene import Node
from vispy.scene.visuals import Text

from dynsim_gui.models import palette
from dynsim_gui.visuals.lines import Segments

_ARM, _LABEL, _CORNER = 26.0, 36.0, 52.0
_COLOURS = np.array([palette.rgb(colour) for colour in ("#d55e00", "#009e73", "#56b4e9")]) / 255


class Gizmo(Node):
    """Three labelled arms in the lower left corner of a view, in its logical pixels."""

    def __init__(self, parent: Node) -> None:
        super().__init__(parent=parent)
        self.order = 100
        self._arms = Segments(width=1.6, depth_test=False, parent=self)
        self._labels = Text(["i", "j", "k"], color="white", font_size=9, pos=np.zeros((3, 3)), parent=self)

    def label(self, names: tuple[str, str, str]) -> None:
        """Names of the three axes."""
        self._labels.text = list(names)

    def turn(self, directions: np.ndarray, height: float) -> None:
        """Show directions (3, 3): per axis x to the right, y down and z into the screen, a unit vector each."""
        centre = np.array([_CORNER, height - _CORNER, 0.0])
        flat = directions * [1, 1, 0]
        colours = np.column_stack([_COLOURS, np.where(directions[:, 2] > 0, 0.45, 0.9)])
        order = np.argsort(-directions[:, 2])  # the arm that points to the viewer last
        segments = np.stack([np.broadcast_to(centre, (3, 3)), centre + _ARM * flat], axis=1)
        self._arms.set_data(segments[order], colours[order])
        self._labels.pos = centre + _LABEL * flat
        self._labels.color = np.column_stack([0.35 * _COLOURS + 0.55, colours[:, 3]])
