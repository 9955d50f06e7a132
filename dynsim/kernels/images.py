"""Convolutions and pools of images (B, height, width, channels), and normalisation; array-namespace code for every
device.

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
    b, channels = len(x), x.shape[-1]
    out_h, out_w = room(x.shape, kernel, stride, 0)
    windows = np.empty((b, out_h, out_w, kernel, kernel, channels), x.dtype, like=x)
    for i in range(kernel):
        for j in range(kernel):
            windows[:, :, :, i, j] = x[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride]
    return windows.reshape(b * out_h * out_w, kernel * kernel * channels)


def patches_back(columns, shape, kernel, stride=1, padding=0):
    """The transpose of `patches`: every pixel of an image of `shape` gets the sum of what its windows hold."""
    b, height, width, channels = shape
    out = np.zeros((b, height + 2 * padding, width + 2 * padding, channels), columns.dtype, like=columns)
    out_h, out_w = room(shape, kernel, stride, padding)
    windows = columns.reshape(b, out_h, out_w, kernel, kernel, channels)
    for i in range(kernel):
        for j in range(kernel):
            out[:, i : i + stride * out_h : stride, j : j + stride * out_w : stride] += windows[:, :, :, i, j]
    return out[:, padding : padding + height, padding : padding + width]


def convolve(x, kernel, stride=1, padding=0):
    """(B, Ho, Wo, N): what a kernel (k, k, C, N) makes of its windows, as one product of the patches with it."""
    columns = patches(x, len(kernel), stride, padding)
    out_h, out_w = room(x.shape, len(kernel), stride, padding)
    return (columns @ kernel.reshape(columns.shape[1], -1)).reshape(len(x), out_h, out_w, -1)


def convolve_back(feedback, x, kernel, stride=1, padding=0, wanted=True):
    """The transposes of `convolve`: (on x, None unless `wanted`; on kernel (k, k, C, N))."""
    flat = feedback.reshape(-1, kernel.shape[-1])
    on_kernel = (patches(x, len(kernel), stride, padding).T @ flat).reshape(kernel.shape)
    if not wanted:
        return None, on_kernel
    columns = flat @ kernel.reshape(-1, kernel.shape[-1]).T
    return patches_back(columns, x.shape, len(kernel), stride, padding), on_kernel


def room(shape, kernel, stride, padding):
    """(Ho, Wo): places of a kernel's window on images of a shape."""
    return tuple((n + 2 * padding - kernel) // stride + 1 for n in shape[1:3])


def _cells(x, size):
    """(size^2, B, Ho, Wo, C): the cells of all windows; what does not fill a window is left out."""
    height, width = x.shape[1] // size * size, x.shape[2] // size * size
    return np.stack([x[:, i:height:size, j:width:size] for i in range(size) for j in range(size)])


def pool(x, size, largest):
    """(y, place): the largest or the mean value of windows of size x size that do not overlap, and which cell of its
    window the (first) largest one is, row by row; None for the mean."""
    cells = _cells(x, size)
    if largest:
        return cells.max(axis=0), cells.argmax(axis=0).astype(np.int32)
    return cells.sum(axis=0) / x.dtype.type(size * size), None


def pool_back(feedback, place, shape, size):
    """The transpose of `pool` to images of a shape: to the largest value of each window, or to all alike."""
    out = np.zeros(shape, feedback.dtype, like=feedback)
    height, width = shape[1] // size * size, shape[2] // size * size
    for k in range(size * size):
        part = feedback / feedback.dtype.type(size * size) if place is None else feedback * (place == k)
        out[:, k // size : height : size, k % size : width : size] = part
    return out


def sums(rows):
    """(K,) sums of columns."""
    return np.ones_like(rows[:, 0]) @ rows


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
