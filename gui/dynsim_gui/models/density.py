"""How many particles lie where, on two axes of the view: cells of psi(delta), and what their colours mean."""

from __future__ import annotations

import numpy as np

from dynsim.errors import OptionError
from dynsim.kernels import reference
from dynsim.observables.density import Density, density2d, smoothed
from dynsim.observables.entropy import structural_entropy
from dynsim_gui.models.appearance import Appearance

# Axes of the view that lie across and up.
PLANES = {"1-2": (0, 1), "1-3": (0, 2), "2-3": (1, 2)}


class DensityMap:
    """The density of a frame in a plane of the view.

    However, cells must not dance while the cloud moves: their side follows the coordinates' standard deviation only
    where that has changed by a quarter since.
    """

    def __init__(self) -> None:
        self._scale = 0.0

    def of(self, positions: np.ndarray, plane: str, appearance: Appearance) -> Density:
        """Of positions (n, 3) in the view; raises OptionError for an unknown plane."""
        if plane not in PLANES:
            raise OptionError("not a plane", given=plane, allowed=", ".join(PLANES))
        xy = np.ascontiguousarray(positions[:, PLANES[plane]])
        std = float(xy.std()) or 1.0
        if not 0.8 < std / (self._scale or np.inf) < 1.25:
            self._scale = std
        density = density2d(reference, xy, appearance.density_cell * self._scale)
        if appearance.density_smooth > 0:
            return smoothed(density, appearance.density_smooth)
        return density


def caption(positions: np.ndarray, density: Density) -> str:
    """What the picture shows, in a line: size of the cells, occupied ones, psi of the plane."""
    delta = float(density.x_edges[1] - density.x_edges[0])
    occupied = int((density.counts > 0.5).sum())
    psi = structural_entropy(reference, np.ascontiguousarray(positions), delta)
    relative = psi / np.log(len(positions)) if len(positions) > 1 else 0.0
    return f"δ = {delta:.3g}   {occupied:,} cells   ψ(δ)/log N of the view = {relative:.3f}"
