"""An embedding in the particle view: where it puts particles, what it leaves out, and what is said about it."""

import numpy as np
import pytest

from dynsim.commands import Embed, Embedding, LinkBundle
from dynsim.frame import Frame
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.particles import Trails, View3D, embed_question, link_segments

DIM = 9
Q = np.random.default_rng(0).normal(size=(6, DIM)).astype(np.float32)
POINTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def embedding(particles=(0, 2, 3, 5), **changes):
    said = {"silhouette": 0.21, "shuffled": -0.02, "original": 0.15, "labels": "subsystem"}
    return Embedding(300, np.array(particles, np.int32), POINTS[: len(particles)], **(said | changes))


@pytest.fixture
def look():
    return Appearance()


@pytest.fixture
def view(look):
    """An embedding was chosen and is there."""
    view = View3D(look, DIM)
    look.projection = "tsne"
    view.update(Q)
    view.embed(embedding())
    return view


def test_particles_are_where_the_embedding_puts_them_the_others_nowhere(view):
    shown = view(Q)
    assert shown.dtype == np.float32
    assert np.array_equal(shown[[0, 2, 3, 5]], POINTS)
    assert np.isnan(shown[[1, 4]]).all()
    assert view.labels == ("t-SNE 1", "t-SNE 2", "t-SNE 3")


def test_an_embedding_stays_that_of_its_step(view):
    before = view(Q)
    view.update(Q + 1)
    assert np.array_equal(view(Q + 1), before, equal_nan=True)
    assert view.note.startswith("t-SNE of step 300")


def test_the_note_gives_the_silhouette_with_its_controls(view):
    figures = "silhouette by subsystem 0.21 (shuffled -0.02, in R^9 0.15)"
    assert view.note == f"t-SNE of step 300, 4 of 6 particles: {figures}"
    view.update(Q[:4])
    assert view.note == f"t-SNE of step 300: {figures}"
    view.embed(embedding(shuffled=-0.001))
    assert "shuffled 0.00" in view.note
    view.embed(embedding(silhouette=np.nan, shuffled=np.nan, original=np.nan))
    assert view.note == "t-SNE of step 300"


def test_until_it_is_there_the_view_stays_as_it_was(look):
    look.projection = "pca"
    view = View3D(look, DIM)
    view.update(Q)
    before = view(Q)
    look.projection = "tsne"
    view.update(Q)
    assert np.array_equal(view(Q), before)
    assert view.labels == ("PC1", "PC2", "PC3")
    assert "being computed" in view.note
    assert not view.embedded


def test_another_projection_forgets_it(view, look):
    look.projection = "axes"
    view.update(Q)
    assert np.array_equal(view(Q), Q[:, :3])
    assert view.labels == ("q1", "q2", "q3")
    assert view.note == ""
    look.projection = "tsne"
    view.update(Q)
    assert not view.embedded


def test_an_answer_that_comes_too_late_is_not_shown(look):
    view = View3D(look, DIM)
    view.embed(embedding())
    assert np.array_equal(view(Q), Q[:, :3])
    assert view.note == ""


def test_particles_that_are_gone_have_no_place(view):
    assert np.array_equal(view(Q[:3])[[0, 2]], POINTS[:2])


def test_no_move_and_no_path_has_a_place_in_an_embedding(view):
    assert np.array_equal(view.back(np.ones(3)), np.zeros(DIM))
    trails = Trails()
    for step in range(3):
        trails.follow((0,), Frame(step, 0.0, POINTS, {"position": Q + step}, {}))
    assert trails.lines(view) == []


def test_links_of_particles_that_are_left_out_are_left_out(view):
    ends = (np.array(k, np.int32) for k in ([0, 1, 2, 9], [2, 3, 4, 0]))
    weights = (np.array([1.0, 2.0, 3.0, 4.0]) for _ in range(4))
    segments, colours = link_segments((LinkBundle("a>b", *ends, *weights),), view(Q))
    assert np.array_equal(segments, POINTS[[[0, 1]]])
    assert colours.shape == (1, 4)


