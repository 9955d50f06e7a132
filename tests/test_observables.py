"""One registry: whoever adds an observable touches nothing else, and finds it wherever numbers are shown."""

import io
from contextlib import redirect_stderr

import numpy as np
import pytest

from dynsim import Scenario, runs
from dynsim.errors import OptionError, ScenarioError
from dynsim.feed import FileFeed
from dynsim.observables import OBSERVABLES, Observable, panels
from dynsim.observables.base import observable
from dynsim.panels import ROLES, Curve, Panel, drawn, from_text, particles_of, to_text
from dynsim.progress import Progress
from dynsim.ring import FrameRing
from dynsim.trajectory import Trajectory

CURL = Panel("Curl", "of nothing", "curl", (Curve("curl", "curl"), Curve("curl_*", "part *", "family")))
SWIRL = Panel("Swirl", "around 0", "swirl", signed=True)


class Curl(Observable):
    name, kind, every = "curl", "scalar", "step"
    brief = {"curl": "crl"}  # noqa: RUF012
    panels = (CURL,)

    def compute(self, snapshot):
        return {"curl": float(snapshot.system.step), "curl_2": 2.0, "curl_10": 10.0, "curious": 0.5}


class Swirl(Observable):
    name, kind, every = "swirl", "per_particle", "frame"
    panels = (SWIRL,)

    def compute(self, snapshot):
        return {k[2:]: q[..., 0] for k, q in snapshot.system.x.items() if k.startswith("q:")}


class Drift(Observable):
    """It has not said how it is shown."""

    name, kind, every = "drift", "per_particle", "frame"
    vector = True

    def compute(self, snapshot):
        return {k[2:]: 2 * q for k, q in snapshot.system.x.items() if k.startswith("q:")}


@pytest.fixture(scope="module")
def thrown_away():
    for cls in (Curl, Swirl, Drift):
        observable(cls)
    yield
    for cls in (Curl, Swirl, Drift):
        del OBSERVABLES[cls.name]


@pytest.fixture(scope="module")
def recorded(thrown_away, tmp_path_factory):
    """A run that records them, and what its progress said."""
    said = io.StringIO()
    scenario = Scenario.load("xor", ["run.steps=6", "record.every=3"])
    record = {"record.observables": ["curl", "loss"], "record.properties": ["swirl", "drift"]}
    with redirect_stderr(said), Progress(interval=0.0) as progress:
        folder = runs.run(scenario.changed(**record), tmp_path_factory.mktemp("runs") / "run", progress)
    return folder, said.getvalue()


def test_a_scenario_switches_it_on_and_refuses_the_other_kind(thrown_away):
    xor = Scenario.load("xor")
    assert "curl" in xor.changed(**{"record.observables": ["curl"]}).record.observables
    with pytest.raises(ScenarioError, match="curl"):
        xor.changed(**{"record.observables": ["curls"]})
    with pytest.raises(ScenarioError, match="swirl"):
        xor.changed(**{"record.observables": ["swirl"]})


def test_the_file_holds_it_and_says_how_it_is_shown(recorded):
    with Trajectory(recorded[0] / "trajectory.h5") as run:
        frame = run.frame(-1)
        q = frame.properties["position"]
        np.testing.assert_array_equal(frame.properties["swirl"], q[:, 0].astype("f4"))
        np.testing.assert_array_equal(frame.properties["drift"], 2 * q)
        assert frame.properties["drift"].dtype == q.dtype
        assert run.history["curl"].tolist() == [1, 2, 3, 4, 5, 6]
        assert run.observables["curious"].tolist() == [0.5] * 3
        assert run.cast.widths == {"swirl": (), "drift": (q.shape[1],)}
        assert run.cast.panels[0] == CURL  # what is recorded first is shown first
        assert SWIRL in run.cast.panels


def test_progress_line_and_final_table_show_it(recorded, capsys, monkeypatch):
    from dynsim.backend.report import final_table

    monkeypatch.setenv("COLUMNS", "160")
    folder, said = recorded
    assert "crl 6  loss" in said.splitlines()[-2]
    final_table(folder)
    table = capsys.readouterr().out
    assert "curl: 6, part 2: 2, part 10: 10" in table
    assert "curious: 0.5" in table


