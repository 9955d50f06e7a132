"""Particles as GL points: one position and one value per point are uploaded, colour and shape are made in the shader.

This is some 30 times cheaper per frame than a visual that uploads colours, edges and sizes for every marker, and under
a software renderer also cheaper than instanced quads.
"""

from __future__ import annotations

import numpy as np
from vispy.gloo import Texture2D
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

from dynsim_gui.models import palette
from dynsim_gui.visuals.streams import Stream

SHAPES = ("disc", "square", "diamond", "triangle", "ring", "halo")

# A point without a value (NaN, or a category below zero).
_MISSING = tuple(round(part / 255, 4) for part in palette.rgb(palette.NONE))
_MISSING_BELOW = -1e30

# Bounds of the factor by which a near point grows and a far one shrinks.
_FAR, _NEAR = 0.55, 1.9

_VERTEX = f"""
attribute vec3 a_position;
attribute float a_value;
attribute float a_shape;
uniform mat4 u_matrix;
uniform sampler2D u_colours;
uniform vec2 u_clim;
uniform float u_size;
uniform float u_extra;
uniform float u_pixels;
uniform float u_distance;
uniform float u_fading;
uniform float u_glow;
uniform vec3 u_ground;
varying vec4 v_colour;  // of a glowing spot: RGBA; else RGB and form

void main() {{
    gl_Position = u_matrix * vec4(a_position, 1.0);
    // w is the distance from the eye; u_distance that of the point which the camera turns about.
    float near = u_distance > 0.0 ? u_distance / max(gl_Position.w, 1e-9) : 1.0;
    float radius = 0.5 * u_pixels * (u_size * clamp(near, {_FAR}, {_NEAR}) + u_extra);
    radius = floor(16.0 * radius + 0.5) / 16.0;
    gl_PointSize = 2.0 * (radius * (a_shape < 0.5 ? 1.0 : 1.2) + 0.5);
    float t = clamp((a_value - u_clim.x) / (u_clim.y - u_clim.x), 0.0, 1.0);
    v_colour = a_value < {_MISSING_BELOW} ? vec4{(*_MISSING, 1.0)}
        : texture2D(u_colours, vec2((floor(255.0 * t + 0.5) + 0.5) / 256.0, 0.5));
    float fade = u_distance > 0.0 ? u_fading * smoothstep(0.75, 1.4, 1.0 / near) : 0.0;
    v_colour.rgb = mix(v_colour.rgb, u_ground, fade);
    // A second varying would cost a software renderer a third of the frame.
    if (u_glow < 0.5) v_colour.a = 128.0 * radius + a_shape;
}}
"""

_FRAGMENT = """
varying vec4 v_colour;

// Signed distance from the outline in units of the radius, negative inside.
float outline(vec2 p, float radius, float shape) {
    if (shape < 0.5) return length(p) - 1.0;
    if (shape < 1.5) return max(abs(p.x), abs(p.y)) - 0.86;
    if (shape < 2.5) return 0.7071 * (abs(p.x) + abs(p.y)) - 0.8;
    if (shape < 3.5) return max(p.y, 0.866 * abs(p.x) - 0.5 * p.y) - 0.6;
    if (shape < 4.5) return abs(length(p) - 0.75) - 0.25;
    return abs(length(p) - 1.0) - 0.9 / radius;
}

void main() {
    float shape = mod(floor(v_colour.a + 0.5), 8.0);
    float radius = (v_colour.a - shape) / 128.0;
    vec2 p = (2.0 * gl_PointCoord - 1.0) * ((shape < 0.5 ? 1.0 : 1.2) + 0.5 / radius);
    float d = outline(p, radius, shape);
    float cover = clamp(0.5 - d * radius, 0.0, 1.0);
    if (cover < 0.02) discard;
    // A darker rim sets apart points that overlap.
    float rim = radius > 2.0 && shape < 3.5 ? 0.45 * smoothstep(-0.5, 0.0, d) : 0.0;
    gl_FragColor = vec4(v_colour.rgb * (1.0 - rim), cover);
}
"""

_GLOW = """
varying vec4 v_colour;
void main() {
    vec2 p = 2.0 * gl_PointCoord - 1.0;
    gl_FragColor = vec4(v_colour.rgb, v_colour.a * max(exp(-5.0 * dot(p, p)) - 0.01, 0.0));
}
"""


