"""What this machine's kernels can do at best: multiply-adds on numbers that stay in registers."""

from __future__ import annotations

import functools

import numpy as np

from .lanes import widest
from .sharing import share
from .specialised import compiled

BLOCK = 1024  # numbers, in the first cache


def multiply_adds(x, factor, summand, times):
    """x (n,) after `times` of x -> factor x + summand; see `reference.multiply_adds`."""
    x = np.array(x)
    arguments = x, x.dtype.type(factor), x.dtype.type(summand), times
    share(functools.partial(_multiply_adds, *arguments), -(-x.size // BLOCK), x.size * times)
    return x


@compiled
def _multiply_adds(x, factor, summand, times, first, step):
    """Eight of them for each load and store, which then cost nothing; a task is a block."""
    widest()
    for block in range(first, (x.size + BLOCK - 1) // BLOCK, step):
        part = x[block * BLOCK : (block + 1) * BLOCK]
        for _ in range(times // 8):
            for j in range(part.size):
                y = part[j]
                for _ in range(8):
                    y = y * factor + summand
                part[j] = y
        for _ in range(times % 8):
            for j in range(part.size):
                part[j] = part[j] * factor + summand
