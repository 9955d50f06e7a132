"""What a frame of particles costs on the CPU: our points, VisPy's Markers, matplotlib's scatter.

    python -m pytest benchmarks/test_points.py -s

Medians of 5 of the CPU time of all threads, under Mesa's software renderer without a display. Both visuals get new
positions and new values each time; Markers have no colour map of their own, so looking the colours up belongs to them
(from a float table, their quickest form: no edges, one size). "upload" ends when the driver has the data, "frame" when
the picture is drawn. The figures go into points.json beside this file.
"""

import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest

os.environ.update(EGL_PLATFORM="surfaceless", LIBGL_ALWAYS_SOFTWARE="1")

import vispy
from vispy import gloo, scene

from dynsim_gui.models import palette
from dynsim_gui.visuals.particles import ParticleScene, default_size

RECORD = Path(__file__).with_name("points.json")


def say(line):
    """A line on the terminal, with -s."""
    sys.stdout.write(f"\n{line}\n")


def cpu_ms(work, clouds):
    """Median CPU milliseconds of `work` on each cloud, once it has run twice."""
    for cloud in clouds[:2]:
        work(*cloud)
    times = []
    for cloud in clouds:
        start = time.process_time()
        work(*cloud)
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def clouds(n):
    """Five frames of n particles: positions (n, 3) and values (n,), float32."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(n, 3)).astype(np.float32)
    return [(first + np.float32(0.01 * k), rng.random(n, np.float32)) for k in range(5)]


def ours(n):
    """(canvas, function that gives it a frame)."""
    particles = ParticleScene()
    particles.fit(clouds(n)[0][0])
    return particles.canvas, lambda positions, values: particles.points(positions, values, lut="viridis")


def markers(n):
    """The same with VisPy's Markers."""
    canvas = scene.SceneCanvas(keys=None, size=(800, 600), bgcolor=palette.CANVAS)
    camera = scene.cameras.TurntableCamera(fov=35, elevation=22, azimuth=35, distance=11)
    view = canvas.central_widget.add_view(camera=camera)
    table = (np.column_stack([palette.lookup("viridis"), np.full(256, 255)]) / 255).astype(np.float32)
    node = scene.visuals.Markers(parent=view.scene, antialias=1, scaling="fixed")
    node.set_gl_state(depth_test=True, blend=True, blend_func=("src_alpha", "one_minus_src_alpha"))

    def show(positions, values):
        colours = table[np.round(values * 255).astype(np.uint8)]
        node.set_data(positions, face_color=colours, edge_width=0, edge_width_rel=None, size=default_size(n))

    return canvas, show


def upload(canvas, show):
    """Frame handed to the driver."""
    frame(canvas, show)(*clouds(1)[0])  # buffers belong to a canvas only once they were drawn

    def work(positions, values):
        canvas.set_current()
        show(positions, values)
        canvas.context.finish()

    return work


def frame(canvas, show):
    """Frame drawn."""

    def work(positions, values):
        canvas.set_current()
        show(positions, values)
        canvas.context.clear(color=canvas.bgcolor, depth=True)
        canvas.draw_visual(canvas.scene)
        canvas.context.finish()

    return work


def scatter(n):
    """matplotlib, drawn with Agg."""
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), projection="3d")
    positions, values = clouds(n)[0]
    axes.scatter(*positions.T, c=values, s=2, linewidths=0)

    def work(positions, values):
        (collection,) = axes.collections
        collection._offsets3d = tuple(positions.T)
        collection.set_array(values)
        canvas.draw()

    return work


@pytest.fixture(scope="module")
def record():
    """Figures by name, written when all are there."""
    figures = {"machine": platform.machine(), "threads": os.cpu_count(), "vispy": vispy.__version__}
    yield figures
    RECORD.write_text(json.dumps(figures, indent=2) + "\n")


@pytest.fixture(scope="module", autouse=True)
def surfaceless():
    """VisPy without a window."""
    vispy.use("egl")
    assert gloo.gl.current_backend.__name__.endswith("gl2")


@pytest.mark.parametrize(("n", "goal"), [(100_000, 1.0), (1_000_000, 8.0)])
def test_upload(record, n, goal):
    frames = clouds(n)
    mine, theirs = (cpu_ms(upload(*visual(n)), frames) for visual in (ours, markers))
    record[f"upload {n}"] = {"points": mine, "markers": theirs, "ratio": theirs / mine}
    ratio = theirs / mine
    say(f"upload {n:>9,}: points {mine:.2f} ms (goal < {goal:g}), markers {theirs:.1f} ms, ratio {ratio:.1f} (>= 15)")
    assert mine < theirs


def test_frame(record):
    n = 100_000
    frames = clouds(n)
    mine, theirs = (cpu_ms(frame(*visual(n)), frames) for visual in (ours, markers))
    record[f"frame {n}"] = {"points": mine, "markers": theirs, "ratio": mine / theirs}
    say(f"frame {n:>10,}: points {mine:.1f} ms, markers {theirs:.1f} ms, {mine / theirs:.2f} (goal <= 0.5)")
    assert mine < theirs


def test_scatter_of_matplotlib(record):
    n = 100_000
    mine, theirs = cpu_ms(frame(*ours(n)), clouds(n)), cpu_ms(scatter(n), clouds(n)[:1])
    record[f"scatter {n}"] = {"points": mine, "matplotlib": theirs, "ratio": theirs / mine}
    say(f"frame {n:>10,}: points {mine:.1f} ms, matplotlib {theirs:.0f} ms, {theirs / mine:.0f} times cheaper")
    assert mine < theirs
