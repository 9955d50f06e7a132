"""Labelled data to learn from: what comes with dynsim, what is drawn from formulas, what the user brings.

Values stay in natural units ([0, 1] for images); centring is the field's business, from the training part.
Every file is read as if it were hostile: sizes that it claims are compared with the bytes that are there
before anything is allocated, pickles are refused, and whatever is wrong comes out as a `DataError` that names
the file and the row, column or key.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import math
import os
import struct
import warnings
import zipfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dynsim.errors import DataError, DynsimError, OptionError, did_you_mean, unknown
from dynsim.shipped import data_folder

NAMES = ("mnist", "fashion-mnist", "digits", "moons", "spirals", "xor")
LIMIT_BYTES = 4 * 2**30  # no file may unpack to more than this

_LABEL_NAMES = ("label", "class", "target", "y")  # of a CSV column, in order of preference
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_MD5 = {  # of the .gz files, from the README of github.com/zalandoresearch/fashion-mnist
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_IDX_FILES = ", ".join(_FASHION_MD5)  # MNIST has the same names
_DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts them


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with labels, split once into a training and a test part.

    Attributes
    ----------
    name : as asked for; the file's stem for the user's own data.
    X_train, X_test : (n, features) float32, dimensionless.
    y_train, y_test : (n,) int64 in 0 .. k-1, positions in `classes`.
    classes : the k labels as the data has them, int or str; one's own are sorted.
    input_shape : shape of one sample before flattening, e.g. (28, 28); its product is `features`.
    source, licence : where the data comes from and on what terms.
    """

    name: str
    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[int | str, ...]
    input_shape: tuple[int, ...]
    source: str
    licence: str


def load(
    name_or_path: str | os.PathLike[str],
    *,
    seed: int = 0,
    samples: int | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> Dataset:
    """A dataset by its name (`NAMES`) or from an .npz or .csv file.

    .npz: `X` (n, ...) and `y` (n,), optionally `X_test` and `y_test`. .csv: one sample a row, separated by
    comma, semicolon or tab. With a header the label is the column named label, class, target or y (the first
    of these that exists), else the last column. Without a test part, a seeded 20 % is split off. Labels are
    whole numbers or words. Values are taken as they are, except those of dtype uint8, which are taken for
    pixels and divided by 255.

    Parameters
    ----------
    name_or_path : one of `NAMES`, or a path.
    seed : of what is drawn: moons, spirals, xor; the split of digits and of one's own data; `samples`.
    samples : keep only this many training samples, the first of a seeded permutation.
    folder : where the four IDX files (plain or .gz) of mnist or fashion-mnist lie; other data ignore it.

    Raises
    ------
    OptionError : unknown name; seed not a whole number >= 0.
    DataError : the data cannot be read or used, or has fewer than `samples` training samples.
    """
    text = os.fspath(name_or_path)
    if text in _NAMED:
        dataset = _NAMED[text].load(seed, folder)
    elif Path(text).suffix or os.sep in text or isinstance(name_or_path, os.PathLike):
        dataset = _load_file(Path(text), seed)
    else:
        raise unknown("dataset (nor is it the path of an .npz or .csv file)", text, NAMES)
    return dataset if samples is None else _keep(dataset, samples, seed)


def describe() -> list[tuple[str, str]]:
    """(name, one line) of every dataset that has a name, for the command line."""
    return [(name, _NAMED[name].line) for name in NAMES]


def _keep(dataset: Dataset, samples: int, seed: int) -> Dataset:
    available = len(dataset.y_train)
    if not 1 <= samples <= available:
        raise DataError(
            "so many training samples are not there",
            where=dataset.name,
            given=f"samples = {samples}",
            allowed=f"1 to {available}",
        )
    kept = _rng(seed, _SUBSET).permutation(available)[:samples]
    return replace(dataset, X_train=dataset.X_train[kept], y_train=dataset.y_train[kept])


# Uses of a seed. A simulation draws from Philox(key=seed, counter=step); datasets take counters that no step
# reaches, so that data and initial state of one seed are independent.
_DRAW, _SUBSET = 1, 2


def _rng(seed: int, use: int) -> np.random.Generator:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise OptionError("not a seed", given=repr(seed), allowed="a whole number >= 0")
    return np.random.Generator(np.random.Philox(key=int(seed), counter=use << 192))


@contextmanager
def _parsing(where: Any, expected: str) -> Iterator[None]:
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


def _existing(path: Path, hint: str = "check the path") -> Path:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), hint=hint)
    return path


