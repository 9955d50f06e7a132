"""The particles of a system in three dimensions, with what runs between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from vispy.scene.cameras import TurntableCamera

from dynsim_gui.models import palette
from dynsim_gui.visuals.canvas import Canvas
from dynsim_gui.visuals.gizmo import Gizmo
from dynsim_gui.visuals.lines import Segments, polylines
from dynsim_gui.visuals.points import SHAPES, Points

# Half of the way to the ground, for the farthest: depth is felt, colours can still be read.
_FADING = 0.5
_GROUND = np.array(palette.rgb(palette.CANVAS)) / 255
_AT_MOST_FOR_BOUNDS = 2_000
# Planes a hundredth and a hundred times as far as the centre; VisPy's own, a million, leaves the depth few steps.
_DEPTH_VALUE = 1e3


def default_size(n: int) -> float:
    """Diameter in pixels at which n points are seen singly as long as they can be."""
    return float(np.clip(420 / np.sqrt(max(n, 1)), 2.0, 13.0))


def _glow() -> np.ndarray:
    """(256, 4) uint8: from nothing through amber to white."""
    t = np.linspace(0, 1, 256)
    return np.round(255 * np.column_stack([np.ones(256), 0.62 + 0.35 * t, 0.2 + 0.7 * t**2, t])).astype(np.uint8)


class _Turntable(TurntableCamera):
    """Says when it has moved; VisPy's own events do not tell."""

    def __init__(self, moved: Callable[[], None], **state) -> None:
        self._moved = moved
        super().__init__(**state)

    def view_changed(self) -> None:
        super().view_changed()
        if self.viewbox is not None and not self._resetting:
            self._moved()


