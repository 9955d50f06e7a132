"""What a refresh of four curves over 1e5 steps costs on the CPU: our view, and matplotlib's Agg canvas.

    python -m pytest benchmarks/test_curves.py -s

Medians of 5 of the CPU time of all threads. Each time one more step is recorded, the lines get their data and the
picture is drawn: same size, width 1, no antialiasing on either side (matplotlib's path simplification stays on, which
favours it). "smoothed" is our dearest case: two panels whose raw values stay visible behind their moving average.
"""

import os
import statistics
import time

import numpy as np
import pytest

os.environ.update(QT_QPA_PLATFORM="offscreen")

STEPS, SIZE = 100_000, (420, 180)
NAMES = ("kinetic", "potential", "dissipated", "total_energy")


def columns(names, first, last):
    """Noisy decays of the steps first ... last."""
    steps, rng = np.arange(first, last + 1.0), np.random.default_rng(first)
    return {"step": steps, "time": steps} | {
        name: k + np.exp(-steps / 3e4 + 0.1 * rng.normal(size=len(steps))) for k, name in enumerate(names)
    }


def cpu_ms(work):
    """Median CPU milliseconds of five calls, after two."""
    times = []
    for k in range(7):
        start = time.process_time()
        work(STEPS + k + 1)
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times[2:])


def ours(qapp, names, panels):
    """CPU-ms of a step that arrives."""
    from dynsim.observables import panels as declared
    from dynsim_gui.models.history import FrameTable, History
    from dynsim_gui.views.curves import CurvesView

    view, history, frames = CurvesView(), History(), FrameTable()
    view.offer(declared((), classes=True), ())
    view.choose(panels)
    view.resize(SIZE[0], 60 + SIZE[1] * len(panels))
    view.show()
    history.extend(columns(names, 1, STEPS))
    view.refresh(history, frames)
    qapp.processEvents()

    def work(step):
        history.extend(columns(names, step, step))
        view.refresh(history, frames)
        for title in panels:
            view.panels[title].grab()

    try:
        return cpu_ms(work)
    finally:
        view.close()
        view.deleteLater()


def matplotlib_agg(names):
    """The same with matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data = columns(names, 1, STEPS)
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    lines = [axes.plot(data["step"], data[name], linewidth=0.72, antialiased=False)[0] for name in names]

    def work(step):
        new = columns(names, step, step)
        for name in ("step", *names):
            data[name] = np.append(data[name], new[name])
        for name, line in zip(names, lines):
            line.set_data(data["step"], data[name])
        axes.relim()
        axes.autoscale_view()
        canvas.draw()

    return cpu_ms(work)


@pytest.fixture(scope="module")
def rival():
    return matplotlib_agg(NAMES)


@pytest.mark.parametrize(
    ("case", "names", "panels"),
    [("plain", NAMES, ["Energy"]), ("smoothed", ("loss", "accuracy"), ["Loss", "Accuracy"])],
)
def test_refresh_of_four_curves(qapp, rival, capsys, case, names, panels):
    cost = ours(qapp, names, panels)
    with capsys.disabled():
        print(f"\n{case}: ours {cost:.2f} CPU-ms, matplotlib {rival:.2f} CPU-ms, {rival / cost:.1f}x")  # noqa: T201
    assert cost > 0
    assert rival > 0
