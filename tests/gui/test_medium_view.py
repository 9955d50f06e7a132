"""Signals through a medium on the screen: ways that bend, packets on them, and the profile between two particles."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from dynsim import Scenario, Simulation
from dynsim.commands import LinkBundle
from dynsim.observables.links import strongest_links
from dynsim_gui.models.medium import Ways, field_of, medium_of, on_the_way, profile
from dynsim_gui.models.packets import packets
from dynsim_gui.models.particles import link_segments


@pytest.fixture(scope="module")
def dense():
    """(simulation, cast, frame, bundles) at the start of the scenario, and its medium as the window reads it."""
    simulation = Simulation(Scenario.load("medium", ["run.device='reference'"]))
    frame = simulation.frame()
    bundles = strongest_links(simulation.kernels, simulation.system, simulation.response, 6)
    return simulation, simulation.cast, frame, bundles


def axes(q):
    """The view of a cloud in R^3."""
    return np.asarray(q, np.float32)


def test_medium_is_read_from_a_scenario(dense):
    assert medium_of(dense[0].resolved.to_toml()) == ("length", 0.25)
    assert medium_of(Scenario.load("moons").to_toml()) is None
    assert medium_of("no [ toml") is None


def test_field_of_a_frame_is_that_of_the_system(dense):
    from dynsim.system.crossing import global_field

    simulation, cast, frame, _ = dense
    points = np.random.default_rng(0).standard_normal((5, 3))
    expected = global_field(simulation.system, 0.25).at(points)
    np.testing.assert_allclose(field_of(cast, frame, 0.25).at(points), expected, rtol=1e-5)
    without = replace(frame, properties={k: v for k, v in frame.properties.items() if not k.startswith("medium:")})
    assert field_of(cast, without, 0.25) is None


def test_links_bend_round_the_cloud_and_packets_follow_them(dense):
    _, cast, frame, bundles = dense
    ways = Ways().of(bundles, cast, frame, ("length", 0.25))
    q = frame.properties["position"]
    skip = next(k for k, b in enumerate(bundles) if b.link == "input>output")
    middle = ways[skip].corners[6]
    straight = (q[bundles[skip].source] + q[bundles[skip].target]) / 2
    assert np.linalg.norm(middle - straight, axis=1).mean() > 0.3
    segments, colours = link_segments(bundles, axes(q), ways, axes)
    assert len(segments) == len(colours) == 12 * sum(len(b.phi) for b in bundles)
    np.testing.assert_allclose(segments[: len(bundles[0].phi), 0], q[bundles[0].source], atol=1e-6)
    emitted = [np.ones(len(b.phi)) for b in bundles]
    places, brightness = packets(bundles, axes(q), emitted, 0.8, ways=ways, view=axes)
    plain, _ = packets(bundles, axes(q), emitted, 0.8)
    assert places.shape == plain.shape
    assert np.abs(places - plain).max() > 0.2
    assert ((brightness >= 0) & (brightness <= 1)).all()


def test_damped_signals_stay_on_the_straight_path(dense):
    _, cast, frame, bundles = dense
    (way, *_) = Ways().of(bundles, cast, frame, ("damping", 0.25))
    start, end = frame.properties["position"][bundles[0].source], frame.properties["position"][bundles[0].target]
    half = np.full(len(start), 0.5)
    place, left = on_the_way(way, half)
    np.testing.assert_allclose(place, (start + end) / 2, atol=1e-6)
    assert (way.signal[:, 0] == 1).all()
    assert ((left < 1) & (left > way.signal[:, -1])).all()


def test_ways_are_found_once_a_frame(dense):
    _, cast, frame, bundles = dense
    ways = Ways()
    first = ways.of(bundles, cast, frame, ("length", 0.25))
    assert ways.of(bundles, cast, frame, ("length", 0.25)) is first
    assert ways.of(bundles, cast, replace(frame, revision=frame.revision + 1), ("length", 0.25)) is not first
    assert ways.of(bundles, cast, frame, None) == ()
    assert ways.of((), cast, frame, ("length", 0.25)) == ()


def test_profile_between_two_particles(dense):
    _, cast, frame, _ = dense
    ends = 0, cast.n - 1  # an input and an output
    long = profile(cast, frame, ("length", 0.25), ends)
    assert long.title == "input #0 h0 → output #1 h1"
    assert long.bent[-1] < 0.95 * long.signal[-1]
    damped = profile(cast, frame, ("damping", 0.25), ends)
    assert damped.bent is None
    assert f"arrives as {damped.signal[-1]:.3g} of 1" in damped.told
    assert profile(cast, frame, None, ends) is None
    assert profile(cast, frame, ("length", 0.25), (3,)) is None


def test_view_of_a_profile(qtbot, dense):
    from dynsim_gui.views.profile import HINT, ProfileView

    _, cast, frame, _ = dense
    view = ProfileView()
    qtbot.addWidget(view)
    assert view.told.text() == HINT
    shown = profile(cast, frame, ("length", 0.25), (0, cast.n - 1))
    view.show_profile(shown)
    np.testing.assert_array_equal(view.signal.getData()[1], shown.signal)
    np.testing.assert_array_equal(view.bent.getData()[1], shown.bent)
    assert "optical length" in view.told.text()
    view.show_profile(profile(cast, frame, ("damping", 0.25), (0, cast.n - 1)))
    assert view.bent.getData()[1] is None
    view.show_profile(None)
    assert view.told.text() == HINT


def test_the_window_needs_no_compiler_for_it():
    """The models of the window import neither numba nor an optimiser before something bends."""
    check = "import sys, dynsim_gui.models.medium; print([m for m in ('numba', 'scipy.optimize') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_bundles_of_interactive_links_join_different_copies():
    """Eq. (61): the term that is drawn joins copy h of the source and another of the target."""
    simulation = Simulation(Scenario.load("moons", ["system.interactive=true", "run.device='reference'"]))
    simulation.frame()
    bundle: LinkBundle
    for bundle in strongest_links(simulation.kernels, simulation.system, simulation.response, 20):
        copies = simulation.cast.copy
        assert (copies[bundle.source] != copies[bundle.target]).all()
