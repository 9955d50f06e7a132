"""What is drawn is what is there: colours at known particles, picking against the picture, nothing torn."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import vispy
from qtpy.QtCore import QPoint, Qt
from vispy.scene.visuals import create_visual_node
from vispy.visuals import Visual

from dynsim_gui.models import palette
from dynsim_gui.visuals.density import DensityScene
from dynsim_gui.visuals.lines import polylines
from dynsim_gui.visuals.particles import ParticleScene, default_size

GROUND = np.array(palette.rgb(palette.CANVAS))


@pytest.fixture
def opened(qtbot):
    """Opens a scene in a window of its own."""
    vispy.use("pyqt6")
    canvases = []

    def open_(scene):
        canvases.append(scene.canvas)
        qtbot.addWidget(scene.canvas.native)
        scene.canvas.show()
        qtbot.waitExposed(scene.canvas.native)
        return scene

    yield open_
    for canvas in canvases:
        canvas.close()


@pytest.fixture
def scene(opened):
    """Particles without depth cue, so that colours are exact."""
    scene = opened(ParticleScene())
    scene.depth_cue = False
    return scene


def ball(n, seed=0):
    """(n, 3) positions in a ball."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(n, 3))
    return q / np.linalg.norm(q, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / 3)


def unobstructed(scene, q, radius):
    """Particles whose centre no nearer particle comes near to: brute force."""
    xy, depth = scene.project(q)
    close = np.linalg.norm(xy[:, None] - xy[None], axis=2) < radius + 2
    return np.flatnonzero(~(close & (depth[None] < depth[:, None])).any(axis=1))


def at(picture, xy, scale=1.0):
    """(n, 3) colours of a picture at logical pixels."""
    column, row = np.floor(np.asarray(xy) * scale).astype(int).T
    return picture[row, column, :3].astype(int)


@pytest.mark.parametrize("scale", [1, 1.25, 2])
def test_categories_have_their_colours_at_their_particles(scene, scale):
    q = ball(150)
    category = np.arange(150) * 7 % 301
    scene.points(q, categories=category, shapes=np.arange(150) % 3)
    picture = scene.render(scale=scale)
    seen = unobstructed(scene, q, default_size(150) / 2)
    assert len(seen) > 100
    assert picture.shape == (round(600 * scale), round(800 * scale), 4)
    assert (picture[..., 3] == 255).all()
    expected = [palette.rgb(palette.category(k)) for k in category[seen]]
    np.testing.assert_allclose(at(picture, scene.project(q[seen])[0], scale), expected, atol=1)


@pytest.mark.parametrize("size", [(800, 600), (500, 900), (1000, 300)])
def test_values_have_the_colours_of_the_map_in_a_picture_of_any_size(scene, size):
    q, values = ball(150, seed=1), np.linspace(-3, 5, 150)
    scene.points(q, values, clim=(-2, 4), lut="cividis")
    scene.canvas.central_widget.size = size  # where the picture puts them
    xy, seen = scene.project(q)[0], unobstructed(scene, q, default_size(150) / 2)
    scene.canvas.central_widget.size = scene.canvas.size
    entry = np.floor(255 * np.clip((values.astype(np.float32) + 2) / 6, 0, 1) + 0.5).astype(int)
    expected = palette.lookup("cividis")[entry[seen]]
    np.testing.assert_allclose(at(scene.render(size=size), xy[seen]), expected, atol=3)


def test_points_without_a_value_are_grey(scene):
    scene.points([[0, 0, 0], [0, 0, 0.5]], [np.nan, 1.0])
    colours = at(scene.render(), scene.project([[0, 0, 0], [0, 0, 0.5]])[0])
    np.testing.assert_allclose(colours[0], palette.rgb(palette.NONE), atol=1)
    np.testing.assert_allclose(colours[1], palette.lookup("viridis")[255], atol=1)
    scene.points([[0, 0, 0]], categories=[-1])
    np.testing.assert_allclose(at(scene.render(), scene.project([[0, 0, 0]])[0])[0], colours[0])


