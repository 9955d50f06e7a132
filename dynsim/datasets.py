"""Labelled data to learn from: what comes with dynsim, what is drawn from formulas, what the user brings.

Values stay in natural units ([0, 1] for images); centring is the field's business, from the training part.
Every file is read as if it were hostile: sizes that it claims are compared with the bytes that are there
before anything is allocated, pickles are refused, and whatever is wrong comes out as a `DataError` that names
the file and the row, column or key.
"""

from __future__ import annotations

import gzip
import importlib.util
import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dynsim.datafiles import (
    READERS,
    bounded,
    check_learnable,
    encode,
    existing,
    finite_values,
    parsing,
)
from dynsim.errors import DataError, OptionError, did_you_mean, unknown
from dynsim.shipped import data_folder

NAMES = ("mnist", "fashion-mnist", "digits", "moons", "spirals", "xor")

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
    path = existing(Path(path))
    unpack: Any = gzip.open if path.suffix == ".gz" else open
    with parsing(path, "an IDX file of unsigned bytes, plain or .gz"), unpack(path, "rb") as file:
        shape = _idx_shape(file, ndim, str(path))
        promised = math.prod(shape)
        bounded(promised, str(path))
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
    return finite_values(images, str(folder)).reshape(len(images), -1), labels.astype(np.int64)


def _idx_file(folder: Path, stem: str) -> Path:
    plain = folder / stem
    hint = f"put {_IDX_FILES} (or the same without .gz) there"
    return plain if plain.is_file() else existing(folder / f"{stem}.gz", hint)


def _idx_dataset(folder: Path, name: str, classes: tuple[int | str, ...], source: str, licence: str) -> Dataset:
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
    with parsing(path, "1797 rows of 64 values and a label"):
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
    return existing(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "reinstall scikit-learn")


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
    "fashion-mnist": _Named("articles of clothing, 28 x 28 pixels, 60000 + 10000 (30 MB, once)", _fashion_mnist),
    "digits": _Named("handwritten digits, 8 x 8 pixels, 1437 + 360 (from scikit-learn)", _digits),
    "moons": _Named("two half moons in the plane, 600 + 600", lambda seed, _: _drawn("moons", _moons, seed)),
    "spirals": _Named("two spirals of 1.5 turns, 600 + 600", lambda seed, _: _drawn("spirals", _spirals, seed)),
    "xor": _Named("the four quarters of a square, 600 + 600", lambda seed, _: _drawn("xor", _xor, seed)),
}


# --- the user's own files --------------------------------------------------------------------------------


def _load_file(path: Path, seed: int) -> Dataset:
    if path.suffix.lower() not in READERS:
        raise DataError(
            "unknown kind of data file",
            where=str(path),
            given=f"suffix {path.suffix!r}",
            allowed=", ".join(READERS),
            hint=did_you_mean(path.suffix, tuple(READERS)) or did_you_mean(path.name, NAMES),
        )
    existing(path, f"check the path, or use one of {', '.join(NAMES)}")
    with parsing(path, f"a readable {path.suffix.lower()} file"):
        table = READERS[path.suffix.lower()](path)
    classes, y = encode(table.labels, str(path))
    check_learnable(y[: table.cut], str(path))
    X, cut = table.X.reshape(len(y), -1), table.cut
    train, test = _split(len(y), seed) if cut is None else (slice(cut), slice(cut, None))
    shape = table.X.shape[1:]
    return Dataset(path.stem, X[train], y[train], X[test], y[test], classes, shape, str(path), "as its owner says")
