"""Trajectory files: nothing lost, nothing torn, and every viewer of H5MD opens them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from dynsim import files
from dynsim.errors import DivergenceError, FileFormatError, OptionError, RunFolderError, ShapeError
from dynsim.frame import Cast, Frame
from dynsim.panels import Curve, Panel
from dynsim.trajectory import (
    MissingTrajectoryError,
    Trajectory,
    TrajectoryWriter,
    flags,
    repair,
    schema,
)

VECTORS = ("velocity", "force", "torque")
NUMBERS = ("lagrangian", "lambda", "local/entropy")
PANELS = (
    Panel("Λ", "per unit of time", "lambda"),
    Panel("Loss", "energy", "loss", (Curve("loss", "loss"), Curve("loss_*", "τ = *", "family")), log=True),
)
EVERYTHING = {
    "properties": ("position", *VECTORS, *NUMBERS),
    "observables": ("loss", "entropy"),
    "step_observables": ("loss", "kinetic"),
    "parameters": {"scenario": "[run]\nseed = 7 # τ\n", "seed": "7"},
    "law": "friction",
}


def make_cast(dtype="float32", n=24, dim=5):
    rng = np.random.default_rng(1)
    return Cast(
        subsystems=("input", "hidden"),
        subsystem=np.repeat(np.arange(2, dtype="i4"), n // 2),
        index=np.tile(np.arange(n // 2, dtype="i4"), 2),
        copy=np.zeros(n, "i4"),
        mass=rng.random(n, "f4"),
        projection=np.eye(3, dim, dtype="f4"),
        groups={"mu:input->hidden": (4,), "mu:skip/0": (2,), "gain:skip/0": (1,), "weight:value": (n // 2,)},
        dtype=dtype,
        widths=dict.fromkeys(VECTORS, (dim,)) | dict.fromkeys(NUMBERS, ()),
        panels=PANELS,
    )


def make_frame(cast, step):
    """A frame every ten steps, all of it a function of the step."""
    rng = np.random.default_rng(step)
    vectors = {name: rng.normal(size=(cast.n, cast.dim)).astype(cast.dtype) for name in ("position", *VECTORS)}
    plain = {name: rng.random(cast.n, "f4") for name in NUMBERS}
    groups = {name: rng.random(shape).astype(cast.dtype) for name, shape in sorted(cast.groups.items())}
    past = np.arange(step - 9, step + 1) if step else np.array([], "i8")
    history = {"step": past, "time": past * 0.5, "loss": 1.0 / (past + 1), "kinetic": rng.random(len(past))}
    return Frame(
        step=step,
        time=step * 0.5,
        positions=(vectors["position"] @ cast.projection.T).astype("f4"),
        properties=vectors | plain | groups,
        scalars={"loss": 1.0 / (step + 1), "entropy": rng.random()},
        history=history if step else {},
        events=((step - 3, "kick", '{"strength": 1}'),) if step % 20 == 10 else (),
    )


def write(path, cast, steps, **layout):
    with TrajectoryWriter(path, cast, **(layout or EVERYTHING)) as out:
        for step in steps:
            out.write(make_frame(cast, step))
    return path


def assert_same(a, b):
    assert (a.step, a.time, a.events, dict(a.scalars)) == (b.step, b.time, b.events, dict(b.scalars))
    assert a.positions.tobytes() == b.positions.tobytes()
    for left, right in ((a.properties, b.properties), (a.history, b.history)):
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            np.testing.assert_array_equal(left[name], right[name], strict=True)


@pytest.fixture
def cast():
    return make_cast()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trajectory.h5"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_what_was_written_is_read_bit_for_bit(path, dtype, compression):
    cast = make_cast(dtype)
    write(path, cast, range(0, 300, 10), **EVERYTHING, compression=compression)
    with Trajectory(path) as read:
        assert len(read) == 30
        for i in range(30):
            assert_same(read.frame(i), make_frame(cast, 10 * i))
        assert_same(read.frame(-1), make_frame(cast, 290))
        np.testing.assert_array_equal(read.steps, np.arange(0, 300, 10))
        np.testing.assert_array_equal(read.times, np.arange(0, 150, 5))
        np.testing.assert_array_equal(read.history["step"], np.arange(1, 291))
        np.testing.assert_array_equal(read.observables["loss"], 1.0 / (np.arange(0, 300, 10) + 1))
        assert read.scenario == EVERYTHING["parameters"]["scenario"]
        assert [event[0] for event in read.events] == list(range(7, 290, 20))
        for name in ("subsystem", "index", "copy", "mass", "projection"):
            np.testing.assert_array_equal(getattr(read.cast, name), getattr(cast, name), strict=True)
        assert (read.cast.subsystems, read.cast.groups, read.cast.dtype) == (
            cast.subsystems,
            cast.groups,
            dtype,
        )
        assert (read.cast.widths, read.cast.panels) == (cast.widths, cast.panels)
        with pytest.raises(IndexError):
            read.frame(30)


def test_by_default_only_positions_and_what_prediction_needs_are_kept(path, cast):
    write(path, cast, [0, 10], properties=("position",))
    with Trajectory(path) as read:
        assert set(read.frame(1).properties) == {"position", *cast.groups}
        assert not read.observables
        assert len(read.history["step"]) == 10


@pytest.mark.parametrize("convert_units", [True, False])
def test_mdanalysis_opens_the_file(path, cast, convert_units):
    mdanalysis = pytest.importorskip("MDAnalysis")
    write(path, cast, range(0, 50, 10))
    universe = mdanalysis.Universe.empty(cast.n, trajectory=True)
    universe.load_new(str(path), format="H5MD", convert_units=convert_units)
    assert universe.trajectory.n_frames == 5
    for i, ts in enumerate(universe.trajectory):
        frame = make_frame(cast, 10 * i)
        np.testing.assert_array_equal(ts.positions, frame.positions)
        np.testing.assert_array_equal(ts.velocities, frame.properties["velocity"][:, :3])
        np.testing.assert_array_equal(ts.forces, frame.properties["force"][:, :3])
        assert (ts.time, ts.data["step"], ts.dimensions) == (frame.time, frame.step, None)
        assert ts.data["loss"] == frame.scalars["loss"]
    universe.trajectory.close()


def test_layout_is_h5md(path, cast):
    write(path, cast, [0, 10])
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["h5md"].attrs["version"], [1, 1])
        assert list(file["particles"]) == ["trajectory"]
        group = file["particles/trajectory"]
        assert group["dyn_lagrangian"].attrs["law"].decode() == "friction"
        for element in ("velocity", "force", "dyn_position", "dyn_lambda", "dyn_mu/input->hidden"):
            assert group[element]["step"] == group["position/step"]
            assert group[element]["time"] == group["position/time"]
        assert file["observables/loss/step"] == group["position/step"]
        assert file["dyn/observables/loss/step"] != group["position/step"]
        found = []
        file.visititems(lambda name, item: found.append((name, item)))
        datasets = {name: item for name, item in found if isinstance(item, h5py.Dataset)}
    assert [name for name, _ in found if name.endswith("/position")] == ["particles/trajectory/position"]
    assert "step" not in [name.split("/")[-2] for name in datasets if name.endswith("value")]


def test_every_chunked_dataset_has_a_checksum_and_chunks_of_good_size(path):
    file = schema.create(path, make_cast(n=6000, dim=64), **EVERYTHING)
    sizes = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and item.shape != ():
            assert item.fletcher32, name
            if item.maxshape[0] is None:
                sizes[name] = np.prod(item.chunks) * item.dtype.itemsize

    with file:
        file.visititems(visit)
    assert len(sizes) > 15
    assert all(2**13 <= size <= 2**20 for size in sizes.values()), sizes


def test_no_path_of_the_machine_is_stored(path, cast):
    write(path, cast, [0])
    assert os.fsencode(path.parent) not in path.read_bytes()


def test_a_follower_sees_only_complete_frames(path):
    cast = make_cast(n=2000)
    follower = """
        import sys, time
        import numpy as np
        from dynsim.trajectory import Trajectory
        from test_trajectory import assert_same, make_frame
        with Trajectory(sys.argv[1]) as read:
            print("open", flush=True)
            seen, looks, end = 0, 0, time.monotonic() + 30
            while seen < 40 and time.monotonic() < end:
                for i in range(seen, read.refresh()):
                    assert_same(read.frame(i), make_frame(read.cast, 10 * i))
                looks += len(read) > seen
                seen = len(read)
        print(seen, looks)
    """
    with TrajectoryWriter(path, cast, **EVERYTHING) as out:
        with python(follower, path) as child:
            assert child.stdout.readline() == "open\n"
            for step in range(0, 400, 10):
                out.write(make_frame(cast, step))
                time.sleep(0.02)
            out.flush()
            seen, looks = map(int, child.communicate()[0].split())
        assert child.returncode == 0
    assert seen == 40
    assert looks > 1


def test_a_follower_in_the_same_process(path, cast):
    with TrajectoryWriter(path, cast, **EVERYTHING) as out, Trajectory(path) as read:
        assert len(read) == 0
        for step in (0, 10, 20):
            out.write(make_frame(cast, step))
            out.flush()
            assert read.refresh() == step // 10 + 1
            assert_same(read.frame(-1), make_frame(cast, step))
    with Trajectory(path) as read:
        assert len(read) == 3


def test_the_writer_copies_so_that_buffers_may_be_reused(path, cast):
    frame = make_frame(cast, 0)
    with TrajectoryWriter(path, cast) as out:
        out.write(frame)
        frame.positions[:] = 0
        frame.properties["position"][:] = 0
    with Trajectory(path) as read:
        expected = make_frame(cast, 0).properties["position"]
        np.testing.assert_array_equal(read.frame(0).properties["position"], expected)


@pytest.mark.parametrize(("step", "frames"), [(50, 6), (57, 6), (0, 1), (1000, 10)])
def test_append_to_goes_on_as_if_never_interrupted(path, tmp_path, cast, step, frames):
    write(path, cast, range(0, 100, 10))
    with TrajectoryWriter.append_to(path, step) as out:
        with Trajectory(path) as read:
            assert len(read) == frames
            assert len(read.history["step"]) == min(step, 90)
            assert all(event[0] <= step for event in read.events)
        for again in range(frames * 10, 150, 10):
            out.write(make_frame(cast, again))
    with Trajectory(path) as read, Trajectory(write(tmp_path / "b.h5", cast, range(0, 150, 10))) as whole:
        np.testing.assert_array_equal(read.steps, whole.steps)
        for i in range(15):
            # resumed at 57, the frame at 60 brings steps 51 to 57 again: no row stands there twice
            assert_same(read.frame(i), whole.frame(i))


def test_a_frame_at_the_last_step_adds_only_what_is_new(path, cast):
    write(path, cast, range(0, 30, 10))
    with TrajectoryWriter.append_to(path, 20) as out:
        out.write(make_frame(cast, 20))
        with pytest.raises(OptionError, match="order"):
            out.write(make_frame(cast, 10))
    with Trajectory(path) as read:
        np.testing.assert_array_equal(read.steps, [0, 10, 20])
        np.testing.assert_array_equal(read.history["step"], np.arange(1, 21))


KILLED = """
    import itertools, sys
    from dynsim.trajectory import TrajectoryWriter
    from test_trajectory import EVERYTHING, make_cast, make_frame
    cast = make_cast(n=2000)
    out = TrajectoryWriter(sys.argv[1], cast, **EVERYTHING)
    for step in itertools.count(0, 10):
        out.write(make_frame(cast, step))
        if step % 100 == 0:
            out.flush()
            print(step, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.031])
