# mypy: disable-error-code="operator,call-arg,var-annotated"
# (numba types the simulator's indices, not those of a kernel)
"""Functions of `images` on a GPU: convolutions as products of patches by cuBLAS, a thread for each number of the rest.

What comes back to a pixel is gathered from the windows that hold it, so that no sum depends on the order of threads.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from .device import THREADS, TYPES, blocks, contiguous, kernel, xp
from .images import room

PATCHES = 1 << 26  # numbers of patches that are there at a time


def convolve(x, kernel, stride=1, padding=0):
    """See `images.convolve`."""
    size, channels = len(kernel), kernel.shape[-1]
    height, width = room(x.shape, size, stride, padding)
    dtype = np.result_type(x.dtype, kernel.dtype)
    x, flat = contiguous(dtype, x, kernel.reshape(-1, channels))
    out = xp.empty((len(x), height, width, channels), dtype)
    for part in _parts(len(x), height * width * len(flat)):
        columns = _unfolded(x[part], size, stride, padding)
        out[part] = (columns @ flat).reshape(-1, height, width, channels)
    return out


def convolve_back(feedback, x, kernel, stride=1, padding=0, wanted=True):
    """See `images.convolve_back`."""
    size, (_, height, width, channels) = len(kernel), feedback.shape
    feedback, x, flat = contiguous(feedback.dtype, feedback, x, kernel.reshape(-1, channels))
    on_x, on_kernel = xp.empty(x.shape, x.dtype) if wanted else None, xp.zeros_like(flat)
    for part in _parts(len(x), height * width * len(flat)):
        d = feedback[part].reshape(-1, channels)
        on_kernel += _unfolded(x[part], size, stride, padding).T @ d
        if on_x is not None:
            _folded(d @ flat.T, on_x[part], size, stride, padding)
    return on_x, on_kernel.reshape(kernel.shape)


def _parts(images, numbers):
    """Slices of images that have so many numbers each in their patches; from shapes alone."""
    each = max(1, PATCHES // numbers)
    return (slice(first, first + each) for first in range(0, images, each))


def _unfolded(x, size, stride, padding):
    """`images.patches`."""
    height, width = room(x.shape, size, stride, padding)
    columns = xp.empty((len(x) * height * width, size * size * x.shape[3]), x.dtype)
    _patches(size, stride, padding, x.shape[3], str(x.dtype))[blocks(columns.size, THREADS), THREADS](x, columns)
    return columns


def _folded(columns, x, size, stride, padding):
    """`images.patches_back`, written to x."""
    _patches_back(size, stride, padding, x.shape[3], str(x.dtype))[blocks(x.size, THREADS), THREADS](columns, x)


@kernel
def _patches(size, stride, padding, channels, dtype):
    """Kernel: a thread fetches a number of the patches."""
    SIZE, STRIDE, PADDING, C, TYPE = size, stride, padding, channels, TYPES[dtype]
    WIDTH = size * size * channels

    def patches(x, columns):
        t = cuda.grid(1)
        across = (x.shape[2] + 2 * PADDING - SIZE) // STRIDE + 1
        down = (x.shape[1] + 2 * PADDING - SIZE) // STRIDE + 1
        if t < columns.shape[0] * WIDTH:
            window, cell = t // WIDTH, t % WIDTH
            b, place = window // (down * across), window % (down * across)
            r = place // across * STRIDE - PADDING + cell // (SIZE * C)
            s = place % across * STRIDE - PADDING + cell // C % SIZE
            inside = r >= 0 and r < x.shape[1] and s >= 0 and s < x.shape[2]
            columns[window, cell] = x[b, r, s, cell % C] if inside else TYPE(0)

    return patches


@kernel
def _patches_back(size, stride, padding, channels, dtype):
    """Kernel: a thread adds up what the windows that hold a pixel's channel give back."""
    SIZE, STRIDE, PADDING, C, TYPE = size, stride, padding, channels, TYPES[dtype]

    def patches_back(columns, x):
        t = cuda.grid(1)
        across = (x.shape[2] + 2 * PADDING - SIZE) // STRIDE + 1
        down = (x.shape[1] + 2 * PADDING - SIZE) // STRIDE + 1
        if t < x.size:
            c, s = t % C, t // C % x.shape[2] + PADDING
            b, r = t // (C * x.shape[2]) // x.shape[1], t // (C * x.shape[2]) % x.shape[1]
            r += PADDING
            total = TYPE(0)
            for i in range(SIZE):
                for j in range(SIZE):
                    row, column = (r - i) // STRIDE, (s - j) // STRIDE
                    starts = row * STRIDE == r - i and column * STRIDE == s - j
                    if starts and row >= 0 and row < down and column >= 0 and column < across:
                        total += columns[(b * down + row) * across + column, (i * SIZE + j) * C + c]
            x[b, r - PADDING, s - PADDING, c] = total

    return patches_back


