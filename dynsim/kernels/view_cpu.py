"""Where particles are seen on a screen, on one CPU thread."""

from __future__ import annotations

import numpy as np
from numba import njit


def project_points(positions, matrix, width, height):
    """Where points are seen: (xy (n, 2) float32, depth (n,) float32, visible (n,) bool);
    see `reference.project_points`."""
    n = len(positions)
    xy, depth, visible = np.empty((n, 2), np.float32), np.empty(n, np.float32), np.empty(n, np.bool_)
    matrix = np.ascontiguousarray(matrix, np.float64)
    _project(np.ascontiguousarray(positions), matrix, float(width), float(height), xy, depth, visible)
    return xy, depth, visible


@njit(nogil=True, cache=True, error_model="numpy")
def _project(positions, m, width, height, xy, depth, visible):
    for i in range(positions.shape[0]):
        x, y, z = np.float64(positions[i, 0]), np.float64(positions[i, 1]), np.float64(positions[i, 2])
        w = x * m[0, 3] + y * m[1, 3] + z * m[2, 3] + m[3, 3]
        scale = 1 / w if w > 0 else np.nan
        across = (x * m[0, 0] + y * m[1, 0] + z * m[2, 0] + m[3, 0]) * scale
        up = (x * m[0, 1] + y * m[1, 1] + z * m[2, 1] + m[3, 1]) * scale
        away = (x * m[0, 2] + y * m[1, 2] + z * m[2, 2] + m[3, 2]) * scale
        xy[i, 0], xy[i, 1], depth[i] = (1 + across) / 2 * width, (1 - up) / 2 * height, away
        visible[i] = abs(across) <= 1 and abs(up) <= 1 and abs(away) <= 1
