"""Patches and windows of images (B, height, width, channels); array-namespace code for every device."""

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


def patches_back(cells, dtype, shape, kernel, stride=1, padding=0):
    """The transpose of `patches`: every pixel of an image of `shape` gets the sum of what its windows hold.

    `cells` yields the columns of `patches` by cells of the kernel, row by row: (B Ho Wo, C) each.
    """
    b, height, width, channels = shape
    out = np.zeros((b, height + 2 * padding, width + 2 * padding, channels), dtype)
    out_h, out_w = (out.shape[1] - kernel) // stride + 1, (out.shape[2] - kernel) // stride + 1
    for number, cell in enumerate(cells):
        i, j = divmod(number, kernel)
        window = out[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
        window += cell.reshape(b, out_h, out_w, channels)
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
