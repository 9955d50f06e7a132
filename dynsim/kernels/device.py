"""The arrays of a GPU: CuPy's, or NumPy's on numba's simulator (NUMBA_ENABLE_CUDASIM=1)."""

from __future__ import annotations

from importlib import import_module

import numba
import numpy as np

SIMULATED = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
xp = np if SIMULATED else import_module("cupy")
TYPES = {"float32": numba.float32, "float64": numba.float64}
