"""How many particles are where: a histogram on two axes, as an image with the axes beside it."""

from __future__ import annotations

import numpy as np
from vispy.scene import AxisWidget
from vispy.scene.cameras import PanZoomCamera
from vispy.scene.visuals import Image
from vispy.visuals.transforms import STTransform

from dynsim_gui.models import palette
from dynsim_gui.visuals.canvas import Canvas

_AXIS = {
    "axis_color": palette.BORDER,
    "tick_color": palette.DIM,
    "text_color": palette.DIM,
    "tick_font_size": 8,
    "axis_font_size": 9,
    "tick_label_margin": 12,
    "axis_label_margin": 30,
    "axis_width": 1,
    "tick_width": 1,
}


class DensityScene:
    """A 2-D view of counts: the wheel zooms, dragging moves, one unit is as long on either axis.

    Parameters
    ----------
    canvas : None makes one.
    lut : a map of `palette`.
    """

    def __init__(self, canvas: Canvas | None = None, lut: str = "magma") -> None:
        self.canvas = Canvas((480, 400)) if canvas is None else canvas
        self.lut = lut
        grid = self.canvas.central_widget.add_grid(margin=6, spacing=0)
        self._y, self._x = AxisWidget("left", **_AXIS), AxisWidget("bottom", **_AXIS)
        self._y.width_max = self._y.width_min = 58
        self._x.height_max = self._x.height_min = 42
        grid.add_widget(self._y, row=0, col=0)
        grid.add_widget(self._x, row=1, col=1)
        self._view = self.canvas.receiver = grid.add_view(row=0, col=1, camera=PanZoomCamera(aspect=1))
        self._x.link_view(self._view)
        self._y.link_view(self._view)
        self._image = Image(np.zeros((1, 1, 4), np.uint8), interpolation="nearest", parent=self._view.scene)
        self._image.visible = False
        self._bounds: tuple[float, ...] = ()
        self.fit()

    def show(self, counts, x_edges, y_edges, log: bool = True) -> None:
        """Show counts (nx, ny) in cells of equal width between edges (nx + 1,) and (ny + 1,).

        Empty cells have no colour, the fullest has the brightest; in between by log(1 + count), or in proportion. The
        view follows the cells until the user moves it. Raises ValueError where counts and edges do not fit.
        """
        shape = (len(x_edges) - 1, len(y_edges) - 1)
        if np.shape(counts) != shape:
            raise ValueError(f"counts {np.shape(counts)} between edges of {shape} cells")
        bounds = tuple(map(float, (x_edges[0], x_edges[-1], y_edges[0], y_edges[-1])))
        self._image.set_data(self._coloured(np.asarray(counts), log))
        cell = (bounds[1] - bounds[0]) / shape[0], (bounds[3] - bounds[2]) / shape[1]
        self._image.transform = STTransform(scale=cell, translate=(bounds[0], bounds[2]))
        self._image.visible = True
        self._bounds = bounds
        if self._view.camera.rect == self._fitted and self._outgrown():
            self.fit()

    def _outgrown(self) -> bool:
        """Whether the cells leave the view or fill little of it; it should not twitch with every cell more or less."""
        (x0, x1, y0, y1), seen = self._bounds, self._view.camera.rect
        outside = x0 < seen.left or x1 > seen.right or y0 < seen.bottom or y1 > seen.top
        return outside or (x1 - x0 < 0.6 * seen.width and y1 - y0 < 0.6 * seen.height)

    def _coloured(self, counts: np.ndarray, log: bool) -> np.ndarray:
        """(ny, nx, 4) uint8, the row of the lowest y first."""
        height = np.log1p(counts.T) if log else counts.T
        level = np.round(height * (255 / (height.max(initial=0) or 1))).astype(np.uint8)
        return np.dstack([palette.lookup(self.lut)[level], np.where(height > 0, 255, 0).astype(np.uint8)])

    def fit(self) -> None:
        """Bring all cells into view, and follow them from now on."""
        if self._bounds:
            self._view.camera.set_range(x=self._bounds[:2], y=self._bounds[2:], margin=0.05)
        self._fitted = self._view.camera.rect

    def label_axes(self, x: str, y: str) -> None:
        """Names below and beside."""
        self._x.axis.axis_label, self._y.axis.axis_label = x, y

    def project(self, points) -> np.ndarray:
        """(n, 2) pixels of the canvas, y downwards, of (n, 2) points of the two axes."""
        return self._view.scene.node_transform(self.canvas.scene).map(np.asarray(points, np.float64))[:, :2]

    def render(self, size: tuple[int, int] | None = None, scale: float = 1.0) -> np.ndarray:
        """A picture, (h, w, 4) uint8; see `Canvas.picture`."""
        return self.canvas.picture(size, scale)