def test_shared_memory_carries_it(recorded):
    with Trajectory(recorded[0] / "trajectory.h5") as run:
        frame, ring = run.frame(-1), FrameRing(run.cast)
        try:
            ring.publish(frame)
            seen = ring.newest()
            assert seen.properties.keys() == frame.properties.keys()
            for name, values in frame.properties.items():
                np.testing.assert_array_equal(seen.properties[name], values, strict=True)
        finally:
            ring.close()


def test_the_window_draws_it(recorded):
    from dynsim_gui.models.colours import Scene, limits, quantities
    from dynsim_gui.models.curves import available, shown_first
    from dynsim_gui.models.inspector import describe

    feed = FileFeed(recorded[0] / "trajectory.h5")
    news = feed.poll()
    shown, _ = available(feed.cast.panels, news.history, (), feed.cast.widths)
    assert [c.label for c in shown["Curl"][1]] == ["curl", "part 2", "part 10"]
    assert [c.name for c in shown["curious"][1]] == ["curious"]
    assert {"Swirl", "drift"} <= shown.keys()
    assert "Curl" in shown_first(feed.cast.panels)
    scene, offered = Scene(feed.cast, news.frame), quantities(feed.cast)
    assert offered["swirl"].label == "Swirl (around 0)"
    low, high = limits(offered["swirl"].of(scene), offered["swirl"])
    assert low == -high
    lengths = np.linalg.norm(news.frame.properties["drift"], axis=1)
    np.testing.assert_allclose(offered["drift"].of(scene), lengths, rtol=1e-6)
    assert {"swirl", "drift"} <= {n.name for n in describe(feed.cast, news.frame, 0).numbers}
    feed.close()


def test_what_needs_classes_is_left_out_where_nothing_is_classified(tmp_path):
    target = Scenario.load("two_particles", ["run.steps=2"])
    folder = runs.run(target.changed(**{"record.observables": ["loss", "accuracy", "dead"]}), tmp_path / "run")
    assert not {"accuracy", "validation_accuracy", "dead"} & folder.summary["observables"].keys()
    with Trajectory(folder / "trajectory.h5") as run:
        assert "Accuracy" not in {p.title for p in run.cast.panels}


def test_declarations_fit_together():
    declared = panels((), classes=True)
    titles = [p.title for p in declared]
    assert len(set(titles)) == len(titles)
    assert {p.source for p in declared} <= OBSERVABLES.keys()
    for panel in declared:
        assert panel.per_particle == (OBSERVABLES[panel.source].kind == "per_particle"), panel.title
        assert {c.role for c in panel.curves} <= set(ROLES), panel.title
        assert all(c.role == "family" for c in panel.curves if "*" in c.name), panel.title
    for name, o in OBSERVABLES.items():
        assert o.panels or name == Drift.name, f"{name} does not say how it is shown"
    briefs = [label for o in OBSERVABLES.values() for label in o.brief.values()]
    assert len(set(briefs)) == len(briefs)


def test_panels_survive_a_file_and_one_of_another_version():
    assert from_text(to_text((CURL, SWIRL))) == (CURL, SWIRL)
    later = to_text((CURL,)).replace('"log"', '"hologram": 3, "log"')
    assert from_text(later) == (CURL,)
    assert from_text("no panels") == from_text('[{"title": 1}]') == ()


def test_a_name_belongs_to_the_pattern_that_says_most():
    some = (
        Panel("by part", "", "e", (Curve("e_*", "*", "family"),)),
        Panel("raw", "", "e", (Curve("e_raw_*", "δ = *", "family"),)),
        Panel("whole", "", "e", (Curve("e_raw_2", "this", "main"),)),
    )
    found = {p.title: [c.label for c in cs] for p, cs in drawn(some, ["e_raw_10", "e_raw_4", "e_raw_2", "e_x_y", "f"])}
    assert found == {"by part": ["x y"], "raw": ["δ = 4", "δ = 10"], "whole": ["this"], "f": ["f"]}
    assert [p.title for p in particles_of((SWIRL,), ("swirl", "local_entropy"))] == ["Swirl", "local entropy"]


def test_a_property_that_is_none_is_refused(tmp_path):
    from dynsim import Simulation

    with pytest.raises(OptionError, match="velocity"):
        Simulation(Scenario.load("xor")).look(("velocities",))