def test_a_killed_writer_loses_no_flushed_frame(path, delay):
    with python(KILLED, path) as child:
        flushed = [int(child.stdout.readline()) for _ in range(4)][-1]
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        flushed = max([flushed, *map(int, child.communicate()[0].split())])
    cast = make_cast(n=2000)
    with Trajectory(path) as read:
        assert read.steps[-1] >= flushed
        for i in range(len(read)):
            assert_same(read.frame(i), make_frame(cast, 10 * i))
    with pytest.raises(OSError):
        h5py.File(path)
    with TrajectoryWriter.append_to(path, flushed - 20) as out:
        for step in range(flushed - 10, flushed + 200, 10):
            out.write(make_frame(cast, step))
    with h5py.File(path), Trajectory(path) as read:
        np.testing.assert_array_equal(read.steps, np.arange(0, flushed + 200, 10))
        for i in range(len(read)):
            assert_same(read.frame(i), make_frame(cast, 10 * i))


def flushed_twice(path, cast):
    """The bytes of a running file after five and after eight frames, which share every last chunk."""
    with TrajectoryWriter(path, cast, **EVERYTHING) as out:
        for step in range(0, 80, 10):
            out.write(make_frame(cast, step))
            if step in (40, 70):
                out.flush()
                yield bytearray(path.read_bytes())


