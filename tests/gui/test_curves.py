"""Curves: what is kept, what is shown of it, and that what is shown is true."""

import csv

import numpy as np
import pyqtgraph as pg
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt

from dynsim.observables import panels, widths
from dynsim_gui.models.curves import (
    Smoothed,
    available,
    histogram,
    log_ticks,
    peaks,
    short,
    smooth,
    tick_labels,
    tidy,
    within,
)
from dynsim_gui.models.history import FrameTable, History
from dynsim_gui.views.curves import CurvesView

# As a run declares them that records these first.
PANELS = panels(("loss", "accuracy", "entropy", "lapcurse", "energy", "workload"), classes=True)


def rows(first, last, **columns):
    """History rows of the steps first ... last; scalars are functions of the steps."""
    steps = np.arange(first, last + 1.0)
    return {"step": steps, "time": steps / 10, **{name: of(steps) for name, of in columns.items()}}


def history(steps=3000):
    h = History()
    h.extend(rows(1, steps, loss=lambda s: np.exp(-s / 500), accuracy=lambda s: s / steps, workload=lambda s: s))
    return h


# History -----------------------------------------------------------------------------------------------------------


def test_history_is_what_was_put_in_whatever_the_pieces():
    h, whole = History(), rows(1, 5000, loss=lambda s: 1 / s)
    for start, stop in [(0, 1), (1, 700), (700, 5000)]:
        assert h.extend({name: column[start:stop] for name, column in whole.items()})
    assert len(h) == 5000
    for name, column in whole.items():
        np.testing.assert_array_equal(h.column(name), column)


def test_rows_that_are_known_are_ignored_and_change_nothing():
    h = history(10)
    revision = h.revision
    assert not h.extend(rows(3, 10, loss=lambda s: s * 0 - 1))
    assert h.revision == revision
    assert h.extend(rows(8, 12, loss=lambda s: s * 0 - 1))
    assert h.steps.tolist() == list(range(1, 13))
    assert (h.column("loss") > 0).tolist() == [True] * 10 + [False] * 2
    assert h.revision > revision


def test_columns_that_come_later_or_stop_are_nan_where_unknown():
    h = history(2)
    h.extend(rows(3, 4, stress=lambda s: s))
    np.testing.assert_array_equal(h.column("stress"), [np.nan, np.nan, 3, 4])
    np.testing.assert_array_equal(np.isnan(h.column("loss")), [False, False, True, True])
    with pytest.raises(KeyError):
        h.column("lapcurse")


def test_a_branch_forgets_what_came_after():
    h = history(100)
    epoch = h.epoch
    h.truncate(40)
    h.extend(rows(41, 42, loss=lambda s: s * 0 + 7))
    assert h.epoch > epoch
    assert len(h) == 42
    assert h.value_at("loss", 42) == 7
    assert np.isnan(h.value_at("accuracy", 42))
    h.restart()
    assert len(h) == 0
    assert h.names == ()


def test_columns_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        history(3).column("loss")[0] = 1


def test_value_at_is_the_newest_not_after_the_step():
    f = FrameTable()
    for step in (0, 50, 100):
        assert f.add(step, {"entropy": step / 100})
    assert not f.add(100, {"entropy": 7})
    assert [f.value_at("entropy", s) for s in (0, 49, 50, 99, 1000)] == [0, 0, 0.5, 0.5, 1]
    assert np.isnan(f.value_at("entropy", -1))
    assert np.isnan(f.value_at("lapcurse", 50))


# Panels ------------------------------------------------------------------------------------------------------------


def test_only_recorded_panels_are_available_and_the_others_say_why():
    shown, reasons = available(PANELS, ("loss", "accuracy", "kinetic"), ("accuracy",), ("velocity", "late"))
    assert list(shown) == ["Loss", "Energy", "Speed", "late"]
    assert [c.name for c in shown["Energy"][1]] == ["kinetic"]
    assert reasons["LapCurSE"] == "not recorded: add 'lapcurse' to record.observables"
    assert reasons["Λ"] == "not recorded: add 'lambda' to record.properties"
    assert "without a value" in reasons["Accuracy"]
    assert shown.keys() | reasons.keys() == {p.title for p in PANELS} | {"late"}


