"""Bringing a killed writer's file back into order: its mark taken off, torn chunks restored, half rows dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from dynsim.errors import FileFormatError
from dynsim.trajectory import flags, schema


@dataclass(frozen=True)
class Repaired:
    """What `repair` found and did.

    Attributes
    ----------
    marked : whether a writer had left the file open.
    frames, steps, events : rows that are in the file.
    rescued : rows of torn chunks that were restored, of all arrays.
    dropped : rows of arrays whose frame, step or event had not been written wholly.
    """

    marked: bool
    frames: int
    steps: int
    events: int
    rescued: int = 0
    dropped: int = 0

    @property
    def changed(self) -> bool:
        return self.marked or bool(self.rescued or self.dropped)


def repair(path: str | Path) -> Repaired:
    """Make a file that a killed writer left readable for every program; what was flushed is kept.

    A file in order is left as it is. Raises MissingTrajectoryError, FileFormatError where it is damaged otherwise,
    RunFolderError while its writer lives.
    """
    schema.refuse_missing(path)
    marked = flags.is_open(path)
    if marked:
        flags.clear(path)
    else:
        with schema.open_file(path, "r") as file:
            columns = schema.columns(file)
            if _in_order(columns):
                return Repaired(False, *_rows(columns))
    with schema.open_file(path, "r+") as file:
        columns = schema.columns(file)
        rescued, dropped = cut(columns)
        if not _in_order(columns):
            raise FileFormatError("damaged where no kill does it", where=str(path), hint="earlier frames may be sound")
        return Repaired(marked, *_rows(columns), rescued, dropped)


def cut(columns: schema.Columns, step: int = np.iinfo("i8").max, events: int | None = None) -> tuple[int, int]:
    """Keep the complete rows up to `step`, and at most so many events, in a file open for writing.

    Returns how many rows were restored from torn chunks, and how many dropped, of all arrays.
    """
    rescued = dropped = 0
    for table in columns.tables:
        *_, steps = table.values()
        complete = schema.length(table)
        rescued += sum(flags.mend(dataset, complete - 1) for dataset in table.values()) if complete else 0
        kept = int(np.searchsorted(steps[:complete], step, "right"))
        if table is columns.events and events is not None:
            kept = min(kept, events)
        dropped += sum(_shorten(dataset, kept) for dataset in table.values())
    return rescued, dropped


def _shorten(dataset: h5py.Dataset, rows: int) -> int:
    dropped = len(dataset) - rows
    if dropped:
        dataset.resize(rows, axis=0)
    return dropped


def _in_order(columns: schema.Columns) -> bool:
    """Whether all arrays of a table are equally long, and their last rows can be read."""
    for table in columns.tables:
        lengths = {len(dataset) for dataset in table.values()}
        if len(lengths) > 1 or not all(_readable(dataset) for dataset in table.values()):
            return False
    return True


def _readable(dataset: h5py.Dataset) -> bool:
    try:
        dataset[-1:]
        return True
    except (OSError, RuntimeError):
        return False


def _rows(columns: schema.Columns) -> tuple[int, int, int]:
    return schema.length(columns.frames), schema.length(columns.history), schema.length(columns.events)