@pytest.mark.parametrize("part", [0.001, 0.1, 0.9])
def test_a_chunk_torn_by_a_kill_gives_its_flushed_rows(path, tmp_path, cast, part):
    five, eight = flushed_twice(path, cast)
    for name in (
        "particles/trajectory/dyn_velocity/value",
        "dyn/events/detail",
        "dyn/observables/loss/value",
    ):
        with h5py.File(path) as file:
            chunk = file[name].id.get_chunk_info(0)
        torn = slice(chunk.byte_offset, chunk.byte_offset + int(part * chunk.size))
        five[torn] = eight[torn]
    copy = tmp_path / "torn.h5"
    copy.write_bytes(five)
    for _ in range(2):
        with Trajectory(copy) as read:
            assert len(read) == 5
            for i in range(5):
                assert_same(read.frame(i), make_frame(cast, 10 * i))
        repair(copy)
        with h5py.File(copy) as file:
            np.testing.assert_array_equal(file["dyn/observables/loss/value"], 1.0 / np.arange(2, 42))


def test_clear_makes_a_killed_file_readable_and_leaves_a_finished_one_alone(path, cast):
    write(path, cast, [0])
    before = path.read_bytes()
    assert not flags.clear(path)
    assert path.read_bytes() == before
    with TrajectoryWriter.append_to(path, 0) as out:
        out.flush()
        killed = path.read_bytes()
    copy = path.with_name("copy.h5")
    copy.write_bytes(killed)
    with pytest.raises(OSError):
        h5py.File(copy)
    assert flags.clear(copy)
    h5py.File(copy).close()


