"""Line segments with colours of their own: links between particles, and the trails behind them."""

from __future__ import annotations

import numpy as np
from vispy.gloo import IndexBuffer
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

from dynsim_gui.visuals.points import clip_per_pixel, pixels_per_unit
from dynsim_gui.visuals.streams import Stream

# GL's own wide lines are ragged where short ones follow each other, and missing from some drivers: each segment is a
# strip of four corners, widened on the screen.
_VERTEX = """
attribute vec3 a_start;
attribute vec3 a_end;
attribute vec4 a_colour;
attribute vec2 a_corner;
uniform vec2 u_per_pixel;
uniform float u_half;
varying vec4 v_colour;
varying float v_across;

// `from`, moved along the segment to where it stands before the eye.
vec4 before_eye(vec4 from, vec4 to) {
    float least = 1e-3 * abs(to.w);
    return from.w >= least ? from : mix(to, from, (to.w - least) / (to.w - from.w));
}

void main() {
    vec4 start = $transform(vec4(a_start, 1.0));
    vec4 end = $transform(vec4(a_end, 1.0));
    vec4 a = before_eye(start, end);
    vec4 b = before_eye(end, start);
    vec2 along = (b.xy / b.w - a.xy / a.w) / u_per_pixel;
    vec2 across = vec2(-along.y, along.x) / max(length(along), 1e-6);
    v_across = a_corner.y * (u_half + 1.0);
    gl_Position = a_corner.x < 0.5 ? a : b;
    gl_Position.xy += across * v_across * u_per_pixel * gl_Position.w;
    v_colour = a_colour;
}
"""
_FRAGMENT = """
uniform float u_half;
varying vec4 v_colour;
varying float v_across;
void main() {
    float cover = clamp(u_half + 0.5 - abs(v_across), 0.0, 1.0);
    if (cover < 0.02) discard;
    gl_FragColor = vec4(v_colour.rgb, v_colour.a * cover);
}
"""
_CORNERS = np.array([[0, -1], [0, 1], [1, -1], [1, 1]], np.float32)
_TRIANGLES = np.array([0, 1, 2, 2, 1, 3], np.uint32)


class SegmentsVisual(Visual):
    """Straight segments; nothing is drawn until some are given.

    Parameters
    ----------
    width : in logical pixels.
    depth_test : hide what lies behind points.
    """

    def __init__(self, width: float = 1.0, depth_test: bool = True) -> None:
        super().__init__(vcode=_VERTEX, fcode=_FRAGMENT)
        names = {"a_start": 3, "a_end": 3, "a_colour": 4, "a_corner": 2}
        self._streams = {name: Stream(self.shared_program, name, columns) for name, columns in names.items()}
        self._width = float(width)
        self._draw_mode = "triangles"
        self.set_gl_state("translucent", depth_test=depth_test, cull_face=False)
        self.freeze()

    def __len__(self) -> int:
        return len(self._streams["a_start"]) // 4

    def set_data(self, segments, colours) -> None:
        """Segments (k, 2, 3); colours RGBA in [0, 1], (k, 4) or, one for each end, (k, 2, 4).

        Both are copied before this returns. Raises ValueError where the lengths differ.
        """
        k = len(segments)
        if len(colours) != k:
            raise ValueError(f"{k} segments, but {len(colours)} colours")
        ends = np.reshape(np.asarray(segments, np.float32), (k, 2, 3))
        if k != len(self):
            self._streams["a_corner"].fill(np.tile(_CORNERS, (k, 1)))
            self._index_buffer = IndexBuffer((4 * np.arange(k, dtype=np.uint32)[:, None] + _TRIANGLES).ravel())
        self._streams["a_start"].fill(np.repeat(ends[:, 0], 4, axis=0))
        self._streams["a_end"].fill(np.repeat(ends[:, 1], 4, axis=0))
        self._streams["a_colour"].fill(np.repeat(colours, 4 if np.ndim(colours) == 2 else 2, axis=0).reshape(-1, 4))
        self.update()

    def _prepare_transforms(self, view) -> None:
        view.view_program.vert["transform"] = view.transforms.get_transform()

    def _prepare_draw(self, view):
        if not len(self):
            return False
        self.shared_program["u_half"] = 0.5 * self._width * pixels_per_unit(view)
        self.shared_program["u_per_pixel"] = clip_per_pixel(view)
        return True

    def _compute_bounds(self, axis, view):
        return None


Segments = create_visual_node(SegmentsVisual)


def polylines(lines, colours) -> tuple[np.ndarray, np.ndarray]:
    """Trails as segments: each (m, 3) line with one RGB colour fades from its last point (now) to its first.

    Returns segments (k, 2, 3) and RGBA (k, 2, 4); lines of fewer than two points have none.
    """
    segments, ends = [np.empty((0, 2, 3))], [np.empty((0, 2, 4))]
    for line, colour in zip(lines, colours, strict=True):
        if len(line) < 2:
            continue
        segments.append(np.stack([line[:-1], line[1:]], axis=1))
        alpha = np.linspace(0, 1, len(line)) ** 1.5
        rgba = np.column_stack([np.tile(colour, (len(line), 1)), alpha])
        ends.append(np.stack([rgba[:-1], rgba[1:]], axis=1))
    return np.concatenate(segments), np.concatenate(ends)
