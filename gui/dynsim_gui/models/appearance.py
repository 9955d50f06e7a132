"""How particles are shown; what a person has chosen, and what a saved window brings back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from dynsim_gui.models.palette import MAPS


@dataclass
class Appearance:
    """Choices of the views; every change is announced by `appearance.events.NAME`.

    Attributes
    ----------
    colour_by : a name of `dynsim_gui.models.colours.quantities`; the run that is open decides which there are.
    colour_map : of quantities without a sign.
    projection : "axes" (three of R^d), "pca" (principal components of the frame that it was chosen at) or "tsne" (of
        the frame that it was asked for at; never restored, for it takes the engine seconds).
    axes : the three axes of R^d, from 0.
    links, packets, trails : what is drawn beside the particles.
    link_count : strongest pairs of every link.
    shapes : whether the subsystem decides the marker.
    spin : whether the camera turns by itself.
    density_log, density_smooth : logarithmic colours, Gaussian smoothing in cells.
    density_cell : delta of the density's cells, in standard deviations of the coordinates.
    """

    colour_by: str = "speed"
    colour_map: str = "viridis"
    projection: str = "axes"
    axes: tuple[int, int, int] = (0, 1, 2)
    links: bool = True
    link_count: int = 30
    packets: bool = True
    trails: bool = True
    shapes: bool = False
    spin: bool = False
    point_size: float = 0.0
    density_log: bool = True
    density_smooth: float = 0.0
    density_cell: float = 0.2

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def saved(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def restore(self, saved: Any) -> None:
        """Take what fits; a file of another version, or a damaged one, must not keep the window from opening."""
        for name, value in saved.items() if isinstance(saved, dict) else ():
            if name == "axes" and isinstance(value, list):
                value = tuple(value)
            if name == "projection" and value == "tsne":
                value = "axes"  # which computes for a while: never unasked
            if name in _LEGAL and _LEGAL[name](value):
                setattr(self, name, value)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _axes(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k < 4096 for k in value)
    )


# What a saved choice must be to be taken.
_LEGAL: dict[str, Callable[[Any], bool]] = {
    "colour_by": lambda v: isinstance(v, str) and v.isidentifier(),
    "colour_map": lambda v: v in MAPS,
    "projection": lambda v: v in ("axes", "pca"),
    "axes": _axes,
    "link_count": lambda v: isinstance(v, int) and _number(0, 200)(v),
    "point_size": _number(0, 24),
    "density_smooth": _number(0, 10),
    "density_cell": _number(1e-3, 10),
    **dict.fromkeys(("links", "packets", "trails", "shapes", "spin", "density_log"), _flag),
}
