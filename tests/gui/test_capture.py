"""Pictures and movies show what was recorded, say what it is, and leave nothing half-written behind."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import imageio
import numpy as np
import pytest
import vispy
from PIL import Image
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMainWindow, QWidget

from dynsim.errors import FileFormatError, OptionError
from dynsim.frame import Cast, Frame
from dynsim.trajectory import TrajectoryWriter
from dynsim_gui import capture, film, movie
from dynsim_gui.__main__ import main as command_line
from dynsim_gui.models import palette
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.caption import caption, changes_until
from dynsim_gui.models.history import FrameTable, History
from dynsim_gui.models.run import Run
from dynsim_gui.recorded import Recorded
from dynsim_gui.stamp import Lettering, save_png, with_line
from dynsim_gui.visuals.particles import ParticleScene

SCENARIO = """name = "tiny"
[system]
metric = "plummer"
[field]
kind = "network"
[dynamics]
law = "friction"
dt = 0.25
eta = 0.1
[run]
seed = 7
"""
STEPS = (0, 10, 20, 30, 40, 50)
CHANGE = (20, "set", '{"key": "dynamics.dt", "value": 0.5}')
GROUND = np.array(palette.rgb(palette.CANVAS))


def make_cast():
    """Two inputs and three outputs, two copies each, in R^4."""
    blocks = [np.indices((2, size), dtype=np.int32).reshape(2, -1) for size in (2, 3)]
    copy, index = np.concatenate(blocks, axis=1)
    return Cast(
        subsystems=("input", "output"),
        subsystem=np.repeat(np.arange(2, dtype=np.int32), (4, 6)),
        index=index,
        copy=copy,
        mass=np.ones(10, np.float32),
        projection=np.eye(3, 4, dtype=np.float32),
        groups={"mu:input>output": (2,)},
    )


def make_frame(cast, step):
    """Particles on a circle that grows with the step; frame 30 is later than a change of dt."""
    angle = 2 * np.pi * np.arange(cast.n) / cast.n
    q = (1 + step / 100) * np.column_stack([np.cos(angle), np.sin(angle), 0.3 * np.sin(3 * angle), 0 * angle])
    position = q.astype(np.float32)
    return Frame(
        step=step,
        time=step * 0.25,
        positions=position[:, :3],
        properties={"position": position, "mu:input>output": np.array([1.0, -1.0], np.float32)},
        scalars={"loss": 1 / (step + 1), "accuracy": np.nan if step == 0 else 0.5},
        events=(CHANGE,) if step == 30 else (),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with six frames of ten particles."""
    folder, cast = tmp_path_factory.mktemp("runs") / "tiny-2", make_cast()
    folder.mkdir()
    how = {"observables": ("loss", "accuracy"), "parameters": {"scenario": SCENARIO}}
    with TrajectoryWriter(folder / "trajectory.h5", cast, **how) as out:
        for step in STEPS:
            out.write(make_frame(cast, step))
    return folder


def make_movie(*arguments, **how):
    """`dynsim-gui movie` as a person starts it where there is no display."""
    environ = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "QT_QPA_PLATFORM", "EGL_PLATFORM")}
    start = [sys.executable, "-W", "error", "-m", "dynsim_gui", "movie", *map(str, arguments)]
    return subprocess.run(start, env=environ, capture_output=True, text=True, timeout=120, check=False, **how)


# What is said ----------------------------------------------------------------------------------------------------


def test_a_caption_says_what_a_frame_is_and_how_it_was_made():
    cast = make_cast()
    said = caption("tiny-2", cast, SCENARIO, make_frame(cast, 30))
    assert said.title == "tiny-2"
    assert said.place == ("step 30", "time 7.5", "loss 0.0323", "accuracy 50.0%")
    assert said.parameters == ("law friction", "dt 0.25", "η 0.1", "metric plummer", "d 4", "H 2")
    expected = {"scenario": "tiny", "seed": "7", "step": "30", "time": "7.5", "Title": "tiny-2"}
    assert expected.items() <= said.metadata.items()
    assert said.metadata["Software"] == f"dynsim {said.metadata['version']}"
    assert caption("elsewhere", cast, SCENARIO, make_frame(cast, 0)).title == "tiny (elsewhere)"