class PointsVisual(Visual):
    """Points with antialiased outlines; nothing is drawn until positions are given.

    Parameters
    ----------
    size : diameter in logical pixels, at the distance that the camera turns about.
    extra : pixels added to the diameter whatever the distance, as for a ring around another point.
    additive : glowing spots that add up and hide nothing, instead of opaque shapes that hide what is behind them.
    """

    def __init__(self, size: float = 6.0, extra: float = 0.0, additive: bool = False) -> None:
        super().__init__(vcode=_VERTEX, fcode=_GLOW if additive else _FRAGMENT)
        program = self.shared_program
        self._position, self._shape = Stream(program, "a_position", 3), Stream(program, "a_shape", 1)
        self._value = Stream(program, "a_value", 1, nan=10 * _MISSING_BELOW)
        self._size, self._extra, self._distance = float(size), float(extra), 0.0
        program["a_shape"], program["u_glow"] = 0.0, float(additive)
        self.size = size
        program["u_extra"], program["u_pixels"] = self._extra, 1.0
        self._texture = program["u_colours"] = Texture2D(np.zeros((1, 256, 4), np.uint8), interpolation="nearest")
        self.depth_cue(0.0)
        self.colours(np.full((1, 3), 255, np.uint8))
        self._draw_mode = "points"
        blending = ("src_alpha", "one" if additive else "one_minus_src_alpha")
        self.set_gl_state(depth_test=not additive, blend=True, blend_func=blending, cull_face=False)
        self.freeze()

    def __len__(self) -> int:
        return len(self._position)

    @property
    def positions(self) -> np.ndarray:
        """(n, 3) float32, as last given; to be read only."""
        return self._position.array

    @property
    def size(self) -> float:
        """Diameter in logical pixels."""
        return self._size

    @size.setter
    def size(self, pixels: float) -> None:
        self._size = float(pixels)
        self.shared_program["u_size"] = self._size
        self.update()

    def set_data(self, positions=None, values=None, shapes=None) -> None:
        """Positions (n, 3), values (n,) to be coloured, shapes: (n,) indices into `SHAPES`, or one for all.

        None leaves as it was. All are copied before this returns. New points without values have the value 0, without
        shapes they are discs. Raises ValueError where the lengths differ.
        """
        n = len(self) if positions is None else len(positions)
        for name, array in (("values", values), ("shapes", shapes)):
            if np.ndim(array) and len(array) != n:
                raise ValueError(f"{n} points, but {len(array)} {name}")
        if positions is not None:
            self._position.fill(positions)
        if values is not None or len(self._value) != n:
            self._value.fill(np.zeros(n, np.float32) if values is None else values)
        if shapes is not None or len(self._shape) not in (0, n):
            self._reshape(0 if shapes is None else shapes)
        self.update()

    def _reshape(self, shapes) -> None:
        """Shapes seldom change: uploaded only then."""
        if np.ndim(shapes) == 0:
            self._shape.clear()
            self.shared_program["a_shape"] = float(shapes)
        elif not np.array_equal(shapes, self._shape.array):
            self._shape.fill(shapes)

    def colours(self, table: np.ndarray, clim: tuple[float, float] = (0.0, 1.0)) -> None:
        """Colour values by a map: (256, 3) uint8 from `clim[0]` to `clim[1]`, nearest entry.

        Glowing spots may have a fourth column, how bright they are.
        """
        rows = np.resize(table, (256, np.shape(table)[1]))
        if rows.shape[1] == 3:
            rows = np.column_stack([rows, np.full(256, 255)])
        low, high = map(float, clim)
        self._texture.set_data(rows[None].astype(np.uint8))
        self.shared_program["u_clim"] = (low, high if high > low else low + 1.0)
        self.update()

    def categories(self, table: np.ndarray) -> None:
        """Colour values 0, 1, 2, ... each by a row of its own: (k, 3) uint8, repeating after k."""
        self.colours(np.resize(table, (256, np.shape(table)[1])), (0.0, 255.0))

    def depth_cue(self, distance: float, fading: float = 0.0, ground=(0.0, 0.0, 0.0)) -> None:
        """Let points beyond `distance` from the eye shrink and fade into the colour `ground`; 0: no cue."""
        self._distance = float(distance)
        program = self.shared_program
        program["u_distance"], program["u_fading"], program["u_ground"] = self._distance, float(fading), ground
        self.update()

    def radius(self, distance: np.ndarray) -> np.ndarray:
        """Radius in logical pixels of points at a distance from the eye, as the shader draws them."""
        near = np.clip(self._distance / np.maximum(distance, 1e-9), _FAR, _NEAR) if self._distance > 0 else 1.0
        return 0.5 * (self._size * near + self._extra) * np.ones_like(distance)

    def _prepare_transforms(self, view) -> None:
        """Nothing: they are taken as one matrix when drawn."""

    def _prepare_draw(self, view):
        if not len(self):
            return False
        self.shared_program["u_pixels"] = pixels_per_unit(view)
        # One product for each point, not one for each of the scene's half a dozen transforms.
        view.view_program["u_matrix"] = view.transforms.get_transform().map(np.eye(4))
        return True

    def _compute_bounds(self, axis, view):
        return None


def pixels_per_unit(view) -> float:
    """Pixels of the picture per logical pixel of the canvas: the screen's scale times that of a larger rendering."""
    return float(np.prod([t.scale[0] for t in view.transforms.canvas.transforms.canvas_transform.transforms]))


def clip_per_pixel(view) -> np.ndarray:
    """(2,) what one pixel of the picture is in clip coordinates."""
    return view.transforms.canvas.transforms.framebuffer_transform.transforms[0].scale[:2]


Points = create_visual_node(PointsVisual)
