"""LapCurSE, Eq. (14): the Laplacian of the curvature of the structural entropy psi(delta), Eq. (13).

psi is taken at 40 delta, evenly spaced in x = log delta from 0.002 to 0.9 of the range of the coordinates, and
smoothed over x by a Gaussian of 2 samples. Then kappa = psi'' / (1 + psi'^2)^(3/2) and LapCurSE(delta) = |kappa''|,
all by central differences in x (one-sided at the ends). The one number of a cloud is the mean over the 40 delta, the
"expected value" of Sec. 4.3. It does not change when the coordinates are multiplied by a number.

However, print differentiates by delta itself, says neither which delta nor how a curve of counts is made smooth, and
reads meaning into a low value. The untrained coordinates correlate with accuracy just as well: hence no value ever
stands without this null control (docs/deviations.md).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.system.initialise import random, sphere_points

FRACTIONS = np.geomspace(0.002, 0.9, 40)  # of the range of the coordinates
SMOOTHING = 2.0  # samples
MOST = 4096  # particles that are looked at


def laplacian_of_curvature(x: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """|kappa''| (n,) of a curve psi (n,) over evenly spaced x (n,): Eq. (14) without the smoothing."""
    slope = np.gradient(psi, x)
    kappa = np.gradient(slope, x) / (1 + slope**2) ** 1.5
    return np.abs(np.gradient(np.gradient(kappa, x), x))


def lapcurse_curve(kernels, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(delta, psi, LapCurSE(delta)), 40 of each, for points q (n, d); psi in nats, unsmoothed.

    Of more than 4,096 points a fixed, seeded choice of 4,096 is looked at, so that frames can be compared.
    """
    q = q[np.asarray(_chosen(len(q)), like=q)] if len(q) > MOST else q
    delta = FRACTIONS * float(q.max() - q.min())
    if not delta.all():  # all points coincide, in one cell of any size
        return delta, np.zeros_like(delta), np.zeros_like(delta)
    (psi,) = kernels.to_host([kernels.structural_entropy(q, delta.tolist())])
    return delta, psi, laplacian_of_curvature(np.log(delta), smoothed(psi))


def smoothed(psi: np.ndarray) -> np.ndarray:
    """psi (n,) under a Gaussian of `SMOOTHING` grid steps, cut at four of its widths; the ends go on as they are."""
    reach = round(4 * SMOOTHING)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING) ** 2)
    return np.convolve(np.pad(psi, reach, mode="edge"), weights / weights.sum(), mode="valid")


def lapcurse(kernels, q: np.ndarray) -> float:
    """Mean LapCurSE over the 40 delta (dimensionless) of points q (n, d)."""
    return float(lapcurse_curve(kernels, q)[2].mean())


@functools.cache
def _chosen(n: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).choice(n, MOST, replace=False))


@functools.lru_cache(maxsize=8)
def null_control(kernels: Any, seed: int, shapes: tuple[tuple[int, int], ...], dim: int, dtype: str) -> float:
    """LapCurSE of the untrained coordinates: those that a run with this seed starts from unless they are prescribed."""
    rng = random(seed, "initial")
    clouds = [sphere_points(rng, *shape, dim).reshape(-1, dim) for shape in shapes]
    return lapcurse(kernels, *kernels.to_device([np.concatenate(clouds).astype(dtype)]))


@observable
class LapCurSE(Observable):
    """ "lapcurse" of all particles, and "lapcurse_null" of the untrained coordinates of the same seed and sizes (the
    very start of the run, unless its scenario prescribes positions)."""

    name, kind, every = "lapcurse", "scalar", "frame"
    panels = (
        Panel(
            "LapCurSE",
            "against its null control",
            "lapcurse",
            (Curve("lapcurse", "LapCurSE"), Curve("lapcurse_null", "null", "control")),
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        graph, kernels = snapshot.system.graph, snapshot.kernels
        parts = [snapshot.system.x[f"q:{s.name}"].reshape(-1, graph.dim) for s in graph.particle_subsystems]
        if not parts:
            return {}
        q = np.concatenate(parts)
        shapes = tuple((graph.copies_of(s.name), s.size) for s in graph.particle_subsystems)
        null = null_control(kernels, snapshot.seed, shapes, graph.dim, q.dtype.name)
        return {"lapcurse": lapcurse(kernels, q), "lapcurse_null": null}
