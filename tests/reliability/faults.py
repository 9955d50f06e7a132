"""What the tests of reliability break things with: sound files, ways to damage them, children that open them."""

import multiprocessing
import os
from unittest import mock

import numpy as np

from dynsim.frame import Cast, Frame
from dynsim.trajectory import TrajectoryWriter, schema

# `make soak` asks for the full form of every row of the table, `make test` for a short one.
FULL = os.environ.get("DYNSIM_SOAK") == "1"


def cast_of(n=24, dim=3):
    """A small cast with groups of every kind."""
    return Cast(
        subsystems=("input", "output"),
        subsystem=np.repeat(np.arange(2, dtype="i4"), n // 2),
        index=np.tile(np.arange(n // 2, dtype="i4"), 2),
        copy=np.zeros(n, "i4"),
        mass=np.ones(n, "f4"),
        projection=np.eye(3, dim, dtype="f4"),
        groups={"mu:input>output": (2,), "gain:input>output": (1,)},
    )


def write_trajectory(path, frames=12):
    """A sound trajectory file, in small chunks: most of its bytes mean something."""
    cast, rng = cast_of(), np.random.default_rng(1)
    with (
        mock.patch.object(schema, "SMALLEST_CHUNK", 256),
        TrajectoryWriter(path, cast, observables=("loss",), step_observables=("loss",)) as writer,
    ):
        for step in range(frames):
            q = rng.standard_normal((cast.n, cast.dim)).astype("f4")
            row = {
                "step": np.array([step], float),
                "time": np.array([0.1 * step]),
                "loss": np.array([1.0 / (step + 1)]),
            }
            groups = {name: rng.standard_normal(shape).astype("f4") for name, shape in cast.groups.items()}
            events = ((step, "set", "dynamics.dt"),)
            writer.write(
                Frame(step, 0.1 * step, q[:, :3], {"position": q} | groups, {"loss": row["loss"][0]}, row, events)
            )
    return path


def damaged(data, rng):
    """Bytes as a bad disk or a bad neighbour leaves them: cut, flipped, overwritten, moved, doubled, or grown."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if not data:
            return bytes(data)
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 9))
        match rng.integers(7):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                data[at : at + size] = rng.bytes(size)
            case 3:
                data[at : at + size] = bytes([rng.choice([0, 255])]) * size
            case 4:
                del data[at:]
            case 5:
                data[at:at] = data[at // 2 : at // 2 + size]
            case 6:
                del data[at : at + size]
    return bytes(data)


class Child:
    """A process of little memory that opens files with `faults_loaders.open_with`, and is replaced where it falls.

    A context manager.
    """

    def __init__(self, seconds=60.0):
        self._seconds = seconds
        self._start()

    def open(self, kind, path, *more):
        """(how it went, words, seconds of processor): "read", "refused" (by an error of ours), "strange", "crash"
        or "hang"."""
        self._pipe.send((kind, str(path), *more))
        try:
            if self._pipe.poll(self._seconds):
                return self._pipe.recv()
            fate = "hang"
        except (EOFError, ConnectionError):
            fate = "crash"
        self._end()
        self._start()
        return fate, "", self._seconds

    def _start(self):
        # A fork of a server that has imported everything: a new one costs a hundredth of a second.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["faults_loaders"])
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=serve, args=(far,), daemon=True)
        self._process.start()
        far.close()

    def _end(self):
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._end()


def serve(pipe):
    """The child's loop."""
    from faults_loaders import limit_memory, open_with

    limit_memory()
    while True:
        try:
            pipe.send(open_with(*pipe.recv()))
        except EOFError:
            return
