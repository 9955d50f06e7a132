"""Structural entropy, Eq. (13), against np.unique on rows and on packed keys; density against np.histogram2d."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.observables.density import density2d

DELTAS = (0.5, 1.0)  # standard deviations: nearly all particles alone, and several in a cell
CELLS = 128


@benchmark("psi")
def psi(context: Context) -> Iterator[Case]:
    """The structural entropy of a cloud at two sides of the cells, as an observable asks for several."""
    q = np.random.default_rng().standard_normal((1_000_000, 9), np.float32)
    rivals = (
        Rival("np.unique(axis=0), counts", _entropies(q, _rows), 200.0),
        Rival("int64 keys, np.unique, counts", _entropies(q, _keys)),
        Rival("int64 keys, np.sort, lengths of runs", _entropies(q, _sorted_keys)),
    )
    ours = lambda: context.kernels.structural_entropy(q, DELTAS)  # noqa: E731
    yield Case("psi", f"{q.shape}, {len(DELTAS)} deltas", lambda: ours, rivals, most=3, tolerance=1e-9)


@benchmark("density")
def density(context: Context) -> Iterator[Case]:
    """Particles in cells of a plane, where they are found out too."""
    xy = np.random.default_rng().standard_normal((100_000, 2), np.float32)
    ours = lambda: density2d(context.kernels, xy, cells=CELLS).counts  # noqa: E731
    theirs = lambda: np.histogram2d(xy[:, 0], xy[:, 1], bins=CELLS)[0]  # noqa: E731
    yield Case(
        "density", f"{xy.shape}, {CELLS}^2 cells", lambda: ours, (Rival("np.histogram2d", lambda: theirs, 20.0),)
    )


def _entropies(q: np.ndarray, counts_of: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Work]:
    def entropy(delta: float) -> float:
        pr = counts_of(np.floor(q / np.float32(delta))) / len(q)
        return -float((pr * np.log(pr)).sum())

    return lambda: lambda: np.array([entropy(delta) for delta in DELTAS])


def _rows(cells: np.ndarray) -> np.ndarray:
    return np.unique(cells.astype(np.int64), axis=0, return_counts=True)[1]


def _packed(cells: np.ndarray) -> np.ndarray:
    """One number for a row of cells, column after column: they fit into 64 bits here."""
    key = np.zeros(len(cells), np.int64)
    for column in np.ascontiguousarray(cells.T):
        low, high = column.min(), column.max()
        key *= int(high - low) + 1
        key += (column - low).astype(np.int64)
    return key


def _keys(cells: np.ndarray) -> np.ndarray:
    return np.unique(_packed(cells), return_counts=True)[1]


def _sorted_keys(cells: np.ndarray) -> np.ndarray:
    key = np.sort(_packed(cells))
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1], [True]]))
    return np.diff(starts)
