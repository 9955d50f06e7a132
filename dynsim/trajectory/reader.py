"""The reader of trajectories, finished, running or killed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from dynsim.errors import DynsimError, FileFormatError
from dynsim.frame import Frame
from dynsim.trajectory import flags, gate, handles, schema

SHORT = 1 << 17  # rows: a column of more takes longer to read than to be bisected


class Series(Mapping[str, np.ndarray]):
    """Columns of equal length by name, each read when asked for; the arrays are read-only."""

    def __init__(
        self,
        read: Callable[[h5py.Dataset, int | slice], np.ndarray],
        columns: Mapping[str, h5py.Dataset],
        rows: int = 0,
    ) -> None:
        self._read, self._columns, self._rows = read, columns, rows
        self._known: dict[str, tuple[np.ndarray, int]] = {}  # with room for more, and how many rows were read

    def longer(self, rows: int) -> Series:
        """The same columns with more rows; what was read of them is not read again (but where a run was taken back)."""
        series = Series(self._read, self._columns, rows)
        if rows >= self._rows:
            series._known = self._known
        return series

    def __getitem__(self, name: str) -> np.ndarray:
        column, known = self._known.get(name, (None, 0))
        if column is None or known < self._rows:
            column = self._read_on(name, column, known)
        column = column[: self._rows]
        column.setflags(write=False)
        return column

    def _read_on(self, name: str, column: np.ndarray | None, known: int) -> np.ndarray:
        new = self._read(self._columns[name], slice(known, self._rows))
        if column is None:
            column = new
        elif len(column) < self._rows:
            column = np.concatenate([column[:known], new, np.empty_like(column)])
        else:
            column[known : self._rows] = new
        self._known[name] = column, self._rows
        return column

    def first_after(self, step: int) -> int:
        """The first row of a later step; rows rise."""
        if self._rows <= SHORT or "step" in self._known:
            return int(np.searchsorted(self["step"], step, "right"))
        column = self._columns["step"]
        return bisect_right(range(self._rows), step, key=lambda row: int(self._read(column, row)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Trajectory:
    """The frames of a trajectory file; a context manager.

    A running file is followed by calling `refresh` now and then; only complete frames are seen.

    Attributes
    ----------
    cast : the Cast of the run.
    observables : name -> (len(self),) float64, at each frame.
    history : name -> float64 at each step, with "step" (int64) and "time".
    parameters : the texts of /parameters, as "scenario", "seed", "versions".

    Raises MissingTrajectoryError (a FileNotFoundError) where there is no file, FileFormatError for anything
    that is no trajectory or is damaged, naming what is missing, RunFolderError when a writer holds it.
    """

    observables: Series
    history: Series

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: handles.Handle | None = None
        try:
            handle = self._handle = handles.take(self.path)
            self._file, self._columns = handle.file, handle.columns
            self.cast = schema.read_cast(self._file)
            columns = self._columns
            gate.check_rows(path, columns.frames, [*columns.history.values(), *columns.events.values()], self.cast)
            texts = schema.need(self._file, "parameters")
            self.parameters = {schema.decode(name): texts[name][()].decode() for name in texts}
            self._begin()
            self.refresh()
        except BaseException as error:
            self.close()
            if isinstance(error, Exception) and not isinstance(error, DynsimError):
                raise self._damaged(error) from error
            raise

    def _begin(self) -> None:
        """The tables, without a row."""
        frames = self._columns.frames
        scalars = {name: dataset for (kind, name), dataset in frames.items() if kind == "scalar"}
        self.observables = Series(self._read, scalars)
        self._grid = Series(self._read, {name: frames["grid", name] for name in ("time", "step")})
        self.history = Series(self._read, self._columns.history)
        self._events = Series(self._read, self._columns.events)

    def refresh(self) -> int:
        """Look for what a writer has added; the number of frames."""
        if self._file.swmr_mode:
            # Against the order of flushing: whatever is flushed in between, no frame is newer than its events.
            for table in reversed(self._columns.tables):
                for dataset in reversed(table.values()):
                    dataset.refresh()
        self._length = schema.length(self._columns.frames)
        self.observables = self.observables.longer(self._length)
        self._grid = self._grid.longer(self._length)
        self.history = self.history.longer(schema.length(self._columns.history))
        self._events = self._events.longer(schema.length(self._columns.events))
        return self._length

    @property
    def steps(self) -> np.ndarray:
        """(len(self),) int64, rising."""
        return self._grid["step"]

    @property
    def times(self) -> np.ndarray:
        """(len(self),) float64, dimensionless."""
        return self._grid["time"]

    @property
    def rows(self) -> tuple[int, int]:
        """How many there are of the history and of the events."""
        return schema.length(self._columns.history), schema.length(self._columns.events)

    @property
    def scenario(self) -> str:
        """The resolved scenario as TOML text, empty if none was given."""
        return self.parameters.get("scenario", "")

    @property
    def events(self) -> tuple[tuple[int, str, str], ...]:
        """(step, kind, detail) of all that happened, in order."""
        return self._events_between(slice(None))

    def frame(self, i: int) -> Frame:
        """Frame `i` (negative from the end), the same bits that were written; `revision` is its number.

        History and events are those after the frame before, up to and including this one's step.
        Raises IndexError.
        """
        if not -self._length <= i < self._length:
            raise IndexError(f"frame {i} of {self._length}")
        i %= self._length
        entry: dict[str, dict] = {"view": {}, "property": {}, "scalar": {}, "grid": {}}
        for (kind, name), dataset in self._columns.frames.items():
            entry[kind][name] = self._read(dataset, i)
        return Frame(
            step=int(entry["grid"]["step"]),
            time=float(entry["grid"]["time"]),
            positions=entry["view"]["position"],
            properties=entry["property"],
            scalars={name: float(value) for name, value in entry["scalar"].items()},
            history=self._history_between(self._since_last(i, self.history)),
            events=self._events_between(self._since_last(i, self._events)),
            revision=i,
        )

    def history_from(self, row: int) -> dict[str, np.ndarray]:
        """The history from its row `row` on, without reading what lies before; {} where there is nothing."""
        return self._rows_from(self._columns.history, row)

    def observables_from(self, row: int) -> dict[str, np.ndarray]:
        """Step, time and observables of the frames from `row` on; {} where there is none."""
        frames = self._columns.frames
        return self._rows_from({n: d for (kind, n), d in frames.items() if kind in ("scalar", "grid")}, row, len(self))

    def events_from(self, row: int) -> tuple[tuple[int, str, str], ...]:
        """The events from number `row` on."""
        return self._events_between(slice(row, None))

    def records(self, name: str) -> bool:
        """Whether frames carry a property of that name."""
        return ("property", name) in self._columns.frames

    def trace(self, particle: int, name: str, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """A property of one particle at up to `most` frames, spread evenly: steps (k,), values (k, ...).

        Raises KeyError for a property that was not recorded, IndexError for a particle that is not there.
        """
        dataset = self._columns.frames["property", name]
        if not 0 <= particle < dataset.shape[1]:
            raise IndexError(f"particle {particle} of {dataset.shape[1]}")
        rows = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))
        values = [dataset[i, particle] for i in rows.tolist()]
        return self.steps[rows], np.array(values).reshape(len(rows), *dataset.shape[2:])

    def close(self) -> None:
        """Close the file; safe to call twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            handles.leave(handle)

    def __len__(self) -> int:
        return self._length

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _rows_from(
        self, table: Mapping[str, h5py.Dataset], start: int, stop: int | None = None
    ) -> dict[str, np.ndarray]:
        stop = schema.length(table) if stop is None else stop
        if start >= stop:
            return {}
        return {name: self._read(dataset, slice(start, stop)) for name, dataset in table.items()}

    def _read(self, dataset: h5py.Dataset, rows: int | slice) -> np.ndarray:
        try:
            return dataset[rows]
        except (OSError, RuntimeError):
            # a follower can meet a chunk while it is being written again, or one that a kill has torn
            if self._file.swmr_mode:
                dataset.refresh()
        if isinstance(rows, int):
            return self._read_torn(dataset, rows, rows + 1)[0]
        size = dataset.chunks[0]
        ends = [*range(rows.start - rows.start % size + size, rows.stop, size), rows.stop]
        return np.concatenate([self._read_torn(dataset, *part) for part in zip([rows.start, *ends], ends)])

    def _read_torn(self, dataset: h5py.Dataset, start: int, stop: int) -> np.ndarray:
        """Rows of one chunk, even if a kill has torn it."""
        try:
            return dataset[start:stop]
        except (OSError, RuntimeError) as error:
            chunk = flags.rescue(dataset, stop - 1)
            if chunk is None:
                raise self._damaged(error) from error
            first = start % len(chunk)
            return chunk[first : first + stop - start]

    def _damaged(self, error: BaseException) -> FileFormatError:
        return FileFormatError("damaged", where=str(self.path), given=str(error), hint="earlier frames may be sound")

    def _since_last(self, i: int, table: Series) -> slice:
        start = table.first_after(self._step(i - 1)) if i else 0
        return slice(start, table.first_after(self._step(i)))

    def _step(self, i: int) -> int:
        """Of frame `i`."""
        return int(self._read(self._columns.frames["grid", "step"], i))

    def _history_between(self, rows: slice) -> dict[str, np.ndarray]:
        if rows.start == rows.stop:
            return {}
        # from the file: whole columns, kept for the next frame, would grow with the run
        return {name: self._read(dataset, rows) for name, dataset in self._columns.history.items()}

    def _events_between(self, rows: slice) -> tuple[tuple[int, str, str], ...]:
        columns = (self._events[name][rows] for name in ("step", "kind", "detail"))
        return tuple(
            (int(step), kind.decode(errors="replace"), detail.decode(errors="replace"))
            for step, kind, detail in zip(*columns)
        )