def test_what_is_not_known_is_not_said():
    cast = make_cast()
    said = caption("file.h5", cast, "", make_frame(cast, 0))
    assert said.place == ("step 0", "time 0", "loss 1")
    assert said.parameters == ("d 4", "H 2")
    assert "seed" not in said.metadata


def test_a_setting_changed_at_a_step_acts_on_the_next():
    assert changes_until([CHANGE], 20) == {}
    assert changes_until([CHANGE, (25, "kick", '{"strength": 1}')], 21) == {"dynamics.dt": 0.5}


def test_a_recorded_run_is_captioned_with_what_held_at_each_frame(run):
    with Recorded(run) as recorded:
        said = [recorded.caption(recorded.scene(k)).parameters[1] for k in range(len(STEPS))]
        assert said == ["dt 0.25"] * 3 + ["dt 0.5"] * 3
        assert recorded.run.links == (("input>output", "input", "output", "plummer"),)
        assert recorded.run.classes == (0, 1, 2)
        assert [recorded.index(step) for step in (None, 0, 26, 10_000)] == [5, 0, 3, 5]


def test_colouring_gives_way_only_where_nobody_asked_for_it(run):
    with Recorded(run) as recorded:
        appearance = Appearance(colour_by="speed")
        with pytest.raises(OptionError, match="velocity") as error:
            recorded.choose_colour(appearance, asked=True)
        assert "displacement" in error.value.allowed
        recorded.choose_colour(appearance, asked=False)
        assert appearance.colour_by == "class"


# Words in pictures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "pixel"), [(1280, 1.0), (640, 2.0), (200, 0.72)])
def test_a_stamp_stays_in_its_corner_of_a_picture(width, pixel):
    cast = make_cast()
    empty = np.tile(GROUND.astype(np.uint8), (400, width, 1))
    lettering = Lettering(empty, pixel)
    lettering.stamp(caption("tiny with a title that is rather long", cast, SCENARIO, make_frame(cast, 30)))
    rows, columns = np.nonzero((lettering.picture != GROUND).any(axis=2))
    margin = 12 * pixel
    assert len(rows) > 500 * pixel
    assert columns.min() > margin
    assert columns.max() < width - margin
    assert rows.max() < 200 * pixel


def test_one_line_is_added_below_and_the_picture_above_is_untouched():
    cast = make_cast()
    picture = np.random.default_rng(0).integers(0, 256, (60, 500, 3)).astype(np.uint8)
    result = with_line(picture, caption("tiny", cast, SCENARIO, make_frame(cast, 30)))
    np.testing.assert_array_equal(result[:60], picture)
    assert 15 < len(result) - 60 < 40
    assert ((result[60:] != GROUND).any(axis=2)).sum() > 300