def test_shapes_can_be_told_apart_and_taken_back(scene):
    q = np.arange(-2, 3)[:, None] * scene.unproject_delta(100, 0, [0, 0, 0])
    scene.point_size = 40
    colour = palette.rgb(palette.category(0))

    def covered():
        """Which of centre, corner, edge below, edge beside each has."""
        picture, xy = scene.render(), scene.project(q)[0]
        offsets = [(0, 0), (16, 16), (0, 16), (15, 0)]
        return [[bool((at(picture, [p + o])[0] > GROUND + 20).any()) for o in offsets] for p in xy]

    scene.points(q, shapes=range(5))
    disc, square, diamond, triangle, ring = covered()
    assert disc == [True, False, True, True]
    assert square == [True, True, True, True]
    assert diamond == [True, False, True, True]
    assert triangle == [True, False, False, False]
    assert ring == [False, False, True, True]
    np.testing.assert_allclose(at(scene.render(), scene.project(q[:4])[0]), [colour] * 4, atol=1)
    scene.points(q)
    assert covered() == [disc] * 5


@pytest.mark.parametrize("cue", [True, False])
@pytest.mark.parametrize("n", [50, 2000])
def test_a_click_on_a_particle_that_is_seen_finds_it(scene, n, cue):
    scene.depth_cue = cue
    q = ball(n, seed=2)
    scene.points(q)
    xy, depth = scene.project(q)
    nearest = scene.pick(*xy[np.argmin(depth)])
    assert nearest == np.argmin(depth)
    for k in unobstructed(scene, q, 2 * default_size(n)):
        assert scene.pick(*xy[k]) == k


def test_where_discs_overlap_the_front_one_is_picked_and_drawn(scene):
    towards = scene.unproject_delta(2, 0, [0, 0, 0])
    eye = np.cross(scene.unproject_delta(1, 0, [0, 0, 0]), scene.unproject_delta(0, -1, [0, 0, 0]))
    eye *= 0.1 / np.linalg.norm(eye)
    q = np.array([[0, 0, 0], eye + towards, -eye - towards])
    scene.points(q, categories=[0, 1, 2])
    xy, depth = scene.project(q)
    assert np.argsort(depth).tolist() == [1, 0, 2]
    assert scene.pick(*xy[0]) == 1
    np.testing.assert_allclose(at(scene.render(), xy[:1])[0], palette.rgb(palette.category(1)), atol=1)


def test_a_click_beside_every_disc_finds_the_nearest_within_the_radius(scene):
    scene.points([[0, 0, 0]])
    x, y = scene.project([[0, 0, 0]])[0][0]
    assert scene.pick(x + 11, y, radius=12) == 0
    assert scene.pick(x + 11, y, radius=10) is None


def test_a_drag_on_the_screen_moves_a_particle_by_as_much_and_neither_nearer_nor_farther(scene):
    rng = np.random.default_rng(3)
    for point, (dx, dy) in zip(ball(20), rng.normal(0, 50, (20, 2))):
        before, after = (scene.project([p]) for p in (point, point + scene.unproject_delta(dx, dy, point)))
        np.testing.assert_allclose(after[0] - before[0], [[dx, dy]], atol=1e-6)
        np.testing.assert_allclose(after[1], before[1])


def test_the_callers_arrays_are_free_at_once(scene):
    q, values = ball(300).astype(np.float32), np.linspace(0, 1, 300).astype(np.float32)
    segments, rgba = q[:200].reshape(100, 2, 3).copy(), np.full((100, 4), 0.7, np.float32)
    for _ in range(2):  # a first upload, and one into buffers of the same length
        scene.points(q, values)
        scene.links(segments, rgba)
        expected = scene.render()
        scene.points(q, values)
        scene.links(segments, rgba)
        kept = [array.copy() for array in (q, values, segments, rgba)]
        for array in (q, values, segments, rgba):
            array[:] = 0
        np.testing.assert_array_equal(scene.render(), expected)
        for array, copy in zip((q, values, segments, rgba), kept):
            array[:] = copy


