"""Convolutions on CPU threads (Numba), without patches: with the same bits for any number of threads.

An image is laid out in planes, one for each channel and each phase of the stride, with zeros around it. A cell of the
window is then a shift: cell (i, j) of channel c sees plane (i % stride, j % stride, c) shifted by (i, j) // stride, and
a convolution is a sum of shifted planes, of eight channels and a vector of pixels at a time. The way back to x is the
same sum over planes of feedback, shifted the other way; that to the kernel sums products of planes over all pixels.
"""

from __future__ import annotations

import functools

import numpy as np

from .images import room
from .lanes import BYTES, load, spread, spread_at, store, total
from .sharing import share
from .specialised import aligned, compiled

CHANNELS = 8  # that are summed at a time
TASKS = 16  # wanted at least, where there are so many images
FIRST_CACHE = 24 << 10  # bytes of four planes of feedback, of all images that meet the kernel at once


def convolve(x, kernel, stride=1, padding=0):
    """See `images.convolve`."""
    x, kernel = _alike(x, kernel)
    b, size, n = len(x), len(kernel), kernel.shape[3]
    height, width = room(x.shape, size, stride, padding)
    out = np.empty((b, height, width, n), x.dtype)
    line, length, offsets = _plan(x.shape, size, stride, padding, BYTES // x.itemsize)
    coefficients = _in_eights(kernel.reshape(-1, n))
    block = max(1, -(-b // TASKS))
    arguments = x, stride, padding, line, length, offsets, coefficients, block, out
    share(functools.partial(_forward, *arguments), -(-b // block), out.size * len(offsets))
    return out


def convolve_back(feedback, x, kernel, stride=1, padding=0, wanted=True):
    """See `images.convolve_back`."""
    x, kernel, feedback = _alike(x, kernel, feedback)
    b, size, n = len(x), len(kernel), kernel.shape[3]
    line, length, offsets = _plan(x.shape, size, stride, padding, BYTES // x.itemsize)
    before = (size - 1) // stride * (line + 1)  # the largest shift
    coefficients, sources, starts = _backwards(kernel, stride, line)
    block = max(1, -(-b // TASKS))
    parts = np.zeros((-(-b // block), len(offsets), n), x.dtype)
    on_x = np.empty_like(x) if wanted else x[:0]
    arguments = feedback, x, stride, padding, line, length, before, offsets, block, coefficients, sources, starts
    share(functools.partial(_back, *arguments, on_x, parts), len(parts), feedback.size * len(offsets) * (1 + wanted))
    return on_x if wanted else None, parts.sum(axis=0).reshape(kernel.shape)


def _alike(*arrays):
    """In one dtype, and in order."""
    dtype = np.result_type(*arrays)
    return tuple(np.ascontiguousarray(a, dtype) for a in arrays)


@functools.lru_cache(maxsize=64)
def _plan(shape, size, stride, padding, lanes):
    """Of images of a shape: width of a plane, its length, and where in the planes each row (i, j, c) of the kernel
    begins."""
    rows, line = (-(-(n + 2 * padding) // stride) for n in shape[1:3])
    i, j, c = (a.reshape(-1) for a in np.indices((size, size, shape[3])))
    shifts = i // stride * line + j // stride
    seen = -(-room(shape, size, stride, padding)[0] * line // lanes) * lanes
    length = max(rows * line, int(shifts.max()) + seen)
    return line, length, ((i % stride * stride + j % stride) * shape[3] + c) * length + shifts


def _in_eights(columns):
    """(R, n) as (n / 8, R, 8), flat; channels that are not there are 0."""
    rows, n = columns.shape
    padded = np.zeros((rows, -(-n // CHANNELS), CHANNELS), columns.dtype)
    for c in range(n):
        padded[:, c // CHANNELS, c % CHANNELS] = columns[:, c]
    return np.ascontiguousarray(padded.swapaxes(0, 1)).reshape(-1)


def _backwards(kernel, stride, line):
    """Of every phase (i, j) of the stride: coefficients of its cells and output channels, (channels / 8, R, 8); the
    (channel, shift) that each of them takes; and where both begin."""
    coefficients, sources, starts = [], [], [(0, 0)]
    n = kernel.shape[3]
    for i in range(stride):
        for j in range(stride):
            cells = kernel[i::stride, j::stride]
            coefficients.append(_in_eights(cells.transpose(0, 1, 3, 2).reshape(-1, kernel.shape[2])))
            down, right, channel = (a.reshape(-1) for a in np.indices((*cells.shape[:2], n)))
            sources.append(np.stack([channel, down * line + right], axis=1))
            starts.append((starts[-1][0] + len(coefficients[-1]), starts[-1][1] + len(sources[-1])))
    return np.concatenate(coefficients), np.concatenate(sources), np.array(starts)


@compiled
def _lay_out(image, stride, padding, line, length, planes, start):
    """Pixels of an image to its planes, from `start` on; what is around them stays."""
    height, width, channels = image.shape
    pixels = image.reshape(image.size)
    for phase in range(stride * stride):
        i, j = phase // stride - padding, phase % stride - padding
        top, left = max(0, (stride - 1 - i) // stride), max(0, (stride - 1 - j) // stride)
        for down in range(top, (height - i + stride - 1) // stride):
            for right in range(left, (width - j + stride - 1) // stride):
                here = ((down * stride + i) * width + right * stride + j) * channels
                there = start + phase * channels * length + down * line + right
                for c in range(channels):
                    planes[there + c * length] = pixels[here + c]


@compiled
def _take_in(planes, stride, padding, line, length, image):
    """The inverse of `_lay_out`, from planes that begin at 0."""
    # Its loops stand here again: the images there may be read-only, and bounds from a function took 8 % more time.
    height, width, channels = image.shape
    pixels = image.reshape(image.size)
    for phase in range(stride * stride):
        i, j = phase // stride - padding, phase % stride - padding
        top, left = max(0, (stride - 1 - i) // stride), max(0, (stride - 1 - j) // stride)
        for down in range(top, (height - i + stride - 1) // stride):
            for right in range(left, (width - j + stride - 1) // stride):
                here = ((down * stride + i) * width + right * stride + j) * channels
                there = phase * channels * length + down * line + right
                for c in range(channels):
                    pixels[here + c] = planes[there + c * length]


@compiled
def _shifted_sums(planes, offsets, coefficients, pixels, out, start, length, channels):
    """out[channel, p] = sum_r coefficient[r, channel] planes[offset_r + p], lines of `length` from `start` on; the
    channels that fill up the last eight are written, too."""
    lanes, R = BYTES // planes.itemsize, len(offsets)
    zeros = spread(planes.dtype.type(0))
    for c in range(0, channels, CHANNELS):
        for p in range(0, pixels, lanes):
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zeros
            m = c * R
            for r in range(R):
                x = load(planes, offsets[r] + p)
                s0 += x * spread_at(coefficients, m)
                s1 += x * spread_at(coefficients, m + 1)
                s2 += x * spread_at(coefficients, m + 2)
                s3 += x * spread_at(coefficients, m + 3)
                s4 += x * spread_at(coefficients, m + 4)
                s5 += x * spread_at(coefficients, m + 5)
                s6 += x * spread_at(coefficients, m + 6)
                s7 += x * spread_at(coefficients, m + 7)
                m += CHANNELS
            at = start + c * length + p
            store(out, at, s0)
            store(out, at + length, s1)
            store(out, at + 2 * length, s2)
            store(out, at + 3 * length, s3)
            store(out, at + 4 * length, s4)
            store(out, at + 5 * length, s5)
            store(out, at + 6 * length, s6)
            store(out, at + 7 * length, s7)


@compiled
def _forward(x, stride, padding, line, length, offsets, coefficients, block, out, first, step):
    b, height, _, n = out.shape
    lanes = BYTES // x.itemsize
    pixels = (height * line + lanes - 1) // lanes * lanes
    planes = np.zeros(stride * stride * x.shape[3] * length, x.dtype)
    sums = aligned((n + CHANNELS) * pixels, x)
    for task in range(first, (b + block - 1) // block, step):
        for k in range(task * block, min((task + 1) * block, b)):
            _lay_out(x[k], stride, padding, line, length, planes, 0)
            _shifted_sums(planes, offsets, coefficients, pixels, sums, 0, pixels, n)
            _take_in(sums, 1, 0, line, pixels, out[k])


@compiled
def _back(
    feedback, x, stride, padding, line, length, before, offsets, block, coefficients, sources, starts, on_x, parts,
    first, step,
):  # fmt: skip
    b, height, _, n = feedback.shape
    channels, lanes = x.shape[3], BYTES // x.itemsize
    pixels = (height * line + lanes - 1) // lanes * lanes
    whole = (length + lanes - 1) // lanes * lanes
    before = (before + lanes - 1) // lanes * lanes  # planes of feedback begin where vectors do
    reach, images = before + whole, stride * stride * channels * length
    padded = (n + 3) // 4 * 4
    together = max(1, min(block, FIRST_CACHE // (4 * reach * x.itemsize)))
    planes = np.zeros(together * images, x.dtype)
    d = aligned(together * padded * reach, x)
    at = sources[:, 0] * reach + before - sources[:, 1]
    sums = aligned((stride * stride * channels + CHANNELS) * whole, x)
    for task in range(first, (b + block - 1) // block, step):
        end = min((task + 1) * block, b)
        for k in range(task * block, end, together):
            number = min(together, end - k)
            for image in range(number):
                _lay_out(x[k + image], stride, padding, line, length, planes, image * images)
                _lay_out(feedback[k + image], 1, 0, line, reach, d, image * padded * reach + before)
            _products(planes, images, offsets, d, padded, reach, before, pixels, number, parts[task])
            for image in range(min(number, len(on_x))):
                part = d[image * padded * reach : (image + 1) * padded * reach]
                for phase in range(stride * stride):
                    c_0, c_1, s_0, s_1 = starts[phase, 0], starts[phase + 1, 0], starts[phase, 1], starts[phase + 1, 1]
                    start = phase * channels * whole
                    _shifted_sums(part, at[s_0:s_1], coefficients[c_0:c_1], whole, sums, start, whole, channels)
                _take_in(sums, stride, padding, line, whole, on_x[k + image])


@compiled
def _products(planes, images, offsets, d, padded, reach, before, pixels, number, part):
    """part[r, channel] += sum over images and pixels of planes[offset_r + p] d[channel, p]; two rows meet four
    channels."""
    lanes, (R, n) = BYTES // planes.itemsize, part.shape
    zeros = spread(planes.dtype.type(0))
    for c in range(0, n, 4):
        for r in range(0, R, 2):
            this, other = offsets[r], offsets[min(r + 1, R - 1)]
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = zeros
            for image in range(number):
                start, x = (image * padded + c) * reach + before, image * images
                for p in range(0, pixels, lanes):
                    a, b = load(planes, x + this + p), load(planes, x + other + p)
                    d0, d1 = load(d, start + p), load(d, start + reach + p)
                    d2, d3 = load(d, start + 2 * reach + p), load(d, start + 3 * reach + p)
                    s0 += a * d0
                    s1 += a * d1
                    s2 += a * d2
                    s3 += a * d3
                    t0 += b * d0
                    t1 += b * d1
                    t2 += b * d2
                    t3 += b * d3
            for k in range(min(2, R - r)):
                part[r + k, c] += total(t0 if k else s0)
                if c + 1 < n:
                    part[r + k, c + 1] += total(t1 if k else s1)
                if c + 2 < n:
                    part[r + k, c + 2] += total(t2 if k else s2)
                if c + 3 < n:
                    part[r + k, c + 3] += total(t3 if k else s3)