def test_entropies_of_all_resolutions_in_the_order_of_delta():
    names = [f"entropy_scaled_{d}" for d in ("4", "0.25", "1e-05", "10")]
    shown, _ = available(PANELS, names)
    ((_, curves),) = shown.values()
    assert [c.label for c in curves] == ["δ = 1e-05", "δ = 0.25", "δ = 4", "δ = 10"]
    assert len({c.colour for c in curves}) == 4


def test_every_recorded_scalar_of_training_has_a_panel_declared():
    from dynsim import Scenario, Simulation

    simulation = Simulation(Scenario.load("xor"))
    frame_names, step_names = simulation.recorded_names()
    shown, _ = available(simulation.cast.panels, (*frame_names, *step_names))
    declared = {p.title for p in simulation.cast.panels}
    assert {c.name for title in declared & shown.keys() for c in shown[title][1]} == set(frame_names) | set(step_names)


def test_a_scalar_of_which_nobody_has_heard_has_a_panel_of_its_own():
    shown, _ = available((), ("loss", "new_number", "new_family_3"))
    assert {title: [c.name for c in curves] for title, (_, curves) in shown.items()} == {
        "loss": ["loss"],
        "new number": ["new_number"],
        "new family 3": ["new_family_3"],
    }


# Smoothing, bins, numbers -------------------------------------------------------------------------------------------


def test_smoothing_is_the_exponential_moving_average():
    rng = np.random.default_rng(0)
    x, decay = rng.normal(size=300), 1 - 2 / 51
    x[[0, 10, 11]] = np.nan
    total = weight = 0.0
    for k, value in enumerate(x):
        total, weight = decay * total, decay * weight
        if not np.isnan(value):
            total, weight = total + value, weight + 1
        expected = total / weight if weight else np.nan
        np.testing.assert_allclose(smooth(x)[k], expected, rtol=1e-6, atol=1e-8)


def test_smoothing_piece_by_piece_is_smoothing_the_whole():
    h, average, noise = History(), Smoothed("loss"), np.random.default_rng(1).normal(size=5001)
    for stop in (1, 40, 3000, 3001, 5000):
        h.extend(rows(1, stop, loss=lambda s: noise[s.astype(int)]))
        np.testing.assert_allclose(average.update(h), smooth(h.column("loss")), rtol=1e-6, atol=1e-7)
    h.truncate(100)
    h.extend(rows(101, 5000, loss=lambda s: s))
    np.testing.assert_allclose(average.update(h), smooth(h.column("loss")), rtol=1e-6)


def test_histogram_counts_every_particle_once():
    rng = np.random.default_rng(2)
    values = np.concatenate([np.exp(rng.normal(0, 3, 1000)), np.zeros(250), [np.nan, np.inf]])
    h = histogram(values)
    assert h.log
    assert h.counts.sum() + h.zeros + h.invalid == h.total == len(values)
    assert (h.zeros, h.invalid) == (250, 2)
    np.testing.assert_allclose(np.diff(np.log(h.edges)), np.log(h.edges[1] / h.edges[0]))


@pytest.mark.parametrize("values", [[], [3.0], [2.0] * 50, [0.0] * 9, [-1.0, 0, 1], [np.nan]])
def test_histogram_of_few_equal_or_no_values(values):
    h = histogram(np.array(values))
    assert not h.log
    assert h.counts.sum() == np.isfinite(values).sum()
    assert (np.diff(h.edges) > 0).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1.00"),
        (-0.0123, "-0.0123"),
        (1234, "1234"),
        (12345, "12.3k"),
        (2.5e6, "2.50M"),
        (1.2e-5, "1.2e-5"),
        (np.nan, "-"),
        (-np.inf, "-∞"),
    ],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_tick_labels_differ_and_are_short():
    for low, spacing in [(0, 2500), (0, 1e-5), (0.9990, 0.0002), (-0.4, 0.2), (1e6, 5e5), (0, 1e17)]:
        labels = tick_labels([low + k * spacing for k in range(5)], spacing)
        assert len(set(labels)) == 5
        assert max(map(len, labels)) <= 7
    assert [tidy(v) for v in (100.0, 0.01, 50_000, 1e-4, 0.55)] == ["100", "0.01", "50k", "1e-4", "0.55"]


