"""What the window costs and how quickly it answers: start, liveliness beside a busy engine, refresh, a followed run.

    python -m pytest benchmarks/test_window.py -s

A real window on a display of its own (Xvfb with Mesa's software renderer), real engines, warm kernels. Medians; the
figures go into window.json beside this file. Nothing is asserted about times: the table says what holds.
"""

import atexit
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

os.environ.update(QT_API="pyqt6", QT_QPA_PLATFORM="xcb", LIBGL_ALWAYS_SOFTWARE="1")

from qtpy.QtCore import QTimer
from qtpy.QtTest import QTest

RECORD = Path(__file__).with_name("window.json")
PATIENCE = 120.0
QUICK = ("system.layers=['auto', 16, 'auto']", "system.copies=8", "record.every=5", "run.steps=10000000")
rows = []


def note(figure, value, goal, unit, **more):
    """A row of the table: `goal` is the largest value that is good enough."""
    holds = bool(value <= goal)
    rows.append({"figure": figure, "value": round(float(value), 4), "goal": goal, "unit": unit, "holds": holds} | more)


@pytest.fixture(scope="module", autouse=True)
def display():
    """An X server of our own; in the end the table."""
    readable, writable = os.pipe()
    screen = ["-screen", "0", "1600x1000x24", "+extension", "GLX", "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), *screen], pass_fds=[writable], stderr=subprocess.DEVNULL
    )
    os.close(writable)
    with os.fdopen(readable) as answer:
        os.environ["DISPLAY"] = f":{answer.readline().strip()}"
    atexit.register(server.terminate)  # the application lives longer than any fixture
    yield
    if rows:
        tell()


@pytest.fixture(scope="module")
def app(display):
    """The application as the program makes it."""
    from dynsim_gui.app import application

    return application()


