"""Structural entropy and LapCurSE of the first and the last frame, beside untrained coordinates of several seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.frame import Cast, Frame
from dynsim.kernels.load import load
from dynsim.observables.curvature import lapcurse_curve
from dynsim.observables.entropy import relative_entropy
from dynsim.report.record import Record
from dynsim.system.initialise import random, sphere_points

SEEDS = 10


@dataclass(frozen=True)
class Structure:
    """Of one cloud of particles.

    Attributes
    ----------
    psi : psi / log N of the 3-D view at the finest delta, as the observable "entropy" (dimensionless, 0 ... 1).
    lapcurse : mean over its curve (dimensionless).
    delta, curve, curvature : (40,) delta in units of q, psi(delta) / log N and LapCurSE(delta).
    """

    psi: float
    lapcurse: float
    delta: np.ndarray
    curve: np.ndarray
    curvature: np.ndarray


@dataclass(frozen=True)
class Structures:
    """Before, after, and the null control: untrained coordinates of the same sizes, each from its own seed."""

    before: Structure
    after: Structure
    control: tuple[Structure, ...]

    def range(self, name: str) -> tuple[float, float]:
        """Lowest and highest number of the control."""
        values = [getattr(s, name) for s in self.control]
        return min(values), max(values)


def structures(record: Record) -> Structures:
    """Of a run with at least two particles."""
    kernels, delta = load("cpu"), record.scenario.record.resolutions[0]
    clouds = [_untrained(record.cast, record.seed + k, record.last) for k in range(SEEDS)]
    before, after, *control = (
        _structure(kernels, q, record.cast.projection, delta)
        for q in (record.first.properties["position"], record.last.properties["position"], *clouds)
    )
    return Structures(before, after, tuple(control))


def _untrained(cast: Cast, seed: int, like: Frame) -> np.ndarray:
    """(n, d) coordinates that a run of this seed would start from."""
    rng, dtype = random(seed, "initial"), like.properties["position"].dtype
    parts = []
    for k in range(len(cast.subsystems)):
        mine = cast.subsystem == k
        shape = int(cast.copy[mine].max()) + 1, int(cast.index[mine].max()) + 1
        parts.append(sphere_points(rng, *shape, cast.dim).reshape(-1, cast.dim))
    return np.concatenate(parts).astype(dtype)


def _structure(kernels: Any, q: np.ndarray, projection: np.ndarray, delta: float) -> Structure:
    sizes, psi, curvature = lapcurse_curve(kernels, q)
    view = q @ projection.T.astype(q.dtype)
    relative = relative_entropy(kernels, view, delta * (float(q.std()) or 1.0))
    return Structure(relative, float(curvature.mean()), sizes, psi / np.log(len(q)), curvature)
