"""The pictures of a report: each painted on a light and on a dark ground, with words for those who cannot see it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynsim.errors import DeviceError

DPI = 144


@dataclass(frozen=True)
class Look:
    """Colours of a ground; roles as `dynsim.panels.ROLES` names them. Okabe & Ito (2008), as far as they show there."""

    ground: str
    ink: str
    dim: str
    grid: str
    roles: dict[str, str]
    family: tuple[float, float]


LIGHT = Look(
    "#ffffff",
    "#1c2430",
    "#667085",
    "#d8dde6",
    {"main": "#0072b2", "second": "#d98c00", "third": "#1c2430", "good": "#00855f", "bad": "#d55e00"}
    | {"control": "#667085"},
    (0.0, 0.85),
)
DARK = Look(
    "#1b1f27",
    "#d7dce5",
    "#98a2b3",
    "#343c4a",
    {"main": "#56b4e9", "second": "#e69f00", "third": "#d7dce5", "good": "#1fc79a", "bad": "#f0743e"}
    | {"control": "#98a2b3"},
    (0.25, 1.0),
)
SUBSYSTEMS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#9c7a5b", "#b4a7f5", "#8a93a3")


@dataclass(frozen=True)
class Picture:
    """Something to be painted.

    Attributes
    ----------
    name : of its file, without ending. title, unit : above it. alt : what is to be seen, in a sentence.
    paint : (figure, look) -> None. size : width and height in inches.
    """

    name: str
    title: str
    unit: str
    alt: str
    paint: Callable[[Any, Look], None]
    size: tuple[float, float] = (4.2, 2.5)


def png(picture: Picture, look: Look) -> bytes:
    """The picture as a PNG. Raises DeviceError without matplotlib."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise DeviceError("a report's pictures need matplotlib", hint="pip install 'dynsim[figures]'") from None
    with rc_context(_style(look)):  # type: ignore[arg-type]
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.paint(figure, look)
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=DPI, format="png")
    return buffer.getvalue()


def _style(look: Look) -> dict[str, Any]:
    ground = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor"), look.ground)
    ink = dict.fromkeys(("text.color", "axes.titlecolor", "legend.labelcolor"), look.ink)
    dim = dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), look.dim)
    return (
        ground
        | ink
        | dim
        | {
            "axes.edgecolor": look.grid,
            "grid.color": look.grid,
            "axes.grid": True,
            "grid.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "font.size": 8.5,
            "axes.titlesize": 9,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "lines.linewidth": 1.3,
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "path.simplify": True,
        }
    )
