# mypy: disable-error-code="operator,call-arg,var-annotated"
# (numba types the simulator's indices, not those of a kernel)
"""Where particles are seen on a screen, on a GPU."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from .device import THREADS, blocks, kernel, xp


def project_points(positions, matrix, width, height):
    """Where points are seen: (xy (n, 2) float32, depth (n,) float32, visible (n,) bool);
    see `reference.project_points`."""
    n, positions = len(positions), xp.ascontiguousarray(xp.asarray(positions))
    matrix = xp.ascontiguousarray(xp.asarray(matrix, np.float64))
    outputs = xp.empty((n, 2), np.float32), xp.empty(n, np.float32), xp.empty(n, np.bool_)
    _project()[blocks(n, THREADS), THREADS](positions, matrix, float(width), float(height), *outputs)
    return outputs


@kernel
def _project():
    """Kernel: a thread has a point."""

    def project(positions, m, width, height, xy, depth, visible):
        i = cuda.grid(1)
        if i < positions.shape[0]:
            x, y, z = np.float64(positions[i, 0]), np.float64(positions[i, 1]), np.float64(positions[i, 2])
            w = x * m[0, 3] + y * m[1, 3] + z * m[2, 3] + m[3, 3]
            scale = 1 / w if w > 0 else math.nan
            across = (x * m[0, 0] + y * m[1, 0] + z * m[2, 0] + m[3, 0]) * scale
            up = (x * m[0, 1] + y * m[1, 1] + z * m[2, 1] + m[3, 1]) * scale
            away = (x * m[0, 2] + y * m[1, 2] + z * m[2, 2] + m[3, 2]) * scale
            xy[i, 0], xy[i, 1], depth[i] = (1 + across) / 2 * width, (1 - up) / 2 * height, away
            visible[i] = abs(across) <= 1 and abs(up) <= 1 and abs(away) <= 1

    return project
