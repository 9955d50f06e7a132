"""Functions of `images` on CPU threads (Numba), where NumPy is slower: with the same bits for any number of threads."""

from __future__ import annotations

import numpy as np
from numba import njit

from .sharing import share

_compile = njit(nogil=True, error_model="numpy", cache=True)
BLOCK = 8  # images of one task


def patches(x, kernel, stride=1, padding=0):
    """See `images.patches`."""
    x = np.ascontiguousarray(x)
    b, height, width, channels = x.shape
    out_h, out_w = ((n + 2 * padding - kernel) // stride + 1 for n in (height, width))
    out = np.empty((b, out_h, out_w, kernel, kernel * channels), x.dtype)
    _each(_patches, x.reshape(b, height, width * channels), channels, stride, padding, out)
    return out.reshape(b * out_h * out_w, kernel * kernel * channels)


def patches_back(columns, shape, kernel, stride=1, padding=0):
    """See `images.patches_back`."""
    b, height, width, channels = shape
    out_h, out_w = ((n + 2 * padding - kernel) // stride + 1 for n in (height, width))
    out = np.zeros(shape, columns.dtype)
    windows = np.ascontiguousarray(columns).reshape(b, out_h, out_w, kernel, kernel, channels)
    _each(_patches_back, out, stride, padding, windows)
    return out


def pool_back(feedback, x, y, size, largest):
    """See `images.pool_back`."""
    out = np.zeros(x.shape, feedback.dtype)
    _each(_pool_back, np.ascontiguousarray(feedback), np.ascontiguousarray(x), y, size, largest, out)
    return out


def sums(rows):
    """See `images.sums`."""
    parts = np.empty((-(-len(rows) // BLOCK), rows.shape[1]), rows.dtype)
    _each(_sums, rows, parts)
    return parts.sum(axis=0)


def squares(rows, centre):
    """See `images.squares`."""
    parts = np.empty((-(-len(rows) // BLOCK), rows.shape[1]), rows.dtype)
    _each(_squares, rows, centre, parts)
    return parts.sum(axis=0)


def scaled(rows, centre, factor, shift):
    """See `images.scaled`."""
    out = np.empty_like(rows)
    _each(_scaled, rows, centre, factor, shift, out)
    return out


def norm_back(feedback, rows, centre, factor, constant, slope):
    """See `images.norm_back`."""
    out = np.empty_like(rows)
    _each(_norm_back, feedback, rows, centre, factor, constant, slope, out)
    return out


def products(feedback, rows, centre):
    """See `images.products`."""
    parts = np.empty((-(-len(rows) // BLOCK), 2, rows.shape[1]), rows.dtype)
    _each(_products, feedback, rows, centre, parts)
    return tuple(parts.sum(axis=0))


def _each(work, *arguments):
    """work(*arguments, first, last) for blocks of images, shared by the threads."""
    images = next(a for a in arguments if isinstance(a, np.ndarray))
    n = len(images)
    blocks = -(-n // BLOCK)

    def run(first, step):
        for block in range(first, blocks, step):
            work(*arguments, block * BLOCK, min(n, (block + 1) * BLOCK))

    share(run, blocks, 8 * images.size)


@_compile
def _patches(x, channels, stride, padding, out, first, last):
    _, height, length = x.shape
    _, out_h, out_w, kernel, width = out.shape
    for b in range(first, last):
        for r in range(out_h):
            for i in range(kernel):
                y = r * stride + i - padding
                inside = 0 <= y < height
                for c in range(out_w):
                    start = (c * stride - padding) * channels
                    if inside and start >= 0 and start + width <= length:
                        for k in range(width):
                            out[b, r, c, i, k] = x[b, y, start + k]
                    else:
                        for k in range(width):
                            out[b, r, c, i, k] = x[b, y, start + k] if inside and 0 <= start + k < length else 0


@_compile
def _patches_back(out, stride, padding, windows, first, last):
    _, height, width, channels = out.shape
    _, out_h, out_w, kernel, _, _ = windows.shape
    for b in range(first, last):
        for r in range(out_h):
            for c in range(out_w):
                for i in range(kernel):
                    y = r * stride + i - padding
                    if y < 0 or y >= height:
                        continue
                    for j in range(kernel):
                        z = c * stride + j - padding
                        if 0 <= z < width:
                            for n in range(channels):
                                out[b, y, z, n] += windows[b, r, c, i, j, n]


@_compile
def _pool_back(feedback, x, y, size, largest, out, first, last):
    _, rows, columns, channels = feedback.shape
    share_of_one = 1 / (size * size)
    for b in range(first, last):
        for r in range(rows):
            for c in range(columns):
                for n in range(channels):
                    for k in range(size * size):
                        i, j = r * size + k // size, c * size + k % size
                        if not largest:
                            out[b, i, j, n] = feedback[b, r, c, n] * share_of_one
                        elif x[b, i, j, n] == y[b, r, c, n]:
                            out[b, i, j, n] = feedback[b, r, c, n]
                            break


_quick = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})


@_quick
def _sums(rows, parts, first, last):
    block = first // BLOCK
    for k in range(rows.shape[1]):
        parts[block, k] = 0
    for b in range(first, last):
        for k in range(rows.shape[1]):
            parts[block, k] += rows[b, k]


@_quick
def _squares(rows, centre, parts, first, last):
    block = first // BLOCK
    for k in range(rows.shape[1]):
        parts[block, k] = 0
    for b in range(first, last):
        for k in range(rows.shape[1]):
            parts[block, k] += (rows[b, k] - centre[k]) ** 2


@_quick
def _scaled(rows, centre, factor, shift, out, first, last):
    for b in range(first, last):
        for k in range(rows.shape[1]):
            out[b, k] = (rows[b, k] - centre[k]) * factor[k] + shift[k]


@_quick
def _products(feedback, rows, centre, parts, first, last):
    block = first // BLOCK
    for k in range(rows.shape[1]):
        parts[block, 0, k] = parts[block, 1, k] = 0
    for b in range(first, last):
        for k in range(rows.shape[1]):
            parts[block, 0, k] += feedback[b, k]
            parts[block, 1, k] += feedback[b, k] * (rows[b, k] - centre[k])


@_quick
def _norm_back(feedback, rows, centre, factor, constant, slope, out, first, last):
    for b in range(first, last):
        for k in range(rows.shape[1]):
            out[b, k] = feedback[b, k] * factor[k] - constant[k] - (rows[b, k] - centre[k]) * slope[k]