def test_clear_refuses_what_it_does_not_know(path, cast):
    path.write_text("step,time\n")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        flags.clear(path)
    h5py.File(path, "w", libver="earliest").close()
    with pytest.raises(FileFormatError, match="superblock version 3"):
        flags.clear(path)
    path.unlink()
    data = bytearray(write(path, cast, [0]).read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="checksum"):
        flags.clear(path)


def test_lookup3_has_the_published_value():
    assert flags.lookup3(b"Four score and seven years ago") == 0x17770551
    assert flags.lookup3(b"") == 0xDEADBEEF


def fill_the_disk(monkeypatch):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**20))


def test_nothing_begins_on_a_full_disk(path, cast, monkeypatch):
    write(path, cast, [0])
    before = path.read_bytes()
    fill_the_disk(monkeypatch)
    for attempt in (
        lambda: TrajectoryWriter(path.with_name("b.h5"), cast),
        lambda: TrajectoryWriter.append_to(path, 0),
    ):
        with pytest.raises(RunFolderError, match=r"1.0 MiB free(.|\n)*64.0 MiB or more(.|\n)*make room on the disk of"):
            attempt()
    assert path.read_bytes() == before
    assert not path.with_name("b.h5").exists()


def test_a_failure_in_the_thread_reaches_the_caller(path, cast, monkeypatch):
    out = TrajectoryWriter(path, cast)
    fill_the_disk(monkeypatch)
    out.write(make_frame(cast, 0))
    with pytest.raises(RunFolderError, match="MiB free") as caught:
        out.flush()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(RunFolderError, match="MiB free"):
        out.write(make_frame(cast, 10))
    out.close()
    with h5py.File(path):  # closed in order although it failed
        pass


