"""How particles are shown; what a person has chosen, and what a saved window brings back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from dynsim_gui.models.palette import MAPS


@dataclass
class Appearance:
    """Choices of the views; every change is announced by `appearance.events.NAME`.

    Attributes
    ----------
    colour_by : a name of `dynsim_gui.models.colours.QUANTITIES`.
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
    density_cell: float = 0.1

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def saved(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def restore(self, saved: dict[str, Any]) -> None:
        """Take what fits; a file of another version must not keep the window from opening."""
        for f in fields(self):
            value = saved.get(f.name)
            if f.name == "axes" and isinstance(value, list) and len(value) == 3:
                value = tuple(int(k) for k in value)
            if f.name == "projection" and value == "tsne":
                value = "axes"
            if isinstance(value, type(getattr(self, f.name))):
                setattr(self, f.name, value)
        if self.colour_map not in MAPS:
            self.colour_map = MAPS[0]
