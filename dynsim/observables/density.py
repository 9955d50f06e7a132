"""Density: how many particles lie in each cell of two or three axes.

The cells are those of psi(delta), Eq. (13): floor(q / delta), with edges at multiples of delta. A cell thus stays where
it is while the particles move, and the sum of the counts is the number of particles in range. The caller chooses the
kernels: those of `dynsim.kernels.reference` need no compiler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from dynsim.errors import OptionError, ShapeError

MOST_CELLS = 2**24
Bounds = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Density:
    """Particles per cell.

    Attributes
    ----------
    counts : (nx, ny) or (nx, ny, nz), int64; float64 where smoothed.
    edges : per axis the edges of its cells, (n + 1,) float64, multiples of delta in units of q.
    """

    counts: np.ndarray
    edges: tuple[np.ndarray, ...]

    @property
    def x_edges(self) -> np.ndarray:
        return self.edges[0]

    @property
    def y_edges(self) -> np.ndarray:
        return self.edges[1]


def density2d(
    kernels, xy: np.ndarray, delta: float | None = None, cells: int = 128, bounds: Bounds | None = None
) -> Density:
    """Counts of points xy (n, 2) in square cells.

    Parameters
    ----------
    delta : side of a cell in units of q; None takes the longest side of the range divided by `cells`.
    bounds : ((x low, x high), (y low, y high)), widened to whole cells; None is where the points are.

    Raises ShapeError for points that are not in the plane, OptionError for a delta that is not positive or gives more
    than 2^24 cells.
    """
    return _density(kernels, xy, 2, delta, cells, bounds)


def density3d(
    kernels, xyz: np.ndarray, delta: float | None = None, cells: int = 48, bounds: Bounds | None = None
) -> Density:
    """Counts of points xyz (n, 3) in cubic cells; see `density2d`."""
    return _density(kernels, xyz, 3, delta, cells, bounds)


def smoothed(density: Density, sigma: float) -> Density:
    """The density under a Gaussian of `sigma` cells, reflected at the walls, so that the sum stays what it was."""
    from scipy.ndimage import gaussian_filter  # a third of a second, which a window's start can do without

    return replace(density, counts=gaussian_filter(density.counts.astype(np.float64), sigma, mode="reflect"))


def _density(kernels, q, axes, delta, cells, bounds) -> Density:
    if q.ndim != 2 or q.shape[1] != axes:
        raise ShapeError("points on the wrong number of axes", given=str(q.shape), allowed=f"(n, {axes})")
    low, high = np.sort(_range(q) if bounds is None else bounds, axis=1).astype(np.float64).T
    if delta is None:
        delta = float((high - low).max()) / cells or 1.0
    side = q.dtype.type(delta)  # all is rounded as in the kernels, by q's own type
    if not 0 < side < math.inf:
        raise OptionError("no size of a cell", where="delta", given=delta, allowed="a positive number")
    first, last = (np.floor(ends.astype(q.dtype) / side).astype(np.float64) for ends in (low, high))
    n = last - first + 1
    if n.prod() > MOST_CELLS:
        raise OptionError("too many cells", where="delta", given=f"{delta:g}, {n.prod():.3g} cells", allowed="2^24")
    origin, shape = first.astype(np.int64), tuple(n.astype(int).tolist())
    edges = tuple(np.arange(f, f + k + 1) * float(side) for f, k in zip(origin, shape))
    return Density(kernels.histogram(q, float(side), origin, shape), edges)


def _range(q: np.ndarray) -> list[tuple[float, float]]:
    """(low, high) of the finite numbers of each axis; zeros where there are none."""
    return [_ends(np.ascontiguousarray(column)) for column in q.T]


def _ends(x: np.ndarray) -> tuple[float, float]:
    if not len(x) or not math.isfinite(x.min()) or not math.isfinite(x.max()):
        x = x[np.isfinite(x)]
    return (float(x.min()), float(x.max())) if len(x) else (0.0, 0.0)