def test_a_saved_window_comes_back_without_it(look):
    saved = Appearance(projection="tsne", link_count=7).saved()
    look.projection = "pca"
    seen = []
    look.events.projection.connect(seen.append)
    look.restore(saved)
    assert (look.projection, look.link_count) == ("axes", 7)
    assert seen == ["axes"]


@pytest.mark.parametrize(("n", "perplexity"), [(5_000, 30.0), (91, 30.0), (31, 10.0), (2, 1.0)])
def test_few_particles_are_asked_for_fewer_neighbours(n, perplexity):
    assert embed_question(n) == Embed(perplexity=perplexity)


def test_only_a_choice_in_the_combo_asks_for_it(qtbot, look):
    from qtpy.QtGui import QAction

    from dynsim_gui.views.look import SWITCHES, LookView

    controls = LookView(look, {name: QAction(name) for name in SWITCHES})
    qtbot.addWidget(controls)
    entry = controls.projection.findData("tsne")
    assert "computes" in controls.projection.itemText(entry)
    controls.projection.setCurrentIndex(entry)
    assert look.projection == "axes"
    controls.projection.activated.emit(entry)
    assert look.projection == "tsne"
    assert not any(box.isEnabled() for box in controls.axes)


SCENE = """
import numpy as np
from dynsim.commands import Embedding, LinkBundle
from dynsim.frame import Cast, Frame
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import Scene
from dynsim_gui.visuals.canvas import Canvas
from dynsim_gui.visuals.particles import ParticleScene
from dynsim_gui.visuals.stage import Stage

n, dim, rng = 3_000, 6, np.random.default_rng(2)
group = np.repeat(np.arange(3, dtype=np.int32), n // 3)
cast = Cast(("in", "hidden", "out"), group, np.arange(n, dtype=np.int32), np.zeros(n, np.int32),
            np.ones(n, np.float32), np.eye(3, dim, dtype=np.float32), {})
q = rng.normal(size=(n, dim)).astype(np.float32)
particles = np.sort(rng.permutation(n)[:500]).astype(np.int32)
points = (rng.normal(size=(500, 3)) + 6 * np.eye(3)[group[particles]]).astype(np.float32)

look = Appearance(colour_by="subsystem", point_size=6.0)
stage = Stage(ParticleScene(Canvas(size=(500, 400))), look, dim)
k = 400
pairs = rng.integers(0, n, (2, k)).astype(np.int32)
stage.bundles = (LinkBundle("in>hidden", *pairs, *(np.ones(k, np.float32) for _ in range(4))),)
content = Scene(cast, Frame(0, 0.0, q[:, :3], {"position": q}, {}), (), (), None)
left_out = int(np.setdiff1d(np.arange(n), particles)[0])
stage.draw(content, (left_out, int(particles[0])))
before = stage.scene.render()
look.projection = "tsne"
stage.view.embed(Embedding(0, particles, points, 0.5, 0.0, 0.4, "subsystem"))
stage.fitted = False
stage.draw(content, (left_out, int(particles[0])))
stage.draw_packets(0.3)
assert np.isnan(stage.positions).any(axis=1).sum() == n - 500

# The whole of the embedding is in view, the same picture as of its particles alone.
pixels, depth = stage.scene.project(points)
assert ((pixels > 0) & (pixels < (500, 400))).all(axis=1).mean() > 0.97
look.links = look.packets = False
stage.draw(content)
stage.draw_packets(0.3)
among = stage.scene.render()
stage.scene.points(points, categories=group[particles])
alone = stage.scene.render()
assert not np.array_equal(before, among)
print((among != alone).any(axis=2).sum(), among[..., :3].std() > 5)

stage.draw(content)
picked = [stage.scene.pick(*p) for p in pixels]
print(all(p is None or p in particles for p in picked), sum(p is not None for p in picked) > 480)
"""


def test_what_is_left_out_is_not_drawn_and_not_picked(surfaceless):
    assert surfaceless(SCENE).split() == ["0", "True", "True", "True"]
