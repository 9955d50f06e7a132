"""Pools and norms of `images` on CPU threads (Numba), where NumPy is slower: the same bits for any number of threads.

Loops run over slices of rows, because with several indices LLVM would not vectorise them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from .lanes import widest
from .sharing import share

_compile = njit(nogil=True, error_model="numpy", cache=True)
_quick = njit(nogil=True, error_model="numpy", cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
NUMBERS = 1 << 16  # of one task, in its rows


def pool(x, size, largest):
    """See `images.pool`."""
    b, height, width, channels = x.shape
    shape = b, height // size, width // size, channels
    out, starts = np.empty((b, shape[1], shape[2] * channels), x.dtype), _starts(shape, size)
    rows = np.ascontiguousarray(x).reshape(b, height, width * channels)
    if not largest:
        _each(_average, rows, size, channels, starts, out)
        return out.reshape(shape), None
    place = np.empty(out.shape, np.int32)
    _each(_pool, rows, size, channels, starts, place, out)
    return out.reshape(shape), place.reshape(shape)


def pool_back(feedback, place, shape, size):
    """See `images.pool_back`."""
    b, height, width, channels = shape
    out, starts = np.zeros((b, height, width * channels), feedback.dtype), _starts(feedback.shape, size)
    rows = np.ascontiguousarray(feedback).reshape(b, height // size, -1)
    if place is None:
        _each(_average_back, rows, size, channels, starts, out)
    else:
        _each(_pool_back, rows, place.reshape(rows.shape), size, channels, starts, out)
    return out.reshape(shape)


def _starts(shape, size):
    """Where in a row of the image each window of a row of the pooled shape begins, channel by channel."""
    return (np.arange(shape[2])[:, None] * size * shape[3] + np.arange(shape[3])).reshape(-1).astype(np.uintp)


@_compile
def _pool(x, size, channels, starts, place, out, first, last, _):
    widest()
    cell = np.empty(len(starts), x.dtype)
    for b in range(first, last):
        for r in range(out.shape[1]):
            y, p = out[b, r], place[b, r]
            for k in range(size * size):
                row = x[b, r * size + k // size, k % size * channels :]
                for m in range(len(starts)):
                    cell[m] = row[starts[m]]
                for m in range(len(starts)):
                    larger = (k == 0) | ((not cell[m] <= y[m]) & (y[m] == y[m]))  # the first NaN stays
                    y[m] = cell[m] if larger else y[m]
                    p[m] = k if larger else p[m]


@_compile
def _pool_back(feedback, place, size, channels, starts, out, first, last, _):
    part = np.empty(len(starts), out.dtype)
    for b in range(first, last):
        for r in range(feedback.shape[1]):
            d, p = feedback[b, r], place[b, r]
            for k in range(size * size):
                row = out[b, r * size + k // size, k % size * channels :]
                for m in range(len(starts)):
                    part[m] = d[m] if p[m] == k else 0
                for m in range(len(starts)):
                    row[starts[m]] = part[m]


@_compile
def _average(x, size, channels, starts, out, first, last, _):
    for b in range(first, last):
        for r in range(out.shape[1]):
            y = out[b, r]
            y[:] = 0
            for k in range(size * size):
                row = x[b, r * size + k // size, k % size * channels :]
                for m in range(len(starts)):
                    y[m] += row[starts[m]]
            y /= size * size


@_compile
def _average_back(feedback, size, channels, starts, out, first, last, _):
    for b in range(first, last):
        for r in range(feedback.shape[1]):
            d = feedback[b, r] / out.dtype.type(size * size)
            for k in range(size * size):
                row = out[b, r * size + k // size, k % size * channels :]
                for m in range(len(starts)):
                    row[starts[m]] = d[m]


def sums(rows):
    """See `images.sums`."""
    parts = np.zeros((_tasks(*rows.shape), rows.shape[1]), rows.dtype)
    _each(_sums, rows, parts)
    return parts.sum(axis=0)


def squares(rows, centre):
    """See `images.squares`."""
    parts = np.zeros((_tasks(*rows.shape), rows.shape[1]), rows.dtype)
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
    parts = np.zeros((_tasks(*rows.shape), 2, rows.shape[1]), rows.dtype)
    _each(_products, feedback, rows, centre, parts)
    return tuple(parts.sum(axis=0))


def _each(work, images, *arguments):
    """work(images, *arguments, first, last, task) for the images of every task, shared by the threads."""

    def run(task, first, last):
        work(images, *arguments, first, last, task)

    _share(run, len(images), math.prod(images.shape[1:]), 8 * images.size)


def _share(run, count, numbers, operations):
    """run(task, first, last) for tasks of so many images, of which each makes so many numbers, on all threads."""
    width = _width(numbers)

    def work(first, step):
        for task in range(first, _tasks(count, numbers), step):
            run(task, task * width, min(count, (task + 1) * width))

    share(work, _tasks(count, numbers), operations)


def _tasks(count, numbers):
    return -(-count // _width(numbers))


def _width(numbers):
    return max(1, NUMBERS // numbers)


@_quick
def _sums(rows, parts, first, last, task):
    part = parts[task]
    for b in range(first, last):
        row = rows[b]
        for k in range(len(row)):
            part[k] += row[k]


@_quick
def _squares(rows, centre, parts, first, last, task):
    part = parts[task]
    for b in range(first, last):
        row = rows[b]
        for k in range(len(row)):
            part[k] += (row[k] - centre[k]) ** 2


@_quick
def _scaled(rows, centre, factor, shift, out, first, last, _):
    for b in range(first, last):
        row, y = rows[b], out[b]
        for k in range(len(row)):
            y[k] = (row[k] - centre[k]) * factor[k] + shift[k]


@_quick
def _products(feedback, rows, centre, parts, first, last, task):
    alone, along = parts[task, 0], parts[task, 1]
    for b in range(first, last):
        d, row = feedback[b], rows[b]
        for k in range(len(row)):
            alone[k] += d[k]
            along[k] += d[k] * (row[k] - centre[k])


@_quick
def _norm_back(feedback, rows, centre, factor, constant, slope, out, first, last, _):
    for b in range(first, last):
        d, row, y = feedback[b], rows[b], out[b]
        for k in range(len(row)):
            y[k] = d[k] * factor[k] - constant[k] - (row[k] - centre[k]) * slope[k]
