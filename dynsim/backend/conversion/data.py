"""Samples for a conversion: the training part weighs errors by what flows through each layer, the test part judges."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynsim import datasets
from dynsim.datafiles import existing, npz_arrays
from dynsim.errors import DataError, ShapeError


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs as the network wants them.

    Attributes
    ----------
    name : of the dataset or file.
    identity : what must be equal for two conversions to be the same.
    x, x_test : (n, ...).
    y_test : (n,) whole numbers, or None.
    """

    name: str
    identity: str
    x: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray | None

    def shaped(self, shape: tuple[int | None, ...], dtype: np.dtype) -> Samples:
        """The samples in the shape of a network's input, None where any size is allowed; raises ShapeError."""
        x, x_test = (_shaped(x, shape, self.name).astype(dtype) for x in (self.x, self.x_test))
        return Samples(self.name, self.identity, x, x_test, self.y_test)


def load_samples(name: str, seed: int = 0) -> Samples:
    """A dataset of dynsim by its name, values in [0, 1], or an .npz file with values as they are.

    The file has `x` (n, ...) and may have `y` (n,), `x_test` and `y_test`, also with a capital X; without a test part,
    the last fifth is one. Raises DataError, OptionError.
    """
    path = Path(name)
    if path.suffix.lower() != ".npz":
        d = datasets.load(name, seed=seed)
        shape = (-1, *d.input_shape)
        return Samples(d.name, f"{d.name}, seed {seed}", d.X_train.reshape(shape), d.X_test.reshape(shape), d.y_test)
    arrays = {key.lower(): a for key, a in npz_arrays(existing(path)).items()}
    if "x" not in arrays:
        raise DataError(
            "has no samples",
            where=name,
            given=f"keys {', '.join(arrays) or '(none)'}",
            allowed="x, and y, x_test, y_test",
        )
    x, y = arrays["x"], arrays.get("y")
    if "x_test" in arrays:
        x_test, y_test = arrays["x_test"], arrays.get("y_test")
    else:
        cut = len(x) - max(1, len(x) // 5) if x.ndim else 0
        x, x_test, y_test = x[:cut], x[cut:], None if y is None else y[cut:]
    _check(x, x_test, y_test, name)
    return Samples(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), x, x_test, y_test)


def _check(x: np.ndarray, x_test: np.ndarray, y_test: np.ndarray | None, where: str) -> None:
    if x.ndim < 2 or not len(x) or not len(x_test) or x.shape[1:] != x_test.shape[1:] or x.dtype.kind not in "biuf":
        given = f"x {x.shape} {x.dtype}, x_test {x_test.shape}"
        raise DataError("unusable samples", where=where, given=given, allowed="numbers (n, ...), alike in both parts")
    if not (np.isfinite(x).all() and np.isfinite(x_test).all()):
        raise DataError("a sample is not finite", where=where)
    if y_test is not None and (y_test.shape != (len(x_test),) or y_test.dtype.kind not in "iu"):
        given = f"{y_test.shape} {y_test.dtype}"
        raise DataError("unusable labels", where=where, given=given, allowed=f"whole numbers ({len(x_test)},)")


def _shaped(x: np.ndarray, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    inner = shape[1:]
    if x.ndim == len(shape) and all(a in (None, b) for a, b in zip(inner, x.shape[1:])):
        return x
    sizes = [d for d in inner if d is not None]
    if len(sizes) == len(inner) and math.prod(sizes) == math.prod(x.shape[1:]):
        return x.reshape(-1, *sizes)
    raise ShapeError(
        "the samples do not fit the network's input",
        where=f"--data {name}",
        given=f"(n, {', '.join(map(str, x.shape[1:]))})",
        allowed=f"({', '.join('n' if d is None else str(d) for d in (None, *inner))})",
    )