def test_a_failure_is_raised_by_close_when_nobody_asked_before(path, cast, monkeypatch):
    out = TrajectoryWriter(path, cast, **EVERYTHING)
    fill_the_disk(monkeypatch)
    out.write(make_frame(cast, 0))
    with pytest.raises(RunFolderError, match="MiB free"):
        out.close()


def test_the_error_that_ended_the_run_goes_first(path, cast, monkeypatch):
    def diverging_run():
        with TrajectoryWriter(path, cast) as out:
            fill_the_disk(monkeypatch)
            out.write(make_frame(cast, 0))
            raise DivergenceError("NaN")

    with pytest.raises(DivergenceError) as caught:
        diverging_run()
    assert "MiB free" in caught.value.__notes__[0]


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_ends_in_an_error_not_in_a_crash(path):
    child_code = """
        import itertools, resource, signal, sys
        from dynsim.errors import RunFolderError
        from dynsim.trajectory import TrajectoryWriter
        from test_trajectory import EVERYTHING, make_cast, make_frame
        cast = make_cast(n=2000)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))
        try:
            with TrajectoryWriter(sys.argv[1], cast, **EVERYTHING) as out:
                for step in itertools.count(0, 10):
                    out.write(make_frame(cast, step))
                    if step % 50 == 0:
                        out.flush()
        except RunFolderError:
            print("reported")
    """
    with python(child_code, path) as child:
        assert child.communicate()[0] == "reported\n"
    assert child.returncode == 0
    with Trajectory(path) as read:
        assert len(read) > 3
        for i in range(len(read)):
            assert_same(read.frame(i), make_frame(read.cast, 10 * i))


def test_a_frame_that_does_not_fit_is_refused_at_once(path, cast):
    with TrajectoryWriter(path, cast) as out:
        with pytest.raises(ShapeError, match=r"frame at step 0"):
            out.write(make_frame(make_cast(n=8), 0))
        bare = Frame(step=0, time=0.0, positions=np.zeros((cast.n, 3), "f4"), properties={}, scalars={})
        with pytest.raises(OptionError, match="position"):
            out.write(bare)
    with pytest.raises(RunFolderError, match="closed"):
        out.write(make_frame(cast, 0))


def test_create_refuses_an_unknown_property_and_an_existing_file(path, cast):
    with pytest.raises(OptionError, match="velocity"):
        TrajectoryWriter(path, cast, properties=("velocities",))
    write(path, cast, [0])
    with pytest.raises(RunFolderError, match="already"):
        TrajectoryWriter(path, cast)


def test_long_events_are_cut_with_an_ellipsis(path, cast):
    frame = make_frame(cast, 0)
    texts = ((0, "k" * 50, "ä" * 2000), (0, "kick", ""))
    with TrajectoryWriter(path, cast, properties=()) as out:
        out.write(Frame(0, 0.0, frame.positions, frame.properties, {}, events=texts))
    with Trajectory(path) as read:
        (_, kind, detail), plain = read.events
    assert plain == (0, "kick", "")
    assert kind == "k" * 29 + "…"
    assert detail.strip("ä") == "…"
    assert 1000 < len(detail.encode()) <= schema.DETAIL_BYTES


def test_a_missing_scalar_is_not_a_number(path, cast):
    frame = make_frame(cast, 0)
    with TrajectoryWriter(path, cast, observables=("loss", "unmeasured")) as out:
        out.write(frame)
    with Trajectory(path) as read:
        assert np.isnan(read.observables["unmeasured"]).all()
        assert read.observables["loss"] == frame.scalars["loss"]


def test_a_missing_file_is_a_file_not_found_error(path):
    for attempt in (lambda: Trajectory(path), lambda: TrajectoryWriter.append_to(path, 3), lambda: repair(path)):
        with pytest.raises(FileNotFoundError, match="try:"):
            attempt()
    assert issubclass(MissingTrajectoryError, RunFolderError)
    with pytest.raises(MissingTrajectoryError, match="no such folder"):
        Trajectory(path.with_name("nowhere"))