@pytest.mark.parametrize(("low", "high"), [(-8, 4), (-1, 1), (-0.3, 0.05), (0.30, 0.34), (2, 2.0001)])
def test_logarithmic_ticks_lie_within(low, high):
    ticks = log_ticks(low, high, most=4)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)


# The widget --------------------------------------------------------------------------------------------------------


@pytest.fixture
def view(qtbot):
    v = CurvesView()
    v.offer(PANELS, widths(3))
    qtbot.addWidget(v)
    v.resize(420, 700)
    v.show()
    qtbot.waitExposed(v)
    return v


def drawn(view, title):
    """Points of each curve of a panel, as they are drawn."""
    return [item.getOriginalDataset() for item in view.panels[title].plot.getPlotItem().listDataItems()]


def test_nothing_recorded_says_so(view):
    assert view.note.isVisible()
    assert "Nothing recorded yet" in view.note.text()
    assert not any(p.isVisible() for p in view.panels.values())


def test_thinned_curves_keep_every_peak():
    x, y = np.arange(100_001.0), np.random.default_rng(3).normal(size=100_001)
    y[[5, 70_000, 100_000]] = 50, -50, 60
    y[1000:1500] = np.nan
    thin_x, thin_y = peaks(x, y, 800)
    assert len(thin_x) == len(thin_y) <= 2 * 800
    assert (np.diff(thin_x) >= 0).all()
    rows = x.size // (len(thin_x) // 2) + 1
    for at, peak in ((5, 50), (70_000, -50), (100_000, 60)):
        assert 0 <= at - thin_x[thin_y == peak][0] <= rows
    assert np.isnan(thin_y[(thin_x > 1000 + rows) & (thin_x < 1500 - rows)]).all()
    assert np.isnan(thin_y).sum() < 20
    grown_x, grown_y = peaks(np.arange(100_050.0), np.append(y, np.zeros(49)), 800)
    np.testing.assert_array_equal(grown_y[: len(thin_y) - 2], thin_y[:-2])
    np.testing.assert_array_equal(grown_x[: len(thin_x)], thin_x)


def test_what_lies_outside_a_span_is_not_drawn_but_lines_reach_its_edges():
    steps = np.arange(0, 100, 10.0)
    assert steps[within(steps, (25, 55))].tolist() == [20, 30, 40, 50, 60]
    assert steps[within(steps, (0, 90))].tolist() == steps.tolist()


def test_curves_are_the_history_and_headers_its_values(view, qtbot):
    h, f = history(800), FrameTable()
    f.add(0, {"loss": -1.0, "entropy": 0.5})
    f.add(700, {"loss": -1.0, "entropy": 0.25})
    view.choose(["Loss", "Structural entropy", "LapCurSE", "Workload"])
    view.refresh(h, f)
    x, y = drawn(view, "Loss")[0]
    np.testing.assert_array_equal(x, h.steps)
    np.testing.assert_array_equal(y, h.column("loss"))
    np.testing.assert_array_equal(drawn(view, "Structural entropy")[0][1], [0.5, 0.25])
    assert "0.250" in view.panels["Structural entropy"].legend.text()
    view.cursor(617)
    assert "0.500" in view.panels["Structural entropy"].legend.text()
    assert "617" in view.panels["Workload"].legend.text()
    assert view.panels["Workload"].plot.line.value() == 617
    assert "add 'lapcurse' to record.observables" in view.note.text()
    assert "LapCurSE" not in view.panels


def test_all_plots_show_the_same_steps(view, qtbot):
    h, f = history(), FrameTable()
    view.choose(["Loss", "Accuracy", "Workload"])
    view.refresh(h, f)
    plots = [view.panels[t].plot for t in ("Loss", "Accuracy", "Workload")]
    assert all(p.viewRange()[0] == [1, 3000] for p in plots)
    plots[1].spanned.emit(100.0, 200.0)
    assert all(p.viewRange()[0] == [100, 200] for p in plots)
    h.extend(rows(3001, 4000, loss=lambda s: s))
    view.refresh(h, f)
    assert plots[0].viewRange()[0] == [100, 200]
    view.whole.click()
    assert all(p.viewRange()[0] == [1, 4000] for p in plots)


