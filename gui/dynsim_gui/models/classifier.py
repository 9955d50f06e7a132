"""What the classifier's views show, without a window: texts, colours and pictures from the engine's answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dynsim.commands import BoundaryMap, Evaluated
from dynsim_gui.models import palette

_PARTS = {"train": "training"}


# Words -------------------------------------------------------------------------------------------------------------


def class_names(classes: Sequence) -> tuple[str, ...]:
    """Labels as text."""
    return tuple(str(c) for c in classes)


def accuracy_line(e: Evaluated) -> str:
    """ "accuracy 97.1 % on 1,000 validation samples at step 1,230"."""
    samples = "sample" if e.samples == 1 else "samples"
    part = _PARTS.get(e.part, e.part)
    return f"accuracy {100 * e.accuracy:.1f} % on {e.samples:,} {part} {samples} at step {e.step:,}"


def accuracy_sigma(accuracy: float, samples: int) -> float:
    """Standard deviation of an accuracy measured on so many samples.

    That of the Beta posterior under a uniform prior: sqrt(p (1 - p) / n) for many samples, but not 0 where all
    of a few were right.
    """
    right = accuracy * samples
    return float(np.sqrt((right + 1) * (samples - right + 1) / ((samples + 2) ** 2 * (samples + 3))))


def accuracy_with_sigma(e: Evaluated) -> str:
    """ "97.1 ± 0.5 % of 1,000, step 1,230"."""
    sigma = accuracy_sigma(e.accuracy, e.samples)
    return f"{100 * e.accuracy:.1f} ± {100 * sigma:.1f} % of {e.samples:,}, step {e.step:,}"


def percent(share: float) -> str:
    """A share as "97 %", with one digit more where it would read 0 or 100; "–" for nan."""
    if np.isnan(share):
        return "–"
    digits = 1 if 0 < share < 0.01 or 0.99 < share < 1 else 0
    return f"{100 * share:.{digits}f} %"


# Confusion ---------------------------------------------------------------------------------------------------------


def shares(confusion: np.ndarray) -> np.ndarray:
    """(k, k) of every true class (row), how much went to each prediction; nan for a class without samples."""
    total = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, total, out=np.full(confusion.shape, np.nan), where=total > 0)


def confusion_colours(confusion: np.ndarray) -> np.ndarray:
    """(k, k, 3) uint8: cividis on the square root of the share, which shows single errors; no count, no colour."""
    value = np.sqrt(np.nan_to_num(shares(confusion)))
    colours = palette.lookup("cividis")[np.round(value * 255).astype(int)]
    return np.where(confusion[..., None] > 0, colours, np.uint8(palette.rgb(palette.RAISED)))


def text_on(colour: Sequence[int]) -> str:
    """Black or white, whichever reads better on an rgb colour (luma of ITU-R BT.601)."""
    return "#000000" if np.dot(colour, (0.299, 0.587, 0.114)) > 128 else "#ffffff"


# Signals -----------------------------------------------------------------------------------------------------------


def signal_colours(signals: np.ndarray) -> np.ndarray:
    """(n, 3) uint8 of (n,) signals, scaled by the largest; zero is dark in either map."""
    top = np.abs(signals).max(initial=0) or 1.0
    if signals.min(initial=0) < 0:
        return palette.lookup("signed")[np.round(127.5 + 127.5 * signals / top).astype(int)]
    return palette.lookup("magma")[np.round(255 * signals / top).astype(int)]


def columns_for(n: int, width: float, height: float) -> int:
    """Columns of a grid of n square cells that fills a rectangle best."""
    fitting = max(1, round(np.sqrt(n * width / height)))
    return max(range(max(1, fitting - 2), fitting + 3), key=lambda c: (min(width / c, height / -(-n // c)), -c))


def lit(column: int, columns: int, progress: float) -> float:
    """0 ... 1, how far a column is lit when a sweep has come so far; the first always is, all are at 1."""
    return 1.0 if column == 0 else float(np.clip(progress * (columns - 1) - (column - 1), 0, 1))


# Boundary ----------------------------------------------------------------------------------------------------------


def interpolate(b: BoundaryMap, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., classes) probabilities at points, bilinear within the grid, the nearest edge outside."""
    (i, s), (j, t) = _place(b.y, y), _place(b.x, x)
    s, t = s[..., None], t[..., None]
    upper = (1 - t) * b.probabilities[i, j] + t * b.probabilities[i, j + 1]
    lower = (1 - t) * b.probabilities[i + 1, j] + t * b.probabilities[i + 1, j + 1]
    return (1 - s) * upper + s * lower


def _place(grid: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of an even grid, and the share within it."""
    place = np.clip((at - grid[0]) / (grid[-1] - grid[0]) * (len(grid) - 1), 0, len(grid) - 1)
    index = np.minimum(place.astype(int), len(grid) - 2)
    return index, place - index


def boundary_picture(b: BoundaryMap, fineness: int = 3) -> np.ndarray:
    """(fineness * rows, fineness * columns, 3) uint8: class colours mixed by probability, dimmed for the points.

    Pixels where the most probable class changes are drawn as a line. Row 0 is at y[0].
    """
    rows, columns, classes = b.probabilities.shape
    down, across = _refine(rows, fineness * rows), _refine(columns, fineness * columns)
    p = np.matmul(across, np.tensordot(down, b.probabilities.astype(np.float32), 1))
    colours = palette.category_colours()[np.arange(classes) % len(palette.CATEGORIES)].astype(np.float32)
    ground = np.array(palette.rgb(palette.CANVAS), np.float32)
    picture = (p @ (0.5 * colours) + (0.5 * ground + 0.5)).astype(np.uint8)  # 0.5 more: rounded
    picture[changes(p.argmax(axis=-1))] = palette.rgb(palette.TEXT)
    return picture


def _refine(n: int, finer: int) -> np.ndarray:
    """(finer, n) float32 weights of linear interpolation from n even places to more between the same ends."""
    return np.maximum(0, 1 - np.abs(np.linspace(0, n - 1, finer)[:, None] - np.arange(n))).astype(np.float32)


def changes(top: np.ndarray) -> np.ndarray:
    """Both pixels wherever neighbours in a row or column have different classes."""
    found = np.zeros(top.shape, bool)
    across, down = top[:, :-1] != top[:, 1:], top[:-1] != top[1:]
    found[:, :-1] |= across
    found[:, 1:] |= across
    found[:-1] |= down
    found[1:] |= down
    return found


def misclassified(b: BoundaryMap) -> np.ndarray:
    """(n,) whether each sample's class is not the most probable one at its place on the map."""
    return interpolate(b, b.points[:, 0], b.points[:, 1]).argmax(axis=-1) != b.labels


# Gallery -----------------------------------------------------------------------------------------------------------


def fair_weights(e: Evaluated) -> np.ndarray:
    """(n,) chances that make a sample drawn from the gallery wrong as often as the whole part is.

    The gallery itself shows wrong ones first.
    """
    wrong = e.gallery_true != e.gallery_predicted
    chance = np.where(wrong, (1 - e.accuracy) / max(wrong.sum(), 1), e.accuracy / max((~wrong).sum(), 1))
    total = chance.sum()
    return chance / total if total > 0 else np.full(len(wrong), 1 / len(wrong))
