"""From a dataset to what a network sees: split, scaled, in the engine's dtype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynsim.datasets import Dataset
from dynsim.errors import DataError
from dynsim.system.initialise import random


@dataclass(frozen=True)
class Scaling:
    """x -> (x - centre) / scale, taken from the training part; centre (features,), scale one number."""

    centre: np.ndarray
    scale: float

    @classmethod
    def of(cls, x: np.ndarray, centred: bool) -> Scaling:
        """However, a scale is taken only of centred inputs: raw ones stay as they are."""
        if not centred:
            return cls(np.zeros(x.shape[1], x.dtype), 1.0)
        return cls(x.mean(axis=0, dtype=np.float64).astype(x.dtype), float(x.std(dtype=np.float64)) or 1.0)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return (x - self.centre) / x.dtype.type(self.scale)


@dataclass(frozen=True)
class Part:
    """Scaled inputs (n, features) and labels (n,)."""

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
    def of(cls, data: Dataset, *, validation: float, centre: bool, seed: int, dtype: str) -> LearningData:
        """Split a seeded validation part off the training part and scale all by what is left of it."""
        order = random(seed, "validation").permutation(len(data.y_train))
        held = round(validation * len(order))
        if held == len(order):
            raise DataError("nothing is left to train on", where="field.validation", given=validation)
        chosen, kept = order[:held], np.sort(order[held:])
        x_train = np.ascontiguousarray(data.X_train, dtype)
        scaling = Scaling.of(x_train[kept], centre)
        return cls(
            train=Part(scaling(x_train[kept]), data.y_train[kept]),
            validation=Part(scaling(x_train[chosen]), data.y_train[chosen]),
            test=Part(scaling(np.asarray(data.X_test, dtype)), data.y_test),
            scaling=scaling,
            classes=data.classes,
            input_shape=tuple(data.input_shape),
            high=float(x_train.max(initial=0.0)) or 1.0,
        )

    def part(self, name: str) -> Part:
        """ "train", "validation" or "test"."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]
