"""The colours of the window: a dark theme, and maps that colour-blind people can read."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from cmap import Colormap

CANVAS, PANEL, RAISED, BORDER = "#12151c", "#1b1f27", "#242a34", "#323947"
TEXT, DIM = "#d7dce5", "#8a93a3"
ACCENT, WARN, ERROR, GOOD = "#56b4e9", "#e69f00", "#d55e00", "#009e73"

# Okabe & Ito (2008) and, for the ten digits, three more; neighbours differ most, and none is the ground's black.
CATEGORIES = (
    "#56b4e9",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#f0e442",
    "#d55e00",
    "#0072b2",
    "#b4a7f5",
    "#9c7a5b",
    "#e8e8e8",
)
NONE = "#6b7280"

# Maps on offer for quantities without a sign; all grow in lightness, so that they survive grey print.
MAPS = ("viridis", "cividis", "magma", "inferno", "plasma", "gray")

# Blue below, dark neutral at zero, orange above: the two hues that every kind of colour-blindness keeps apart.
SIGNED = ("#9ad2f7", "#56b4e9", "#1f5b83", "#2b303b", "#8a5a00", "#e69f00", "#ffd37a")


@lru_cache
def lookup(name: str) -> np.ndarray:
    """(256, 3) uint8 colours of a map: one of `MAPS`, or "signed"."""
    colours = Colormap(list(SIGNED) if name == "signed" else name)(np.linspace(0, 1, 256))
    return np.round(np.asarray(colours)[:, :3] * 255).astype(np.uint8)


def category(k: int) -> str:
    """Colour of the k-th category; they repeat after ten."""
    return CATEGORIES[k % len(CATEGORIES)]


def rgb(colour: str) -> tuple[int, int, int]:
    """0 ... 255 of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@lru_cache
def category_colours() -> np.ndarray:
    """(11, 3) uint8: the categories, then the grey of none."""
    return np.array([rgb(c) for c in (*CATEGORIES, NONE)], np.uint8)