def _bounded(size: int, where: str) -> None:
    if size > LIMIT_BYTES:
        raise DataError(
            "too large", where=where, given=f"{size} bytes", allowed=f"at most {LIMIT_BYTES} bytes"
        )


# --- MNIST and Fashion-MNIST: IDX files ------------------------------------------------------------------


def read_idx(path: str | os.PathLike[str], ndim: int | None = None) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, plain or .gz.

    Layout (Y. LeCun, "The MNIST database", section "File formats"): 00 00 08 ndim, then ndim sizes as
    big-endian uint32, then the bytes in C order and nothing after.

    Parameters
    ----------
    path : the file; packed if its name ends in .gz.
    ndim : number of dimensions that it must have.

    Returns
    -------
    (n, ...) uint8.

    Raises
    ------
    DataError : no such file, not IDX, not `ndim` dimensions, damaged, or of another size than promised.
    """
    path = _existing(Path(path))
    unpack: Any = gzip.open if path.suffix == ".gz" else open
    with _parsing(path, "an IDX file of unsigned bytes, plain or .gz"), unpack(path, "rb") as file:
        shape = _idx_shape(file, ndim, str(path))
        promised = math.prod(shape)
        _bounded(promised, str(path))
        payload = _read_at_most(promised + 1, file)
        if len(payload) != promised:
            found = f"{len(payload)} bytes of data" if len(payload) < promised else "more data than that"
            raise DataError(
                "has another size than its header promises",
                where=str(path),
                given=found,
                allowed=f"{promised} bytes for the shape {shape}",
            )
        return np.frombuffer(payload, np.uint8).reshape(shape)


def _idx_shape(file: IO[bytes], ndim: int | None, where: str) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:3] != b"\0\0\x08" or magic[3] == 0 or ndim not in (None, magic[3]):
        raise DataError(
            "does not begin like the IDX file expected here",
            where=where,
            given=f"first bytes {magic.hex(' ') or '(none)'}",
            allowed=f"00 00 08 {f'{ndim:02x}' if ndim else 'ndim'}: unsigned bytes, number of dimensions",
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError("ends within its header", where=where, allowed=f"{magic[3]} sizes of 4 bytes")
    return struct.unpack(f">{magic[3]}I", sizes)


def _read_at_most(size: int, file: IO[bytes]) -> bytearray:
    """Up to `size` bytes; memory grows with what is there, not with what was asked for."""
    payload = bytearray()
    while len(payload) < size and (chunk := file.read(min(2**20, size - len(payload)))):
        payload += chunk
    return payload


def _idx_part(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(_idx_file(folder, f"{stem}-images-idx3-ubyte"), ndim=3)
    labels = read_idx(_idx_file(folder, f"{stem}-labels-idx1-ubyte"), ndim=1)
    if not 0 < len(images) == len(labels) or images.shape[1:] != (28, 28) or labels.max() > 9:
        raise DataError(
            "images and labels do not make a set like MNIST",
            where=f"{folder}, {stem}",
            given=f"images {images.shape}, labels {labels.shape} up to {labels.max(initial=0)}",
            allowed="images (n, 28, 28), labels (n,) in 0 .. 9, n > 0",
        )
    return _values(images, str(folder)).reshape(len(images), -1), labels.astype(np.int64)


def _idx_file(folder: Path, stem: str) -> Path:
    plain = folder / stem
    hint = f"put {_IDX_FILES} (or the same without .gz) there"
    return plain if plain.is_file() else _existing(folder / f"{stem}.gz", hint)


def _idx_dataset(
    folder: Path, name: str, classes: tuple[int | str, ...], source: str, licence: str
) -> Dataset:
    X_train, y_train = _idx_part(folder, "train")
    X_test, y_test = _idx_part(folder, "t10k")
    return Dataset(name, X_train, y_train, X_test, y_test, classes, (28, 28), source, licence)


def _mnist(seed: int, folder: str | os.PathLike[str] | None) -> Dataset:
    return _idx_dataset(
        Path(folder) if folder is not None else data_folder() / "mnist",
        "mnist",
        tuple(range(10)),
        "Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits",
        "CC BY-SA 3.0",
    )


def _fashion_mnist(seed: int, folder: str | os.PathLike[str] | None) -> Dataset:
    return _idx_dataset(
        Path(folder) if folder is not None else _fashion_folder(),
        "fashion-mnist",
        _FASHION,
        "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST, arXiv:1708.07747 (Zalando SE)",
        "MIT",
    )


def _fashion_folder() -> Path:
    own = os.environ.get("DYNSIM_DATA")
    places = ([Path(own) / "fashion-mnist"] if own else []) + [_DEBIAN_FASHION]
    return next((place for place in places if place.is_dir()), None) or _download_fashion()


def _download_fashion() -> Path:
    import pooch

    cache = Path(pooch.os_cache("dynsim")) / "fashion-mnist"
    try:
        for file, md5 in _FASHION_MD5.items():
            pooch.retrieve(_FASHION_URL + file, f"md5:{md5}", fname=file, path=cache)
    except (OSError, ValueError) as error:  # no network, or another file than the checksum says
        raise DataError(
            "Fashion-MNIST could not be downloaded",
            where=_FASHION_URL,
            given=f"{type(error).__name__}: {error}",
            hint=f"put {_IDX_FILES} by hand into FOLDER/fashion-mnist and set DYNSIM_DATA=FOLDER, "
            "or install Debian's package dataset-fashion-mnist",
        ) from error
    return cache


# --- small problems --------------------------------------------------------------------------------------


def _digits(seed: int, folder: object) -> Dataset:
    path = _digits_file()
    with _parsing(path, "1797 rows of 64 values and a label"):
        table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    X, y = table[:, :-1] / 16, table[:, -1].astype(np.int64)  # 17 grey levels, 0 .. 16
    train, test = _split(len(y), seed)
    return Dataset(
        "digits",
        X[train],
        y[train],
        X[test],
        y[test],
        tuple(range(10)),
        (8, 8),
        "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits (UCI), from scikit-learn",
        "CC BY 4.0",
    )


def _digits_file() -> Path:
    # Finding a top-level package does not import it: only its data file is wanted here.
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.origin:
        raise DataError("digits come with scikit-learn, which is not here", hint="pip install scikit-learn")
    return _existing(
        Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "reinstall scikit-learn"
    )


def _split(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    order = _rng(seed, _DRAW).permutation(n)
    cut = max(1, int(0.8 * n))
    return order[:cut], order[cut:]


def _moons(half: int, rng: np.random.Generator) -> np.ndarray:
    """Two interleaved half circles, noise 0.15 (the formula of scikit-learn's make_moons)."""
    t = np.linspace(0, np.pi, half)
    outer, inner = np.c_[np.cos(t), np.sin(t)], np.c_[1 - np.cos(t), 0.5 - np.sin(t)]
    return np.r_[outer, inner] + rng.normal(0, 0.15, (2 * half, 2))


def _spirals(half: int, rng: np.random.Generator) -> np.ndarray:
    """Two arms of 1.5 turns out to radius 2, uniform in area, noise 0.02."""
    t = 3 * np.pi * np.sqrt(rng.uniform(0, 1, half))
    arm = 2 * t[:, None] / (3 * np.pi) * np.c_[np.cos(t), np.sin(t)]
    return np.r_[arm, -arm] + rng.normal(0, 0.02, (2 * half, 2))


def _xor(half: int, rng: np.random.Generator) -> np.ndarray:
    """The square [-1, 1)^2, uniform; class 1 where both coordinates have the same sign."""
    X = rng.uniform(-1, 1, (2 * half, 2))
    same = np.repeat([-1.0, 1.0], half)
    X[:, 1] = np.abs(X[:, 1]) * np.where(X[:, 0] > 0, same, -same)  # fixes the class, stays uniform
    return X


def _drawn(name: str, points: Callable[[int, np.random.Generator], np.ndarray], seed: int) -> Dataset:
    """600 training and 600 test points, each with 300 of either class."""
    part = 300
    rng = _rng(seed, _DRAW)
    X = points(2 * part, rng).astype(np.float32)  # the points of class 0, then those of class 1
    y = np.repeat(np.arange(2), 2 * part)
    first, second = rng.permutation(2 * part), rng.permutation(2 * part) + 2 * part
    train = rng.permutation(np.r_[first[:part], second[:part]])
    test = rng.permutation(np.r_[first[part:], second[part:]])
    source = f"drawn from a formula with seed {seed}"
    return Dataset(name, X[train], y[train], X[test], y[test], (0, 1), (2,), source, "none needed")


class _Named(NamedTuple):
    line: str
    load: Callable[[int, Any], Dataset]


_NAMED = {
    "mnist": _Named("handwritten digits, 28 x 28 pixels, 60000 + 10000 (comes with dynsim)", _mnist),
    "fashion-mnist": _Named(
        "articles of clothing, 28 x 28 pixels, 60000 + 10000 (30 MB, once)", _fashion_mnist
    ),
    "digits": _Named("handwritten digits, 8 x 8 pixels, 1437 + 360 (from scikit-learn)", _digits),
    "moons": _Named("two half moons in the plane, 600 + 600", lambda seed, _: _drawn("moons", _moons, seed)),
    "spirals": _Named(
        "two spirals of 1.5 turns, 600 + 600", lambda seed, _: _drawn("spirals", _spirals, seed)
    ),
    "xor": _Named("the four quarters of a square, 600 + 600", lambda seed, _: _drawn("xor", _xor, seed)),
}


# --- the user's own files --------------------------------------------------------------------------------


class _Labels(NamedTuple):
    """Labels as found: distinct names, where each first stands, and the codes (n,) of all samples."""

    names: Sequence[int | float | str]
    places: Sequence[str]
    codes: np.ndarray


class _Table(NamedTuple):
    """What a file holds: X (n, ...) float32, its labels, and where the test part begins (None: nowhere)."""

    X: np.ndarray
    labels: _Labels
    cut: int | None


def _load_file(path: Path, seed: int) -> Dataset:
    if path.suffix.lower() not in _READERS:
        raise DataError(
            "unknown kind of data file",
            where=str(path),
            given=f"suffix {path.suffix!r}",
            allowed=", ".join(_READERS),
            hint=did_you_mean(path.suffix, tuple(_READERS)) or did_you_mean(path.name, NAMES),
        )
    _existing(path, f"check the path, or use one of {', '.join(NAMES)}")
    with _parsing(path, f"a readable {path.suffix.lower()} file"):
        table = _READERS[path.suffix.lower()](path)
    classes, y = _encode(table.labels, str(path))
    _check_learnable(y[: table.cut], str(path))
    X, cut = table.X.reshape(len(y), -1), table.cut
    train, test = _split(len(y), seed) if cut is None else (slice(cut), slice(cut, None))
    shape = table.X.shape[1:]
    return Dataset(
        path.stem, X[train], y[train], X[test], y[test], classes, shape, str(path), "as its owner says"
    )


def _encode(labels: _Labels, where: str) -> tuple[tuple[int | str, ...], np.ndarray]:
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


def _check_learnable(y: np.ndarray, where: str) -> None:
    if len(y) < 2:
        raise DataError("too few samples", where=where, given=len(y), allowed="2 or more to train on")
    if (y == y[0]).all():
        raise DataError("only one class", where=where, allowed="2 or more classes in the training part")


def _values(X: np.ndarray, where: str, row: Callable[[int], str] = "sample {}".format) -> np.ndarray:
    """X (n, ...) as float32, uint8 divided by 255; all of it finite."""
    with np.errstate(over="ignore"):  # found below
        values = X.astype(np.float32, copy=False)
    if X.dtype == np.uint8:
        values /= 255
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


def _read_npz(path: Path) -> _Table:
    where = str(path)
    with zipfile.ZipFile(path) as archive:
        held = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        parts = [("X", "y")] + ([("X_test", "y_test")] if "X_test" in held or "y_test" in held else [])
        infos = {key: _npz_info(held, key, where) for part in parts for key in part}
        _bounded(sum(info.file_size for info in infos.values()), where)
        arrays = {key: _npz_array(archive, info, f"{where}, key {key!r}") for key, info in infos.items()}
    pairs = [(arrays[X], arrays[y]) for X, y in parts]
    for keys, (X, y) in zip(parts, pairs):
        _check_pair(keys, X, y, where)
    _check_alike(pairs, where)
    X = np.concatenate([_values(X, f"{where}, key {keys[0]!r}") for keys, (X, _) in zip(parts, pairs)])
    names, first, codes = np.unique(
        np.concatenate([y for _, y in pairs]), return_index=True, return_inverse=True
    )
    places = [f"label {i} (counted over y and y_test)" for i in first]
    return _Table(X, _Labels(names.tolist(), places, codes), len(pairs[0][0]) if len(pairs) == 2 else None)


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
    """One array, after its header's claims were compared with the bytes that the archive has for it."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            "is packed in a way that numpy.savez does not use", where=where, allowed="stored, deflate"
        )
    with archive.open(info) as file:
        old = np.lib.format.read_magic(file) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        _check_kind(dtype, info.filename.startswith("y"), where)
        size, claimed = info.file_size - file.tell(), math.prod(shape) * dtype.itemsize
        if size != claimed:
            raise DataError(
                "has another size than its header claims",
                where=where,
                given=f"{size} bytes",
                allowed=f"{claimed} bytes for shape {shape} of {dtype}",
            )
        _bounded(4 * math.prod(shape), where)  # as float32
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    return array.astype({"S": "U", "b": "i1"}.get(dtype.kind, dtype), copy=False)


def _check_kind(dtype: np.dtype, labels: bool, where: str) -> None:
    if dtype.hasobject:
        raise DataError(
            "is an object array, that is a pickle, which could run any code",
            where=where,
            given=f"dtype {dtype}",
            allowed="numbers (labels also fixed-length words)",
            hint="convert it, e.g. with numpy.array(X, dtype='float32') or numpy.array(y, dtype=str)",
        )
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


def _read_csv(path: Path) -> _Table:
    where = str(path)
    _bounded(path.stat().st_size, where)
    rows = _csv_rows(path)
    start = list(islice(rows, 2))
    if len(start) < 2:
        raise DataError(
            "too few rows" if start else "is empty", where=where, allowed="2 or more rows of samples"
        )
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
    labels = _Labels(list(first), places, np.frombuffer(codes, np.int64))
    return _Table(_values(X, where, lambda i: f"line {lines[i]}"), labels, None)


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


_READERS: dict[str, Callable[[Path], _Table]] = {".npz": _read_npz, ".csv": _read_csv}
