"""Pictures of particles without a window, a display or Qt: VisPy draws them on a surface of EGL's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import vispy

from dynsim.commands import LinkBundle
from dynsim.errors import DeviceError, OptionError
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.caption import Caption
from dynsim_gui.models.colours import Scene
from dynsim_gui.stamp import Lettering, foot, unit
from dynsim_gui.visuals.canvas import Canvas
from dynsim_gui.visuals.particles import ParticleScene
from dynsim_gui.visuals.stage import Stage

SIZE = (1280, 800)
PACKAGES = "libegl1 libgl1-mesa-dri libegl-mesa0"


def canvas_without_display(size: tuple[float, float]) -> Canvas:
    """A canvas on EGL.

    Raises DeviceError where EGL cannot be had, with the packages that bring it.
    """
    # Mesa's own platform needs no screen, whatever DISPLAY says.
    os.environ.setdefault("EGL_PLATFORM", "surfaceless")
    try:
        vispy.use("egl")
        return Canvas(size)
    except (RuntimeError, OSError, AttributeError) as error:
        raise DeviceError(
            "no pictures without OpenGL: EGL cannot be had",
            given=" ".join(str(error).split()),
            hint=f"on Debian or Ubuntu: apt install {PACKAGES}",
        ) from None


class Studio:
    """Takes pictures of frames of one run, each with its legend and stamp; a context manager.

    Parameters
    ----------
    appearance : how particles are shown.
    size : (width, height) in logical pixels.
    scale : pixels of the picture per logical pixel.
    camera : as `ParticleScene.camera_state` gave it; None brings all particles into view.
    """

    def __init__(
        self,
        appearance: Appearance,
        size: tuple[int, int] = SIZE,
        scale: float = 1.0,
        camera: Mapping[str, Any] | None = None,
    ) -> None:
        self._pixels = round(size[0] * scale), round(size[1] * scale)
        # A small picture is a large one seen from afar: points and axes shrink with the lettering.
        self._unit = unit(size, scale)
        self._above = self._pixels[1] - foot(self._unit)
        self.stage = Stage(ParticleScene(canvas_without_display(self._logical)), appearance)
        self._camera = camera

    @property
    def _logical(self) -> tuple[float, float]:
        """Size of the part above the legend in the scene's own pixels."""
        return self._pixels[0] / self._unit, self._above / self._unit

    def prepare(self, scenes: list[Scene]) -> None:
        """Begin with frames like these: the last decides the principal components, all are in view of the camera
        unless one was given.

        Raises OptionError for a camera that says what a camera does not know.
        """
        if not scenes:
            return
        dim = scenes[-1].cast.dim
        self.stage.restart(dim)
        points = [scene.frame.properties["position"] for scene in scenes]
        self.stage.view.update(points[-1])
        if self._camera:
            self._place_camera(self._camera)
        else:
            self.stage.scene.fit(np.concatenate([self.stage.view(q) for q in points]))
        self.stage.fitted = True

    def _place_camera(self, state: Mapping[str, Any]) -> None:
        try:
            self.stage.scene.restore_camera(dict(state))
        except (KeyError, TypeError, ValueError) as error:
            raise OptionError("not where a camera can stand", given=dict(state), hint=str(error)) from None

    def take(self, scene: Scene, caption: Caption, selected: tuple[int, ...] = ()) -> np.ndarray:
        """A picture of a frame: (height, width, 3) uint8, times the scale."""
        colouring = self.stage.draw(scene, selected)
        self.stage.draw_packets(0.0)
        picture = np.zeros((*self._pixels[::-1], 3), np.uint8)
        picture[: self._above] = self.stage.scene.render(self._logical, self._unit)[..., :3]
        lettering = Lettering(picture, self._unit)
        lettering.stamp(caption)
        lettering.legend(colouring, links=self.stage.appearance.links and bool(self.stage.bundles))
        return lettering.picture

    def turn(self, degrees: float) -> None:
        """Turn the camera about the vertical."""
        self.stage.scene.turn(degrees)

    def close(self) -> None:
        self.stage.scene.canvas.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def canvas_picture(
    scene: Scene,
    caption: Caption,
    appearance: Appearance,
    size: tuple[int, int] = SIZE,
    scale: float = 1.0,
    camera: Mapping[str, Any] | None = None,
    bundles: tuple[LinkBundle, ...] = (),
    selected: tuple[int, ...] = (),
) -> np.ndarray:
    """The particles of one frame with legend and stamp, (h, w, 3) uint8; see `Studio`.

    Raises DeviceError where EGL cannot be had.
    """
    with Studio(appearance, size, scale, camera) as studio:
        studio.prepare([scene])
        studio.stage.bundles = bundles
        return studio.take(scene, caption, selected)
