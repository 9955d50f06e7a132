"""One frame: what the trajectory file, the screen and the tests see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dynsim.panels import Panel


@dataclass(frozen=True)
class Cast:
    """Who the particles of a run are: everything about them that does not change from frame to frame.

    Particles stand in the order subsystem, copy, index, so that the particles of one subsystem are a
    contiguous block that views as (H, N_l, d).

    Attributes
    ----------
    subsystems : names of the subsystems, in order.
    subsystem : (n,) int32, index into `subsystems`.
    index : (n,) int32, number of the sub-model within its subsystem.
    copy : (n,) int32, h.
    mass : (n,) float32.
    projection : (3, d) float32, rows span the 3-D view of R^d.
    groups : what prediction needs beside q, "mu:LINK", "gain:LINK", "eps:LINK" where it is learned,
        "bias:SUBSYSTEM", ... -> shape of its numbers in a frame: (H,), (1,), (1,), (N,), ...
    dtype : the engine's, "float32" or "float64".
    widths : per-particle observables that its frames may carry -> shape of one particle's numbers, () or (d,).
    panels : how what is measured is shown; () where nobody has said it, as in a file of another version.
    """

    subsystems: tuple[str, ...]
    subsystem: np.ndarray
    index: np.ndarray
    copy: np.ndarray
    mass: np.ndarray
    projection: np.ndarray
    groups: Mapping[str, tuple[int, ...]]
    dtype: str = "float32"
    widths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()

    @property
    def n(self) -> int:
        """Number of particles."""
        return len(self.subsystem)

    @property
    def dim(self) -> int:
        """d, the dimension of the state space."""
        return self.projection.shape[1]

    def form(self, name: str) -> tuple[tuple[int, ...], str]:
        """Shape and type of one of a frame's properties: numbers of R^d and groups are as exact as the engine's."""
        if name in self.groups:
            return tuple(self.groups[name]), self.dtype
        width = (self.dim,) if name == "position" else self.widths[name]
        return (self.n, *width), self.dtype if width else "float32"


@dataclass(frozen=True)
class Frame:
    """The system at one step.

    Attributes
    ----------
    step, time : steps done and simulated time (dimensionless).
    positions : (n, 3) float32, the 3-D view.
    properties : per-particle arrays, "position", "velocity", "force" (n, d) in the engine's dtype,
        "lagrangian", "lambda", ... (n,) float32, only those recorded; and always the groups of the cast in the
        engine's dtype, such as "mu:LINK" (H,). See `Cast.form`.
    scalars : observables at this frame.
    history : observables of every step since the previous frame, each (k,) float64, with "step" and "time".
    events : (step, kind, detail) of what happened since the previous frame.
    revision : grows with each frame; a screen redraws when it changes.
    """

    step: int
    time: float
    positions: np.ndarray
    properties: Mapping[str, np.ndarray]
    scalars: Mapping[str, float]
    history: Mapping[str, np.ndarray] = field(default_factory=dict)
    events: tuple[tuple[int, str, str], ...] = ()
    revision: int = 0
