"""Particles as pair kernels of CPU threads take them: in groups of neighbouring lanes, for squared distances expanded.

|a - b|^2 = |a|^2 + |b|^2 - 2 a.b takes one multiply-add a coordinate where differences take two operations. Where
particles nearly meet the sum cancels: its error is a few roundings of |a|^2 + |b|^2 and not of the distance. What is
not above NEAR * (|a|^2 + |b|^2), NaN and Inf among it, must be computed from the coordinates' differences. Squares are
those about the cloud's centre, which makes them small and no distance different.
"""

from __future__ import annotations

import functools

import numpy as np

from .lanes import aligned, load_every, spread, store
from .sharing import share
from .specialised import compiled

NEAR = 1 / 64  # beyond it a distance has at least 5 digits in float32
SAMPLE = 64  # particles, at least


@compiled
def centre_of(q):
    """(H, 1, d): about the middle of each copy's cloud q (H, N, d), 0 where that is not finite.

    Distances do not depend on it, so that a sample is enough; one particle that is lost must not take the others along.
    """
    H, N, D = q.shape
    stride = max(1, N // SAMPLE)
    centre = np.zeros((H, 1, D), q.dtype)
    for h in range(H):
        for i in range(0, N, stride):
            for k in range(D):
                centre[h, 0, k] += q[h, i, k]
        for k in range(D):
            mean = centre[h, 0, k] / q.dtype.type((N + stride - 1) // stride)
            centre[h, 0, k] = mean if np.isfinite(mean) else 0
    return centre


def laid_out(q, centre, scale, expanded, width):
    """(entries, bound), flat, as `_lay_out` makes them of particles q (H, N, d), C-contiguous."""
    (H, N, d), dtype = q.shape, q.dtype
    groups = -(-N // width)
    entries = aligned(groups * H * (d + expanded) * width, q)
    bound = np.zeros(groups * H, dtype)
    scale = dtype.type(scale if expanded else 1)
    work = functools.partial(_lay_out, q, centre, scale, expanded, width, entries, bound)
    share(work, groups, 16 * q.size)
    return entries, bound


@compiled
def _lay_out(q, centre, scale, expanded, width, entries, bound, first, step):
    """entries (N / width, H, d, width) of coordinates about the centre, the last particle repeated to fill its group.

    Expanded, the squares |q|^2 follow the coordinates times `scale`; bound (N / width, H) is the largest of them.
    """
    H, N, D = q.shape
    everything, last = q.reshape(q.size), np.empty(width * D, q.dtype)
    for task in range(first, (N + width - 1) // width, step):
        for h in range(H):
            if (task + 1) * width <= N:
                source, start = everything, (h * N + task * width) * D
            else:
                source, start = last, 0
                for j in range(width):
                    for k in range(D):
                        last[j * D + k] = q[h, min(task * width + j, N - 1), k]
            group = task * H + h
            end = group * (D + expanded) * width
            squares = spread(scale - scale)
            for k in range(D):
                x = load_every(source, start + k, D) - spread(centre[h, 0, k])
                squares += x * x
                store(entries, end, spread(scale) * x)
                end += width
            if expanded:
                store(entries, end, squares)
                for j in range(end, end + width):
                    if not entries[j] <= bound[group]:
                        bound[group] = entries[j]
