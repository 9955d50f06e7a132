"""Words in a picture: legend and stamp, drawn with Pillow in the font that VisPy brings along."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import vispy
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from dynsim_gui.models import palette
from dynsim_gui.models.caption import Caption
from dynsim_gui.models.particles import PULL, PUSH, Colouring

FONTS = Path(vispy.__file__).parent / "util" / "fonts" / "data"
SEPARATOR = "   "
# Logical pixels.
FOOT, MARGIN, BAR = 30, 16, 180


def unit(size: tuple[int, int], scale: float = 1.0) -> float:
    """Pixels that a logical pixel of the lettering has in a picture of (width, height); small ones stay legible."""
    return scale * float(np.clip(min(size[0] / 1280, size[1] / 800), 0.72, 1.6))


def foot(pixel: float) -> int:
    """Height of the legend's strip below the particles, in pixels."""
    return round(FOOT * pixel)


@lru_cache
def _font(size: float, bold: bool = False) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONTS / f"OpenSans-{'Bold' if bold else 'Regular'}.ttf"), size)


class Lettering:
    """Writes into one picture (h, w, 3) uint8.

    Parameters
    ----------
    pixel : pixels of the picture per logical pixel; see `unit`.
    """

    def __init__(self, picture: np.ndarray, pixel: float = 1.0) -> None:
        self._image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
        self._draw = ImageDraw.Draw(self._image)
        self._pixel = pixel

    @property
    def picture(self) -> np.ndarray:
        """(h, w, 3) uint8 with all that was written."""
        return np.asarray(self._image)

    def text(self, x: float, y: float, text: str, colour: str, size: float, bold: bool = False) -> float:
        """Write with the middle of the line at y, over a thin edge in the ground's colour; where the text ends."""
        font, edge = _font(size * self._pixel, bold), max(1, round(1.5 * self._pixel))
        how = {"font": font, "anchor": "lm", "stroke_width": edge, "stroke_fill": palette.CANVAS}
        self._draw.text((x, y), text, fill=colour, **how)
        return x + font.getlength(text)

    def fits(self, x: float, text: str, size: float, bold: bool = False) -> bool:
        """Whether a text that begins at x ends within the picture."""
        return x + _font(size * self._pixel, bold).getlength(text) <= self._image.width - MARGIN * self._pixel

    def shortened(self, x: float, text: str, size: float, bold: bool = False) -> str:
        """The text, or as much of its beginning as fits."""
        if self.fits(x, text, size, bold):
            return text
        while text and not self.fits(x, text + "…", size, bold):
            text = text[:-1]
        return text.rstrip() + "…"

    def lines(self, x: float, parts: tuple[str, ...], size: float) -> list[str]:
        """Parts joined to as many lines as they need."""
        lines: list[str] = []
        for part in parts:
            joined = f"{lines[-1]}{SEPARATOR}{part}" if lines else part
            if lines and self.fits(x, joined, size):
                lines[-1] = joined
            else:
                lines.append(self.shortened(x, part, size))
        return lines

    def stamp(self, caption: Caption) -> None:
        """Title, step and parameters in the upper left corner."""
        left, y = MARGIN * self._pixel, 24 * self._pixel
        self.text(left, y, self.shortened(left, caption.title, 18, bold=True), palette.TEXT, 18, bold=True)
        y += 26 * self._pixel
        for parts, colour in ((caption.place, palette.TEXT), (caption.parameters, palette.DIM)):
            for line in self.lines(left, parts, 13.5):
                self.text(left, y, line, colour, 13.5)
                y += 21 * self._pixel

    def legend(self, colouring: Colouring, links: bool = False) -> None:
        """What the colours mean, in the strip at the bottom; on wish those of links too."""
        height = foot(self._pixel)
        top = self._image.height - height
        self._draw.rectangle((0, top, self._image.width, self._image.height), fill=palette.PANEL)
        y = top + height / 2
        if colouring.missing:
            self.text(MARGIN * self._pixel, y, colouring.missing, palette.WARN, 13)
            return
        x = self.text(MARGIN * self._pixel, y, colouring.quantity.label, palette.TEXT, 13) + 14 * self._pixel
        x = (self._patches if colouring.categorical else self._bar)(x, y, colouring)
        if links:
            self._links(x, y)

    def _bar(self, x: float, y: float, colouring: Colouring) -> float:
        low, high = (f"{value:.3g}" for value in colouring.clim)
        x = self.text(x, y, low, palette.DIM, 13) + 8 * self._pixel
        width, height = round(BAR * self._pixel), round(11 * self._pixel)
        colours = Image.fromarray(palette.lookup(colouring.map)[None]).resize((width, height))
        corner = round(x), round(y - height / 2)
        self._image.paste(colours, corner)
        return self.text(x + width + 8 * self._pixel, y, high, palette.DIM, 13)

    def _patches(self, x: float, y: float, colouring: Colouring) -> float:
        side = round(11 * self._pixel)
        for k, name in enumerate(colouring.names):
            if not self.fits(x + 1.5 * side, name + "…", 13):
                return self.text(x, y, "…", palette.DIM, 13)
            self._draw.rectangle((x, y - side / 2, x + side, y + side / 2), fill=palette.category(k))
            x = self.text(x + 1.5 * side, y, name, palette.DIM, 13) + 14 * self._pixel
        return x

    def _links(self, x: float, y: float) -> None:
        """Right of `x`, as far right as it goes; nothing where there is no room."""
        said = (("links: their weight is pulled", None), ("up", PULL), ("down", PUSH))
        font, dash, gap = _font(13 * self._pixel), 18 * self._pixel, 8 * self._pixel
        width = sum(font.getlength(text) + (dash + 2 * gap if colour else 0) for text, colour in said)
        start = self._image.width - MARGIN * self._pixel - width
        if start < x + 2 * gap:
            return
        for text, colour in said:
            if colour:
                ends = (start + gap, y, start + gap + dash, y)
                ink = tuple(round(255 * part) for part in colour)
                self._draw.line(ends, fill=ink, width=max(2, round(2 * self._pixel)))
                start += dash + 2 * gap
            start = self.text(start, y, text, palette.DIM, 13)

    def line(self, caption: Caption) -> None:
        """All of the stamp as one discreet line in the strip at the bottom."""
        height = foot(0.8 * self._pixel)
        left, y = MARGIN * 0.6 * self._pixel, self._image.height - height / 2
        text = SEPARATOR.join((caption.title, *caption.place, *caption.parameters))
        self.text(left, y, self.shortened(left, text, 11.5), palette.DIM, 11.5)


def with_line(picture: np.ndarray, caption: Caption, pixel: float = 1.0) -> np.ndarray:
    """A picture (h, w, 3) with one line of text below it."""
    strip = np.tile(np.array(palette.rgb(palette.CANVAS), np.uint8), (foot(0.8 * pixel), picture.shape[1], 1))
    lettering = Lettering(np.concatenate([picture[..., :3], strip]), pixel)
    lettering.line(caption)
    return lettering.picture


def save_png(picture: np.ndarray, path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write (h, w, 3) uint8 with text chunks; nothing half-written is left. Raises OSError."""
    info = PngInfo()
    for key, text in (metadata or {}).items():
        info.add_text(key, text)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        Image.fromarray(picture).save(temporary, format="PNG", pnginfo=info)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
