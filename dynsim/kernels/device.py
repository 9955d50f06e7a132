# mypy: disable-error-code="call-arg"
"""The arrays of a GPU: CuPy's, or NumPy's on numba's simulator (NUMBA_ENABLE_CUDASIM=1); what its kernels share."""

from __future__ import annotations

from importlib import import_module

import numba
import numpy as np
from numba import cuda

SIMULATED = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
xp = np if SIMULATED else import_module("cupy")
TYPES = {"float32": numba.float32, "float64": numba.float64}


@cuda.jit(device=True, inline="always")
def block_sum(parts, lane, mine):
    """The sum over the threads of a block, in the order of a tree; every thread calls it.

    parts : shared memory, a float64 for each thread, a power of two.
    """
    cuda.syncthreads()
    parts[lane] = mine
    half = parts.shape[0] // 2
    while half > 0:
        cuda.syncthreads()
        if lane < half:
            parts[lane] += parts[lane + half]
        half //= 2
    cuda.syncthreads()
    return parts[0]
