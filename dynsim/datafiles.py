"""The files that people bring: .npz and .csv with labels, .npy and .csv matrices.

Every file is read as if it were hostile: sizes that it claims are compared with the bytes that are there
before anything is allocated, pickles are refused, and whatever is wrong comes out as a `DataError` that names
the file and the row, column or key.
"""

from __future__ import annotations

import csv
import math
import warnings
import zipfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dynsim.errors import DataError, DynsimError

LIMIT_BYTES = 4 * 2**30  # no file may unpack to more than this

_LABEL_NAMES = ("label", "class", "target", "y")  # of a CSV column, in order of preference


@contextmanager
def parsing(where: Any, expected: str) -> Iterator[None]:
    """Turn whatever a parser of somebody else raises on damaged bytes into a DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy warns about odd but legal headers
            yield
    except DynsimError:
        raise
    except Exception as error:
        raise DataError(
            "cannot be read", where=str(where), given=f"{type(error).__name__}: {error}", allowed=expected
        ) from error


def existing(path: Path, hint: str = "check the path") -> Path:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), hint=hint)
    return path


def bounded(size: int, where: str) -> None:
    if size > LIMIT_BYTES:
        raise DataError("too large", where=where, given=f"{size} bytes", allowed=f"at most {LIMIT_BYTES} bytes")


class Labels(NamedTuple):
    """Labels as found: distinct names, where each first stands, and the codes (n,) of all samples."""

    names: Sequence[int | float | str]
    places: Sequence[str]
    codes: np.ndarray


class Table(NamedTuple):
    """What a file holds: X (n, ...) float32, its labels, and where the test part begins (None: nowhere)."""

    X: np.ndarray
    labels: Labels
    cut: int | None


def encode(labels: Labels, where: str) -> tuple[tuple[int | str, ...], np.ndarray]:
    """(classes, y): whole numbers if all labels are such, else words."""
    whole = [_whole(name, f"{where}, {place}") for name, place in zip(labels.names, labels.places)]
    words = None in whole
    labelled: list[Any] = [str(name) for name in labels.names] if words else whole
    classes = tuple(sorted(set(labelled)))
    position = {label: k for k, label in enumerate(classes)}
    return classes, np.array([position[label] for label in labelled], np.int64)[labels.codes]


def _whole(name: int | float | str, where: str) -> int | None:
    """The label as an int, None if it is a word."""
    try:
        return int(str(name))  # by way of str, for int(2.5) is 2
    except ValueError:
        pass
    try:
        number = float(name)
    except ValueError:
        return None
    if not number.is_integer():
        raise DataError(
            "a label is a number but not a whole one",
            where=where,
            given=name,
            allowed="whole numbers or words: dynsim learns classes",
        )
    return int(number)


def check_learnable(y: np.ndarray, where: str) -> None:
    if len(y) < 2:
        raise DataError("too few samples", where=where, given=len(y), allowed="2 or more to train on")
    if (y == y[0]).all():
        raise DataError("only one class", where=where, allowed="2 or more classes in the training part")


def finite_values(X: np.ndarray, where: str, row: Callable[[int], str] = "sample {}".format) -> np.ndarray:
    """X (n, ...) as float32, uint8 divided by 255; all of it finite."""
    with np.errstate(over="ignore"):  # found below
        values = X.astype(np.float32, copy=False)
    if X.dtype == np.uint8:
        values /= 255
        return values
    finite = np.isfinite(values)
    if not finite.all():
        bad = tuple(np.argwhere(~finite)[0].tolist())
        raise DataError(
            "a value is not finite",
            where=f"{where}, {row(bad[0])}, feature {list(bad[1:])}",
            given=X[bad],
            allowed="finite numbers within float32",
        )
    return values


def _read_npz(path: Path) -> Table:
    where = str(path)
    with zipfile.ZipFile(path) as archive:
        held = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        parts = [("X", "y")] + ([("X_test", "y_test")] if "X_test" in held or "y_test" in held else [])
        infos = {key: _npz_info(held, key, where) for part in parts for key in part}
        bounded(sum(info.file_size for info in infos.values()), where)
        arrays = {key: _npz_array(archive, info, f"{where}, key {key!r}") for key, info in infos.items()}
    pairs = [(arrays[X], arrays[y]) for X, y in parts]
    for keys, (X, y) in zip(parts, pairs):
        _check_pair(keys, X, y, where)
    _check_alike(pairs, where)
    X = np.concatenate([finite_values(X, f"{where}, key {keys[0]!r}") for keys, (X, _) in zip(parts, pairs)])
    names, first, codes = np.unique(np.concatenate([y for _, y in pairs]), return_index=True, return_inverse=True)
    places = [f"label {i} (counted over y and y_test)" for i in first]
    return Table(X, Labels(names.tolist(), places, codes), len(pairs[0][0]) if len(pairs) == 2 else None)


def _npz_info(held: dict[str, zipfile.ZipInfo], key: str, where: str) -> zipfile.ZipInfo:
    if key not in held:
        raise DataError(
            f"has no key {key!r}",
            where=where,
            given=f"keys {', '.join(list(held)[:8]) or '(none)'}",
            allowed="X and y, or X, y, X_test and y_test",
        )
    return held[key]


def _npz_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    """Numbers, or labels where the key says so."""
    array = npz_member(archive, info, where)
    _check_kind(array.dtype, info.filename.startswith("y"), where)
    return array.astype({"S": "U", "b": "i1"}.get(array.dtype.kind, array.dtype), copy=False)


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz, none of them objects, by its name. Raises DataError."""
    where = str(path)
    with parsing(path, "an .npz file of arrays"), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        bounded(sum(info.file_size for info in infos), where)
        names = [info.filename.removesuffix(".npy") for info in infos]
        return {name: npz_member(archive, info, f"{where}, {name}") for name, info in zip(names, infos)}


