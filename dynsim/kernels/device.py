# mypy: disable-error-code="call-arg"
"""The arrays of a GPU: CuPy's, or NumPy's on numba's simulator (NUMBA_ENABLE_CUDASIM=1); what its kernels share."""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any

import numba
import numpy as np
from numba import cuda

from .cards import SIMULATED
from .host_copies import to_host_later

xp = np if SIMULATED else import_module("cupy")
_special = import_module("scipy.special" if SIMULATED else "cupyx.scipy.special")
TYPES = {"float32": numba.float32, "float64": numba.float64}
KERNELS: dict[str, Any] = {}  # "module.factory" -> factory: everything that is launched
THREADS = 128  # of a block whose threads are in a line

# CuPy and numba share the default stream, which keeps their order; small systems have small grids.
numba.config.CUDA_ARRAY_INTERFACE_SYNC = 0  # type: ignore[attr-defined]
numba.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # type: ignore[attr-defined]


def kernel(build):
    """A factory of kernels, from one that builds their Python functions: compiled once for each set of constants.

    Divisions, roots and exponentials are the quick ones; NaN and Inf stay what they are.
    """

    @functools.cache
    @functools.wraps(build)
    def factory(*constants):
        return cuda.jit(fastmath=True)(build(*constants))

    KERNELS[f"{build.__module__.rsplit('.', 1)[1]}.{build.__name__}"] = factory
    return factory


def to_device(arrays):
    """Arrays where the kernels work, of NumPy arrays, numbers, or arrays that are there."""
    return [xp.asarray(a) for a in arrays]


def to_host(arrays):
    """NumPy arrays of arrays on the device or not; all copies are under way before one is waited for."""
    arrays = list(arrays)
    copies = iter(to_host_later(a for a in arrays if isinstance(a, xp.ndarray)).arrays())
    return [next(copies) if isinstance(a, xp.ndarray) else np.asarray(a) for a in arrays]


def erf(a):
    """2 / sqrt(pi) int_0^a exp(-t^2) dt, of every number."""
    return _special.erf(a)


def expit(a):
    """1 / (1 + exp(-a)), of every number."""
    return _special.expit(a)


def contiguous(dtype, *arrays):
    """Arrays of a type, row after row, as kernels take them."""
    return tuple(xp.ascontiguousarray(xp.asarray(a, dtype)) for a in arrays)


def blocks(size, each):
    """How many blocks take `each` of so many."""
    return -(-size // each)
