"""t-SNE on demand: the engine computes it for the frame shown, when a person asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsim import commands as c
from dynsim_gui.models.particles import embed_question

if TYPE_CHECKING:
    from dynsim_gui.window import Window


class Embed:
    """Asks for an embedding when the view is to be t-SNE, and shows the answer if it still is."""

    def __init__(self, window: Window) -> None:
        self._window, self._viewer = window, window.viewer
        self._asked = 0
        self._viewer.appearance.events.projection.connect(self._chosen)
        self._viewer.opened.connect(lambda _: self._opened())

    def _chosen(self, projection: str) -> None:
        self._asked += 1
        if projection == "tsne" and self._viewer.run is not None:
            asked = self._asked
            question = embed_question(self._viewer.run.cast.n)
            self._viewer.ask(question, lambda value, error: self._answered(asked, value, error))

    def _opened(self) -> None:
        """The embedding was of another run."""
        if self._viewer.appearance.projection == "tsne":
            self._viewer.appearance.projection = "axes"

    def _answered(self, asked: int, value: c.Embedding | None, error: str) -> None:
        if asked != self._asked:
            return
        if value is None:
            self._viewer.appearance.projection = "axes"
            self._window.banner.say(error)
            return
        self._window.particles.stage.view.embed(value)
        self._window.particles.fit()
