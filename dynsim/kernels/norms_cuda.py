# mypy: disable-error-code="operator,call-arg,call-overload"
# (numba types the simulator's indices, not those of a kernel)
"""Normalisation of rows (B, K) on a GPU, each in one pass over memory; contract: `images`.

A warp of threads has neighbouring columns of a row, so that it reads one piece of memory.
"""

from __future__ import annotations

from numba import cuda

from .device import TYPES, blocks, contiguous, kernel, xp

COLUMNS, LANES = 32, 8  # threads of a block: columns, and who share the rows of a column
ROWS = 256  # that a block adds up
EACH = 16  # rows for a thread of what is done to every number
TALLEST = 65535  # blocks that a grid may have along its second side


def sums(rows):
    """See `images.sums`."""
    return _added("alone", rows, rows, rows[:1])


def squares(rows, centre):
    """See `images.squares`."""
    return _added("square", rows, rows, centre)


def products(feedback, rows, centre):
    """See `images.products`."""
    return sums(feedback), _added("along", feedback, rows, centre)


def scaled(rows, centre, factor, shift):
    """See `images.scaled`."""
    rows, *columns = contiguous(rows.dtype, rows, centre, factor, shift)
    out = xp.empty_like(rows)
    _scaled()[_grid(rows, EACH * LANES), (COLUMNS, LANES)](rows, *columns, out)
    return out


def norm_back(feedback, rows, centre, factor, constant, slope):
    """See `images.norm_back`."""
    feedback, rows, *columns = contiguous(rows.dtype, feedback, rows, centre, factor, constant, slope)
    out = xp.empty_like(rows)
    _norm_back()[_grid(rows, EACH * LANES), (COLUMNS, LANES)](feedback, rows, *columns, out)
    return out


def _added(term, feedback, rows, centre):
    """(K,) sums over rows of a term, first within blocks of ROWS."""
    feedback, rows, centre = contiguous(rows.dtype, feedback, rows, centre)
    parts = xp.empty((blocks(len(rows), ROWS), rows.shape[1]), rows.dtype)
    grid = blocks(rows.shape[1], COLUMNS), min(len(parts), TALLEST)
    _sums(term, str(rows.dtype))[grid, (COLUMNS, LANES)](feedback, rows, centre.reshape(-1), parts)
    return parts.sum(axis=0)


def _grid(rows, each):
    return blocks(rows.shape[1], COLUMNS), min(blocks(len(rows), each), TALLEST)


@kernel
def _sums(term, dtype):
    """Kernel: a block adds up ROWS rows of its columns, its lanes each some of them."""
    ALONE, SQUARE, TYPE = term == "alone", term == "square", TYPES[dtype]

    def sums(feedback, rows, centre, parts):
        shares = cuda.shared.array((LANES, COLUMNS), TYPE)
        x, lane = cuda.threadIdx.x, cuda.threadIdx.y
        k = cuda.blockIdx.x * COLUMNS + x
        for part in range(cuda.blockIdx.y, parts.shape[0], cuda.gridDim.y):
            total = TYPE(0)
            if k < rows.shape[1]:
                for b in range(part * ROWS + lane, min((part + 1) * ROWS, rows.shape[0]), LANES):
                    if ALONE:
                        total += feedback[b, k]
                    elif SQUARE:
                        away = rows[b, k] - centre[k]
                        total += away * away
                    else:
                        total += feedback[b, k] * (rows[b, k] - centre[k])
            cuda.syncthreads()
            shares[lane, x] = total
            cuda.syncthreads()
            if lane == 0 and k < rows.shape[1]:
                for other in range(1, LANES):
                    total += shares[other, x]
                parts[part, k] = total

    return sums


@kernel
def _scaled():
    """Kernel: a thread has some rows of a column."""

    def scaled(rows, centre, factor, shift, out):
        k = cuda.blockIdx.x * COLUMNS + cuda.threadIdx.x
        if k < rows.shape[1]:
            for b in range(cuda.blockIdx.y * LANES + cuda.threadIdx.y, rows.shape[0], cuda.gridDim.y * LANES):
                out[b, k] = (rows[b, k] - centre[k]) * factor[k] + shift[k]

    return scaled


@kernel
def _norm_back():
    """Kernel: a thread has some rows of a column."""

    def norm_back(feedback, rows, centre, factor, constant, slope, out):
        k = cuda.blockIdx.x * COLUMNS + cuda.threadIdx.x
        if k < rows.shape[1]:
            for b in range(cuda.blockIdx.y * LANES + cuda.threadIdx.y, rows.shape[0], cuda.gridDim.y * LANES):
                out[b, k] = feedback[b, k] * factor[k] - constant[k] - (rows[b, k] - centre[k]) * slope[k]

    return norm_back