def test_nothing_new_draws_nothing(view, monkeypatch):
    h, f = history(), FrameTable()
    view.refresh(h, f)
    drawings = []
    monkeypatch.setattr(pg.PlotDataItem, "setData", lambda *args, **options: drawings.append(args))
    view.refresh(h, f)
    assert not drawings
    h.extend(rows(3001, 3001, loss=lambda s: s))
    view.refresh(h, f)
    assert drawings


def test_a_click_asks_for_its_step(view, qtbot):
    view.choose(["Workload"])
    view.refresh(history(), FrameTable())
    qtbot.wait(50)
    plot = view.panels["Workload"].plot
    x = plot.mapFromScene(plot.getPlotItem().getViewBox().mapViewToScene(QPointF(2000, 1500))).x()
    with qtbot.waitSignal(view.seek_requested) as sought:
        qtbot.mouseClick(plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(x, 40))
    assert abs(sought.args[0] - 2000) < 10


def test_another_run_replaces_the_curves(view):
    view.refresh(history(), FrameTable())
    other = History()
    other.extend(rows(1, 50, loss=lambda s: s))
    view.refresh(other, FrameTable())
    np.testing.assert_array_equal(drawn(view, "Loss")[0][1], other.column("loss"))
    assert not view.panels["Accuracy"].isVisible()


def test_histogram_tells_what_its_bars_leave_out(view):
    view.choose(["Λ"])
    view.histograms({"lambda": np.array([0.0] * 25 + [1e-3, 1, 5] * 25)})
    assert view.panels["Λ"].isVisible()
    view.histograms({"lambda": np.array([0.0] * 25 + [1e-3, 1, 5] * 25)})
    assert "25.0% zero" in view.panels["Λ"].legend.text()
    assert drawn(view, "Λ")[0][1].sum() == 75
    view.histograms({})
    assert not view.panels["Λ"].isVisible()


def test_a_histogram_of_vectors_is_that_of_their_lengths(view):
    view.choose(["Speed"])
    assert view.watched() == {"velocity"}
    for _ in range(2):
        view.histograms({"velocity": np.array([[3.0, 0, 4], [0, 5, 0], [0, 0, 7]])})
    edges, counts = drawn(view, "Speed")[0]
    assert (edges[0], edges[-1], counts.sum()) == (5, 7, 3)


def test_plots_are_made_when_they_are_first_shown(view):
    assert not view.panels
    view.refresh(history(), FrameTable())
    assert list(view.panels) == ["Loss", "Accuracy", "Workload"]
    view.menu.actions_of["Speed"].trigger()
    assert view.watched() == {"lambda", "velocity"}
    view.menu.actions_of["Loss"].trigger()
    assert not view.panels["Loss"].isVisible()


def test_what_a_person_chose_outlives_a_run_that_lacks_it(view):
    view.refresh(history(), FrameTable())
    view.menu.actions_of["Loss"].trigger()
    view.offer((), ())
    view.refresh(h := History(), FrameTable())
    h.extend(rows(1, 9, strange=lambda s: s))
    view.refresh(h, FrameTable())
    assert list(view.menu.actions_of) == ["strange"]
    view.offer(PANELS, ())
    view.refresh(history(), FrameTable())
    assert "Loss" not in view.chosen()
    assert not view.menu.actions_of["Loss"].isChecked()


def test_csv_has_every_step_and_every_frame(view, tmp_path):
    h, f = History(), FrameTable()
    h.extend(rows(1, 3, loss=lambda s: s / 3))
    f.add(0, {"loss": 9.0, "entropy": 0.5})
    f.add(2, {"loss": 9.0, "entropy": 0.25})
    view.refresh(h, f)
    view.export_csv(tmp_path / "curves.csv")
    table = list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines()))
    assert [r["step"] for r in table] == ["0", "1", "2", "3"]
    assert [r["entropy"] for r in table] == ["0.5", "", "0.25", ""]
    assert [float(r["loss"]) for r in table] == [9.0, 1 / 3, 2 / 3, 1.0]


def test_logarithmic_axis_with_zeros_and_gaps(view, qtbot):
    h = History()
    h.extend(rows(1, 100, loss=lambda s: np.where(s % 7 == 0, 0, np.where(s % 11 == 0, np.nan, s))))
    view.refresh(h, FrameTable())
    assert view.panels["Loss"].log.isChecked()
    low, high = view.panels["Loss"].plot.viewRange()[1]
    assert -1 < low < high < 3
