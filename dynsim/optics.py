"""Signals on their way through a medium, for pictures and tests: the profile S_ij(v) of Fig. 2 and paths that bend.

What reaches its end is a weight, `dynsim.system.crossing`; here is Eq. (29)-(30) for any Psi, step by step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dynsim.kernels import medium as formulas
from dynsim.system.crossing import GlobalField

LEAST_INDEX = 0.05  # of refraction, 1 + n


def carried(psi: Callable, emitted: np.ndarray, path: np.ndarray, steps: int = 16) -> np.ndarray:
    """Eq. (29)-(30): S at the corners of a path, (k, c), where dS = psi(S, v) |dv|; classical Runge-Kutta, O(steps^-4).

    Parameters
    ----------
    psi : (S (k,), v (k, d)) -> (k,), the signal's change per unit of length. emitted : (k,) S at the first corner.
    path : (c, k, d) corners. steps : on each of its straight pieces.
    """
    signal, arrived = np.array(emitted, float), [np.array(emitted, float)]
    for start, end in zip(path[:-1], path[1:]):
        piece = end - start
        h = np.linalg.norm(piece, axis=-1) / steps
        for step in range(steps):
            v0, v1, v2 = (start + (step + part) / steps * piece for part in (0.0, 0.5, 1.0))
            k1 = psi(signal, v0)
            k2 = psi(signal + 0.5 * h * k1, v1)
            k3 = psi(signal + 0.5 * h * k2, v1)
            signal = signal + h / 6 * (k1 + 2 * k2 + 2 * k3 + psi(signal + h * k3, v2))
        arrived.append(signal)
    return np.stack(arrived, axis=1)


def profile_through(field: GlobalField, law: str, emitted: np.ndarray, path: np.ndarray, steps: int = 2) -> np.ndarray:
    """S_ij at the corners of a path (c, k, d): (k, c), with mu_h = 1 and, for "length", S(q_i) = 0."""
    signal = np.asarray(emitted, float)
    if law == "length":
        return carried(lambda s, v: signal * (1 + field.at(v)), np.zeros(len(signal)), path, steps)
    return carried(lambda s, v: -field.at(v) * s, signal, path, steps)


def straight_path(start: np.ndarray, end: np.ndarray, corners: int = 33) -> np.ndarray:
    """(corners, d) points at equal distances from q_i to q_j, each (d,)."""
    return start + np.linspace(0, 1, corners)[:, None] * (np.asarray(end) - start)


def optical_length(field: GlobalField, path: np.ndarray) -> float:
    """int (1 + n) |dv| along a path (c, d), in units of q: two points of Gauss-Legendre on every piece."""
    pieces = np.diff(path, axis=0)
    inside = [path[:-1] + part * pieces for part in (0.5 - 12**-0.5, 0.5 + 12**-0.5)]
    index = 1 + sum(field.at(v) for v in inside) / 2
    return float((index * np.linalg.norm(pieces, axis=1)).sum())


def bent_path(field: GlobalField, start: np.ndarray, end: np.ndarray, corners: int = 33) -> np.ndarray:
    """The path of least optical length near the straight one (Fermat), a polyline (corners, d); see `bent_paths`."""
    return bent_paths(field, np.asarray(start)[None], np.asarray(end)[None], corners)[:, 0]


def bent_paths(
    field: GlobalField,
    start: np.ndarray,
    end: np.ndarray,
    corners: int = 33,
    first: np.ndarray | None = None,
    most: int = 200,
) -> np.ndarray:
    """(corners, k, d): paths of least optical length from q_i to q_j, each (k, d), polylines relaxed by L-BFGS.

    However, weights take the straight path: by Fermat's principle its optical length is longer in second order only.
    Where a negative W_l makes 1 + n fall below 0.05 this is taken as 0.05, or else no path would be the shortest.

    Parameters
    ----------
    first : inner corners to begin with, (corners - 2, k, d), those of the straight paths if None. most : iterations.
    """
    from scipy.optimize import minimize

    straight = np.stack([straight_path(a, b, corners) for a, b in zip(start.astype(float), end.astype(float))], axis=1)
    begin = straight[1:-1] if first is None else first
    shape = begin.shape

    def bent(inner: np.ndarray) -> np.ndarray:
        return np.concatenate([straight[:1], inner.reshape(shape), straight[-1:]])

    def objective(inner: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _stretched(field, bent(inner))
        return value, slope[1:-1].ravel()

    found = minimize(objective, begin.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": most})
    return bent(found.x)


def _stretched(field: GlobalField, paths: np.ndarray) -> tuple[float, np.ndarray]:
    """(E, its gradient) of paths (c, k, d): E = (c - 1)/2 sum n^2 |piece|^2, the energy of springs whose rest is the
    geodesic of the optical length with corners at equal optical distances."""
    pieces, middles = np.diff(paths, axis=0), (paths[1:] + paths[:-1]) / 2
    flat = middles.reshape(-1, middles.shape[-1])
    n, slope = formulas.field_at(flat, field.sources, field.amplitudes, field.width)
    index, slope = (1 + n).reshape(middles.shape[:-1]), slope.reshape(middles.shape)
    slope = np.where(index[..., None] > LEAST_INDEX, slope, 0.0)
    index = np.maximum(index, LEAST_INDEX)
    count, squares = len(pieces), (pieces * pieces).sum(-1)
    along = count * (index**2)[..., None] * pieces
    across = count * (index * squares)[..., None] * slope / 2
    gradient = np.zeros_like(paths)
    gradient[1:] += along + across
    gradient[:-1] += across - along
    return float(count / 2 * (index**2 * squares).sum()), gradient