def test_metadata_is_in_the_file_and_a_failure_leaves_none(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    save_png(picture, tmp_path / "a.png", {"step": "30", "scenario": "Λ"})
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (6, 4)
        assert image.text == {"step": "30", "scenario": "Λ"}
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken\.png"):
        save_png(picture, tmp_path / "taken.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "taken.png"]


# Pictures without a display --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "scale"), [((800, 600), 2.0), ((500, 400), 1.0)])
def test_a_picture_has_the_right_colours_at_its_particles(surfaceless, run, tmp_path, size, scale):
    out = surfaceless(
        """
        import json, sys
        import numpy as np
        from dynsim_gui.models.appearance import Appearance
        from dynsim_gui.picture import Studio
        from dynsim_gui.recorded import Recorded
        from dynsim_gui.stamp import unit

        size, scale = json.loads(sys.argv[2])
        with Recorded(sys.argv[1]) as recorded, Studio(Appearance(colour_by="subsystem"), size, scale) as studio:
            scene = recorded.scene(5)
            studio.prepare([scene])
            studio.stage.scene.depth_cue = False
            np.save(sys.argv[3], studio.take(scene, recorded.caption(scene)))
            xy, _ = studio.stage.scene.project(studio.stage.positions)
            print(json.dumps((xy * unit(size, scale)).tolist()))
        assert "qtpy" not in sys.modules
        """,
        run,
        json.dumps([size, scale]),
        tmp_path / "picture.npy",
    )
    picture = np.load(tmp_path / "picture.npy")
    assert picture.shape == (round(size[1] * scale), round(size[0] * scale), 3)
    assert picture.dtype == np.uint8
    column, row = np.floor(json.loads(out)).astype(int).T
    expected = [palette.rgb(palette.category(k)) for k in make_cast().subsystem]
    np.testing.assert_allclose(picture[row, column].astype(int), expected, atol=2)
    corner, strip = picture[: len(picture) // 6, : picture.shape[1] // 3], picture[-5:]
    assert (corner.max(axis=2) > 180).sum() > 100, "no stamp"
    assert (strip[:, :5] == palette.rgb(palette.PANEL)).all(), "no legend"


def test_without_egl_the_packages_are_named():
    script = """
import sys
sys.modules["vispy.ext.egl"] = None  # as where libEGL is missing
from dynsim.errors import DeviceError
from dynsim_gui.picture import canvas_without_display
try:
    canvas_without_display((200, 200))
except DeviceError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "EGL" in done.stdout
    assert "libegl1 libgl1-mesa-dri libegl-mesa0" in done.stdout


def test_a_scenario_is_run_to_a_step_and_its_links_are_drawn(surfaceless, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    surfaceless(
        """
        import sys
        from pathlib import Path
        from dynsim_gui import still

        given = []
        still.canvas_picture, draw = lambda *a, **k: given.append(k["bundles"]) or draw(*a, **k), still.canvas_picture
        if __name__ == "__main__":
            still.canvas_main("xor", Path(sys.argv[1]), 3, (400, 300), "class")
            assert [b.link for b in given[0]] == ["input>hidden", "hidden>output"], given
            assert "qtpy" not in sys.modules
        """,
        tmp_path / "xor.png",
    )
    with Image.open(tmp_path / "xor.png") as image:
        assert image.size == (400, 300)
        assert (image.text["step"], image.text["scenario"]) == ("3", "xor")
    assert not list((tmp_path / "scratch").glob("dynsim-*"))


def test_the_recorded_frame_nearest_to_a_step_is_drawn(surfaceless, run, tmp_path):
    surfaceless(
        """
        import sys
        from pathlib import Path
        from dynsim_gui.still import canvas_main
        canvas_main(sys.argv[1], Path(sys.argv[2]), 33, (300, 240))
        """,
        run,
        tmp_path / "a.png",
    )
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["step"] == "30"


# Films -----------------------------------------------------------------------------------------------------------


def moving(count, size=(64, 48)):
    """A white square that moves, on the ground."""
    for k in range(count):
        picture = np.tile(GROUND.astype(np.uint8), (size[1], size[0], 1))
        picture[10:20, 2 * k : 2 * k + 10] = 255
        yield picture


# imageio leaves the pipes of a reader open at the end of a film.
reads_mp4 = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def read_mp4(path):
    """(n, h, w, 3) of a film, and what its file says."""
    with imageio.get_reader(path) as reader:
        return np.array([np.asarray(picture, int) for picture in reader]), reader.get_meta_data()


@reads_mp4
def test_mp4_has_every_picture_in_the_right_size_and_colours(tmp_path):
    film.write_film(tmp_path / "a.mp4", moving(25), 25)
    pictures, data = read_mp4(tmp_path / "a.mp4")
    assert pictures.shape == (25, 48, 64, 3)
    assert data["fps"] == 25
    assert data["pix_fmt"].startswith("yuv420p")
    np.testing.assert_allclose(pictures[7][14:16, 18:20], 255, atol=16)
    np.testing.assert_allclose(pictures[7][35:, :], np.broadcast_to(GROUND, (13, 64, 3)), atol=8)


def test_gif_keeps_time_and_the_exact_ground(tmp_path):
    pictures = [p for p in moving(7) for _ in range(3)]
    film.write_film(tmp_path / "a.gif", iter(pictures), 30)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((64, 48), 7, 0)
        lengths = []
        for k in range(7):
            image.seek(k)
            lengths.append(image.info["duration"])
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pictures[3 * k])
    assert sum(lengths) == 700


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_a_failure_on_the_way_leaves_what_was_there(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(b"the last one")

    def failing():
        yield from moving(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        film.write_film(path, failing(), 10)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the last one"


def test_mp4_without_imageio_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(film.MissingPackageError, match=r"imageio_ffmpeg[\s\S]*dynsim\[movie\]"):
        film.write_film(tmp_path / "a.mp4", moving(3), 10)
    assert not list(tmp_path.iterdir())


def test_every_recorded_frame_is_shown_in_its_turn_and_nothing_else():
    plan = movie.shots(range(3, 10), fps=30, seconds=2, spin=90)
    frames = [shot.frame for shot in plan]
    assert len(plan) == 60
    assert frames == sorted(frames)
    assert set(frames) == set(range(3, 10))
    assert max(map(frames.count, range(3, 10))) - min(map(frames.count, range(3, 10))) <= 1
    assert plan[30].angle == 90
    assert len({shot.frame for shot in movie.shots(range(1000), 10, 5)}) == 50


def test_a_movie_of_a_run_without_a_display(run, tmp_path):
    look = {"appearance": {"colour_by": "subsystem", "projection": "pca"}, "camera": {}, "selected": [3]}
    (tmp_path / "look.json").write_text(json.dumps(look))
    how = ["--size", "321x240", "--seconds", 1.2, "--every", 2, "--look", tmp_path / "look.json"]
    done = make_movie(run, tmp_path / "a.gif", *how)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 recorded frames in 24 pictures" in done.stderr
    assert "picture 24 of 24" in done.stderr
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.size, image.n_frames, image.info["duration"]) == ((320, 240), 3, 400)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gif", "look.json"]


@reads_mp4
def test_the_camera_turns_between_recorded_frames(run, tmp_path):
    out = tmp_path / "a.mp4"
    how = ["--size", "200x160", "--seconds", 0.5, "--fps", 10, "--spin", 90, "--from", 50, "--quiet"]
    done = make_movie(run, out, *how)
    assert (done.returncode, done.stderr) == (0, "")
    pictures, _ = read_mp4(out)
    assert pictures.shape == (5, 160, 200, 3)
    changed = np.abs(np.diff(pictures, axis=0)).max(axis=(1, 2, 3))
    assert (changed > 60).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.avi"], "allowed: .mp4 or .gif"),
        (["a.gif", "--colour-by", "sped"], "did you mean 'speed'"),
        (["a.gif", "--colour-by", "speed"], "add velocity to record.properties"),
        (["a.gif", "--from", "1000"], "allowed: 0 ... 50"),
        (["nowhere/a.gif"], "no such folder"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_and_nothing_is_written(run, tmp_path, capsys, arguments, said):
    name, *options = arguments
    assert movie.main([str(run), str(tmp_path / name), *options]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_screenshot_is_a_png_or_refused(tmp_path, capsys):
    for options in ([], ["--canvas"]):
        with pytest.raises(SystemExit) as ended:
            command_line(["xor", "--screenshot", str(tmp_path / "a.jpg"), *options])
        assert ended.value.code == 2
        assert "a.jpg does not end in .png" in capsys.readouterr().err


def test_what_particles_can_be_coloured_by_is_listed_once(capsys):
    assert command_line(["xor", "--canvas", "--screenshot", "a.png", "--colour-by", "foo"]) == 2
    (listed,) = (line for line in capsys.readouterr().err.splitlines() if "allowed:" in line)
    names = listed.partition(":")[2].split(", ")
    assert len(set(names)) == len(names) > 11


def test_a_run_without_frames_and_a_broken_look_are_refused(tmp_path):
    TrajectoryWriter(tmp_path / "trajectory.h5", make_cast()).close()
    with pytest.raises(FileFormatError, match="no frames"):
        Recorded(tmp_path)
    (tmp_path / "look.json").write_text('{"camera": 3}')
    with pytest.raises(FileFormatError, match="not the look"):
        movie.read_look(tmp_path / "look.json")


def test_a_movie_that_is_ended_removes_what_it_began(run, tmp_path):
    start = [sys.executable, "-m", "dynsim_gui", "movie", run, tmp_path / "a.mp4", "--spin", "5", "--seconds", "600"]
    with subprocess.Popen(list(map(str, start)), stderr=subprocess.PIPE, text=True) as process:
        while "picture" not in process.stderr.readline().split()[:1]:
            assert process.poll() is None
        while not any(p.name.endswith(".part.mp4") for p in tmp_path.iterdir()):  # ffmpeg makes it in its own time
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert "no movie was written" in process.stderr.read()
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


# The window ------------------------------------------------------------------------------------------------------


@pytest.fixture
def window(qtbot, run):
    """As much of a window as a picture and a movie need: a canvas beside a label, and who knows what is shown."""
    vispy.use("pyqt6")
    scene, part, cast = ParticleScene(), QWidget(), make_cast()
    window = QMainWindow()
    row = QHBoxLayout(part)
    row.addWidget(scene.canvas.native)
    row.addWidget(QLabel("beside"))
    window.setCentralWidget(part)
    window.particles = SimpleNamespace(scene=scene)
    window.viewer = SimpleNamespace(
        run=Run("tiny-2", cast, SCENARIO, run, live=False, path=run),
        shown=make_frame(cast, 30),
        logged=[CHANGE],
        history=History(),
        recorded=FrameTable(),
        appearance=Appearance(colour_by="subsystem"),
        selected=(),
    )
    qtbot.addWidget(window)
    window.resize(500, 360)
    window.show()
    qtbot.waitExposed(window)
    yield window
    scene.canvas.close()


def test_a_window_is_saved_with_its_canvas_and_its_line(window, tmp_path):
    scene = window.particles.scene
    scene.depth_cue = False
    scene.point_size = 30
    scene.points([[0, 0, 0]], categories=[3])
    capture.save_window(window, tmp_path / "window.png")
    with Image.open(tmp_path / "window.png") as image:
        picture, text = np.asarray(image.convert("RGB")).astype(int), image.text
    ratio = window.devicePixelRatioF()
    native = scene.canvas.native
    corner = native.mapTo(window, native.rect().topLeft())
    x, y = (np.array([corner.x(), corner.y()]) + scene.project([[0, 0, 0]])[0][0]) * ratio
    np.testing.assert_allclose(picture[int(y), int(x)], palette.rgb(palette.category(3)), atol=2)
    assert picture.shape[1] == round(500 * ratio)
    assert picture.shape[0] > 360 * ratio
    assert (text["step"], text["scenario"], text["seed"]) == ("30", "tiny", "7")


def test_scores_of_a_live_frame_are_those_of_just_its_step(window):
    window.viewer.history.extend({"step": np.array([29.0]), "time": np.array([1.0]), "loss": np.array([9.0])})
    assert capture.caption_of(window.viewer).place == ("step 30", "time 7.5")
    window.viewer.history.extend({"step": np.array([30.0]), "time": np.array([1.1]), "loss": np.array([0.5])})
    assert "loss 0.5" in capture.caption_of(window.viewer).place


def test_a_movie_from_the_window_looks_as_the_window_does(window, qtbot, tmp_path):
    dialog = capture.MovieDialog(window, tmp_path / "a.gif")
    dialog.show()
    qtbot.waitUntil(lambda: dialog.button.text() == "Close", timeout=60_000)
    assert str(tmp_path / "a.gif") in dialog.said.text()
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.size, image.n_frames) == ((640, 400), len(STEPS))
    dialog.close()


def test_why_there_is_no_movie_is_said(window, qtbot, tmp_path):
    window.viewer.appearance.colour_by = "speed"
    dialog = capture.MovieDialog(window, tmp_path / "a.gif")
    qtbot.waitUntil(lambda: dialog.button.text() == "Close", timeout=60_000)
    assert "add velocity to record.properties" in dialog.said.text()
    dialog.close()
    assert not list(tmp_path.iterdir())


def test_cancelling_ends_the_process_and_leaves_nothing(window, qtbot, tmp_path):
    window.viewer.appearance.spin = True
    dialog = capture.MovieDialog(window, tmp_path / "a.mp4")
    dialog.show()
    qtbot.waitUntil(lambda: dialog.bar.value() > 1, timeout=60_000)
    dialog.button.click()
    assert not dialog.isVisible()
    assert not list(tmp_path.iterdir())