def test_the_number_of_particles_may_change_and_may_be_none(scene):
    empty = scene.render()
    for n in (0, 10, 1000, 0, 7):
        q = ball(n)
        scene.points(q, np.zeros(n), shapes=np.zeros(n))
        scene.links(np.zeros((n // 2, 2, 3)), np.ones((n // 2, 4)))
        scene.packets(q, np.ones(n))
        scene.trails([q] if n else [], np.ones((1 if n else 0, 3)))
        scene.select(q[:3])
        scene.hover(q[:1])
        assert (scene.render() != empty).any() == (n > 0)
    assert scene.pick(400, 300) is None or n


def test_arrays_that_do_not_fit_are_refused(scene):
    with pytest.raises(ValueError, match="5 points, but 4 values"):
        scene.points(ball(5), np.zeros(4))
    with pytest.raises(ValueError, match="expected"):
        scene.points(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="5 segments, but 4 colours"):
        scene.links(np.zeros((5, 2, 3)), np.zeros((4, 4)))


def test_the_same_scene_gives_the_same_bits(scene):
    scene.points(ball(500), categories=np.arange(500) % 5)
    scene.render(scale=2)
    np.testing.assert_array_equal(scene.render(), scene.render())


def test_a_camera_put_back_shows_the_same(scene):
    scene.points(ball(200))
    scene.fit(3 * ball(200) + 1)
    picture, state = scene.render(), json.loads(json.dumps(scene.camera_state()))
    scene.restore_camera({**state, "azimuth": 100.0, "fov": 10.0, "center": [0, 0, 0]})
    assert (scene.render() != picture).any()
    scene.restore_camera(state)
    np.testing.assert_array_equal(scene.render(), picture)
    assert scene.camera_state() == state


def test_fit_shows_all_but_outliers_and_keeps_the_angles(scene):
    angles = {name: scene.camera_state()[name] for name in ("azimuth", "elevation", "roll")}
    q = 40 * ball(5000) + [100, -20, 3]
    scene.fit(np.vstack([q, [[1e6, 0, 0], [np.nan, 0, 0]]]))
    xy, depth = scene.project(q)
    assert (depth > 0).all()
    assert ((xy > 0) & (xy < (800, 600))).all()
    assert np.ptp(xy[:, 1]) > 450, "and fills the picture"
    assert angles.items() <= scene.camera_state().items()


def test_far_points_are_smaller_and_fainter(scene):
    scene.depth_cue = True
    eye = np.cross(scene.unproject_delta(1, 0, [0, 0, 0]), scene.unproject_delta(0, -1, [0, 0, 0]))
    side = scene.unproject_delta(100, 0, [0, 0, 0])
    eye *= 1 / np.linalg.norm(eye)
    q = np.array([side + eye, -side - eye])
    scene.points(q, categories=[4, 4])
    picture, (xy, depth) = scene.render(), scene.project(q)
    assert depth[0] < depth[1]
    near, far = at(picture, xy)
    np.testing.assert_allclose(near, palette.rgb(palette.category(4)), atol=10)
    assert far.sum() < 0.8 * near.sum()
    covered = [(picture[int(y) - 15 : int(y) + 15, int(x) - 15 : int(x) + 15, 0] > 60).sum() for x, y in xy]
    assert covered[0] > 2 * covered[1] > 0


def test_a_link_has_its_colour_and_hides_behind_particles(scene):
    side = scene.unproject_delta(200, 0, [0, 0, 0])
    scene.points([-side, [0, 0, 0], side], categories=[0, 0, 0])
    scene.links([[-side, side]], [[1, 0.5, 0, 1]])
    picture, xy = scene.render(scale=2), scene.project([-side / 2, [0, 0, 0]])[0]
    row, column = np.floor(2 * xy[0]).astype(int)[::-1]
    np.testing.assert_allclose(picture[row - 2 : row + 3, column, :3].max(axis=0), [255, 128, 28], atol=20)
    np.testing.assert_allclose(at(picture, xy[1:], 2)[0], palette.rgb(palette.category(0)), atol=1)


def test_a_trail_fades_into_the_past(scene):
    line = np.linspace(0, 1, 50)[:, None] * scene.unproject_delta(200, 0, [0, 0, 0])
    scene.trails([line], [(1, 1, 1)])
    picture, xy = scene.render(), scene.project(line[[10, 25, 45]])[0]
    light = [picture[int(y) - 1 : int(y) + 2, int(x), 1].max() for x, y in xy]
    assert light[0] < light[1] < light[2]
    segments, rgba = polylines([line, line[:1]], [(1, 1, 1), (0, 0, 0)])
    assert segments.shape == (49, 2, 3)
    assert rgba[0, 0, 3] == 0
    assert rgba[-1, 1, 3] == 1


def test_packets_add_light_by_their_brightness(scene):
    q = np.arange(-1, 2)[:, None] * scene.unproject_delta(100, 0, [0, 0, 0])
    scene.packets(q, [0, 0.5, 1])
    light = at(scene.render(), scene.project(q)[0]).sum(axis=1)
    assert light[0] == GROUND.sum()
    assert light[0] < light[1] < light[2]


def test_rings_surround_the_selected_and_leave_it_seen(scene):
    scene.points([[0, 0, 0]], categories=[0])
    before = scene.render().astype(int)
    scene.select([[0, 0, 0]])
    changed = (np.abs(scene.render() - before).sum(axis=2) > 60).nonzero()
    x, y = scene.project([[0, 0, 0]])[0][0]
    away = np.hypot(changed[1] + 0.5 - x, changed[0] + 0.5 - y)
    assert len(away) > 20
    assert default_size(1) / 2 + 2 < away.min() < away.max() < 14
    scene.select([])
    np.testing.assert_array_equal(scene.render(), before)


def test_axes_are_named(scene):
    before = scene.render()
    scene.label_axes(("PC1", "PC2", "PC3"))
    rows, columns = (scene.render() != before).any(axis=2).nonzero()
    assert len(rows)
    assert rows.min() > 450
    assert columns.max() < 150


def test_the_mouse_turns_the_camera_unless_it_may_not(scene, qtbot):
    scene.points(ball(100))
    widget = scene.canvas.native

    def dragged():
        before = scene.camera_state()["azimuth"]
        qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=QPoint(300, 300))
        qtbot.wait(20)  # VisPy takes no two moves within 10 ms
        qtbot.mouseMove(widget, QPoint(360, 300))
        qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=QPoint(360, 300))
        return scene.camera_state()["azimuth"] != before

    assert dragged()
    scene.camera_enabled(False)
    assert not dragged()
    scene.camera_enabled(True)
    assert dragged()


SURFACELESS = """
import sys
import numpy as np
from dynsim_gui.visuals.particles import ParticleScene
scene = ParticleScene()
scene.depth_cue = False
scene.points([[0, 0, 0], [0, 0, 0.5]], categories=[1, 2])
np.savez(sys.argv[1], picture=scene.render(size=(300, 200), scale=2), screen=scene.render())
"""


def test_pictures_without_a_display_are_those_of_the_window(scene, surfaceless, tmp_path):
    surfaceless(SURFACELESS, tmp_path / "a.npz")
    drawn = np.load(tmp_path / "a.npz")
    assert drawn["picture"].shape == (400, 600, 4)
    scene.points([[0, 0, 0], [0, 0, 0.5]], categories=[1, 2])
    xy = scene.project([[0, 0, 0], [0, 0, 0.5]])[0]
    np.testing.assert_allclose(at(drawn["screen"], xy), palette.category_colours()[1:3], atol=1)
    assert (drawn["screen"] == scene.render()).mean() > 0.999


FINE_SCREEN = """
import sys
import numpy as np, vispy
from qtpy.QtWidgets import QApplication
app = QApplication([])
vispy.use("pyqt6")
from dynsim_gui.visuals.particles import ParticleScene
from dynsim_gui.models import palette
scene = ParticleScene()
scene.depth_cue = False
scene.canvas.show()
app.processEvents()
ratio = scene.canvas.pixel_scale
q = [[0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0]]
scene.points(q, categories=[0, 1, 2])
picture, xy = scene.render(), scene.project(q)[0]
x, y = np.floor(xy * ratio).astype(int).T
assert np.abs(picture[y, x, :3].astype(int) - palette.category_colours()[:3]).max() <= 1
assert [scene.pick(*p) for p in xy] == [0, 1, 2]
blue = (picture[:, :, 2] > 150).sum()
print(ratio, picture.shape, blue)
scene.canvas.close()
"""


@pytest.mark.parametrize("ratio", [1.5, 2.0])
def test_on_a_fine_screen_points_are_where_the_mouse_finds_them(display, ratio):
    environ = {**os.environ, "QT_SCALE_FACTOR": str(ratio)}
    done = subprocess.run(
        [sys.executable, "-c", FINE_SCREEN], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Error drawing visual" not in done.stderr
    assert done.stdout.startswith(f"{ratio} ({round(600 * ratio)}, {round(800 * ratio)}, 4)")


@pytest.mark.parametrize("log", [True, False])
def test_density_shows_every_cell_in_its_colour(opened, log):
    scene = opened(DensityScene())
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 200, (12, 7))
    counts[3, 2] = 0
    x, y = np.linspace(-3, 3, 13), np.linspace(1, 4.5, 8)
    scene.show(counts, x, y, log=log)
    centres = np.stack(np.meshgrid((x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, indexing="ij"), axis=-1)
    height = np.log1p(counts) if log else counts
    expected = palette.lookup("magma")[np.round(255 * height / height.max()).astype(int)].astype(int)
    expected[counts == 0] = GROUND
    for scale in (1, 2):
        drawn = at(scene.render(scale=scale), scene.project(centres.reshape(-1, 2)), scale)
        np.testing.assert_allclose(drawn.reshape(12, 7, 3), expected, atol=3)


def test_density_may_be_empty_and_follows_the_cells_until_the_user_moves(opened):
    scene = opened(DensityScene())
    scene.render()
    scene.show(np.zeros((3, 3)), np.arange(4.0), np.arange(4.0))
    scene.render()
    scene.show(np.ones((3, 3)), np.arange(4.0) + 100, np.arange(4.0))
    x, y = scene.project([[101.5, 1.5]])[0]
    assert 100 < x < 400
    assert 100 < y < 300
    scene.show(np.ones((3, 4)), np.arange(4.0) + 100, np.arange(5.0) * 0.76)
    np.testing.assert_allclose(scene.project([[101.5, 1.5]])[0], [x, y]), "it does not twitch"
    scene._view.camera.zoom(0.5)
    moved = scene.project([[101.5, 1.5]])[0]
    scene.show(np.ones((3, 3)), np.arange(4.0), np.arange(4.0))
    np.testing.assert_allclose(scene.project([[101.5, 1.5]])[0], moved)
    scene.fit()
    x, y = scene.project([[1.5, 1.5]])[0]
    assert 100 < x < 400
    with pytest.raises(ValueError, match="cells"):
        scene.show(np.zeros((3, 3)), np.arange(3.0), np.arange(4.0))


class _BrokenVisual(Visual):
    def __init__(self):
        super().__init__("void main() { gl_Position = $nothing; }", "void main() { gl_FragColor = vec4(1.0); }")
        self._draw_mode = "points"

    def _prepare_transforms(self, view):
        pass


def test_what_vispy_only_logs_fails_a_test(scene, drawing_errors):
    node = create_visual_node(_BrokenVisual)(parent=scene._view.scene)
    with pytest.raises(Exception, match="attribute"):
        scene.render()
    assert any("Error drawing visual" in line for line in drawing_errors)
    node.parent = None
    drawing_errors.clear()
