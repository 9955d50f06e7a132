"""Local entropy, -log Pr(cell) of Eq. (13) particle by particle, and whether particles move where it is low (Fig. 6).

Its mean over the particles is psi(delta). Fig. 6 has them move "toward the region with lower structural entropy", which
is read as denser cells. Two measures of that, each beside steps of the same lengths in random directions:

- `downhill`: of the particles whose step leaves their cell, the fraction that enters one with more others in it than
  there were at home; ties count one half. The particle itself is never counted, else every home would be one too dense.
- `density_ascent`: mean cosine between the step and the gradient of log density, a Gaussian estimate; 0 for random
  directions, whatever the shape of the cloud, and free of cells.

However, print gives neither a measure nor a control: a cloud that contracts as a whole passes both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel

MOST = 512  # particles whose gradient of density is computed


class Downhill(NamedTuple):
    """Of all particles the fraction that leaves its cell, and of these the fraction that finds a denser one."""

    leaving: float
    denser: float


def occupation(points: np.ndarray, at: np.ndarray, delta: float) -> np.ndarray:
    """(m,) how many of the points (n, k) lie in the cells floor(q / delta) of the places (m, k)."""
    both = np.floor(np.concatenate([points, at]) / delta).astype(np.int64)
    label = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    return np.bincount(label[: len(points)], minlength=len(both))[label[len(points) :]]


def surprisal(q: np.ndarray, delta: float) -> np.ndarray:
    """-log Pr(cell) in nats (n,) of points q (n, k): the terms of Eq. (13), 0 ... log n."""
    # Eq. (13): psi is the mean of this over the particles
    return np.log(len(q)) - np.log(occupation(q, q, delta))


def downhill(q: np.ndarray, moved: np.ndarray, delta: float) -> Downhill:
    """Whether steps `moved` (n, k) of points q (n, k) lead to denser cells, others at rest; NaN where none leaves."""
    away = (np.floor(q / delta) != np.floor((q + moved) / delta)).any(axis=1)
    if not away.any():
        return Downhill(0.0, float("nan"))
    home = occupation(q, q[away], delta) - 1
    found = occupation(q, (q + moved)[away], delta)
    return Downhill(float(away.mean()), float(np.mean((found > home) + 0.5 * (found == home))))


def density_gradient(q: np.ndarray, at: np.ndarray, width: float) -> np.ndarray:
    """(m, k) gradient of log density at places (m, k): a Gaussian of `width` around every point q (n, k)."""
    squares = np.square(at).sum(axis=1)[:, None] + np.square(q).sum(axis=1) - 2 * at @ q.T
    weight = np.exp(-np.maximum(squares, 0) / (2 * width**2))
    return (weight @ q / weight.sum(axis=1, keepdims=True) - at) / width**2


def density_ascent(q: np.ndarray, moved: np.ndarray, width: float, rng: np.random.Generator) -> float:
    """Mean cosine of steps `moved` (n, k) with the gradient of log density; NaN where nothing moves.

    Of more than 512 moving particles so many are drawn.
    """
    some = np.flatnonzero(moved.any(axis=1))
    if len(some) > MOST:
        some = rng.choice(some, MOST, replace=False)
    if not len(some):
        return float("nan")
    q, way = np.asarray(q, np.float64), np.asarray(moved[some], np.float64)  # squares of short steps leave float32
    up = density_gradient(q, q[some], width)
    lengths = np.linalg.norm(up, axis=1) * np.linalg.norm(way, axis=1)
    return float(np.mean((up * way).sum(axis=1) / np.where(lengths > 0, lengths, 1)))


def random_directions(moved: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The control: steps of the same lengths (n, k), each in a direction of its own."""
    drawn = rng.standard_normal(moved.shape)
    return drawn * (np.linalg.norm(moved, axis=1) / np.linalg.norm(drawn, axis=1))[:, None]


def _stacked(snapshot: Snapshot, groups: Any) -> np.ndarray:
    """(n, d) of all particles; zeros for subsystems that do not move."""
    system, dim = snapshot.system, snapshot.system.graph.dim
    keys = [f"q:{s.name}" for s in system.graph.particle_subsystems]
    parts = [groups.get(k, np.zeros_like(system.x[k])).reshape(-1, dim) for k in keys]
    return np.concatenate(parts) if parts else np.zeros((0, dim))


def _split(snapshot: Snapshot, values: np.ndarray) -> dict[str, np.ndarray]:
    """Values (n,) by subsystem, (H, N)."""
    graph, result, start = snapshot.system.graph, {}, 0
    for s in graph.particle_subsystems:
        shape = graph.copies_of(s.name), s.size
        result[s.name] = values[start : start + shape[0] * shape[1]].reshape(shape)
        start += shape[0] * shape[1]
    return result


@observable
class LocalEntropy(Observable):
    """-log Pr(cell) (nats) in the 3-D view, in the cells of the scalar "entropy": their sides are the finest delta."""

    name, kind, every = "local_entropy", "per_particle", "frame"
    panels = (Panel("Local entropy", "−log Pr(cell)", "local_entropy"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        q = _stacked(snapshot, snapshot.system.x)
        delta = snapshot.resolutions[0] * (float(q.std()) or 1.0) if len(q) else 1.0
        return _split(snapshot, surprisal(q @ snapshot.projection.T.astype(q.dtype), delta))


@observable
class LocalEntropyOfSpace(Observable):
    """The same in R^d, at the middle delta (in standard deviations); near log n everywhere in nine dimensions."""

    name, kind, every = "local_entropy_rd", "per_particle", "frame"
    panels = (Panel("Local entropy in R^d", "−log Pr(cell)", "local_entropy_rd"),)

    def compute(self, snapshot: Snapshot) -> dict[str, Any]:
        q = _stacked(snapshot, snapshot.system.x)
        middle = snapshot.resolutions[len(snapshot.resolutions) // 2]
        return _split(snapshot, surprisal(q, middle * (float(q.std()) or 1.0) if len(q) else 1.0))


@observable
class MovesDownhill(Observable):
    """ "downhill", "density_ascent" and their controls, of the next step dt v in the 3-D view; "leaving" says how many
    particles change cell by it. Cells and Gaussian are as wide as the finest delta."""

    name, kind, every = "downhill", "scalar", "frame"
    on_host = True
    panels = (
        Panel(
            "Steps to denser cells",
            "fraction of those that change cell",
            "downhill",
            (Curve("downhill", "particles"), Curve("downhill_control", "random directions", "control")),
        ),
        Panel(
            "Steps along the gradient of density",
            "mean cosine",
            "downhill",
            (Curve("density_ascent", "particles"), Curve("density_ascent_control", "random directions", "control")),
        ),
        Panel("Steps that leave a cell", "fraction of the particles", "downhill", (Curve("leaving", "leaving"),)),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        q, rng = _stacked(snapshot, snapshot.system.x), np.random.default_rng((snapshot.seed, snapshot.system.step))
        if not len(q):
            return {}
        delta = snapshot.resolutions[0] * (float(q.std()) or 1.0)
        project = snapshot.projection.T.astype(q.dtype)
        view, moved = q @ project, snapshot.dt * (_stacked(snapshot, snapshot.system.v) @ project)
        control = random_directions(moved, rng)
        leaving, denser = downhill(view, moved, delta)
        return {
            "downhill": denser,
            "downhill_control": downhill(view, control, delta).denser,
            "density_ascent": density_ascent(view, moved, delta, rng),
            "density_ascent_control": density_ascent(view, control, delta, rng),
            "leaving": leaving,
        }
