"""A sheet to draw a sample on: a soft brush on fine pixels, averaged down to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynsim.errors import ShapeError

_FINE = 112  # fine pixels along the longer side at least: 8 x 8 inputs need them too
_UNDOS = 50


@dataclass(frozen=True)
class Layout:
    """How a data set places its drawings, in input pixels.

    Attributes
    ----------
    box : (rows, columns) that a drawing fills along one side at least.
    centre : (y, x) of the centre of mass, to half a pixel, as far as the box then stays inside.
    brush : width of strokes that put as much ink on the sheet as its samples have.
    """

    box: tuple[int, int]
    centre: tuple[float, float]
    brush: float

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Layout:
        """MNIST's for 28 x 28 (20 x 20 box, centre of mass in pixel 14, 14); others fill, as UCI's digits do."""
        if shape == (28, 28):
            return cls((20, 20), (14.5, 14.5), 2.8)
        return cls(shape, (shape[0] / 2, shape[1] / 2), 1.3 * max(shape) / 8)


def overlaps(pixels: int, fine: int, start: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """(pixels, fine) weights that average a line of `fine` cells, `pixels` long, over each pixel.

    The line is first stretched by `scale` and moved by `start` pixels; outside of it is nothing.
    """
    edges = (np.arange(pixels + 1) - start) / scale * fine / pixels
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.arange(fine)
    return np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, None) / (high - low)


class Pad:
    """A drawing of `shape` (rows, columns) input pixels.

    Coordinates and widths are in input pixels, (0, 0) the upper left corner, x to the right.
    `high` is the largest natural value of the data: full ink. Nothing drawn is 0.
    """

    def __init__(self, shape: tuple[int, int], high: float = 1.0):
        self.shape, self.high = (int(shape[0]), int(shape[1])), high
        self.layout = Layout.of(self.shape)
        self.fine = max(4, -(-_FINE // max(self.shape)))
        self._past: list[np.ndarray] = []
        self._ink = np.zeros((self.shape[0] * self.fine, self.shape[1] * self.fine), np.float32)

    @property
    def ink(self) -> np.ndarray:
        """(rows * fine, columns * fine) float32 in 0 ... 1."""
        return self._ink

    @property
    def empty(self) -> bool:
        """Whether no ink is left."""
        return not self._ink.any()

    def stroke(self, x0: float, y0: float, x1: float, y1: float, width: float, *, joined: bool = False) -> None:
        """Ink along a line; `joined` goes on with the last stroke, so that both are undone together."""
        self._remember(joined)
        self._ink = np.maximum(self._ink, self._coverage(x0, y0, x1, y1, width))

    def erase(self, x0: float, y0: float, x1: float, y1: float, width: float, *, joined: bool = False) -> None:
        """Take away all ink that a stroke would touch: a soft eraser would leave dust that spoils the centring."""
        self._remember(joined)
        self._ink = np.where(self._coverage(x0, y0, x1, y1, width) > 0, np.float32(0), self._ink)

    def clear(self) -> None:
        """Take away all; can be undone."""
        self._remember()
        self._ink = np.zeros_like(self._ink)

    def undo(self) -> None:
        """As it was before the last stroke, clearing or loading; nothing happens where there was none."""
        if self._past:
            self._ink = self._past.pop()

    def load(self, image: np.ndarray) -> None:
        """An image of this shape, flat or not, in natural units; raises ShapeError for another size or no numbers."""
        image = np.asarray(image)
        numbers = image.dtype.kind in "biuf" and np.isfinite(image).all()
        if image.size != self.shape[0] * self.shape[1] or not numbers:
            allowed = f"finite numbers {self.shape}"
            raise ShapeError("not an image of this size", given=f"{image.shape} {image.dtype}", allowed=allowed)
        self._remember()
        pixels = image.astype(np.float32).reshape(self.shape) / np.float32(self.high)
        self._ink = np.clip(pixels, 0, 1).repeat(self.fine, 0).repeat(self.fine, 1)

    def as_input(self, normalise: bool = True) -> np.ndarray:
        """(1, features) float32 in 0 ... high: averaged over pixels; placed and scaled by `layout` on wish."""
        (y, x), scale = self._placement() if normalise and not self.empty else ((0.0, 0.0), 1.0)
        rows = overlaps(self.shape[0], self._ink.shape[0], y, scale)
        columns = overlaps(self.shape[1], self._ink.shape[1], x, scale)
        return (self.high * (rows @ self._ink @ columns.T)).astype(np.float32).reshape(1, -1)

    def _remember(self, joined: bool = False) -> None:
        if not joined:
            self._past = [*self._past[1 - _UNDOS :], self._ink]

    def _coverage(self, x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
        """How much of every fine pixel lies under a round brush, whose edge fades over half an input pixel."""
        if not np.isfinite([x0, y0, x1, y1, width]).all():
            return np.zeros_like(self._ink)
        y, x = ((np.arange(n)[:, None] + 0.5) / self.fine for n in self._ink.shape)
        dx, dy = x1 - x0, y1 - y0
        along = ((x.T - x0) * dx + (y - y0) * dy) / ((dx * dx + dy * dy) or 1.0)
        t = np.clip(along, 0, 1)
        distance = np.hypot(x.T - x0 - t * dx, y - y0 - t * dy)
        return np.clip((width / 2 - distance) / 0.5 + 0.5, 0, 1).astype(np.float32)

    def _placement(self) -> tuple[tuple[float, float], float]:
        """Where the drawing's upper left corner goes, (y, x) in pixels, and the scale before that."""
        mass = [self._ink.sum(axis=1, dtype=np.float64), self._ink.sum(axis=0, dtype=np.float64)]
        boxes = [np.flatnonzero(m)[[0, -1]] + (0, 1) for m in mass]
        scale = min(n * self.fine / (b - a) for n, (a, b) in zip(self.layout.box, boxes))
        first, second = (self._start(axis, mass[axis], boxes[axis], scale) for axis in (0, 1))
        return (first, second), scale

    def _start(self, axis: int, mass: np.ndarray, box: np.ndarray, scale: float) -> float:
        low, high = box * scale / self.fine
        centre = scale / self.fine * (mass @ (np.arange(len(mass)) + 0.5)) / mass.sum()
        # The box begins on a whole pixel, as MNIST's do: its own images stay as they are.
        corner = np.ceil(self.layout.centre[axis] - 0.5 - (centre - low))
        return float(np.clip(corner, 0, self.shape[axis] - (high - low)) - low)
