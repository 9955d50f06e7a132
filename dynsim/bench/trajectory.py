"""Trajectories: what recording costs beside writing bare bytes, and how soon a follower knows."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.frame import Cast, Frame
from dynsim.trajectory import Trajectory, TrajectoryWriter, schema

DIM = 9
# Particles of frames of 100 kB and 1 MB: places in R^9 and in the 3-D view.
PARTICLES = {"100 kB": 2084, "1 MB": 20834}
BATCH = 2**24  # bytes of a round
ROUNDS = 8  # of which each makes files longer
WITH, WITHOUT, LOOP = 0.15, 0.5, 0.99
LOOP_FRAMES, LOOP_SIZE = 40, 400  # frames of a loop, and the order of the matrices whose product is its work


@benchmark("trajectory")
def trajectory(context: Context) -> Iterator[Case]:
    """Frames into a file and out of Python's buffers, against as many bytes written raw; a loop with and without."""
    for label, n in PARTICLES.items():
        count = BATCH // (4 * n * (DIM + 3))
        raw, size = _raw(n, count), f"{count} frames of {label}"
        for name, checksums, goal in (("checksums", True, WITH), ("no checksums", False, WITHOUT)):
            rival = Rival("raw buffered write", raw, goal)
            yield Case(name, size, partial(_written, n, count, checksums), (rival,), most=ROUNDS)
    loop = partial(_written, PARTICLES["100 kB"], LOOP_FRAMES, each=_compute)
    flushing = partial(_written, PARTICLES["100 kB"], LOOP_FRAMES, each=_compute_and_flush)
    rivals = (Rival("nothing recorded", _bare_loop, LOOP), Rival("a flush for each frame", flushing))
    yield Case("loop that records", f"{LOOP_FRAMES} frames of 100 kB", loop, rivals, most=ROUNDS)
    yield Case("follower, from write to seen", "frame of 100 kB", partial(_followed, PARTICLES["100 kB"]))


@cache
def _frames(n: int, count: int) -> list[Frame]:
    rng = np.random.default_rng(0)
    q = rng.standard_normal((count, n, DIM), np.float32)
    return [Frame(k, float(k), a[:, :3].copy(), {"position": a}, {"loss": 0.0}) for k, a in enumerate(q)]


def _file(n: int, checksums: bool = True) -> tuple[TemporaryDirectory, TrajectoryWriter]:
    zeros = np.zeros(n, np.int32)
    mass, axes = np.ones(n, np.float32), np.eye(3, DIM, dtype=np.float32)
    cast = Cast(("all",), zeros, np.arange(n, dtype=np.int32), zeros, mass, axes, {})
    folder, before = TemporaryDirectory(), schema.FILTERS
    schema.FILTERS = before if checksums else {}
    try:
        return folder, TrajectoryWriter(Path(folder.name) / "t.h5", cast, observables=("loss",))
    finally:
        schema.FILTERS = before


def _written(
    n: int, count: int, checksums: bool = True, each: Callable[[TrajectoryWriter], None] | None = None
) -> Work:
    """Writes frames behind those of the round before, after each of which `each` is called."""
    frames, (folder, writer) = _frames(n, count), _file(n, checksums)

    def work(kept: object = folder) -> None:
        first = writer.last_step + 1
        for k, f in enumerate(frames):
            writer.write(replace(f, step=first + k))
            if each is not None:
                each(writer)
        writer.flush()

    return work


def _raw(n: int, count: int) -> Callable[[], Work]:
    def prepare() -> Work:
        frames, folder = _frames(n, count), TemporaryDirectory()
        file = open(Path(folder.name) / "t.bin", "wb")  # noqa: SIM115 as long as the work

        def work(kept: object = folder) -> None:
            for f in frames:
                file.write(f.positions.data)
                file.write(f.properties["position"].data)
            file.flush()

        return work

    return prepare


def _compute(_: object = None) -> None:
    a = np.ones((LOOP_SIZE, LOOP_SIZE), np.float32)
    a @ a


def _compute_and_flush(writer: TrajectoryWriter) -> None:
    _compute()
    writer.flush()


def _bare_loop() -> Work:
    def work() -> None:
        for _ in range(LOOP_FRAMES):
            _compute()

    return work


def _followed(n: int) -> Work:
    """A frame written, flushed, and seen by another process that looks every millisecond."""
    (folder, writer), frame = _file(n), _frames(n, 1)[0]
    near, far = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    spawn.Process(target=_tell, args=(str(Path(folder.name) / "t.h5"), far), daemon=True).start()
    near.recv()

    def work(kept: object = folder) -> None:
        writer.write(replace(frame, step=writer.last_step + 1))
        writer.flush()
        near.recv()

    return work


def _tell(path: str, pipe: Connection) -> None:
    with Trajectory(path) as read:
        pipe.send(seen := len(read))
        while True:
            if read.refresh() > seen:
                seen = len(read)
                pipe.send(seen)
            time.sleep(0.001)
