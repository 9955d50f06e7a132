"""How the tensor of a layer is a matrix of inputs by outputs, and back.

Sources: Pei & Wang, ICML 2023, Table 1 (fully connected m x n: P(m) + P(n); k x k convolution by the 2k policy,
phi(q^in,i_c, q^out,j_l) = W[i, c, j, l]). However, Table 1 knows no other way for a convolution; here im2col
(kernel and input channel by output channel) stands beside it, and whoever converts keeps the better one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layout:
    """One way to see a tensor as a matrix: split its axes, order them, and let the first ones be the inputs.

    Attributes
    ----------
    name : dense, im2col, 2k or depthwise.
    shape : of the tensor.
    split : the same numbers with the groups of a grouped convolution as an axis of their own.
    axes : order of the split axes in the matrix.
    rows : how many of them, first, count inputs.
    channels : split axes that count the layer's input channels, slowest first.
    """

    name: str
    shape: tuple[int, ...]
    split: tuple[int, ...]
    axes: tuple[int, ...]
    rows: int
    channels: tuple[int, ...]

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(M, N), inputs by outputs."""
        ordered = [self.split[a] for a in self.axes]
        return math.prod(ordered[: self.rows]), math.prod(ordered[self.rows :])

    def matrix(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor as (M, N) float32."""
        ordered = tensor.reshape(self.split).transpose(self.axes)
        return np.ascontiguousarray(ordered.reshape(self.matrix_shape), np.float32)

    def tensor(self, matrix: np.ndarray) -> np.ndarray:
        """(M, N) as the tensor again, float32."""
        ordered = matrix.reshape([self.split[a] for a in self.axes])
        back = ordered.transpose(np.argsort(self.axes)).reshape(self.shape)
        return np.ascontiguousarray(back, np.float32)

    def importance(self, channels: np.ndarray) -> np.ndarray:
        """A number of each input channel as one of each row of the matrix, (M,) float64; repeated over the window."""
        spread = [self.split[a] if a in self.channels else 1 for a in range(len(self.split))]
        whole = np.broadcast_to(np.asarray(channels, np.float64).reshape(spread), self.split)
        return whole.transpose(self.axes).reshape(self.matrix_shape)[:, 0].copy()


def dense(shape: tuple[int, ...], outputs_first: bool) -> tuple[Layout, ...]:
    """Fully connected, (out, in) or (..., in, out); leading axes are stacked as rows."""
    if outputs_first:
        return (Layout("dense", shape, shape, (1, 0), 1, (1,)),)
    n = len(shape)
    return (Layout("dense", shape, shape, tuple(range(n)), n - 1, (n - 2,)),)


def convolution(shape: tuple[int, ...], groups: int = 1) -> tuple[Layout, ...]:
    """Kernels (out, in / groups, *window); groups are stacked as rows, each channel of a depthwise one is a row."""
    split = (groups, shape[0] // groups, *shape[1:])
    window = tuple(range(3, len(split)))
    if groups > 1 and shape[1] == 1:
        return (Layout("depthwise", shape, split, (0, 1, 2, *window), 1, (0,)),)
    return _window_layouts(shape, split, window, group=(0,), inputs=2, outputs=1)


def channels_last(shape: tuple[int, ...]) -> tuple[Layout, ...]:
    """Kernels (*window, in, out), as Keras has them."""
    n = len(shape)
    return _window_layouts(shape, shape, tuple(range(n - 2)), group=(), inputs=n - 2, outputs=n - 1)


def channels_last_depthwise(shape: tuple[int, ...]) -> tuple[Layout, ...]:
    """Kernels (*window, channel, multiplier), as Keras has them."""
    n = len(shape)
    return (Layout("depthwise", shape, shape, (n - 2, n - 1, *range(n - 2)), 1, (n - 2,)),)


def _window_layouts(
    shape: tuple[int, ...],
    split: tuple[int, ...],
    window: tuple[int, ...],
    group: tuple[int, ...],
    inputs: int,
    outputs: int,
) -> tuple[Layout, ...]:
    rows = (*group, *window, inputs)
    im2col = Layout("im2col", shape, split, (*rows, outputs), len(rows), (*group, inputs))
    if len(window) != 2 or split[window[1]] == 1:  # a window of one column: both are the same
        return (im2col,)
    i, j = window
    return im2col, Layout("2k", shape, split, (*group, i, inputs, j, outputs), len(group) + 2, (*group, inputs))
