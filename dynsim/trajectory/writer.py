"""The writer of trajectories: one thread owns the file, the simulation only hands frames over.

A synchronous flush at each frame costs a loop 70 % of its speed, the thread nothing measurable.
"""

from __future__ import annotations

import atexit
import ctypes
import math
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5s

from dynsim import lock
from dynsim.errors import OptionError, RunFolderError, ShapeError
from dynsim.files import refuse_full, unwritable
from dynsim.frame import Cast, Frame
from dynsim.trajectory import flags, mending, schema

FLUSH_SECONDS, FLUSH_FRAMES = 0.2, 64
# Slots of the ring for frames on their way: 8, or of small frames as many as fit, but no more than are flushed at once.
SLOTS, RING_BYTES = 8, 2**22
CHECKED_BYTES = 2**24  # after which free space is looked at again, and after every flush


# What one frame adds to the file: new history and events by column, or {} for none, and its slot of the ring, or None
# where the file has the frame already.
_Parcel = tuple[dict, dict, int | None]


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
    last_history: int
    _thread: threading.Thread

    def __init__(self, path: str | Path, cast: Cast, **layout) -> None:
        refuse_full(Path(path).absolute().parent)
        self._start(Path(path), cast, schema.create(path, cast, **layout))

    @classmethod
    def append_to(cls, path: str | Path, step: int, events: int | None = None) -> TrajectoryWriter:
        """Go on with an existing file whose writer has ended or was killed, as if `step` had just been done.

        Everything after `step` (frames, history, events) is dropped, and so is what a kill left incomplete, and
        all but the first `events` events: of those at `step` itself a checkpoint may not know all.
        Raises MissingTrajectoryError, FileFormatError.
        """
        if os.path.exists(path):
            refuse_full(Path(path).absolute().parent)
            flags.clear(path)
        file = schema.open_file(path, "r+")
        try:
            columns = schema.columns(file)
            mending.cut(columns, step, events)
            cast = schema.read_cast(file)
        except BaseException:
            file.close()
            raise
        self = cls.__new__(cls)
        self._start(Path(path), cast, file)
        return self

    def write(self, frame: Frame) -> None:
        """Hand a frame over; waits while the ring is full of them. Its arrays may be changed afterwards.

        A frame at the step of the last one is in the file already and adds only its events and new history.
        Raises ShapeError and OptionError for a frame that does not fit the file or comes out of order.
        """
        self._check()
        if frame.step < self.last_step:
            raise OptionError(
                "frames must come in order of their steps", given=frame.step, allowed=f">= {self.last_step}"
            )
        slot = None if frame.step == self.last_step else self._fill(frame)
        self._queue.put((self._new_history(frame), _events(frame), slot))
        self.last_step = frame.step

    def flush(self) -> None:
        """Wait until all that was handed over is in the file."""
        self._check()
        barrier = threading.Event()
        self._queue.put(barrier)
        barrier.wait()
        self._check()

    def sync(self) -> None:
        """As `flush`, and until it is on the disk; done before a checkpoint is written, which knows of all of it."""
        self.flush()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise unwritable(self._path, error) from error

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
        self._folder = path.absolute().parent
        self._columns = schema.columns(file)
        self._descriptor = file.id.get_vfd_handle()
        file.swmr_mode = True
        lock.share(self._descriptor)  # from whoever would take this writer for a dead one
        # asked here, since asking h5py later would wait for the thread's own calls
        forms = {key: (d.shape[1:], d.dtype) for key, d in self._columns.frames.items()}
        size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in forms.values())
        self._slots = min(max(SLOTS, RING_BYTES // size), FLUSH_FRAMES)
        self._ring = {key: np.empty((self._slots, *shape), dtype) for key, (shape, dtype) in forms.items()}
        self._rows = [schema.length(table) for table in self._columns.tables]
        self.last_step = _last(self._columns.frames["grid", "step"])
        self.last_history = _last(self._columns.history["step"])
        self._error: BaseException | None = None
        self._raised = self._closed = False
        self._free, self._slot = threading.Semaphore(self._slots), 0
        self._queue: queue.Queue[_Parcel | threading.Event | None] = queue.Queue(self._slots)
        self._unflushed, self._flushed_at, self._unchecked = 0, time.monotonic(), 0
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
        error = self._error
        if isinstance(error, RunFolderError):
            given, allowed, hint = error.given, error.allowed, error.hint
        else:
            given, allowed = f"{type(error).__name__}: {error}", None
            hint = f"look for free space and permissions in {self._folder}"
        raise RunFolderError(
            "the trajectory could not be written; what was flushed before is in the file",
            where=str(self._path),
            given=given,
            allowed=allowed,
            hint=hint,
        ) from error

    def _fill(self, frame: Frame) -> int:
        """Copy a frame into the next slot of the ring, as the file holds it; waits until there is one."""
        entries = {key: np.asarray(self._entry(frame, *key)) for key in self._ring}
        for key, value in entries.items():
            shape = self._ring[key].shape[1:]
            if value.shape != shape:
                raise ShapeError(
                    f"{key[1]} does not fit the trajectory",
                    where=f"frame at step {frame.step}",
                    given=value.shape,
                    allowed=str(shape),
                )
        self._free.acquire()
        slot, self._slot = self._slot, (self._slot + 1) % self._slots
        for key, value in entries.items():
            self._ring[key][slot] = value
        return slot

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
        new = np.asarray(frame.history["step"]) > self.last_history
        self.last_history = max(self.last_history, int(frame.history["step"][-1]))
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
            for item in items:
                if isinstance(item, tuple) and item[-1] is not None:
                    self._free.release()
        self._shut()

    def _take(self) -> list[_Parcel | threading.Event | None]:
        """What is in the queue; half a ring of frames, unless a flush falls due before: each turn costs the loop."""
        items: list[_Parcel | threading.Event | None] = []
        while len(items) < self._slots // 2:
            due = self._flushed_at + FLUSH_SECONDS - time.monotonic()
            try:
                items.append(self._queue.get(timeout=max(0.0, due) if items or self._unflushed else None))
            except queue.Empty:
                return items
            if not isinstance(items[-1], tuple):
                break
        return items + [self._queue.get() for _ in range(self._queue.qsize())]

    def _due(self) -> bool:
        late = time.monotonic() - self._flushed_at >= FLUSH_SECONDS
        return self._unflushed >= FLUSH_FRAMES or (late and self._unflushed > 0)

    def _append(self, parcels: list[_Parcel]) -> None:
        if not parcels:
            return
        history, events, slots = zip(*parcels)
        runs = _runs([slot for slot in slots if slot is not None])
        new = [(0, _joined(history)), (1, _joined(events))]
        new += [(2, {key: ring[run] for key, ring in self._ring.items()}) for run in runs]
        self._reserve(sum(column.nbytes for _, table in new for column in table.values()))
        for k, table in new:
            for name, column in table.items():
                _extend(self._columns.tables[k][name], self._rows[k], column)
            self._rows[k] += len(next(iter(table.values()), ()))
        self._unflushed += len(parcels)

    def _reserve(self, size: int) -> None:
        """Stop while the file can still be closed properly: afterwards it is too late."""
        self._unchecked += size
        if self._unchecked >= CHECKED_BYTES or not self._unflushed:
            refuse_full(self._folder, self._unchecked)
            self._unchecked = 0

    def _flush(self) -> None:
        # A flush of the whole file lets followers see the step before its data.
        for table in self._columns.tables:
            for dataset in table.values():
                dataset.flush()
        self._unflushed, self._flushed_at = 0, time.monotonic()

    def _shut(self) -> None:
        if isinstance(self._error, OSError | RuntimeError) and not isinstance(self._error, RunFolderError):
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


def _runs(slots: list[int]) -> Iterator[slice]:
    """The slots of the ring, which follow each other, as one slice or two."""
    if slots:
        wrapped = slots.index(0) if 0 in slots[1:] else len(slots)
        yield slice(slots[0], slots[0] + wrapped)
        if wrapped < len(slots):
            yield slice(0, len(slots) - wrapped)


def _joined(parts: Iterable[dict[Any, np.ndarray]]) -> dict[Any, np.ndarray]:
    filled = [part for part in parts if part]
    return {name: np.concatenate([part[name] for part in filled]) for name in (filled[0] if filled else ())}


def _extend(dataset: h5py.Dataset, before: int, rows: np.ndarray) -> None:
    """Append rows behind the first `before`; h5py's own way takes three times as long for a small frame."""
    dataset.id.set_extent((before + len(rows), *rows.shape[1:]))
    place = dataset.id.get_space()
    place.select_hyperslab((before,) + (0,) * (rows.ndim - 1), rows.shape)
    dataset.id.write(h5s.create_simple(rows.shape), place, rows)


def _last(steps: h5py.Dataset) -> int:
    return int(steps[-1]) if len(steps) else -1
