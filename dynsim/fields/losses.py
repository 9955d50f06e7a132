"""What a network minimises, and the feedback -dLoss/dR that its output gets: Phi_out of Eq. (7)."""

from __future__ import annotations

import numpy as np

LOSSES = ("cross-entropy", "squared")


def loss_and_feedback(kind: str, r: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss of a batch and -dLoss/dR of the output, (B, N): (T - softmax(R)) / B or (T - R) / B.

    Parameters
    ----------
    r : (B, N) received signals of the output.
    y : labels (B,) in 0 ... N - 1, or real targets T (B, N), for which the loss is the squared one.
    """
    size = r.dtype.type(len(y))
    if y.ndim == 2 or kind == "squared":
        error = (y if y.ndim == 2 else one_hot(y, r)) - r
        return 0.5 * float((error.astype(np.float64) ** 2).sum()) / len(y), error.astype(r.dtype) / size
    probability = softmax(r)
    rows = np.arange(len(y), like=y)
    picked = probability[rows, y].astype(np.float64)
    # NaN must survive so that a blow-up is seen; only an underflow to 0 is lifted.
    loss = -float(np.log(np.where(picked == 0, np.finfo(r.dtype).tiny, picked)).mean())
    feedback = -probability
    feedback[rows, y] += 1
    return loss, feedback / size


def one_hot(y: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(B,) labels -> (B, N) of the shape and type of `like`."""
    target = np.zeros_like(like)
    target[np.arange(len(y), like=y), y] = 1
    return target


def softmax(r: np.ndarray) -> np.ndarray:
    """(B, classes) probabilities."""
    e = np.exp(r - r.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
