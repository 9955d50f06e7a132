"""The particle view as a widget: the scene, its mouse, and what goes into it frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from dynsim_gui.models.colours import quantity
from dynsim_gui.models.viewer import Viewer
from dynsim_gui.views.legend import Legend
from dynsim_gui.views.widgets import on_its_own
from dynsim_gui.visuals.particles import ParticleScene
from dynsim_gui.visuals.stage import SPIN, Stage

# Pixels that a mouse may move and still have clicked.
CLICK = 4
# Seconds between two pictures of what moves by itself.
ANIMATION = 1 / 30
# Of the way to where the whole cloud is seen, a frame: it is followed until a person zooms.
FOLLOW = 0.1


@dataclass(frozen=True)
class Dragged:
    """A particle that hangs on the mouse: where the mouse took it, in R^d and in the view."""

    particle: int
    x: int
    y: int
    q: np.ndarray
    seen: np.ndarray


class ParticlesView(QWidget):
    """Particles, links, packets and trails of what the viewer shows.

    A click selects; a drag on a selected particle moves it, any other drag turns the view.
    """

    dragged = Signal()
    drag_ended = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.scene = ParticleScene()
        self.stage = Stage(self.scene, viewer.appearance)
        self.legend, self.said = Legend(), QLabel()
        self.fits = 0
        self._pressed: tuple[int, int] | None = None
        self._dragged: Dragged | None = None
        self._animated, self._packets, self._said = 0.0, False, ""
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(on_its_own(self.scene.canvas.native), 1)
        foot = QHBoxLayout()
        foot.setContentsMargins(0, 0, 8, 0)
        foot.addWidget(self.legend, 1)
        foot.addWidget(self.said)
        column.addLayout(foot)
        self.setMinimumSize(360, 260)
        self._connect()

    def _connect(self) -> None:
        events = self.scene.canvas.events
        events.mouse_press.connect(self._press)
        events.mouse_move.connect(self._moved)
        events.mouse_release.connect(self._release)
        events.mouse_wheel.connect(lambda _: self._stop_following())
        self.viewer.opened.connect(lambda _: self.restart())
        self.viewer.appearance.events.projection.connect(lambda _: self.fit())
        self.viewer.appearance.events.axes.connect(lambda _: self.fit())

    # Drawing ---------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Another run: nothing of the last one stays."""
        run = self.viewer.run
        assert run is not None
        if self.viewer.shown is None or self.stage.view.matrix.shape[1] != run.cast.dim:
            self.stage.restart(run.cast.dim)
            self.stage.follow = FOLLOW

    @property
    def version(self) -> tuple:
        """Changes when there is something to draw anew."""
        a = self.viewer.appearance
        return (self.viewer.revision, tuple(a.saved().items()), self.viewer.selected, id(self.stage.bundles), self.fits)

    def draw(self) -> None:
        """The frame that is shown."""
        content, viewer = self.viewer.scene(), self.viewer
        if content is None:
            return
        wanted = quantity(viewer.appearance.colour_by, content.cast)
        # The engine's next frame carries what was asked for a moment ago.
        if not (viewer.live and viewer.playback.follow and wanted.missing(content.frame)):
            self.legend.show_links(self.viewer.appearance.links and bool(self.stage.bundles))
            self._note()
            self.legend.show_colouring(self.stage.draw(content, self.viewer.selected))

    def animate(self, now: float, pace: float, signals: bool) -> None:
        """What moves although the frame stands: packets while there are signals, a camera that turns.

        Parameters
        ----------
        now : seconds. pace : of the refresh, 1 for as fast as is pleasant, more where drawing is dear.
        """
        passed = now - self._animated
        if passed < ANIMATION * pace or not self.isVisible() or self.viewer.shown is None:
            return
        self._animated = now
        if self.viewer.appearance.spin:
            self.stage.scene.turn(SPIN * min(passed, 0.1))
        self.stage.approach()
        on = self.viewer.appearance.packets and bool(self.stage.bundles)
        if on and self._packets and not signals:
            return
        if on or self._packets:
            self.stage.draw_packets(now)
        self._packets = on

    @property
    def positions(self) -> np.ndarray:
        """(n, 3) of the particles in the view."""
        return self.stage.positions

    def say(self, text: str) -> None:
        """A short answer beside the legend."""
        self._said = text
        self._note()

    def _note(self) -> None:
        """The answer, or what is to be known of the view."""
        self.said.setText(self._said or self.stage.view.note)

    def place_camera(self, state: object) -> None:
        """Where it stood; nothing for a state of another kind."""
        if isinstance(state, dict):
            try:
                self.scene.restore_camera(state)
            except (KeyError, TypeError, ValueError):
                return
            self.stage.fitted, self.stage.follow = True, 0.0

    def fit(self) -> None:
        """All particles into the view, from now on."""
        self.stage.fitted, self.stage.follow = False, FOLLOW
        self.fits += 1

    # The mouse ---------------------------------------------------------------------------------------------------

    def _stop_following(self) -> None:
        """A person has chosen what to look at."""
        self.stage.follow = 0.0

    @property
    def _may_drag(self) -> bool:
        """Where an engine listens; an embedding has no way back to R^d."""
        return self.viewer.live and self.viewer.shown is not None and not self.stage.view.embedded

    def _press(self, event) -> None:
        if event.button != 1:
            return
        x, y = (int(v) for v in event.pos[:2])
        self._pressed = (x, y)
        hit = self.scene.pick(x, y)
        if hit is not None and hit in self.viewer.selected and self._may_drag:
            assert self.viewer.shown is not None
            q = self.viewer.shown.properties["position"][hit].copy()
            self._dragged = Dragged(hit, x, y, q, self.positions[hit].copy())
            self.scene.camera_enabled(False)
            self.viewer.begin_gesture()

    def _moved(self, event) -> None:
        if self._pressed is not None and "Shift" in event.modifiers:
            self._stop_following()
        if self._dragged is not None:
            self._drag_to(*(int(v) for v in event.pos[:2]))

    def _drag_to(self, x: int, y: int) -> None:
        """Always from where the drag began: the engine's own frames come in between."""
        d = self._dragged
        assert d is not None
        delta = self.scene.unproject_delta(x - d.x, y - d.y, d.seen)
        if self.viewer.shown is None or not np.any(delta):
            return
        q = d.q + self.stage.view.back(delta)
        self.viewer.move(d.particle, q)
        self.viewer.shown.properties["position"][d.particle] = q
        self.dragged.emit()

    def _release(self, event) -> None:
        pressed, self._pressed = self._pressed, None
        if self._dragged is not None:
            self._drag_to(*(int(v) for v in event.pos[:2]))
            self._dragged = None
            self.scene.camera_enabled(True)
            self.drag_ended.emit()
            return
        if pressed is None or event.button != 1:
            return
        x, y = event.pos[:2]
        if abs(x - pressed[0]) <= CLICK and abs(y - pressed[1]) <= CLICK:
            self.viewer.select(self.scene.pick(x, y), add="Shift" in event.modifiers)
