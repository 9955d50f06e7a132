"""The models of the window without a window: what is shown, when, in which colours, and what runs between particles."""

from dataclasses import replace

import numpy as np
import pytest

from dynsim import commands as c
from dynsim import runs
from dynsim.errors import OptionError
from dynsim.feed import FileFeed, MemoryFeed
from dynsim.frame import Cast, Frame
from dynsim.scenario import Scenario
from dynsim.signals import all_weights, signal_profile
from dynsim.simulation import Simulation
from dynsim.trajectory import Trajectory
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import NO_CLASS, QUANTITIES, Scene, limits
from dynsim_gui.models.density import PLANES, DensityMap, caption
from dynsim_gui.models.packets import SECONDS, emitted_by, packets
from dynsim_gui.models.particles import (
    PULL,
    PUSH,
    TRAIL_LENGTH,
    Colours,
    Trails,
    View3D,
    link_segments,
    marker_shapes,
)
from dynsim_gui.models.playback import Playback
from dynsim_gui.models.run import Run
from dynsim_gui.models.viewer import Viewer

QUICK = ("system.layers=['auto', 8, 'auto']", "system.copies=2", "record.every=5", "run.steps=60")
STEPS = list(range(0, 61, 5))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run folder with every per-particle property recorded."""
    everything = "record.properties=['velocity', 'force', 'lagrangian', 'lambda', 'signal', 'emitted']"
    return runs.run(Scenario.load("moons", (*QUICK, everything)), tmp_path_factory.mktemp("runs") / "moons")


@pytest.fixture(scope="module")
def simulation(finished):
    return Simulation(finished.scenario)


@pytest.fixture
def trajectory(finished):
    with Trajectory(finished / "trajectory.h5") as t:
        yield t


def memory_feed(trajectory):
    frames = [trajectory.frame(i) for i in range(len(trajectory))]
    return MemoryFeed(trajectory.cast, frames, trajectory.scenario)


def file_feed(trajectory):
    return FileFeed(trajectory.path, period=0.0)


@pytest.fixture(params=[memory_feed, file_feed])
def viewer(request, trajectory):
    """A viewer over recorded frames, without an engine."""
    v = Viewer()
    v.feed = request.param(trajectory)
    v.run = Run("moons", trajectory.cast, trajectory.scenario, None, live=False)
    v.playback.rate = 10.0
    yield v
    v.close()


def heard(signal):
    """What a signal says from now on."""
    said = []
    signal.connect(lambda *values: said.append(values))
    return said


# The viewer --------------------------------------------------------------------------------------------------------


def test_what_there_is_is_told_once(viewer):
    frames, history = heard(viewer.frame_changed), heard(viewer.history_changed)
    viewer.poll(0.016)
    assert viewer.shown.step == 60
    assert viewer.start.step == 0
    assert viewer.history.steps.tolist() == list(range(1, 61))
    assert viewer.recorded.steps.tolist() == STEPS
    viewer.poll(0.016)
    assert (len(frames), len(history)) == (1, 1)
    assert viewer.revision == 1


def test_a_frame_that_is_looked_at_is_the_recorded_one(viewer, trajectory):
    viewer.poll(0.0)
    for index in (3, 0, 12):
        viewer.seek(index)
        viewer.poll(0.0)
        frame = trajectory.frame(index)
        assert viewer.shown.step == frame.step
        assert np.array_equal(viewer.shown.properties["position"], frame.properties["position"])
    assert not viewer.playback.follow


@pytest.mark.parametrize(("step", "index"), [(0, 0), (31, 6), (33, 7), (10_000, 12), (-5, 0)])
def test_a_step_leads_to_the_nearest_frame(viewer, step, index):
    viewer.poll(0.0)
    viewer.seek_step(step)
    assert viewer.playback.index == index


def test_steps_of_a_replay_are_frames_and_stop_at_the_ends(viewer):
    viewer.poll(0.0)
    shown = []
    for n in (-1, -1, -10, -10, 1, 10, 10):
        viewer.step(n)
        viewer.poll(0.0)
        shown.append(viewer.shown.step)
    assert shown == [55, 50, 0, 0, 5, 55, 60]


def test_play_at_the_end_begins_at_the_first_frame_and_stops_at_the_last(viewer):
    viewer.poll(0.0)
    viewer.toggle()
    assert viewer.playing
    shown = []
    while viewer.playing and len(shown) < 100:
        viewer.poll(0.1)  # ten frames a second
        shown.append(viewer.shown.step)
    assert shown == [*STEPS[1:-1], 60]
    assert not viewer.playing


def test_a_pause_keeps_the_place(viewer):
    viewer.poll(0.0)
    viewer.seek(0)
    viewer.play()
    viewer.poll(0.2)
    viewer.toggle()
    viewer.poll(0.2)
    assert viewer.shown.step == 10
    assert not viewer.playing


def test_reset_of_a_replay_is_its_first_frame(viewer):
    viewer.poll(0.0)
    viewer.play()
    viewer.reset()
    viewer.poll(0.2)
    assert viewer.shown.step == 0
    assert not viewer.playing


def test_the_newest_frame_can_be_followed_again(viewer):
    viewer.poll(0.0)
    viewer.seek(2)
    viewer.poll(0.0)
    viewer.go_live()
    viewer.poll(0.0)
    assert viewer.playback.follow
    assert viewer.shown.step == 60


def test_frames_that_come_later_are_shown_only_to_who_follows(trajectory):
    first, *others = (trajectory.frame(i) for i in range(4))
    v = Viewer()
    v.feed = feed = MemoryFeed(trajectory.cast, [first])
    v.run = Run("growing", trajectory.cast, "", None, live=False)
    v.poll(0.0)
    feed.frames.append(others[0])
    v.poll(0.0)
    assert v.shown.step == 5
    v.seek(0)
    feed.frames.append(others[1])
    v.poll(0.0)
    assert v.shown.step == 0
    assert v.recorded.steps.tolist() == [0, 5, 10]
    v.go_live()
    v.poll(0.0)
    assert v.shown.step == 10


def test_selecting(viewer):
    said = heard(viewer.selection_changed)
    viewer.select(3)
    viewer.select(5, add=True)
    assert viewer.selected == (3, 5)
    viewer.select(3, add=True)
    assert viewer.selected == (5,)
    viewer.select(5)
    assert len(said) == 3
    viewer.select(None)
    assert viewer.selected == ()


def test_curves_of_a_particle_are_those_of_its_frames(viewer, trajectory):
    viewer.poll(0.0)
    frames = [trajectory.frame(i) for i in range(len(trajectory))]
    for name in ("displacement", "speed", "force", "lambda", "lagrangian"):
        assert viewer.traceable(QUANTITIES[name])
        steps, values = viewer.trace(QUANTITIES[name], 7)
        assert steps.tolist() == STEPS
        scenes = [Scene(trajectory.cast, f, start=frames[0]) for f in frames]
        expected = np.array([QUANTITIES[name].of(s)[7] for s in scenes])
        known = np.isfinite(expected)
        assert known.any()
        assert np.allclose(values[known], expected[known], rtol=1e-5, atol=1e-7), name


def test_nothing_can_be_steered_without_an_engine(viewer):
    viewer.poll(0.0)
    assert not viewer.live
    answers = []
    viewer.ask(c.Evaluate(), lambda value, error: answers.append((value, error)))
    assert answers == [(None, "the engine is gone")]
    before = viewer.shown
    viewer.move(0, np.zeros(8))
    viewer.kick(1.0)
    viewer.poll(0.0)
    assert viewer.shown is before


# Playback ------------------------------------------------------------------------------------------------------------


def test_a_loop_begins_again():
    p = Playback(rate=10.0, loop=True)
    p.seek(8, 10)
    p.playing = True
    seen = []
    for _ in range(4):
        p.advance(0.1, 10)
        seen.append(p.index)
    assert seen == [9, 0, 1, 2]
    assert p.playing


def test_time_is_owed_until_a_frame_is_full():
    p = Playback(rate=4.0, follow=False, playing=True)
    seen = []
    for _ in range(5):
        p.advance(0.125, 100)
        seen.append(p.index)
    assert seen == [0, 1, 1, 2, 2]


def test_a_long_pause_of_the_screen_is_no_leap():
    p = Playback(rate=20.0, follow=False, playing=True)
    p.advance(60.0, 1000)
    assert p.index == 5


def test_no_frames_no_place():
    p = Playback()
    p.seek(3, 0)
    assert p.follow
    p.playing = True
    p.advance(1.0, 0)
    assert p.index == 0


# Colours -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(trajectory, simulation):
    links = tuple((k.name, k.source, k.target, k.metric) for k in simulation.graph.links if k.kind.particles)
    return Scene(trajectory.cast, trajectory.frame(-1), (0, 1), links, trajectory.frame(0))


def norm(values):
    return np.sqrt((values.astype(float) ** 2).sum(axis=1))


def test_every_quantity_is_a_finite_number_for_each_particle(scene):
    for name, quantity in QUANTITIES.items():
        values = quantity.of(scene)
        assert values.shape == (scene.cast.n,), name
        assert np.isfinite(values).all(), name
        assert values.dtype == (np.int32 if quantity.kind == "category" else np.float32), name
        if quantity.kind == "category":
            assert values.max() < len(quantity.names(scene)), name


def test_quantities_are_what_they_say(scene):
    p, cast = scene.frame.properties, scene.cast
    expected = {
        "speed": norm(p["velocity"]) / scene.frame.scalars["speed_limit"],
        "force": norm(p["force"]),
        "lambda": p["lambda"],
        "lagrangian": p["lagrangian"],
        "signal": p["signal"],
        "emitted": p["emitted"],
        "displacement": norm(p["position"] - scene.start.properties["position"]),
        "subsystem": cast.subsystem,
        "copy": cast.copy,
    }
    for name, values in expected.items():
        assert np.allclose(QUANTITIES[name].of(scene), values, rtol=1e-5), name


def test_the_class_of_a_particle_is_where_its_weights_are_largest(scene, simulation):
    cast = scene.cast
    classes = QUANTITIES["class"].of(scene)
    output, hidden = (cast.subsystem == cast.subsystems.index(name) for name in (cast.subsystems[-1], "hidden"))
    assert np.array_equal(classes[output], cast.index[output])
    name = next(link for link, source, target, _ in scene.links if source == "hidden")
    weights = all_weights(simulation.kernels, simulation.state_at(scene.frame))[name].matrix()
    assert np.array_equal(classes[hidden], weights.argmax(axis=1)[cast.index[hidden]])
    assert (classes[cast.subsystem == 0] == NO_CLASS).all()


def test_the_sign_is_that_of_the_link_a_particle_emits_over(scene):
    cast, sign = scene.cast, QUANTITIES["sign"].of(scene)
    for name, source, _, _ in scene.links:
        mu = scene.frame.properties[f"mu:{name}"]
        of_source = cast.subsystem == cast.subsystems.index(source)
        assert np.array_equal(sign[of_source], mu[cast.copy[of_source]] > 0)


@pytest.mark.parametrize("name", [q.name for q in QUANTITIES.values() if q.needs])
def test_what_was_not_recorded_is_said_and_subsystems_are_shown(scene, name):
    kept = {k: v for k, v in scene.frame.properties.items() if k not in QUANTITIES[name].needs}
    bare = replace(scene, frame=replace(scene.frame, properties=kept))
    colouring = Colours().of(bare, Appearance(colour_by=name))
    assert QUANTITIES[name].needs[0] in colouring.missing
    assert "record.properties" in colouring.missing
    assert np.array_equal(colouring.values, bare.cast.subsystem)
    assert not Colours().of(scene, Appearance(colour_by=name)).missing


def test_a_signed_quantity_has_its_own_map_around_zero(scene):
    colouring = Colours().of(scene, Appearance(colour_by="lagrangian", colour_map="cividis"))
    assert colouring.map == "signed"
    low, high = limits(np.linspace(-3, 1, 500), QUANTITIES["lagrangian"])
    assert -low == high
    assert 2.8 < high <= 3.0
    assert Colours().of(scene, Appearance(colour_by="force", colour_map="cividis")).map == "cividis"


def test_limits_do_not_break():
    force = QUANTITIES["force"]
    for values in (np.zeros(4), np.full(3, np.nan), np.zeros(0), np.array([2.0])):
        low, high = limits(values, force)
        assert low < high
    assert limits(np.array([0.2, 40.0]), QUANTITIES["speed"]) == (0.0, 1.0)
    low, high = limits(np.array([20.0, 40.0]), QUANTITIES["speed"])
    assert 20 <= low < high <= 40


def test_the_range_of_colours_moves_slowly(scene):
    colours, look = Colours(), Appearance(colour_by="force")
    first = colours.of(scene, look).clim
    louder = replace(
        scene,
        frame=replace(
            scene.frame, properties={**scene.frame.properties, "force": 100 * scene.frame.properties["force"]}
        ),
    )
    second = colours.of(louder, look).clim
    assert first[1] < second[1] < 100 * first[1]
    for _ in range(60):
        last = colours.of(louder, look).clim
    assert last[1] == pytest.approx(100 * first[1], rel=1e-2)


def test_markers_tell_subsystems_apart_on_wish(scene):
    assert not marker_shapes(scene.cast, Appearance(shapes=False)).any()
    assert np.array_equal(marker_shapes(scene.cast, Appearance(shapes=True)), scene.cast.subsystem)


# The view ------------------------------------------------------------------------------------------------------------


def test_axes_of_the_view_are_those_that_were_chosen():
    q = np.arange(24, dtype=np.float32).reshape(4, 6)
    look = Appearance(axes=(4, 0, 2))
    view = View3D(look, 6)
    view.update(q)
    assert np.array_equal(view(q), q[:, [4, 0, 2]])
    assert view.labels == ("q5", "q1", "q3")


def test_principal_axes_stay_those_of_the_frame_they_were_asked_for():
    rng = np.random.default_rng(0)
    q = rng.normal(size=(200, 5)) * (5, 0.1, 3, 0.2, 1)
    look = Appearance(projection="pca")
    view = View3D(look, 5)
    view.update(q)
    spread = view(q).std(axis=0)
    assert spread == pytest.approx(np.sort(q.std(axis=0))[::-1][:3], rel=0.1)
    before = view.matrix.copy()
    view.update(q[:, ::-1])
    assert np.array_equal(view.matrix, before)
    look.projection = "axes"
    view.update(q)
    look.projection = "pca"
    view.update(q[:, ::-1])
    assert not np.array_equal(view.matrix, before)


def test_a_move_in_the_view_is_the_shortest_that_shows_as_it():
    rng = np.random.default_rng(1)
    view = View3D(Appearance(projection="pca"), 7)
    view.update(rng.normal(size=(50, 7)))
    delta = np.array([0.3, -1.0, 2.0])
    back = view.back(delta)
    assert np.allclose(view.matrix @ back, delta)
    assert np.linalg.norm(back) == pytest.approx(np.linalg.norm(delta))


# What runs between particles -----------------------------------------------------------------------------------------


def bundle(phi=(2.0, -1.0, 0.5), stress=(1.0, -1.0, -2.0), emitted=(1.0, 0.5, 0.25)):
    return c.LinkBundle(
        "a>b",
        source=np.array([0, 1, 2], np.int32),
        target=np.array([3, 4, 3], np.int32),
        phi=np.array(phi),
        weight=np.array(phi),
        stress=np.array(stress),
        emitted=np.array(emitted),
    )


@pytest.fixture
def places():
    return np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)


def test_links_go_from_source_to_target_in_the_colour_of_their_stress(places):
    b = bundle()
    segments, colours = link_segments((b,), places)
    assert np.array_equal(segments[:, 0], places[b.source])
    assert np.array_equal(segments[:, 1], places[b.target])
    assert np.allclose(colours[:, :3], [PULL, PUSH, PUSH])
    assert colours[0, 3] > colours[1, 3] > colours[2, 3] > 0


def test_links_of_another_run_are_left_out(places):
    segments, _ = link_segments((bundle(),), places[:4])
    assert len(segments) == 2
    empty, none = link_segments((), places)
    assert empty.shape == (0, 2, 3)
    assert none.shape == (0, 4)


def test_packets_lie_on_their_links_as_bright_as_the_profile_says(places):
    b = bundle()
    start, end = places[b.source], places[b.target]
    seen = []
    for clock in np.linspace(0, SECONDS, 200, endpoint=False):
        at, brightness = packets((b,), places, [b.emitted], clock)
        assert at.shape == (6, 3)
        for half in (slice(0, 3), slice(3, 6)):
            profile = signal_profile(b.emitted, start, end, at[half][:, None], metric="l2")[:, 0]
            assert np.allclose(brightness[half], np.clip(profile, 0, 1), atol=1e-5)
            along = np.linalg.norm(at[half] - start, axis=1) / np.linalg.norm(end - start, axis=1)
            assert np.allclose(at[half], start + along[:, None] * (end - start), atol=1e-5)
            seen.append(np.column_stack([along, brightness[half]]))
    along, brightness = np.concatenate(seen).T
    assert along.min() < 0.01
    assert along.max() > 0.99
    assert brightness[along < 0.01].max() > 0.98
    assert brightness[along > 0.99].max() < 0.02


def test_no_links_no_packets(places):
    at, brightness = packets((), places, [], 0.3)
    assert at.shape == (0, 3)
    assert brightness.shape == (0,)


def test_packets_carry_the_sample_that_was_predicted(scene):
    cast = scene.cast
    of_input = np.flatnonzero(cast.subsystem == 0)[:3].astype(np.int32)
    b = replace(bundle(), source=of_input, target=of_input)
    emitted = np.array([[-4.0, 2.0]])
    prediction = c.Prediction(0, np.ones((1, 2)), {}, {"input": emitted})
    expected = np.abs(emitted[0])[cast.index[of_input]]
    assert np.allclose(emitted_by(b, cast, prediction, "input"), expected / expected.max())
    assert np.allclose(emitted_by(b, cast, None, "input"), b.emitted / b.emitted.max())


# Trails --------------------------------------------------------------------------------------------------------------


def still(step, place):
    q = np.full((3, 3), float(place), np.float32)
    return Frame(step, 0.0, q, {"position": q}, {})


def test_trails_follow_the_selected_and_forget_the_others():
    trails, view = Trails(), View3D(Appearance(), 3)
    for step in range(4):
        trails.follow((0, 2), still(step, step))
    assert [len(line) for line in trails.lines(view)] == [4, 4]
    assert np.array_equal(trails.lines(view)[0][:, 0], [0, 1, 2, 3])
    trails.follow((2,), still(4, 4))
    assert [len(line) for line in trails.lines(view)] == [5]


def test_a_leap_back_begins_a_trail_anew():
    trails, view = Trails(), View3D(Appearance(), 3)
    for step in (0, 1, 2, 1, 2):
        trails.follow((1,), still(step, step))
    assert np.array_equal(trails.lines(view)[0][:, 0], [1, 2])


def test_trails_have_an_end():
    trails, view = Trails(), View3D(Appearance(), 3)
    for step in range(2 * TRAIL_LENGTH):
        trails.follow((0,), still(step, step))
    assert len(trails.lines(view)[0]) == TRAIL_LENGTH


# Density -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("plane", PLANES)
def test_every_particle_is_in_a_cell(plane, smooth):
    points = np.random.default_rng(3).normal(size=(500, 3)).astype(np.float32)
    look = Appearance(density_smooth=smooth)
    density = DensityMap().of(points, plane, look)
    assert density.counts.sum() == pytest.approx(500)
    x, y = points[:, PLANES[plane]].T
    if not smooth:
        expected, _, _ = np.histogram2d(x, y, (density.x_edges, density.y_edges))
        assert np.array_equal(density.counts, expected)
    assert "cells" in caption(points, density)


def test_cells_do_not_dance_while_the_cloud_breathes():
    points = np.random.default_rng(4).normal(size=(500, 3)).astype(np.float32)
    of, look = DensityMap(), Appearance()
    sides = [np.diff(of.of(points * k, "1-2", look).x_edges)[0] for k in (1.0, 1.05, 0.95, 1.1)]
    assert np.allclose(sides, sides[0])
    assert np.diff(of.of(points * 3, "1-2", look).x_edges)[0] == pytest.approx(3 * sides[0], rel=0.05)


def test_an_unknown_plane_is_refused():
    with pytest.raises(OptionError, match="4-5"):
        DensityMap().of(np.zeros((3, 3)), "4-5", Appearance())


def test_one_particle_has_a_density():
    density = DensityMap().of(np.ones((1, 3), np.float32), "1-2", Appearance())
    assert density.counts.sum() == 1
    assert "ψ" in caption(np.ones((1, 3), np.float32), density)


# Choices -------------------------------------------------------------------------------------------------------------


def test_choices_survive_and_what_does_not_fit_is_left_out():
    look = Appearance(colour_by="lambda", axes=(3, 1, 2), links=False, density_cell=0.3)
    again = Appearance()
    again.restore(look.saved() | {"axes": list(look.axes)})
    assert again == look
    again.restore({"colour_map": "no such map", "links": "yes", "nonsense": 1})
    assert again.links is False
    assert again.colour_map == "viridis"


def test_a_cast_of_one_subsystem_has_no_classes():
    cast = Cast(("cloud",), np.zeros(4, np.int32), np.arange(4, dtype=np.int32), np.zeros(4, np.int32),
                np.ones(4, np.float32), np.eye(3, dtype=np.float32), {})  # fmt: skip
    scene = Scene(cast, still(0, 1))
    assert (QUANTITIES["class"].of(scene) == NO_CLASS).all()
    assert QUANTITIES["class"].names(scene) == ("no classes",)