def npz_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> np.ndarray:
    """One array, after its header's claims were compared with the bytes that the archive has for it."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("is packed in a way that numpy.savez does not use", where=where, allowed="stored, deflate")
    with archive.open(info) as file:
        old = np.lib.format.read_magic(file) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(
                "is an object array, that is a pickle, which could run any code",
                where=where,
                given=f"dtype {dtype}",
                allowed="arrays of numbers (labels also fixed-length words)",
                hint="convert it, e.g. with numpy.array(X, dtype='float32') or numpy.array(y, dtype=str)",
            )
        size, claimed = info.file_size - file.tell(), math.prod(shape) * dtype.itemsize
        if size != claimed:
            raise DataError(
                "has another size than its header claims",
                where=where,
                given=f"{size} bytes",
                allowed=f"{claimed} bytes for shape {shape} of {dtype}",
            )
        bounded(4 * math.prod(shape), where)  # as float32
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_kind(dtype: np.dtype, labels: bool, where: str) -> None:
    if dtype.kind not in ("biufUS" if labels else "biuf"):
        allowed = "whole numbers or words" if labels else "real numbers"
        raise DataError("has an unusable dtype", where=where, given=dtype, allowed=allowed)


def _check_pair(keys: tuple[str, str], X: np.ndarray, y: np.ndarray, where: str) -> None:
    if X.ndim < 2 or y.ndim != 1 or X.size == 0:
        problem = "an array has the wrong shape"
    elif len(X) != len(y):
        problem = "samples and labels differ in number"
    else:
        return
    raise DataError(
        problem,
        where=f"{where}, keys {keys[0]!r} and {keys[1]!r}",
        given=f"{keys[0]} {X.shape}, {keys[1]} {y.shape}",
        allowed=f"{keys[0]} (n, ...) with n > 0 and at least one feature, {keys[1]} (n,)",
    )


def _check_alike(pairs: list[tuple[np.ndarray, np.ndarray]], where: str) -> None:
    """Training and test part must agree in shape of sample, units and kind of label."""
    (X, y), (X_test, y_test) = pairs[0], pairs[-1]
    traits = [(a.shape[1:], a.dtype == np.uint8, b.dtype.kind == "U") for a, b in ((X, y), (X_test, y_test))]
    if traits[0] != traits[1]:
        raise DataError(
            "training and test part are not alike",
            where=where,
            given=f"{X.shape} {X.dtype}, {y.dtype}; test {X_test.shape} {X_test.dtype}, {y_test.dtype}",
            allowed="the same shape of sample, uint8 in both or neither, words as labels in both or neither",
        )


def _read_csv(path: Path) -> Table:
    where = str(path)
    bounded(path.stat().st_size, where)
    rows = _csv_rows(path)
    start = list(islice(rows, 2))
    if len(start) < 2:
        raise DataError("too few rows" if start else "is empty", where=where, allowed="2 or more rows of samples")
    header = start[0][1] if _is_header(start[0][1], start[1][1]) else None
    columns = _Columns(len(start[0][1]), header, where)
    values, lines, codes, first = array("f"), array("q"), array("q"), dict[str, int]()
    position: dict[str, int] = {}
    for line, cells in chain(start[header is not None :], rows):
        numbers, label = columns.parse(cells, line)
        values.extend(numbers)
        lines.append(line)
        codes.append(position.setdefault(label, len(position)))
        first.setdefault(label, line)
    X = np.frombuffer(values, np.float32).reshape(len(lines), -1)
    places = [f"line {line}" for line in first.values()]
    labels = Labels(list(first), places, np.frombuffer(codes, np.int64))
    return Table(finite_values(X, where, lambda i: f"line {lines[i]}"), labels, None)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line of the file, cells) of every row that is not blank."""
    with path.open("rb") as file:
        head = next((line for line in file if line.strip()), b"")
        delimiter = next((mark for mark in "\t;" if mark.encode() in head), ",")
        file.seek(0)
        reader = csv.reader(_text_lines(file, path), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if len(cells) > 1 or "".join(cells).strip():
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(f"is not CSV: {error}", where=f"{path}, line {reader.line_num}") from error


def _text_lines(file: IO[bytes], path: Path) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8 text: {error}", where=f"{path}, line {number}") from error


def _is_header(first: list[str], second: list[str]) -> bool:
    """No number in it, or a label's name where a sample would have a number."""
    named = [k for k, cell in enumerate(first) if cell.strip().lower() in _LABEL_NAMES]
    in_features = any(k < len(first) - 1 or _number(second[-1]) is not None for k in named)
    return in_features or all(_number(cell) is None for cell in first)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


class _Columns:
    """The columns of a CSV file: one of labels, the others of numbers."""

    def __init__(self, width: int, header: list[str] | None, where: str) -> None:
        self.width, self.header, self.where = width, header, where
        if width < 2:
            raise DataError(
                "has only one column",
                where=where,
                allowed="features and a label, separated by comma, semicolon or tab",
            )
        names = [cell.strip().lower() for cell in header or ()]
        self.label = next((names.index(name) for name in _LABEL_NAMES if name in names), width - 1)

    def parse(self, cells: list[str], line: int) -> tuple[list[float], str]:
        """(features, label) of one row."""
        if len(cells) != self.width:
            raise DataError(
                "a row has another number of columns than the first",
                where=f"{self.where}, line {line}",
                given=len(cells),
                allowed=str(self.width),
            )
        label = cells[self.label].strip()
        if not label:
            raise self._bad("a label is missing", line, self.label, "", "a whole number or a word")
        features = cells[: self.label] + cells[self.label + 1 :]
        try:
            numbers = list(map(float, features))
        except ValueError:
            numbers = [math.nan]
        if not all(map(math.isfinite, numbers)):
            raise self._bad_feature(cells, line)
        return numbers, label

    def _bad_feature(self, cells: list[str], line: int) -> DataError:
        def bad(cell: str) -> bool:
            number = _number(cell)
            return number is None or not math.isfinite(number)

        column = next(k for k, cell in enumerate(cells) if k != self.label and bad(cell))
        return self._bad("not a finite number", line, column, cells[column], "numbers such as 1.5 or -2e-3")

    def _bad(self, what: str, line: int, column: int, cell: str, allowed: str) -> DataError:
        name = f" ({self.header[column]!r})" if self.header else ""
        where = f"{self.where}, line {line}, column {column + 1}{name}"
        return DataError(what, where=where, given=repr(cell[:80]), allowed=allowed)


READERS: dict[str, Callable[[Path], Table]] = {".npz": _read_npz, ".csv": _read_csv}


def read_matrix(path: Path) -> np.ndarray:
    """A matrix (M, N) of finite numbers from .npy, .npz (its only array) or .csv without labels; float64.

    Raises DataError that says which file and what is expected.
    """
    kinds = {".npy": _npy_matrix, ".npz": _npz_matrix, ".csv": _csv_matrix}
    if path.suffix.lower() not in kinds:
        raise DataError("unknown kind of matrix file", where=str(path), allowed=", ".join(kinds))
    existing(path)
    bounded(path.stat().st_size, str(path))
    with parsing(path, "a readable matrix"):
        matrix = kinds[path.suffix.lower()](path)
    if matrix.ndim != 2 or matrix.size == 0 or not np.isfinite(matrix).all():
        raise DataError(
            "not a matrix of finite numbers",
            where=str(path),
            given=f"shape {matrix.shape}",
            allowed="shape (M, N)",
        )
    return matrix.astype(np.float64)


def _npy_matrix(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False, mmap_mode="r")  # mapped: the header cannot claim more than is there


def _npz_matrix(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) != 1:
            raise DataError("has not exactly one array", where=str(path), given=", ".join(archive.namelist()[:8]))
        bounded(infos[0].file_size, str(path))
        return _npz_array(archive, infos[0], str(path))


def _csv_matrix(path: Path) -> np.ndarray:
    rows = [(line, [_number(cell) for cell in cells]) for line, cells in _csv_rows(path)]
    for line, numbers in rows:
        if None in numbers or len(numbers) != len(rows[0][1]):
            raise DataError(
                "a cell is not a number, or a row has another length",
                where=f"{path}, line {line}",
                allowed=f"{len(rows[0][1])} numbers in every row",
            )
    return np.array([numbers for _, numbers in rows], np.float64)
