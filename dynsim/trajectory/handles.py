"""One handle of a file in a process, whoever reads it.

With HDF5 2.0 a process that has two handles of a file reads other rows than were asked for, through both and without
an error, once a dataset of one of them is refreshed.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

import h5py

from dynsim.trajectory import schema


class Handle:
    """A file that is open for reading, its columns, and how many read it."""

    def __init__(self, path: Path) -> None:
        self.file: h5py.File = schema.open_file(path, "r")
        self.readers = 0
        try:
            self.columns = schema.columns(self.file)
        except BaseException:
            self.file.close()
            raise


_handles: WeakValueDictionary[tuple[int, int], Handle] = WeakValueDictionary()
_lock = Lock()


def take(path: Path) -> Handle:
    """The handle of a file; raises what `schema.open_file` and `schema.columns` do."""
    with _lock:
        handle = _handles.get(_identity(path))
        if handle is None or not handle.file:
            handle = Handle(path)
            _handles[_identity(path)] = handle
        handle.readers += 1
        return handle


def leave(handle: Handle) -> None:
    """One reads it no more; the last one closes it."""
    with _lock:
        handle.readers -= 1
        if not handle.readers:
            handle.file.close()


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:  # whoever opens it says what is wrong
        return 0, 0
    return found.st_dev, found.st_ino
