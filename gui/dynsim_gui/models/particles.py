"""What the particle view draws: positions in the view, colours, links, packets of signal, trails."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dynsim.commands import Embed, Embedding, LinkBundle
from dynsim.frame import Cast, Frame
from dynsim.observables.projection import axes_projection, pca_projection
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import QUANTITIES, Quantity, Scene, limits, quantity
from dynsim_gui.models.medium import Way
from dynsim_gui.models.palette import CATEGORIES, rgb

TRAIL_LENGTH = 240
# Colours of stress: a link that pulls its weight up, and one that pulls it down.
PULL, PUSH = (0.90, 0.62, 0.0), (0.34, 0.71, 0.91)


class View3D:
    """R^d to the three axes of the view; principal components are those of the frame they were asked for at.

    An embedding stays that of its step, whatever is shown. Chosen, but not yet there, it leaves the view as it was.
    """

    def __init__(self, appearance: Appearance, dim: int, recorded: np.ndarray | None = None) -> None:
        self._appearance, self._dim, self._n = appearance, dim, 0
        self._pca: np.ndarray | None = None
        self._embedding: Embedding | None = None
        self._linear = self._axes
        self.matrix = recorded if recorded is not None else axes_projection(dim, appearance.axes)

    def update(self, q: np.ndarray) -> None:
        """Take up what the appearance asks for, for points q (n, d)."""
        projection, self._n = self._appearance.projection, len(q)
        if projection != "pca":
            self._pca = None
        if projection == "tsne":
            return
        self._embedding = None
        if projection == "pca":
            self._pca = pca_projection(q) if self._pca is None else self._pca
            self.matrix, self._linear = self._pca, ("PC1", "PC2", "PC3")
        else:
            self.matrix, self._linear = axes_projection(self._dim, self._appearance.axes), self._axes

    def embed(self, embedding: Embedding) -> None:
        """What is shown as long as the projection is "tsne"."""
        self._embedding = embedding

    @property
    def embedded(self) -> bool:
        """Whether the view is an embedding: particles have places in it, but moves and paths have none."""
        return self._appearance.projection == "tsne" and self._embedding is not None

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """(n, d), of an embedding all particles -> (n, 3) float32, NaN for those that are not embedded."""
        if self.embedded:
            return self._placed(len(q))
        return (q @ self.matrix.T.astype(q.dtype)).astype(np.float32)

    def _placed(self, n: int) -> np.ndarray:
        assert self._embedding is not None
        known = self._embedding.particles < n
        positions = np.full((n, 3), np.nan, np.float32)
        positions[self._embedding.particles[known]] = self._embedding.points[known]
        return positions

    @property
    def labels(self) -> tuple[str, str, str]:
        """Names of the three axes."""
        return ("t-SNE 1", "t-SNE 2", "t-SNE 3") if self.embedded else self._linear

    @property
    def _axes(self) -> tuple[str, str, str]:
        return tuple(f"q{axis + 1}" if axis < self._dim else "" for axis in self._appearance.axes)

    @property
    def note(self) -> str:
        """What must be said beside the view: of which step an embedding is, and how far to trust it; "" for nothing."""
        if self._appearance.projection != "tsne":
            return ""
        if self._embedding is None:
            return "t-SNE is being computed"
        return embedding_note(self._embedding, self._n, self._dim)

    def back(self, delta: np.ndarray) -> np.ndarray:
        """(3,) a move in the view -> (d,) the shortest move in R^d that shows as it; in an embedding there is none."""
        if self.embedded:
            return np.zeros(self._dim)
        return np.linalg.pinv(self.matrix.astype(float)) @ delta


def embedding_note(e: Embedding, n: int, dim: int) -> str:
    """An embedding of some of n particles in R^dim in a line: silhouettes never without their controls."""
    k = len(e.particles)
    some = f", {k:,} of {n:,} particles" if k < n else ""
    if math.isnan(e.silhouette):
        return f"t-SNE of step {e.step:,}{some}"
    controls = f"shuffled {e.shuffled:z.2f}, in R^{dim} {e.original:z.2f}"
    return f"t-SNE of step {e.step:,}{some}: silhouette by {e.labels} {e.silhouette:z.2f} ({controls})"


def embed_question(n: int) -> Embed:
    """The question for an embedding of n particles: the usual perplexity, less where they are few."""
    return Embed(perplexity=max(1.0, min(30.0, (n - 1) / 3)))


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
        chosen = quantity(appearance.colour_by, scene.cast)
        missing = chosen.missing(scene.frame)
        if missing:
            why = f"{chosen.label} is not recorded: add {', '.join(missing)} to record.properties"
            chosen = QUANTITIES["subsystem"]
            return Colouring(chosen, chosen.of(scene), names=chosen.names(scene), missing=why)
        values = chosen.of(scene)
        if chosen.kind == "category":
            return Colouring(chosen, values, names=chosen.names(scene))
        return Colouring(chosen, values, self._range(values, chosen), self._map(chosen, appearance))

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


def link_segments(
    bundles: tuple[LinkBundle, ...], positions: np.ndarray, ways: Sequence[Way] = (), view: View3D | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Segments (k, 2, 3) and colours (k, 4): hue is the sign of the stress force on the weight (orange pulls it up,
    blue down), strength of the colour is |phi| against the strongest of the link. None from or to a particle that the
    view does not show (NaN). In a medium links follow their ways, one `Way` a bundle, and are as many segments each."""
    segments, colours = [], []
    for number, b in enumerate(bundles):
        keep = np.flatnonzero((b.source < len(positions)) & (b.target < len(positions)))
        keep = keep[np.isfinite(positions[b.source[keep], 0] + positions[b.target[keep], 0])]
        segments.append(np.stack([positions[b.source[keep]], positions[b.target[keep]]], axis=1))
        size = np.abs(b.phi[keep])
        strength = size / (size.max(initial=0.0) or 1.0)
        rgba = np.empty((len(keep), 4), np.float32)
        rgba[:, :3] = np.where((b.stress[keep] > 0)[:, None], PULL, PUSH)
        rgba[:, 3] = 0.08 + 0.42 * strength**2
        if ways and view is not None:
            corners = view(ways[number].corners[:, keep].reshape(-1, ways[number].corners.shape[-1]))
            corners = corners.reshape(-1, len(keep), 3)
            segments[-1] = np.stack([corners[:-1], corners[1:]], axis=2).reshape(-1, 2, 3)
            rgba = np.tile(rgba, (len(corners) - 1, 1))
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
        """(m, 3) each, of those with at least two points; an embedding has no paths."""
        if view.embedded:
            return []
        return [view(np.array(path)) for path in self._paths.values() if len(path) > 1]


def trail_colours(count: int) -> list[tuple[float, float, float]]:
    """One for each selected particle."""
    return [tuple(c / 255 for c in rgb(CATEGORIES[k % len(CATEGORIES)])) for k in range(count)]
