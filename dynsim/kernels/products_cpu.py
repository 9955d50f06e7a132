"""Products of matrices on CPU threads: blocks of fixed shapes, each by BLAS on one thread, so that bits stay equal."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import threadpoolctl

from .sharing import share

# Blocks of a product: at most so many, at least so wide, because each packs the other factor again, and at least so
# many multiply-adds, because smaller ones are done before a second thread has begun.
BLOCKS, BLOCK_SIDE, BLOCK_WORK = 8, 256, 1 << 24


def matmul(a, b):
    """a @ b with the same bits for any number of threads, once `limit_blas_threads` has been called."""
    M, N = len(a), b.shape[1]
    blocks = min(BLOCKS, M * N * len(b) // BLOCK_WORK, max(M, N) // BLOCK_SIDE)
    if blocks < 2:
        return np.matmul(a, b)
    out = np.empty((M, N), np.result_type(a, b))
    edges = [max(M, N) * k // blocks for k in range(blocks + 1)]
    cuts = [slice(*pair) for pair in pairwise(edges)]

    def multiply(first, step):
        for cut in cuts[first::step]:
            if M >= N:
                np.matmul(a[cut], b, out=out[cut])
            else:
                np.matmul(a, b[:, cut], out=out[:, cut])

    share(multiply, blocks, M * N * len(b))
    return out


def limit_blas_threads():
    """One BLAS thread a call, for the whole process: `matmul` brings its own, with reproducible bits."""
    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
