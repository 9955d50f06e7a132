"""From a dataset to what a network sees: split, scaled, in the engine's dtype."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dynsim.datasets import Dataset
from dynsim.errors import DataError, ShapeError
from dynsim.system.initialise import random

BLOCK = 128  # samples


@dataclass(frozen=True)
class Scaling:
    """x -> (x - centre) / scale, taken from the training part; centre (features,) or (1,), scale one number."""

    centre: np.ndarray
    scale: float

    @classmethod
    def of(cls, x: np.ndarray, centred: bool, per_feature: bool = True) -> Scaling:
        """However, a scale is taken only of centred inputs: raw ones stay as they are."""
        if not centred:
            return cls(np.zeros(x.shape[1], x.dtype), 1.0)
        centre = x.mean(axis=0 if per_feature else None, dtype=np.float64, keepdims=not per_feature)
        return cls(centre.astype(x.dtype).reshape(-1), _deviation(x) or 1.0)

    def __call__(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Scaled inputs, in `out` where that is given, which may be x itself."""
        scaled = np.subtract(x, self.centre, out=out)
        scaled /= x.dtype.type(self.scale)
        return scaled

    def undo(self, x: np.ndarray) -> np.ndarray:
        """Scaled inputs in the units that they came in."""
        return x * x.dtype.type(self.scale) + self.centre


def _deviation(x: np.ndarray) -> float:
    """x.std(dtype=np.float64) of x (n, features), without its copies of all x in float64."""
    mean, total = x.mean(dtype=np.float64), 0.0
    for i in range(0, len(x), BLOCK):
        away = x[i : i + BLOCK] - mean
        total += float(np.square(away, out=away).sum())
    return math.sqrt(total / x.size)


@dataclass(frozen=True)
class Part:
    """Scaled inputs (n, features), and labels (n,) or real targets (n, outputs)."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class LearningData:
    """The parts of a dataset: `train` pushes, `validation` chooses, `test` is only reported.

    `input_shape` is that of a sample before flattening, `high` the largest value of the raw training inputs.
    """

    train: Part
    validation: Part
    test: Part
    scaling: Scaling
    classes: tuple
    input_shape: tuple[int, ...] = ()
    high: float = 1.0

    @classmethod
    def of(
        cls, data: Dataset, *, validation: float, centre: bool, seed: int, dtype: str, per_feature: bool = True
    ) -> LearningData:
        """Split a seeded validation part off the training part and scale all by what is left of it."""
        order = random(seed, "validation").permutation(len(data.y_train))
        held = round(validation * len(order))
        if held == len(order):
            raise DataError("nothing is left to train on", where="field.validation", given=validation)
        chosen, kept = order[:held], np.sort(order[held:])
        x_train = np.ascontiguousarray(data.X_train, dtype)
        x_kept = x_train[kept]
        scaling = Scaling.of(x_kept, centre, per_feature)
        return cls(
            train=Part(scaling(x_kept, out=x_kept), data.y_train[kept]),
            validation=Part(scaling(x_train[chosen]), data.y_train[chosen]),
            test=Part(scaling(np.asarray(data.X_test, dtype)), data.y_test),
            scaling=scaling,
            classes=data.classes,
            input_shape=tuple(data.input_shape),
            high=float(x_train.max(initial=0.0)) or 1.0,
        )

    @property
    def outputs(self) -> int:
        """Sub-models that the answer takes: classes, or real targets."""
        return self.train.y.shape[1] if self.train.y.ndim == 2 else len(self.classes)

    def part(self, name: str) -> Part:
        """ "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


class Shifts:
    """Images shifted by up to `most` pixels along both axes, each by its own, with zeros coming in.

    Raises ShapeError for data that are no images.
    """

    def __init__(self, most: int, data: LearningData) -> None:
        if len(data.input_shape) not in (2, 3):
            raise ShapeError("only images can be shifted", where="field.augment", given=data.input_shape)
        self.most, self.shape, self.scaling = most, tuple(data.input_shape[:2]), data.scaling

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(B, features) -> the same, shifted."""
        height, width, most = *self.shape, self.most
        images = self.scaling.undo(x).reshape(len(x), height, width, -1)
        padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
        starts = rng.integers(2 * most + 1, size=(2, len(x)))
        shifted = np.empty_like(images)
        for k, (down, right) in enumerate(starts.T):
            shifted[k] = padded[k, down : down + height, right : right + width]
        return self.scaling(shifted.reshape(x.shape))
