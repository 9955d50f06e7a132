"""What the kernels of pairs of particles share on CPU threads: one compiled specialisation for each (metric, d).

It is a closure over integers only, because Numba cannot cache a closure over compiled functions (numba issue 6264),
under a name of its own, because equal names from different processes collide in the cache (numba issue 10486).
Inside a task four rows meet a tile of columns, SIMD over the columns, all buffers private and contiguous: with array
slices as targets LLVM would not vectorise, because they might overlap.
"""

from __future__ import annotations

import inspect
import zlib
from pathlib import Path

import numpy as np
from numba import njit

from . import scalar

FAST = {"reassoc", "contract", "arcp", "afn", "nsz"}  # no nnan, no ninf: NaN and Inf must stay visible
COLUMNS = 512  # of a tile; a row of a tile starts at r * COLUMNS
IN_REGISTERS = 12  # coordinates summed at a time; more of them spill
SCALAR_LANES = 32  # fewer columns than this do not fill the SIMD lanes

compiled = njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
inlined = njit(inline="always")
term = inlined(scalar.term)
value = inlined(scalar.value)
slope = inlined(scalar.slope)
direction = inlined(scalar.direction)
# Numba's cache sees changes of the kernel's own file only, so all that is inlined is part of its name.
_BODIES = f"{zlib.crc32(inspect.getsource(scalar).encode() + Path(__file__).read_bytes()):08x}"


def named(function, metric, d):
    """The kernel, compiled under a name that no other one has."""
    name = f"{function.__name__}_{metric}_{d}_{_BODIES}"
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


def chunks(d):
    """(number, width) of the groups of coordinates that are summed in registers."""
    number = -(-d // IN_REGISTERS)
    return number, -(-d // number)


@inlined
def sums(metric, chunks, width, a, y, s, n, p):
    """s[r, j] = sum_k term(a[k, r], y[k, j]) for four rows r and n columns j."""
    for c in range(chunks):
        for j in range(n):
            if c == 0:
                s0 = s1 = s2 = s3 = a[0] - a[0]
            else:
                s0, s1, s2, s3 = s[j], s[COLUMNS + j], s[2 * COLUMNS + j], s[3 * COLUMNS + j]
            for k in range(c * width, (c + 1) * width):
                b = y[k * COLUMNS + j]
                s0 += term(metric, a[4 * k], b, p)
                s1 += term(metric, a[4 * k + 1], b, p)
                s2 += term(metric, a[4 * k + 2], b, p)
                s3 += term(metric, a[4 * k + 3], b, p)
            s[j], s[COLUMNS + j], s[2 * COLUMNS + j], s[3 * COLUMNS + j] = s0, s1, s2, s3