def tell():
    """The table on the terminal, and all of it in a file."""
    line = "{:<58} {:>10} {:>10} {:<8} {}\n"
    text = line.format("figure", "measured", "goal", "", "holds")
    for r in rows:
        text += line.format(
            r["figure"], f"{r['value']:.4g}", f"{r['goal']:.4g}", r["unit"], "yes" if r["holds"] else "NO"
        )
    sys.stdout.write("\n" + text)
    machine = {"python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count()}
    RECORD.write_text(json.dumps({"machine": machine, "figures": rows}, indent=1) + "\n", encoding="utf-8")


@contextmanager
def window_on(plan, tmp_path, monkeypatch):
    """A window on a plan, once its first frame is there."""
    from dynsim_gui.models.viewer import Viewer
    from dynsim_gui.window import Window

    monkeypatch.setenv("DYNSIM_GUI_MEMORY", str(tmp_path / "window.json"))
    window = Window(Viewer())
    window.show()
    try:
        if plan is not None:
            window.open(plan)
            until(lambda: window.viewer.run is not None and len(window.particles.positions))
        yield window
    finally:
        window.close()
        window.deleteLater()


def until(done):
    """Let the window live until something is so."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "waited in vain"
        QTest.qWait(2)


# Start -----------------------------------------------------------------------------------------------------------

STARTED = """
import sys, time
from dynsim_gui.__main__ import parser
from dynsim_gui import app
def show(*arguments):
    # Imported only now, as the program does: the engine has been started before.
    from dynsim_gui import window
    class Watched(window.Window):
        def _tick(self, now):
            super()._tick(now)
            shown = self.viewer.shown
            if shown is not None and shown.step > 0 and len(self.particles.positions):
                print(time.time(), flush=True)
                self.close()
    window.Window = Watched
    return original(*arguments)
original, app._show = app._show, show
app.run(parser().parse_args(["--demo", "--fresh"]))
"""


def test_start(tmp_path):
    """From the command to the first frame that has moved, with warm kernels: median of 5 after 1."""
    environ = {**os.environ, "DYNSIM_GUI_MEMORY": str(tmp_path / "window.json")}
    times = []
    for _ in range(6):
        begun = time.time()
        done = subprocess.run(
            [sys.executable, "-c", STARTED], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        times.append(float(done.stdout.split()[0]) - begun)
    note("start to the first moving frame, warm kernels", statistics.median(times[1:]), 3.0, "s", all=times)


# Liveliness --------------------------------------------------------------------------------------------------------


def heartbeat(seconds=6.0):
    """p99 in ms of the time between two beats of a 10 ms timer."""
    beats = []
    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: beats.append(time.perf_counter()))
    timer.start()
    QTest.qWait(int(1000 * seconds))
    timer.stop()
    return float(np.quantile(1e3 * np.diff(beats), 0.99))


def test_heartbeat(tmp_path, monkeypatch, app):
    """A 10 ms timer of the window while the engine runs free, against one that pauses; in turn, median of 5."""
    from dynsim import commands as c

    with window_on(c.New("quickstart", ("run.epochs=100000",), tmp_path / "run"), tmp_path, monkeypatch) as window:
        viewer = window.viewer
        viewer.playback.speed = None
        ratios, idle, busy = [], [], []
        for _ in range(5):
            viewer.pause()
            until(lambda: viewer.status.phase == "paused")
            idle.append(heartbeat(3.0))
            viewer.play()
            until(lambda: viewer.status.phase == "running")
            busy.append(heartbeat(3.0))
            ratios.append(busy[-1] / idle[-1])
        note(
            "heartbeat p99, engine running free / paused",
            statistics.median(ratios),
            1.5,
            "",
            idle_ms=statistics.median(idle),
            busy_ms=statistics.median(busy),
        )


# Refresh -----------------------------------------------------------------------------------------------------------


def cloud(n):
    """A cast of n particles in R^8, and its frames."""
    from dynsim.frame import Cast, Frame

    rng = np.random.default_rng(0)
    layer = np.sort(np.arange(n) % 3).astype(np.int32)
    index = np.arange(n, dtype=np.int32)
    one = np.ones(n, np.float32)
    cast = Cast(("input", "hidden", "output"), layer, index, 0 * index, one, np.eye(3, 8, dtype=np.float32), {})
    q = rng.normal(size=(n, 8)).astype(np.float32)

    def frame(step):
        moved = q + np.float32(0.001 * step)
        properties = {"position": moved, "velocity": np.full_like(q, 1e-3)}
        return Frame(step, float(step), moved[:, :3], properties, {"loss": 1 / (1 + step), "speed_limit": 4e-3})

    return cast, frame


def shows(window, cast, frame):
    """Put a frame into a window without an engine."""
    from dynsim_gui.models.run import Run

    viewer = window.viewer
    if viewer.run is None or viewer.run.cast is not cast:
        viewer.run = Run("cloud", cast, "", None, live=False)
        viewer.opened.emit(viewer.run)
    viewer.shown = frame
    viewer.revision += 1


def test_refresh(tmp_path, monkeypatch, app):
    """CPU-ms of all threads for a frame of 1e4 particles: `ParticlesView.draw` and the canvas; median of 25 after 5.

    What Qt then does to put the window together is told beside it: it is the same for any canvas of this size.
    """
    cast, frame = cloud(10_000)
    parts = []
    with window_on(None, tmp_path, monkeypatch) as window:
        window.refresh.stop()
        canvas = window.particles.scene.canvas
        for step in range(30):
            shows(window, cast, frame(step))
            QTest.qWait(20)
            marks = [time.process_time()]
            for work in (window.particles.draw, lambda: painted(canvas), canvas.native.repaint):
                work()
                marks.append(time.process_time())
            parts.append(1e3 * np.diff(marks))
        size = list(canvas.size)
    draw, paint, compose = (float(v) for v in np.median(parts[5:], axis=0))
    more = {"draw_ms": draw, "paint_ms": paint, "compose_ms": compose, "canvas": size}
    note("refresh of 1e4 particles: draw and paint", draw + paint, 5.0, "CPU-ms", **more)


def painted(canvas):
    """The canvas is drawn, and the driver is done with it."""
    canvas.set_current()
    canvas.on_draw(None)
    canvas.context.finish()


# A run that is followed --------------------------------------------------------------------------------------------


@contextmanager
def headless(folder, settings=QUICK):
    """A run without a window, once it has written frames."""
    chosen = [a for s in settings for a in ("--set", s)]
    start = [sys.executable, "-m", "dynsim", "run", "moons", *chosen, "--out", str(folder), "--quiet"]
    environ = {**os.environ, "NUMBA_NUM_THREADS": "1"}  # there must be room for a window
    process = subprocess.Popen(start, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until((folder / "trajectory.h5").is_file)
        yield
    finally:
        process.terminate()
        process.wait()


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from dynsim import runs
from dynsim.scenario import Scenario
from dynsim.trajectory import TrajectoryWriter
recording = runs.start(Scenario.load("moons", sys.argv[2:]), sys.argv[1])
write = TrajectoryWriter.write
def noted(self, frame):
    write(self, frame)
    print(frame.step, time.time(), flush=True)
TrajectoryWriter.write = noted
with recording:
    while True:
        recording.step()
        time.sleep(0.02)
"""


def attached(window, folder):
    """Open it as soon as it can be read."""
    from dynsim import commands as c

    window.open(c.Look(folder))
    return window.viewer.shown is not None


def test_latency(tmp_path, monkeypatch, app):
    """From a frame's `write` in another process to the end of its drawing: median over some 60 frames."""
    written, drawn = {}, {}
    with window_on(None, tmp_path, monkeypatch) as window:
        start = [sys.executable, "-c", WRITER, str(tmp_path / "run"), *QUICK]
        process = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
        try:
            until((tmp_path / "run" / "trajectory.h5").is_file)
            until(lambda: attached(window, tmp_path / "run"))
            canvas = window.particles.scene.canvas
            canvas.events.draw.connect(
                lambda _: drawn.setdefault(window.viewer.shown.step, time.time()), position="last"
            )
            until(lambda: len(drawn) > 60)
        finally:
            process.terminate()
            out, _ = process.communicate()
        for line in out.splitlines():
            if len(parts := line.split()) == 2:
                written[int(parts[0])] = float(parts[1])
    first = min(drawn)
    waits = [1e3 * (drawn[s] - written[s]) for s in drawn if s in written and s > first]
    note(
        "a frame of a headless run: write to screen",
        statistics.median(waits),
        100.0,
        "ms",
        p90=float(np.quantile(waits, 0.9)),
        frames=len(waits),
    )


def test_slow_down(tmp_path, monkeypatch, app):
    """Steps per second of a headless run on one thread, followed against alone: in turn, median of 8 pairs."""
    folder = tmp_path / "run"
    settings = (*QUICK, "system.layers=['auto', 256, 'auto']")
    with window_on(None, tmp_path, monkeypatch) as window, headless(folder, settings):
        until(lambda: attached(window, folder))
        until(lambda: window.viewer.run.links)
        feed = window.viewer.feed
        slower = [1 - rate(window, feed, True) / rate(window, feed, False) for _ in range(8)]
    note("slow-down of a headless run while it is followed", 100 * statistics.median(slower), 3.0, "%", all=slower)


def rate(window, feed, followed, seconds=2.0):
    """Recorded steps per second, with the window polling its file or standing still."""
    window.refresh.start() if followed else window.refresh.stop()
    feed.poll()
    first, begun = newest(feed), time.monotonic()
    if followed:
        QTest.qWait(int(1000 * seconds))
    else:
        time.sleep(seconds)
    return (newest(feed) - first) / (time.monotonic() - begun)


def newest(feed):
    """Step of the last frame in a file, now."""
    file = feed._trajectory
    return int(file.observables_from(file.refresh() - 1)["step"][-1])


# Memory --------------------------------------------------------------------------------------------------------------


class Turning:
    """Frames of memory, over and over: as many as one likes without room for them all."""

    def __init__(self, cast, frames, count):
        from dynsim.feed import MemoryFeed

        self._feed, self.cast, self.scenario, self.growing = MemoryFeed(cast, frames), cast, "", False
        self.steps = np.arange(count)

    def frame(self, i):
        kept = self._feed.frame(i % len(self._feed.frames))
        return replace(kept, step=i)

    def poll(self):
        from dynsim.feed import News

        return News()

    def records(self, name):
        return self._feed.records(name)

    def trace(self, particle, name, most=200):
        return self._feed.trace(particle, name, most)

    def close(self):
        self._feed.close()


def test_memory(tmp_path, monkeypatch, app):
    """Growth of the resident memory while 1e5 frames are played and drawn, after the first 2000."""
    cast, frame = cloud(1000)
    count = 100_000
    with window_on(None, tmp_path, monkeypatch) as window:
        viewer = window.viewer
        window.refresh.stop()
        shows(window, cast, frame(0))
        viewer.feed = Turning(cast, [frame(k) for k in range(50)], count)
        viewer.select(5)
        process, sizes = psutil.Process(), []
        for index in range(count):
            viewer.seek(index)
            viewer.poll(0.0)
            window.particles.draw()
            if index % 10 == 0:
                window.curves.cursor(index)
                window.watching.draw_header()
                app.processEvents()
            if index % 1000 == 0:
                sizes.append(process.memory_info().rss)
    growth = 100 * (statistics.median(sizes[-3:]) / statistics.median(sizes[2:5]) - 1)
    note(
        "growth of the resident memory over 1e5 frames",
        growth,
        5.0,
        "%",
        start_mb=sizes[2] / 1e6,
        end_mb=sizes[-1] / 1e6,
    )
