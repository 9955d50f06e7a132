"""Columns that grow: the scalars of every step, and those of every frame."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

FIRST_ROWS = 1024


class History:
    """Scalars of every step, float64 columns with "step" rising.

    Attributes
    ----------
    revision : grows with each change of the rows.
    epoch : grows when rows are taken back, so that what was derived from earlier rows is stale.
    """

    def __init__(self) -> None:
        self.revision = self.epoch = -1
        self.restart()

    def restart(self) -> None:
        """Forget everything: another run, or the same from its beginning."""
        self._columns: dict[str, np.ndarray] = {n: np.empty(FIRST_ROWS) for n in ("step", "time")}
        self._valued: set[str] = set()
        self._length = 0
        self.revision += 1
        self.epoch += 1

    def truncate(self, step: int) -> None:
        """Keep the rows up to and including `step`, where a branch goes on."""
        keep = int(np.searchsorted(self.steps, step, "right"))
        if keep == self._length:
            return
        self._length = keep
        self._valued = {n for n in self.names if np.isfinite(self.column(n)).any()}
        self.revision += 1
        self.epoch += 1

    def extend(self, rows: Mapping[str, np.ndarray]) -> bool:
        """Append rows, (k,) arrays under "step", "time" and the names of scalars; whether any were new.

        Rows at or before the last step are ignored, columns that are new are NaN before, those left out NaN now.
        """
        steps = np.asarray(rows.get("step", ()), float)
        first = int(np.searchsorted(steps, self.last_step, "right")) if self._length else 0
        if (new := len(steps) - first) <= 0:
            return False
        start, self._length = self._length, self._length + new
        for name in rows.keys() - self._columns.keys():
            self._columns[name] = np.full(len(self._columns["step"]), np.nan)
        for name in self._columns:
            self._write(name, start, rows.get(name), first)
        self.revision += 1
        return True

    def _write(self, name: str, start: int, values: Sequence[float] | np.ndarray | None, first: int) -> None:
        column = self._columns[name]
        if self._length > len(column):
            column = np.empty(max(2 * len(column), self._length))
            column[:start] = self._columns[name][:start]
            self._columns[name] = column
        new = column[start : self._length]
        new[:] = np.nan if values is None else np.asarray(values, float)[first:]
        if name not in self._valued and np.isfinite(new).any():
            self._valued.add(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scalars, without "step" and "time"."""
        return tuple(n for n in self._columns if n not in ("step", "time"))

    @property
    def valueless(self) -> frozenset[str]:
        """Names of the scalars that were NaN all along, such as the accuracy of a target without classes."""
        return frozenset(self.names) - self._valued

    @property
    def steps(self) -> np.ndarray:
        """(len(self),), rising; read-only."""
        return self.column("step")

    @property
    def last_step(self) -> float:
        """Of the newest row; NaN without rows."""
        return float(self.steps[-1]) if self._length else np.nan

    def column(self, name: str) -> np.ndarray:
        """(len(self),) read-only view, good until rows are taken back. Raises KeyError."""
        view = self._columns[name][: self._length]
        view.flags.writeable = False
        return view

    def value_at(self, name: str, step: float) -> float:
        """Of the newest row not after `step`; NaN before the first row or for a name that is not recorded."""
        row = int(np.searchsorted(self.steps, step, "right")) - 1
        return float(self._columns[name][row]) if row >= 0 and name in self._columns else np.nan

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __len__(self) -> int:
        return self._length


class FrameTable(History):
    """Scalars of every frame: those too dear for every step, such as entropies."""

    def add(self, step: int, scalars: Mapping[str, float], time: float = np.nan) -> bool:
        """Append one frame's scalars; ignored if its step is not after the last."""
        return self.extend({name: np.array([value]) for name, value in {"step": step, "time": time, **scalars}.items()})


def table_of(name: str, history: History, frames: FrameTable) -> History:
    """Where a scalar is best looked up: among the steps if it is recorded there, else among the frames."""
    return history if name in history else frames


def write_csv(path: str | Path, history: History, frames: FrameTable) -> None:
    """Every step and every frame as one table, ordered by step; empty cells where nothing was recorded."""
    steps = np.union1d(history.steps, frames.steps)
    names = list(dict.fromkeys(("time", *history.names, *frames.names)))
    columns = [_joined(name, steps, (frames, history)) for name in names]
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *names])
        for step, *values in zip(steps, *columns):
            writer.writerow([int(step), *("" if np.isnan(v) else repr(float(v)) for v in values)])


def _joined(name: str, steps: np.ndarray, tables: Sequence[History]) -> np.ndarray:
    """A column on `steps`; where several tables know a value the last one's stands."""
    joined = np.full(len(steps), np.nan)
    for table in tables:
        if name in table:
            values = table.column(name)
            known = ~np.isnan(values)
            joined[np.searchsorted(steps, table.steps[known])] = values[known]
    return joined
