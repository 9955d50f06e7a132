"""The writer of trajectories: one thread owns the file, the simulation only hands frames over.

A synchronous flush at each frame costs a loop 70 % of its speed, the thread nothing measurable.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import os
import queue
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dynsim.errors import OptionError, RunFolderError, ShapeError
from dynsim.frame import Cast, Frame
from dynsim.trajectory import flags, schema

RING = 8
FLUSH_SECONDS, FLUSH_FRAMES = 0.2, 64
RESERVE = 2**26


# What one frame adds to the file: for each table of `Columns.tables` its columns, or {} for no row.
_Parcel = tuple[dict, dict, dict]


class _LittleSpaceError(OSError):
    """The disk is nearly full and the file is still sound."""


def repair(path: str | Path) -> None:
    """Make a file that a killed writer left readable for every program; what was flushed is kept.

    Never while the writer lives. Raises MissingTrajectoryError, FileFormatError.
    """
    TrajectoryWriter.append_to(path, np.iinfo("i8").max).close()


class TrajectoryWriter:
    """Write frames to a new trajectory file; a context manager.

    Parameters
    ----------
    path, cast, layout : as for `schema.create`, which says what is recorded.

    Attributes
    ----------
    last_step : step of the frame handed over last, -1 before the first.

    Raises what `schema.create` raises. A failure in the thread is raised by the next `write`, `flush` or
    `close` as RunFolderError (an OSError) with its cause.
    """

    _closed: bool
    _raised: bool
    last_step: int
    _last_history: int
    _thread: threading.Thread

    def __init__(self, path: str | Path, cast: Cast, **layout) -> None:
        self._start(Path(path), cast, schema.create(path, cast, **layout))

    @classmethod
    def append_to(cls, path: str | Path, step: int, events: int | None = None) -> TrajectoryWriter:
        """Go on with an existing file whose writer has ended or was killed, as if `step` had just been done.

        Everything after `step` (frames, history, events) is dropped, and so is what a kill left incomplete, and
        all but the first `events` events: of those at `step` itself a checkpoint may not know all.
        Raises MissingTrajectoryError, FileFormatError.
        """
        if os.path.exists(path):
            flags.clear(path)
        file = schema.open_file(path, "r+")
        try:
            columns = schema.columns(file)
            for table in columns.tables:
                _cut(table, step)
            if events is not None:
                for dataset in columns.events.values():
                    dataset.resize(min(events, len(dataset)), axis=0)
            cast = schema.read_cast(file)
        except BaseException:
            file.close()
            raise
        self = cls.__new__(cls)
        self._start(Path(path), cast, file)
        return self

    def write(self, frame: Frame) -> None:
        """Hand a frame over; waits while eight are on their way. Its arrays may be changed afterwards.

        A frame at the step of the last one is in the file already and adds only its events and new history.
        Raises ShapeError and OptionError for a frame that does not fit the file or comes out of order.
        """
        self._check()
        if frame.step < self.last_step:
            raise OptionError(
                "frames must come in order of their steps", given=frame.step, allowed=f">= {self.last_step}"
            )
        self._queue.put(self._pack(frame))
        self.last_step = frame.step

    def flush(self) -> None:
        """Wait until all that was handed over is in the file; done before a checkpoint is written."""
        self._check()
        barrier = threading.Event()
        self._queue.put(barrier)
        barrier.wait()
        self._check()

    def close(self) -> None:
        """Write what is left and close the file; safe to call twice."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._queue.put(None)
            self._thread.join()
            if self._error is not None and not self._raised:
                self._fail()

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.close()
        except RunFolderError as own:
            if error is None:
                raise
            error.add_note(str(own))  # the error that ended the run goes first

    def _start(self, path: Path, cast: Cast, file: h5py.File) -> None:
        self._path, self._cast, self._file = path, cast, file
        self._columns = schema.columns(file)
        self._descriptor = file.id.get_vfd_handle()
        file.swmr_mode = True
        # asked here, since asking h5py later would wait for the thread's own calls
        self._form = {key: (d.shape[1:], d.dtype) for key, d in self._columns.frames.items()}
        self.last_step = _last(self._columns.frames["grid", "step"])
        self._last_history = _last(self._columns.history["step"])
        self._error: BaseException | None = None
        self._raised = self._closed = False
        self._queue: queue.Queue[_Parcel | threading.Event | None] = queue.Queue(RING)
        self._unflushed, self._flushed_at = 0, time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="trajectory", daemon=True)
        self._thread.start()
        # A writer that nobody closed would otherwise meet a half-finished interpreter, and wait in HDF5 for ever.
        atexit.register(self.close)

    def _check(self) -> None:
        if self._error is not None:
            self._fail()
        if self._closed:
            raise RunFolderError("the trajectory is closed", where=str(self._path))

    def _fail(self) -> None:
        self._raised = True
        raise RunFolderError(
            "the trajectory could not be written",
            where=str(self._path),
            given=f"{type(self._error).__name__}: {self._error}",
            hint="frames flushed before are in the file; look for free space and permissions",
        ) from self._error

    def _pack(self, frame: Frame) -> _Parcel:
        known = frame.step == self.last_step
        row = {} if known else {key: self._value(frame, *key)[None] for key in self._form}
        return self._new_history(frame), _events(frame), row

    def _value(self, frame: Frame, kind: str, name: str) -> np.ndarray:
        """A copy of one entry of the frame as the file holds it."""
        shape, dtype = self._form[kind, name]
        value = np.array(self._entry(frame, kind, name), dtype)
        if value.shape != shape:
            raise ShapeError(
                f"{name} does not fit the trajectory",
                where=f"frame at step {frame.step}",
                given=value.shape,
                allowed=str(shape),
            )
        return value

    def _entry(self, frame: Frame, kind: str, name: str) -> object:
        if kind == "grid":
            return getattr(frame, name)
        if kind == "scalar":
            return frame.scalars.get(name, np.nan)
        if (kind, name) == ("view", "position"):
            return frame.positions
        if name not in frame.properties:
            raise OptionError(
                f"this trajectory records {name!r}, the frame has none",
                where=f"frame at step {frame.step}",
                given=", ".join(frame.properties) or "no property",
            )
        value = frame.properties[name]
        return value @ self._cast.projection.T if kind == "view" else value

    def _new_history(self, frame: Frame) -> dict[str, np.ndarray]:
        """Copies of the history's rows that the file does not have yet."""
        if not len(frame.history.get("step", ())):
            return {}
        new = np.asarray(frame.history["step"]) > self._last_history
        self._last_history = max(self._last_history, int(frame.history["step"][-1]))
        missing = np.full(len(new), np.nan)
        return {name: np.asarray(frame.history.get(name, missing))[new] for name in self._columns.history}

    def _serve(self) -> None:
        """The thread: take, append, flush when due; after a failure only take, so that no caller hangs."""
        going = True
        while going:
            items = self._take()
            going = None not in items
            barriers = [item for item in items if isinstance(item, threading.Event)]
            if self._error is None:
                try:
                    self._append([item for item in items if isinstance(item, tuple)])
                    if self._due() or barriers or not going:
                        self._flush()
                except BaseException as error:  # whatever it is, it is raised in the caller
                    self._error = error
            for barrier in barriers:
                barrier.set()
        self._shut()

    def _take(self) -> list[_Parcel | threading.Event | None]:
        """What is in the queue, at least one item unless a flush falls due first."""
        wait = max(0.0, self._flushed_at + FLUSH_SECONDS - time.monotonic()) if self._unflushed else None
        try:
            items = [self._queue.get(timeout=wait)]
        except queue.Empty:
            return []
        return items + [self._queue.get() for _ in range(self._queue.qsize())]

    def _due(self) -> bool:
        late = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        return self._unflushed >= FLUSH_FRAMES or (late and self._unflushed > 0)

    def _append(self, parcels: list[_Parcel]) -> None:
        if not parcels:
            return
        self._reserve(parcels)
        for table, parts in zip(self._columns.tables, zip(*parcels)):
            filled = [part for part in parts if part]
            for name, dataset in table.items() if filled else ():
                _extend(dataset, np.concatenate([part[name] for part in filled]))
        self._unflushed += len(parcels)

    def _reserve(self, parcels: list[_Parcel]) -> None:
        """Stop while the file can still be closed properly: afterwards it is too late."""
        size = sum(column.nbytes for parcel in parcels for part in parcel for column in part.values())
        needed = 2 * size + RESERVE
        if shutil.disk_usage(self._path.parent).free < needed:
            raise _LittleSpaceError(errno.ENOSPC, f"less than {needed >> 20} MiB free on this disk")

    def _flush(self) -> None:
        # A flush of the whole file lets followers see the step before its data.
        for table in self._columns.tables:
            for dataset in table.values():
                dataset.flush()
        self._unflushed, self._flushed_at = 0, time.monotonic()

    def _shut(self) -> None:
        if isinstance(self._error, OSError | RuntimeError) and not isinstance(self._error, _LittleSpaceError):
            _abandon(self._descriptor, self._file, self._columns)
            return
        try:
            self._file.close()
        except (OSError, RuntimeError) as error:
            _abandon(self._descriptor, self._file, self._columns)
            self._error = error


