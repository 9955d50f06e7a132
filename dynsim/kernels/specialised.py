"""What the kernels of pairs of particles share on CPU threads: one compiled specialisation for each (metric, d).

It is a closure over integers only, because Numba cannot cache a closure over compiled functions (numba issue 6264),
under a name of its own, because equal names from different processes collide in the cache (numba issue 10486).
Inside a task four rows meet the columns, SIMD over the columns (`lanes`).
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numba import njit

from . import lanes, scalar

FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}  # no nnan, no ninf: NaN and Inf must stay visible
SCALAR_LANES = 32  # fewer columns than this do not fill the SIMD lanes

compiled = njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
inlined = njit(inline="always")
term = inlined(scalar.term)
value = inlined(scalar.value)
slope = inlined(scalar.slope)
aligned = inlined(lanes.aligned)


def named(function, metric, d, *modules):
    """The kernel, compiled under a name that no other one has; `modules` hold more of what it is made of."""
    # Numba's cache sees changes of the kernel's own file only, so all that is inlined is part of its name.
    files = __file__, *(module.__file__ for module in (scalar, lanes, *modules))
    bodies = zlib.crc32(b"".join(Path(file).read_bytes() for file in files))
    name = f"{function.__name__}_{metric}_{d}_{bodies:08x}"
    function.__name__ = function.__qualname__ = name
    return compiled(function)


def too_narrow(rows, columns):
    """Whether the transposed problem fills the lanes better; every metric is symmetric."""
    return columns < min(rows, SCALAR_LANES)


def constants(metric, eps, p, dtype):
    """softening, p, one, huge in the arrays' type."""
    tiny = np.finfo(dtype).tiny
    # l2 with eps 0: f(0) = sqrt(tiny) rather than 0 makes u(0) = 0 / f, without a branch
    softening = max(eps**2, tiny) if metric in ("l2", "plummer") else eps**2
    return dtype.type(softening), dtype.type(p), dtype.type(1), 1 / tiny
