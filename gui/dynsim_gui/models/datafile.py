"""Somebody's own data file: what is in it, and a first scenario for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynsim.datasets import Dataset, load
from dynsim_gui.models.scenario_form import ScenarioDraft

HEAD = 20  # samples shown
_FEWEST_FOR_VALIDATION = 50
_FRAMES = 300


@dataclass(frozen=True)
class Preset:
    """Size of a first network: sub-models of its hidden subsystem and copies H of every particle."""

    name: str
    hidden: int
    copies: int


PRESETS = (Preset("small", 32, 4), Preset("medium", 128, 8))


@dataclass(frozen=True, eq=False)
class DataFile:
    """What a data file holds.

    Attributes
    ----------
    train, test : numbers of samples. features : per sample. shape : of one sample before flattening.
    classes : (label, samples of it in the training part), in order.
    head : (HEAD or fewer, features), the first samples; labels : theirs.
    image : (height, width) if a sample can be looked at as a grey picture, else None.
    """

    path: Path
    train: int
    test: int
    features: int
    shape: tuple[int, ...]
    classes: tuple[tuple[str, int], ...]
    head: np.ndarray
    labels: tuple[str, ...]
    image: tuple[int, int] | None

    def picture(self, k: int) -> np.ndarray:
        """(height, width) uint8: the k-th sample of `head`, from black at its smallest value to white at its largest.

        Only where `image` is not None.
        """
        assert self.image is not None
        sample = self.head[k].reshape(self.image)
        low, high = float(sample.min()), float(sample.max())
        return np.round((sample - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def examine(path: Path) -> DataFile:
    """Read a .npz or .csv; raises DataError for what cannot be learnt from."""
    data = load(path)
    counts = np.bincount(data.y_train, minlength=len(data.classes))
    return DataFile(
        path=path,
        train=len(data.y_train),
        test=len(data.y_test),
        features=data.X_train.shape[1],
        shape=data.input_shape,
        classes=tuple((str(label), int(n)) for label, n in zip(data.classes, counts)),
        head=data.X_train[:HEAD].copy(),
        labels=tuple(str(data.classes[k]) for k in data.y_train[:HEAD]),
        image=_image_shape(data),
    )


def _image_shape(data: Dataset) -> tuple[int, int] | None:
    """Two-dimensional samples as they are; flat ones if their number of features is a square of 5 or more."""
    if len(data.input_shape) == 2:
        return data.input_shape[0], data.input_shape[1]
    side = math.isqrt(data.X_train.shape[1])
    return (side, side) if side >= 5 and side * side == data.X_train.shape[1] else None


def first_scenario(file: DataFile, preset: Preset, epochs: int) -> ScenarioDraft:
    """A scenario that learns the file: one hidden subsystem, a validation part unless samples are few."""
    batch = min(128, file.train)
    steps = epochs * math.ceil(file.train / batch)
    raw = {
        "name": file.path.stem.strip(".") or "scenario",
        "system": {"layers": ["auto", preset.hidden, "auto"], "copies": preset.copies},
        "field": {
            "dataset": str(file.path.resolve()),
            "validation": 0.1 if file.train >= _FEWEST_FOR_VALIDATION else 0.0,
            "batch": batch,
        },
        "run": {"epochs": epochs},
        "record": {
            "every": max(1, steps // _FRAMES),
            "properties": ["velocity", "force", "lagrangian", "lambda", "signal"],
        },
    }
    return ScenarioDraft(raw, file.path.name, f"Own data: {file.path.name}, {file.features} features.")