class ParticleScene:
    """Points, links, packets, trails and halos under a turntable camera.

    Pixels are the canvas's logical ones, with y downwards, as its mouse events give them. Drag turns, the wheel zooms,
    shift and drag moves. `canvas.events` are VisPy's; `canvas.native` is the widget, where the backend has one.

    Attributes
    ----------
    point_size : diameter of the points in pixels; None: `default_size` of their number, at the next `points`.

    Parameters
    ----------
    canvas : None makes one.
    """

    def __init__(self, canvas: Canvas | None = None) -> None:
        self.canvas = Canvas() if canvas is None else canvas
        self._view = self.canvas.receiver = self.canvas.central_widget.add_view()
        scene = self._view.scene
        scene.clip_children = False  # the view is the whole canvas; clipping would be done for every pixel
        self._points = Points(parent=scene)
        self._links, self._trails = Segments(width=1.0, parent=scene), Segments(width=1.6, parent=scene)
        self._packets = Points(size=13, additive=True, parent=scene)
        self._packets.colours(_glow())
        self._hovered, self._selected = self._halo(palette.DIM, 7), self._halo(palette.TEXT, 9)
        self._gizmo = Gizmo(self._view)
        for order, node in enumerate((self._points, self._trails, self._links, self._packets)):
            node.order = order
        self._painted: tuple = ()
        self._depth_cue = True
        self.point_size: float | None = None
        self._camera = _Turntable(self._camera_moved, fov=35, elevation=22, azimuth=35)
        self._camera.depth_value = _DEPTH_VALUE
        self._view.camera = self._camera
        self.fit(np.array([[-1.0, -1, -1], [1, 1, 1]]))

    def _halo(self, colour: str, extra: float) -> Points:
        ring = Points(extra=extra, parent=self._view.scene)
        ring.colours(np.array([palette.rgb(colour)], np.uint8))
        ring.update_gl_state(depth_test=False)
        ring.order = 10
        return ring

    def points(self, positions, values=None, *, clim=(0.0, 1.0), lut="viridis", categories=None, shapes=None) -> None:
        """Show particles at (n, 3) positions.

        Parameters
        ----------
        values : (n,), coloured by the map `lut` of `palette` over `clim`; NaN is grey.
        categories : (n,) integers instead, coloured by `palette.CATEGORIES` in turn; below zero is grey.
        shapes : (n,) indices into `points.SHAPES`; None draws discs.

        Without values and categories all have one colour. Arrays are copied. Raises ValueError on unequal lengths.
        """
        n = len(positions)
        self._paint(*(("categories",) if values is None else (lut, tuple(map(float, clim)))))
        if values is None:
            values = np.zeros(n, np.float32) if categories is None else _from_zero(categories)
        self._points.set_data(positions, values, 0 if shapes is None else shapes)
        size = default_size(n) if self.point_size is None else self.point_size
        if size != self._points.size:
            for node in (self._points, self._hovered, self._selected):
                node.size = size

    def _paint(self, *how) -> None:
        """Change the colours of the points, if they are other than before."""
        if how == self._painted:
            return
        if how == ("categories",):
            self._points.categories(np.array([palette.rgb(colour) for colour in palette.CATEGORIES]))
        else:
            self._points.colours(palette.lookup(how[0]), how[1])
        self._painted = how

    def links(self, segments, colours) -> None:
        """Lines between particles: (k, 2, 3), RGBA in [0, 1] (k, 4)."""
        self._links.set_data(segments, colours)

    def packets(self, positions, brightness) -> None:
        """Energy on its way: glowing spots at (n, 3), brightness (n,) in [0, 1]."""
        self._packets.set_data(positions, brightness)

    def trails(self, lines, colours) -> None:
        """Where particles were: a list of (m, 3), oldest point first, and one RGB in [0, 1] each."""
        self._trails.set_data(*polylines(lines, colours))

    def select(self, positions) -> None:
        """Rings around the selected particles: (n, 3), n may be 0."""
        self._ring(self._selected, positions)

    def hover(self, positions) -> None:
        """Dimmer rings around the particle under the mouse: (n, 3), n may be 0."""
        self._ring(self._hovered, positions)

    def _ring(self, node: Points, positions) -> None:
        node.set_data(np.reshape(positions, (-1, 3)), shapes=SHAPES.index("halo"))

    def label_axes(self, names: tuple[str, str, str]) -> None:
        """Names of the three axes, as "i", "j", "k" or "PC1", "PC2", "PC3"."""
        self._gizmo.label(names)
        self.canvas.update()

    def fit(self, positions, part: float = 1.0) -> None:
        """Bring (n, 3) positions into view, but for the outermost percent; the angles stay. Nothing for n = 0.

        Parameters
        ----------
        part : of the way there, so that calling it frame by frame follows a cloud without a jerk.
        """
        finite = np.asarray(positions)[np.isfinite(positions).all(axis=1)]
        sample = finite[:: 1 + len(finite) // _AT_MOST_FOR_BOUNDS]
        if not len(sample):
            return
        centre = np.quantile(sample, [0.01, 0.99], axis=0).mean(axis=0)
        reach = np.quantile(np.linalg.norm(sample - centre, axis=1), 0.99)
        # A sphere touches the edges of the cone of sight at reach / cos of half its angle above its centre.
        size = 2.15 * (float(reach) or 1.0) / np.cos(np.radians(self._camera.fov) / 2)
        before = np.array(self._camera.center)
        self._camera.center = tuple(map(float, before + part * (centre - before)))
        self._camera.distance = None
        self._camera.scale_factor += part * (size - self._camera.scale_factor)

    def camera_state(self) -> dict:
        """Where the camera stands, as plain numbers."""
        state = self._camera.get_state()
        return {name: list(map(float, s)) if isinstance(s, tuple) else s for name, s in state.items()}

    def restore_camera(self, state: dict) -> None:
        """Put the camera where `camera_state` found it; KeyError on unknown names."""
        self._camera.set_state(dict(state))

    def turn(self, degrees: float) -> None:
        """Turn the camera about the vertical axis."""
        self._camera.azimuth = (self._camera.azimuth + degrees) % 360

    def camera_enabled(self, enabled: bool) -> None:
        """Whether the mouse moves the camera; off while a particle is dragged."""
        self._camera.interactive = bool(enabled)

    def _matrix(self) -> np.ndarray:
        """(4, 4): homogeneous world positions @ it -> canvas pixels, all times the distance from the eye."""
        return self._points.get_transform("visual", "canvas").map(np.eye(4))

    def project(self, positions) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (n, 2) and distances (n,) from the eye along the line of sight, negative behind it."""
        matrix = self._matrix()
        flat = np.asarray(positions, np.float64) @ matrix[:3] + matrix[3]
        depth = flat[:, 3]
        return flat[:, :2] / np.where(depth == 0, np.inf, depth)[:, None], depth

    def pick(self, x: float, y: float, radius: float = 8.0) -> int | None:
        """Number of the particle at a pixel: the front one of the discs that cover it, else the nearest in `radius`."""
        pixels, depth = self.project(self._points.positions)
        away = np.hypot(*(pixels - (x, y)).T)
        away[~(depth > 0)] = np.inf
        covering = np.flatnonzero(away <= self._points.radius(depth))
        if len(covering):
            return int(covering[np.argmin(depth[covering])])
        return int(np.argmin(away)) if len(away) and away.min() <= radius else None

    def unproject_delta(self, dx: float, dy: float, at) -> np.ndarray:
        """(3,) move in the plane of the screen by which a particle at `at` (3,) goes dx, dy pixels."""
        matrix = self._matrix()
        depth = np.append(at, 1.0) @ matrix[:, 3]
        # The move changes x and y by dx and dy times the distance, and the distance not at all.
        return np.linalg.lstsq(matrix[:3, [0, 1, 3]].T, np.array([dx, dy, 0.0]) * depth, rcond=None)[0]

    def render(self, size: tuple[int, int] | None = None, scale: float = 1.0) -> np.ndarray:
        """A picture, (h, w, 4) uint8; see `Canvas.picture`. Needs no display where VisPy runs on EGL."""
        return self.canvas.picture(size, scale)

    @property
    def depth_cue(self) -> bool:
        """Whether far points are smaller and fainter; off, colours are exactly those of the colour bar."""
        return self._depth_cue

    @depth_cue.setter
    def depth_cue(self, on: bool) -> None:
        self._depth_cue = bool(on)
        self._camera_moved()

    def _camera_moved(self) -> None:
        """Depth cues and the little axes follow the camera."""
        matrix = self._matrix()
        centre = np.append(self._camera.center, 1.0) @ matrix
        for node in (self._points, self._packets, self._hovered, self._selected):
            node.depth_cue(centre[3] if self._depth_cue else 0.0, _FADING if node is self._points else 0.0, _GROUND)
        across = matrix[:3, :2] - matrix[:3, 3:] * (centre[:2] / centre[3])
        arms = np.column_stack([across / np.linalg.norm(across, 2), matrix[:3, 3]])
        self._gizmo.turn(arms / np.linalg.norm(arms, axis=1, keepdims=True), self._view.size[1])


def _from_zero(categories) -> np.ndarray:
    """Categories as values for the shader: rows of the table of colours, NaN below zero."""
    categories = np.asarray(categories)
    return np.where(categories < 0, np.nan, categories % len(palette.CATEGORIES)).astype(np.float32)
