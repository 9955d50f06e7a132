"""Patches and windows of images (B, height, width, channels), and normalisation; array-namespace code for every device.

Normalisation works on long rows (B, K), because operations along a short last axis are slow; what belongs to a column
is (K,).
"""

from __future__ import annotations

import numpy as np


def patches(x, kernel, stride=1, padding=0):
    """(B Ho Wo, k k C): the windows under a kernel, rows in the order (b, i, j), columns in the order (row, column,
    channel)."""
    if padding:
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    b, height, width, channels = x.shape
    out_h, out_w = (height - kernel) // stride + 1, (width - kernel) // stride + 1
    sb, sh, sw, sc = x.strides
    windows = np.lib.stride_tricks.as_strided(
        x, (b, out_h, out_w, kernel, kernel, channels), (sb, sh * stride, sw * stride, sh, sw, sc), writeable=False
    )
    return windows.reshape(b * out_h * out_w, kernel * kernel * channels)


def patches_back(columns, shape, kernel, stride=1, padding=0):
    """The transpose of `patches`: every pixel of an image of `shape` gets the sum of what its windows hold."""
    b, height, width, channels = shape
    out = np.zeros((b, height + 2 * padding, width + 2 * padding, channels), columns.dtype)
    out_h, out_w = (out.shape[1] - kernel) // stride + 1, (out.shape[2] - kernel) // stride + 1
    windows = columns.reshape(b, out_h, out_w, kernel, kernel, channels)
    for i in range(kernel):
        for j in range(kernel):
            out[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += windows[:, :, :, i, j]
    return out[:, padding : padding + height, padding : padding + width]


def _cells(x, size):
    """The size^2 strided views that together hold all windows; what does not fill a window is left out."""
    height, width = x.shape[1] // size * size, x.shape[2] // size * size
    return [x[:, i:height:size, j:width:size] for i in range(size) for j in range(size)]


def pool(x, size, largest):
    """The largest or the mean value of windows of size x size that do not overlap."""
    first, *others = _cells(x, size)
    y = first.copy()
    for cell in others:
        if largest:
            np.maximum(y, cell, out=y)
        else:
            y += cell
    return y if largest else y / x.dtype.type(size * size)


def pool_back(feedback, x, y, size, largest):
    """The transpose of `pool` at x, which gave y: to the first largest value of each window, or to all alike."""
    out = np.zeros_like(x)
    given = np.zeros(y.shape, bool)
    for source, target in zip(_cells(x, size), _cells(out, size)):
        if largest:
            here = (source == y) & ~given
            given |= here
            target[...] = feedback * here
        else:
            target[...] = feedback / x.dtype.type(size * size)
    return out


def sums(rows):
    """(K,) sums of columns."""
    return np.ones(len(rows), rows.dtype) @ rows


def squares(rows, centre):
    """(K,) sums of squares of columns minus their centre."""
    return np.square(rows - centre).sum(axis=0)


def scaled(rows, centre, factor, shift):
    """(rows - centre) * factor + shift."""
    return (rows - centre) * factor + shift


def products(feedback, rows, centre):
    """((K,) sums of the feedback, (K,) sums of its products with rows - centre)."""
    return sums(feedback), (feedback * (rows - centre)).sum(axis=0)


def norm_back(feedback, rows, centre, factor, constant, slope):
    """feedback * factor - constant - (rows - centre) * slope."""
    return feedback * factor - constant - (rows - centre) * slope
