"""What the particle view draws: positions in the view, colours, links, packets of signal, trails."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from dynsim.commands import LinkBundle
from dynsim.frame import Cast, Frame
from dynsim.observables.projection import axes_projection, pca_projection
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import QUANTITIES, Quantity, Scene, limits
from dynsim_gui.models.palette import CATEGORIES, rgb

TRAIL_LENGTH = 240
# Colours of stress: a link that pulls its weight up, and one that pulls it down.
PULL, PUSH = (0.90, 0.62, 0.0), (0.34, 0.71, 0.91)


class View3D:
    """R^d to the three axes of the view; principal components are those of the frame they were asked for at."""

    def __init__(self, appearance: Appearance, dim: int, recorded: np.ndarray | None = None) -> None:
        self._appearance, self._dim = appearance, dim
        self._pca: np.ndarray | None = None
        self.matrix = recorded if recorded is not None else axes_projection(dim)

    def update(self, q: np.ndarray) -> None:
        """Take up what the appearance asks for, for points q (n, d)."""
        if self._appearance.projection == "pca":
            if self._pca is None:
                self._pca = pca_projection(q)
            self.matrix = self._pca
        else:
            self._pca = None
            self.matrix = axes_projection(self._dim, self._appearance.axes)

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, 3) float32."""
        return (q @ self.matrix.T.astype(q.dtype)).astype(np.float32)

    @property
    def labels(self) -> tuple[str, str, str]:
        """Names of the three axes."""
        if self._appearance.projection == "pca":
            return ("PC1", "PC2", "PC3")
        return tuple(f"q{axis + 1}" if axis < self._dim else "" for axis in self._appearance.axes)

    def back(self, delta: np.ndarray) -> np.ndarray:
        """(3,) a move in the view -> (d,) the shortest move in R^d that shows as it."""
        return np.linalg.pinv(self.matrix.astype(float)) @ delta


@dataclass(frozen=True)
class Colouring:
    """Colours of the particles: values in `clim` through a map, or categories with names.

    missing : why it is another quantity than the chosen one; "" for nothing missing.
    """

    quantity: Quantity
    values: np.ndarray
    clim: tuple[float, float] = (0.0, 1.0)
    map: str = "viridis"
    names: tuple[str, ...] = ()
    missing: str = ""

    @property
    def categorical(self) -> bool:
        return self.quantity.kind == "category"


class Colours:
    """Colours particles frame by frame; the range follows the values, but does not flicker."""

    def __init__(self) -> None:
        self._name = ""
        self._clim: tuple[float, float] | None = None

    def of(self, scene: Scene, appearance: Appearance) -> Colouring:
        """By the chosen quantity; by the subsystem, with the reason, where the frame does not carry it."""
        quantity = QUANTITIES[appearance.colour_by]
        missing = quantity.missing(scene.frame)
        if missing:
            why = f"{quantity.label} is not recorded: add {', '.join(missing)} to record.properties"
            quantity = QUANTITIES["subsystem"]
            return Colouring(quantity, quantity.of(scene), names=quantity.names(scene), missing=why)
        values = quantity.of(scene)
        if quantity.kind == "category":
            return Colouring(quantity, values, names=quantity.names(scene))
        return Colouring(quantity, values, self._range(values, quantity), self._map(quantity, appearance))

    def _range(self, values: np.ndarray, quantity: Quantity) -> tuple[float, float]:
        """The limits, moved slowly: half of the colours changing at once is not what a person should see."""
        low, high = limits(values, quantity)
        if self._name == quantity.name and self._clim is not None:
            a, b = self._clim
            low, high = a + 0.15 * (low - a), b + 0.15 * (high - b)
        self._name, self._clim = quantity.name, (low, high)
        return low, high

    @staticmethod
    def _map(quantity: Quantity, appearance: Appearance) -> str:
        return "signed" if quantity.kind == "signed" else appearance.colour_map


def marker_shapes(cast: Cast, appearance: Appearance) -> np.ndarray:
    """(n,) int32, 0 for discs; by subsystem on wish."""
    return cast.subsystem if appearance.shapes else np.zeros(cast.n, np.int32)


def link_segments(bundles: tuple[LinkBundle, ...], positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Segments (k, 2, 3) and colours (k, 4): hue is the sign of the stress force on the weight (orange pulls it up,
    blue down), strength of the colour is |phi| against the strongest of the link."""
    segments, colours = [], []
    for b in bundles:
        keep = (b.source < len(positions)) & (b.target < len(positions))
        segments.append(np.stack([positions[b.source[keep]], positions[b.target[keep]]], axis=1))
        size = np.abs(b.phi[keep])
        strength = size / (size.max(initial=0.0) or 1.0)
        rgba = np.empty((int(keep.sum()), 4), np.float32)
        rgba[:, :3] = np.where((b.stress[keep] > 0)[:, None], PULL, PUSH)
        rgba[:, 3] = 0.08 + 0.42 * strength**2
        colours.append(rgba)
    if not segments:
        return np.zeros((0, 2, 3), np.float32), np.zeros((0, 4), np.float32)
    return np.concatenate(segments).astype(np.float32), np.concatenate(colours)


class Trails:
    """Where the selected particles have been, as far as it was shown."""

    def __init__(self) -> None:
        self._paths: dict[int, deque[np.ndarray]] = {}
        self._step = -1

    def follow(self, selected: tuple[int, ...], frame: Frame) -> None:
        """Add a frame; a leap back in time begins anew."""
        if frame.step < self._step:
            self._paths.clear()
        self._step = frame.step
        q = frame.properties["position"]
        self._paths = {p: self._paths.get(p, deque(maxlen=TRAIL_LENGTH)) for p in selected if p < len(q)}
        for particle, path in self._paths.items():
            if not path or not np.array_equal(path[-1], q[particle]):
                path.append(q[particle].copy())

    def lines(self, view: View3D) -> list[np.ndarray]:
        """(m, 3) each, of those with at least two points."""
        return [view(np.array(path)) for path in self._paths.values() if len(path) > 1]


def trail_colours(count: int) -> list[tuple[float, float, float]]:
    """One for each selected particle."""
    return [tuple(c / 255 for c in rgb(CATEGORIES[k % len(CATEGORIES)])) for k in range(count)]