def pool(x, size, largest):
    """See `images.pool`."""
    (x,) = contiguous(x.dtype, x)
    b, height, width, channels = x.shape
    out = xp.empty((b, height // size, width // size, channels), x.dtype)
    if not largest:
        _average(size, str(x.dtype))[blocks(out.size, THREADS), THREADS](x, out)
        return out, None
    place = xp.empty(out.shape, np.int32)
    _largest(size)[blocks(out.size, THREADS), THREADS](x, out, place)
    return out, place


def pool_back(feedback, place, shape, size):
    """See `images.pool_back`."""
    (feedback,) = contiguous(feedback.dtype, feedback)
    out = xp.empty(shape, feedback.dtype)
    launch = blocks(out.size, THREADS), THREADS
    if place is None:
        _average_back(size, str(out.dtype))[launch](feedback, out)
    else:
        _largest_back(size, str(out.dtype))[launch](feedback, place, out)
    return out


@kernel
def _largest(size):
    """Kernel: a thread looks for the largest value of a window."""
    SIZE = size

    def largest(x, out, place):
        t = cuda.grid(1)
        if t < out.size:
            b, r, s, c = _place(t, out)
            y, first = x[b, r * SIZE, s * SIZE, c], 0
            for k in range(1, SIZE * SIZE):
                cell = x[b, r * SIZE + k // SIZE, s * SIZE + k % SIZE, c]
                if y == y and not cell <= y:  # the first NaN stays
                    y, first = cell, k
            out[b, r, s, c], place[b, r, s, c] = y, first

    return largest


@kernel
def _largest_back(size, dtype):
    """Kernel: a thread tells a pixel's channel whether it was the largest of its window."""
    SIZE, TYPE = size, TYPES[dtype]

    def largest_back(feedback, place, out):
        t = cuda.grid(1)
        if t < out.size:
            b, r, s, c = _place(t, out)
            u, v = r // SIZE, s // SIZE
            inside = u < place.shape[1] and v < place.shape[2]
            chosen = inside and place[b, u, v, c] == r % SIZE * SIZE + s % SIZE
            out[b, r, s, c] = feedback[b, u, v, c] if chosen else TYPE(0)

    return largest_back


@kernel
def _average(size, dtype):
    """Kernel: a thread makes the mean value of a window."""
    SIZE, TYPE = size, TYPES[dtype]

    def average(x, out):
        t = cuda.grid(1)
        if t < out.size:
            b, r, s, c = _place(t, out)
            total = TYPE(0)
            for k in range(SIZE * SIZE):
                total += x[b, r * SIZE + k // SIZE, s * SIZE + k % SIZE, c]
            out[b, r, s, c] = total / TYPE(SIZE * SIZE)

    return average


@kernel
def _average_back(size, dtype):
    """Kernel: a thread gives a pixel's channel its part of what came to the window."""
    SIZE, TYPE = size, TYPES[dtype]

    def average_back(feedback, out):
        t = cuda.grid(1)
        if t < out.size:
            b, r, s, c = _place(t, out)
            u, v = r // SIZE, s // SIZE
            inside = u < feedback.shape[1] and v < feedback.shape[2]
            out[b, r, s, c] = feedback[b, u, v, c] / TYPE(SIZE * SIZE) if inside else TYPE(0)

    return average_back


@cuda.jit(device=True, inline="always")
def _place(t, a):
    """(b, row, column, channel) of number t of images."""
    channels, width = a.shape[3], a.shape[2]
    line = t // channels // width
    return line // a.shape[1], line % a.shape[1], t // channels % width, t % channels
