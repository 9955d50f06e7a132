"""Many runs as a table, and two of them at one place in time; no Qt, no VisPy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynsim.compare.cells import cells, columns, notes, sortable
from dynsim.compare.comparison import Comparison, Task, compare
from dynsim.errors import DynsimError
from dynsim.trajectory.reader import Trajectory

FIRST_CURVE = "loss"


@dataclass(frozen=True)
class TableRow:
    """A group: the texts of its cells, what they are sorted by, and its run folders by rising seed."""

    texts: tuple[str, ...]
    keys: tuple[object, ...]
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class TaskTable:
    """The groups of runs that can be compared; they stand as the comparison ordered them, the best first."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]


class ComparisonModel:
    """Folders that a person gathers, and what the engine's own comparison makes of them, read beside the window.

    Attributes
    ----------
    folders : chosen so far. tables : one for each task. left_out : a line for each run that is not compared.
    error : why there is no comparison, "" where there is one.
    """

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self._compared: list[Path] = []  # the folders of `tables`
        self.tables: tuple[TaskTable, ...] = ()
        self.left_out: tuple[str, ...] = ()
        self.error = ""
        self._reader = ThreadPoolExecutor(1)
        self._asked: Future[Comparison] | None = None

    def add(self, folder: Path) -> None:
        """One more folder of runs, a batch or a sweep; what comes of it is there after a later `poll`."""
        if folder not in self.folders:
            self.folders.append(folder)
        self._asked = self._reader.submit(compare, list(self.folders))

    def clear(self) -> None:
        """Begin anew."""
        self.folders, self._compared, self._asked = [], [], None
        self.tables, self.left_out, self.error = (), (), ""

    def poll(self) -> bool:
        """Take up what has been read; whether there was anything."""
        if self._asked is None or not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        try:
            found = asked.result()
        except DynsimError as error:
            self.error = str(error)
            self.folders = list(self._compared)
            return True
        self.error, self._compared = "", list(self.folders)
        self.tables = tuple(map(_table, found.tasks))
        self.left_out = tuple(f"{x.path}: {x.why.splitlines()[0]}" for x in found.left_out)
        return True

    def close(self) -> None:
        """Nothing is read any more."""
        self._reader.shutdown(cancel_futures=True)


def _table(task: Task) -> TaskTable:
    rows = [
        TableRow(cells(task, r), sortable(task, r), tuple(run.path for run in r.group.runs), r.group.seeds)
        for r in task.rows
    ]
    return TaskTable(task.name, columns(task), tuple(rows), tuple(notes(task)))


class Timeline:
    """The steps of two recordings as one: every step at which either has a frame.

    steps : (n,) rising.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        self._sides = first, second
        self.steps = np.union1d(first, second)

    def frames(self, place: int) -> tuple[int, int]:
        """Of each recording the number of its last frame at or before a step, or of its first."""
        step = self.steps[place]
        first, second = (max(int(np.searchsorted(side, step, "right")) - 1, 0) for side in self._sides)
        return first, second


def common_curves(paths: Sequence[Path]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Name -> (steps, values) of each trajectory, of the scalars of every step that all have; loss first.

    Raises what opening a trajectory raises.
    """
    tables = []
    for path in paths:
        with Trajectory(path) as trajectory:
            tables.append(trajectory.history_from(0))
    names = [n for n in tables[0] if n not in ("step", "time") and all(_has(table, n) for table in tables)]
    names.sort(key=lambda name: name != FIRST_CURVE)
    return {name: [(table["step"], table[name]) for table in tables] for name in names}


def _has(table: dict[str, np.ndarray], name: str) -> bool:
    return name in table and bool(np.isfinite(np.asarray(table[name], float)).any())