def _abandon(descriptor: int, *handles: object) -> None:
    """Leave a file that can be written no more as it is, as a kill would.

    HDF5 crashes the interpreter on closing such a file, and at exit it would call it closed although parts of
    it never arrived. So the handles live for ever, and whatever is written through them goes nowhere.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handles))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _events(frame: Frame) -> dict[str, np.ndarray]:
    if not frame.events:
        return {}
    steps, kinds, details = zip(*frame.events)
    return {
        "kind": np.array([schema.clip(kind, schema.KIND_BYTES) for kind in kinds]),
        "detail": np.array([schema.clip(detail, schema.DETAIL_BYTES) for detail in details]),
        "step": np.array(steps, "i8"),
    }


def _extend(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    before = len(dataset)
    dataset.resize(before + len(rows), axis=0)
    dataset[before:] = rows


def _last(steps: h5py.Dataset) -> int:
    return int(steps[-1]) if len(steps) else -1


def _cut(table: dict[Any, h5py.Dataset], step: int) -> None:
    """Keep the complete rows up to `step`."""
    *_, steps = table.values()
    complete = schema.length(table)
    for dataset in table.values() if complete else ():
        flags.mend(dataset, complete - 1)
    kept = np.searchsorted(steps[:complete], step, "right")
    for dataset in table.values():
        dataset.resize(kept, axis=0)