def no_hdf5(path):
    path.write_text("step,time\n")


def truncated(path):
    data = write(path, make_cast(), range(0, 100, 10)).read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def without(*names):
    def damage(path):
        write(path, make_cast(), [0])
        with h5py.File(path, "r+", libver=schema.LIBVER) as file:
            for name in names:
                del file[name]

    return damage


def flipped(path):
    write(path, make_cast(), range(0, 100, 10))
    with h5py.File(path) as file:
        offset = file["dyn/step"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 5] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_hdf5, "not a readable HDF5 file"),
        (truncated, "truncated"),
        (without("h5md"), "/h5md is missing"),
        (without("particles/trajectory"), "/particles/trajectory is missing"),
        (without("particles/trajectory/dyn_position/value"), "dyn_position/value is missing"),
        (without("particles/trajectory/mass"), "mass is missing"),
        (without("dyn/events"), "/dyn/events/kind is missing"),
        (without("parameters"), "/parameters/schema is missing"),
        (flipped, "damaged"),
    ],
)
def test_a_bad_file_is_named_with_what_is_missing(path, damage, message):
    damage(path)
    with pytest.raises(FileFormatError, match=message) as caught, Trajectory(path) as read:
        read.frame(0)
    assert str(path) in str(caught.value)


def python(code, *arguments):
    """A child process that runs `code` with this folder importable."""
    folders = [os.path.dirname(__file__), *sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))},
        stdout=subprocess.PIPE,
        text=True,
    )


WRITER = """
    import sys, time
    from dataclasses import replace
    import numpy as np
    from test_trajectory import make_cast
    from dynsim.frame import Frame
    from dynsim.trajectory import TrajectoryWriter

    with TrajectoryWriter(sys.argv[1], replace(make_cast(), groups={})) as writer:
        for k in range(1200):
            q = np.full((24, 5), k, "f4")
            writer.write(Frame(k, float(k), q[:, :3].copy(), {"position": q}, {}))
            if k % 100 == 99:
                writer.flush()
                print(k, flush=True)
                time.sleep(0.02)
"""


def test_followers_in_one_process_read_the_rows_they_ask_for(tmp_path):
    """Two handles of a file read wrong rows with HDF5 2.0, once one of them has looked for more."""
    path = tmp_path / "t.h5"
    with python(WRITER, path) as writer:
        writer.stdout.readline()
        followed_twice(path, writer)
    assert writer.returncode == 0
    with Trajectory(path) as alone:
        assert alone.frame(1199).step == 1199


def followed_twice(path, writer):
    with Trajectory(path) as first, Trajectory(path) as second:
        for _ in writer.stdout:
            for read in (first, second):
                last = read.refresh() - 1
                for i in (last, last // 2, 3):
                    assert (read.frame(i).properties["position"] == i).all()
                assert read.steps.tolist() == list(range(last + 1))
        assert first.refresh() == second.refresh() == 1200
        with Trajectory(path) as third:
            assert third.frame(700).step == first.frame(700).step == 700
    first.close()  # again


def test_a_writer_that_nobody_closed_lets_the_interpreter_end(tmp_path):
    script = f"""
        import numpy as np
        from dynsim import runs
        from dynsim.scenario import Scenario
        recording = runs.start(Scenario.load("two_particles"), {str(tmp_path / "run")!r})
        recording.step()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], timeout=120, check=False)
    assert done.returncode == 0
    with Trajectory(tmp_path / "run" / "trajectory.h5") as t:
        assert len(t) >= 1


def test_rows_of_a_long_column_are_found_without_reading_it(path, cast, monkeypatch):
    with Trajectory(write(path, cast, range(0, 50, 10))) as trajectory:
        whole = [trajectory.frame(i) for i in range(5)]
    monkeypatch.setattr("dynsim.trajectory.reader.SHORT", 1)
    with Trajectory(path) as trajectory:
        for i in (4, 0, 2, 3, 1):
            assert_same(trajectory.frame(i), whole[i])
