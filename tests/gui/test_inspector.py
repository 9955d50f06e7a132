"""The inspector: the numbers of the particle that was clicked, and of nobody else."""

import numpy as np
import pytest

from dynsim.frame import Cast, Frame
from dynsim_gui.models.inspector import describe, name_of, nearest
from dynsim_gui.views.inspector import InspectorView

COPIES, SIZES, DIM = 3, (5, 2), 4


@pytest.fixture
def cast():
    subsystem = np.repeat(np.arange(2, dtype=np.int32), [COPIES * n for n in SIZES])
    copy, index = np.concatenate([np.indices((COPIES, n)).reshape(2, -1) for n in SIZES], axis=1).astype(np.int32)
    mass = np.arange(len(subsystem), dtype=np.float32)
    return Cast(("hidden", "output"), subsystem, index, copy, mass, np.eye(3, DIM, dtype=np.float32), {"all": COPIES})


@pytest.fixture
def frame(cast):
    rng = np.random.default_rng(0)
    q, v, force = rng.normal(size=(3, cast.n, DIM))
    properties = {"position": q, "velocity": v, "force": force, "lambda": np.arange(cast.n, dtype=np.float32)}
    return Frame(120, 12.0, q[:, :3].astype(np.float32), properties, {"speed_limit": 2.0})


def test_who_a_particle_is(cast, frame):
    it = describe(cast, frame, 17)
    assert it.who == "output #0 h1"
    assert dict(it.identity) == {"subsystem": "output", "sub-model": "0", "copy h": "1 of 3", "mass": "17"}
    assert it.step == 120


def test_numbers_are_those_of_the_frame_as_far_as_it_has_them(cast, frame):
    numbers = {n.name: n.value for n in describe(cast, frame, 6).numbers}
    assert numbers.keys() == {"speed", "force", "lambda"}
    assert numbers["speed"] == pytest.approx(np.linalg.norm(frame.properties["velocity"][6]) / 2)
    assert numbers["force"] == pytest.approx(np.linalg.norm(frame.properties["force"][6]))
    assert numbers["lambda"] == 6


def test_without_a_limit_a_speed_is_a_speed(cast, frame):
    free = Frame(frame.step, frame.time, frame.positions, frame.properties, {})
    (speed,) = (n for n in describe(cast, free, 6).numbers if n.name == "speed")
    assert "limit" not in speed.label
    assert speed.value == pytest.approx(np.linalg.norm(frame.properties["velocity"][6]))


def test_neighbours_are_the_nearest_of_all_in_the_state_space(cast, frame):
    it, q = describe(cast, frame, 4), frame.properties["position"]
    distances = np.linalg.norm(q - q[4], axis=1)
    assert [n.particle for n in it.neighbours] == np.argsort(distances)[1:9].tolist()
    np.testing.assert_allclose([n.distance for n in it.neighbours], np.sort(distances)[1:9])
    assert all(n.who == name_of(cast, n.particle) for n in it.neighbours)
    assert it.space == "R^4"
    np.testing.assert_array_equal(it.q, q[4])


def test_positions_of_the_view_stand_in_where_a_frame_has_no_others(cast, frame):
    it = describe(cast, Frame(0, 0.0, frame.positions, {}, {}), 4)
    assert it.space == "the 3-D view"
    assert it.numbers == ()
    np.testing.assert_array_equal(it.q, frame.positions[4])


@pytest.mark.parametrize(("n", "count"), [(1, 0), (2, 1), (4, 3)])
def test_few_particles_have_few_neighbours(n, count):
    assert len(nearest(np.zeros((n, 3)), 0, 8)) == count


@pytest.mark.parametrize("particle", [-1, 21])
def test_a_particle_that_there_is_not(cast, frame, particle):
    with pytest.raises(IndexError, match="of 21"):
        describe(cast, frame, particle)


@pytest.fixture
def view(qtbot):
    v = InspectorView()
    qtbot.addWidget(v)
    v.resize(300, 600)
    v.show()
    qtbot.waitExposed(v)
    return v


def test_nothing_selected_says_what_to_do(view, cast, frame):
    assert view.hint.isVisible()
    view.show_particle(describe(cast, frame, 3))
    assert not view.hint.isVisible()
    view.show_particle(None)
    assert view.hint.isVisible()


def test_a_particle_is_shown_whole(view, cast, frame):
    it = describe(cast, frame, 17)
    view.show_particle(it)
    assert it.who in view.title.text()
    assert all(n.label in view.numbers.text() for n in it.numbers)
    np.testing.assert_array_equal(view.bars.values, it.q)
    assert all(n.who in view.neighbours.text() for n in it.neighbours)


def test_a_neighbour_that_is_clicked_is_asked_for(view, cast, frame, qtbot):
    view.show_particle(describe(cast, frame, 17))
    with qtbot.waitSignal(view.particle_requested) as asked:
        view.neighbours.linkActivated.emit(str(describe(cast, frame, 17).neighbours[2].particle))
    assert asked.args == [describe(cast, frame, 17).neighbours[2].particle]


def test_its_curve(view, cast, frame):
    asked = []
    view.trace_requested.connect(asked.append)
    view.show_particle(describe(cast, frame, 17))
    view.show_quantities([("speed", "speed / limit"), ("force", "|F|")], "force")
    assert view.quantity.currentText() == "|F|"
    assert asked == []
    view.quantity.setCurrentIndex(0)
    view.quantity.activated.emit(0)
    assert asked == ["speed"]
    view.show_trace(np.arange(0, 500, 50), np.linspace(1, 2, 10))
    x, y = view.curve.getOriginalDataset()
    assert x.tolist() == list(range(0, 500, 50))
    assert y[-1] == 2
    assert view.plot.viewRange()[0] == [0, 450]
    view.show_trace(np.array([]), np.array([]))
    assert view.curve.getOriginalDataset()[0] is None or len(view.curve.getOriginalDataset()[0]) == 0
