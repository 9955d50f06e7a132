# mypy: disable-error-code="operator,call-arg"
# (numba types the simulator's indices, not those of a kernel)
"""The path integral on a GPU: a block of threads has a tile of W, each a square of it in registers.

The scalar bodies are those of the CPU.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from . import scalar
from .device import TYPES, blocks, contiguous, kernel, xp

SIDE = 16  # threads along each side of a block
EACH = 4  # rows and columns of its square that a thread keeps
TILE = SIDE * EACH
DEEPEST = 32  # coordinates of a tile in shared memory

inline = cuda.jit(device=True, inline="always")
term = inline(scalar.term)
value = inline(scalar.value)


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N), Eq. (5); see `reference.path_integral`."""
    (_, M, d), N = q_a.shape, q_b.shape[1]
    w = xp.empty((M, N), q_a.dtype)
    arrays = contiguous(q_a.dtype, q_a, q_b, gain * xp.asarray(mu, np.float64))
    grid = blocks(N, TILE), blocks(M, TILE)
    _forward(metric, d, str(q_a.dtype))[grid, (SIDE, SIDE)](*arrays, *constants_of(metric, eps, p, q_a.dtype), w)
    return w


def constants_of(metric, eps, p, dtype):
    """softening, p, one, huge in the arrays' type."""
    tiny = np.finfo(dtype).tiny
    softening = max(eps**2, tiny) if metric in ("l2", "plummer") else eps**2
    return dtype.type(softening), dtype.type(p), dtype.type(1), dtype.type(1 / tiny)


@kernel
def _forward(metric, d, dtype):
    """Kernel of Eq. (5): a block is a tile of W, summed over the copies h in registers."""
    METRIC, D, TYPE = scalar.CODES[metric], d, TYPES[dtype]
    DEEP = min(d, DEEPEST)
    CHUNKS = -(-d // DEEP)

    def forward(q_a, q_b, mu, softening, p, one, huge, w):
        a_tile = cuda.shared.array((DEEP, TILE), TYPE)
        b_tile = cuda.shared.array((DEEP, TILE), TYPE)
        s = cuda.local.array((EACH, EACH), TYPE)
        total = cuda.local.array((EACH, EACH), TYPE)
        H, M, N = q_a.shape[0], q_a.shape[1], q_b.shape[1]
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        i_0, j_0 = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE
        for r in range(EACH):
            for c in range(EACH):
                total[r, c] = one - one
        for h in range(H):
            for r in range(EACH):
                for c in range(EACH):
                    s[r, c] = one - one
            for chunk in range(CHUNKS):
                first = chunk * DEEP
                for t in range(y * SIDE + x, DEEP * TILE, SIDE * SIDE):
                    place, k = t // DEEP, t % DEEP
                    known = first + k < D
                    i, j = min(i_0 + place, M - 1), min(j_0 + place, N - 1)
                    a_tile[k, place] = q_a[h, i, first + k] if known else one - one
                    b_tile[k, place] = q_b[h, j, first + k] if known else one - one
                cuda.syncthreads()
                for k in range(DEEP):
                    for r in range(EACH):
                        a = a_tile[k, y + r * SIDE]
                        for c in range(EACH):
                            s[r, c] += term(METRIC, a, b_tile[k, x + c * SIDE], p)
                cuda.syncthreads()
            for r in range(EACH):
                for c in range(EACH):
                    total[r, c] += mu[h] * value(METRIC, s[r, c], softening, p, one)
        for r in range(EACH):
            i = i_0 + y + r * SIDE
            for c in range(EACH):
                j = j_0 + x + c * SIDE
                if i < M and j < N:
                    w[i, j] = total[r, c]

    return forward
