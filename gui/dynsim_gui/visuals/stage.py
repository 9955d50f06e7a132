"""From a frame to a drawn scene: the one way, of the window, of pictures and of movies."""

from __future__ import annotations

import numpy as np

from dynsim.commands import LinkBundle, Prediction
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.colours import Scene
from dynsim_gui.models.medium import Way, Ways
from dynsim_gui.models.packets import emitted_by, packets
from dynsim_gui.models.palette import CATEGORIES
from dynsim_gui.models.particles import (
    Colouring,
    Colours,
    Trails,
    View3D,
    link_segments,
    marker_shapes,
    trail_colours,
)
from dynsim_gui.visuals.particles import ParticleScene

# Degrees a second of a camera that turns by itself.
SPIN = 12.0


class Stage:
    """Fills a `ParticleScene` with particles, links, packets and trails, as an appearance asks for.

    Attributes
    ----------
    positions : (n, 3) float32 of the particles in the view, as last drawn.
    view : from R^d to the view.
    bundles : the strongest links; none until some are given.
    prediction : the sample whose signals the packets carry; None: the batch.
    follow : part of the way to where all particles are in view that `approach` brings the camera; 0 stays.
    fitted : whether the camera has been placed; if not, the next `draw` brings all particles into view.
    """

    def __init__(self, scene: ParticleScene, appearance: Appearance, dim: int = 3) -> None:
        self.scene, self.appearance, self.follow = scene, appearance, 0.0
        self.restart(dim)

    def restart(self, dim: int) -> None:
        """Another run in R^dim: nothing of the last one stays."""
        self.view = View3D(self.appearance, dim)
        self._colours, self._trails, self._ways = Colours(), Trails(), Ways()
        self._content: Scene | None = None
        self.bundles: tuple[LinkBundle, ...] = ()
        self.prediction: Prediction | None = None
        self.fitted = False
        self.positions = np.zeros((0, 3), np.float32)

    def draw(self, content: Scene, selected: tuple[int, ...] = ()) -> Colouring:
        """A frame, with rings and trails of the selected; what its colours mean."""
        self._content = content
        q = content.frame.properties["position"]
        self.view.update(q)
        self.positions = self.view(q)
        colouring = self._colours.of(content, self.appearance)
        self._draw_points(colouring, marker_shapes(content.cast, self.appearance))
        self.scene.label_axes(self.view.labels)
        self._draw_links()
        self._draw_trails(selected)
        self.mark(selected)
        if not self.fitted:
            self.fit()
        return colouring

    def _draw_points(self, colouring: Colouring, shapes: np.ndarray) -> None:
        self.scene.point_size = self.appearance.point_size or None
        if colouring.categorical:
            categories = np.where(colouring.values < 0, -1, colouring.values % len(CATEGORIES))
            self.scene.points(self.positions, categories=categories, shapes=shapes)
        else:
            self.scene.points(self.positions, colouring.values, clim=colouring.clim, lut=colouring.map, shapes=shapes)

    def _draw_links(self) -> None:
        on = self.appearance.links and len(self.positions)
        self.scene.links(*link_segments(self.bundles if on else (), self.positions, self._ways_now(), self.view))

    def _ways_now(self) -> tuple[Way, ...]:
        """Where links run through a medium; an embedding has no places for what is between particles."""
        content = self._content
        if content is None or self.view.embedded:
            return ()
        return self._ways.of(self.bundles, content.cast, content.frame, content.medium)

    def _draw_trails(self, selected: tuple[int, ...]) -> None:
        assert self._content is not None
        self._trails.follow(selected, self._content.frame)
        lines = self._trails.lines(self.view) if self.appearance.trails else []
        self.scene.trails(lines, trail_colours(len(lines)))

    def draw_packets(self, clock: float) -> None:
        """Packets of signal at a time in seconds."""
        content = self._content
        if not self.appearance.packets or not self.bundles or content is None:
            self.scene.packets(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
            return
        sources = {name: source for name, source, _, _ in content.links}
        strength = [emitted_by(b, content.cast, self.prediction, sources.get(b.link, "")) for b in self.bundles]
        ways = self._ways_now()
        self.scene.packets(*packets(self.bundles, self.positions, strength, clock, ways=ways, view=self.view))

    def mark(self, selected: tuple[int, ...]) -> None:
        """Rings around these particles."""
        chosen = [p for p in selected if p < len(self.positions)]
        self.scene.select(self.positions[chosen])

    def approach(self) -> None:
        """A part of the way to where all particles are in view."""
        if self.follow and self.fitted and len(self.positions):
            self.scene.fit(self.positions, self.follow)

    def fit(self) -> None:
        """All particles into the view."""
        if len(self.positions):
            self.scene.fit(self.positions)
            self.fitted = True
