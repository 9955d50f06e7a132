"""Forward and backward of the layers of `dynsim.system.vectors`: vector signals, and a pool of sub-models.

The contract is that of `dynsim.fields.operations`: values (B, ..., s, N), feedback -dLoss/d(value).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dynsim.system.tensors import features, reduced, spread, with_features

if TYPE_CHECKING:
    from dynsim.fields.operations import Place, Pushed


def reduce(place: Place, x: np.ndarray):
    layer: Any = place.node.layer
    return (reduced(x, layer.groups),)


def reduce_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    layer: Any = place.node.layer
    return (spread(feedback, layer.groups),)


def positions(place: Place, x: np.ndarray):
    """Fig. 3: E_i = [X_i, position of i]."""
    layer: Any = place.node.layer
    if layer.trained:
        return with_features(x, place.x[f"bias:{place.node.key}"]), x.shape
    return with_features(x, np.asarray(features(x.shape[1:], layer.layer), x.dtype, like=x)), x.shape


def positions_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    (shape,) = kept
    if place.has("bias"):
        pushed.add_force(f"bias:{place.node.key}", feedback[:, 1:].sum(axis=0).T)
    return (feedback[:, 0].reshape(shape),)


def components(place: Place, x: np.ndarray):
    """Eq. (2), line 2: E_j = A R_j."""
    return mixing(place) @ x, x


def components_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    (x,) = kept
    on_matrix = np.tensordot(feedback, x, axes=((0, 2), (0, 2)))
    pushed.add_force(f"weight:{place.node.key}", on_matrix[..., None])
    return (mixing(place).T @ feedback,)


def mixing(place: Place) -> np.ndarray:
    """A (s', s)."""
    return place.x[f"weight:{place.node.key}"][..., 0]


def magnitude(place: Place, x: np.ndarray):
    """|E_j|_p = (sum_c |E_jc|^p)^(1/p), of powers of at most 1, so that none overflows."""
    layer: Any = place.node.layer
    size = np.abs(x)
    largest = size.max(axis=1, keepdims=True)
    ratio = size / np.where(largest == 0, 1, largest)
    length = largest[:, 0] * (ratio**layer.p).sum(axis=1) ** x.dtype.type(1 / layer.p)
    return length, x, length


def magnitude_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    """d|E|_p / dE_c = sign(E_c) (|E_c| / |E|_p)^(p - 1), and 0 where E = 0: no direction is better there."""
    layer: Any = place.node.layer
    x, length = kept
    ratio = np.abs(x) / np.where(length == 0, 1, length)[:, None]
    return ((feedback[:, None] * np.sign(x) * ratio ** (layer.p - 1)).astype(feedback.dtype, copy=False),)


def hold(place: Place, x: np.ndarray, *held: np.ndarray):
    """[data, what the others emit]; at the start [data, 0]."""
    data, layer = (held or (x,))[0], place.node.layer
    silent = np.zeros((*x.shape[:-1], layer.size - data.shape[-1]), x.dtype, like=x)  # type: ignore[union-attr]
    others = x[..., data.shape[-1] :] if held else silent
    return np.concatenate([data, others], axis=-1), data.shape[-1], bool(held)


def hold_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    count, held = kept
    if not held:
        return (feedback[..., :count],)
    on_others = feedback.copy()
    on_others[..., :count] = 0
    return on_others, feedback[..., :count]


def read(place: Place, x: np.ndarray):
    """R of the last sub-models."""
    return x[..., -place.node.shape[-1] :], x.shape


def read_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    (shape,) = kept
    on_all = np.zeros(shape, feedback.dtype, like=feedback)
    on_all[..., -feedback.shape[-1] :] = feedback
    return (on_all,)


VECTOR_OPERATIONS = {
    "Reduce": (reduce, reduce_back),
    "Positions": (positions, positions_back),
    "Components": (components, components_back),
    "Magnitude": (magnitude, magnitude_back),
    "Hold": (hold, hold_back),
    "Read": (read, read_back),
}
