"""What the canvases share: colours, events without a second drawing, and pictures of any size."""

from __future__ import annotations

import numpy as np
from vispy.gloo import FrameBuffer, RenderBuffer
from vispy.scene import SceneCanvas

from dynsim_gui.models import palette

# GL_DEPTH_COMPONENT24, the depth of windows; VisPy's own choice, 16 bits, mixes up neighbours in pictures.
_DEPTH_24 = 0x81A6


class Canvas(SceneCanvas):
    """A dark canvas with one view, to which all mouse events go.

    VisPy finds the receiver of a click or a turn of the wheel by drawing the whole scene again in colours that stand
    for its parts; here there is only one.
    """

    def __init__(self, size: tuple[int, int] = (800, 600)) -> None:
        super().__init__(keys=None, size=size, bgcolor=palette.CANVAS, dpi=96)
        self.unfreeze()
        self.receiver = None
        self.freeze()

    def visual_at(self, pos):
        """The view, wherever the mouse is."""
        return self.receiver

    def picture(self, size: tuple[int, int] | None = None, scale: float = 1.0) -> np.ndarray:
        """(h, w, 4) uint8 of the scene laid out for `size` logical pixels (None: the canvas's).

        Each becomes `scale` pixels of the picture, or `scale` times as many as on the screen, where that has a scale of
        its own; texts, points and lines grow with it. The canvas on the screen stays as it is.
        """
        before, ratio = self.size, self.pixel_scale
        width, height = before if size is None else size
        pixels = (round(width * ratio * scale), round(height * ratio * scale))
        # Framebuffers count from the bottom: the region hangs from the upper edge of the canvas.
        region = (0, ratio * (before[1] - height), ratio * width, ratio * height)
        self.central_widget.size = (width, height)
        try:
            return self._drawn(pixels, region)
        finally:
            self.central_widget.size = before

    def _drawn(self, pixels: tuple[int, int], region: tuple[float, ...]) -> np.ndarray:
        """Draw a region of the canvas as so many pixels. (VisPy's own `render` crops where the sizes differ.)"""
        self.set_current()
        buffers = RenderBuffer(pixels[::-1]), RenderBuffer(pixels[::-1], format=_DEPTH_24)
        fbo = FrameBuffer(color=buffers[0], depth=buffers[1])
        self.push_fbo(fbo, (0, 0), pixels)
        try:
            self.transforms.configure(viewport=(0, 0, *pixels), fbo_size=pixels, fbo_rect=region)
            self.context.clear(color=self.bgcolor, depth=True)
            self.draw_visual(self.scene)
            picture = fbo.read().copy()
            picture[..., 3] = 255  # as the window shows it: blending left less where edges are smooth
            return picture
        finally:
            self.pop_fbo()
            for gone in (fbo, *buffers):
                gone.delete()
