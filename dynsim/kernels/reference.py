"""The kernels in NumPy, as readable as the paper: the truth against which every other device is tested.

Contract, the same in every file of this package. Arrays in, arrays out; no classes, no I/O.

q_a : (H, M, d) coordinates of the emitting sub-models' copies; q_b : (H, N, d) of the receiving ones;
mu : (H,) shared coefficients; gain, eps, p : scalars; metric : a name in `METRICS`.

Path integral, Eq. (5):   phi_ij = gain * sum_h mu_h f(q_ih, q_jh)

All arrays are the device's own: `to_device` and `to_host` carry them, a whole state or frame at once. What is no kernel
is done by NumPy, whose functions reach the device by its protocols (NEP 13 and 18; `like=` where arrays begin). A
device whose arrays are not NumPy's names the kernels for those that are: `host`.
"""

from __future__ import annotations

import numpy as np

from . import host_copies, scalar
from .images import (  # noqa: F401
    convolve,
    convolve_back,
    norm_back,
    pool,
    pool_back,
    products,
    scaled,
    squares,
    sums,
)
from .medium import field_at, mean_field, mean_field_forces  # noqa: F401
from .particles import kick_drift  # noqa: F401

METRICS = tuple(scalar.CODES)


def metric_value(metric, a, b, eps, p):
    """f(a, b) over the last axis.

    l1 |v|_1, l2 and plummer sqrt(|v|^2 + eps^2), lp (sum |v|^p)^(1/p), squared |v|^2/2 (Eq. 37),
    reciprocal 1/sqrt(|v|^2 + eps^2) (poster; (S1)), dot a.b, with v = a - b.
    """
    v = a - b
    if metric == "l1":
        return np.abs(v).sum(-1)
    if metric in ("l2", "plummer"):
        return np.sqrt((v * v).sum(-1) + eps**2)
    if metric == "lp":
        return (np.abs(v) ** p).sum(-1) ** (1 / p)
    if metric == "squared":
        return 0.5 * (v * v).sum(-1)
    if metric == "reciprocal":
        return 1 / np.sqrt((v * v).sum(-1) + eps**2)
    if metric == "dot":
        return (a * b).sum(-1)
    raise ValueError(metric)


def metric_gradient(metric, a, b, eps, p):
    """(df/da, df/db, df/deps), the first two of a's broadcast shape, the last without the coordinate axis."""
    v = a - b
    f = metric_value(metric, a, b, eps, p)
    zero = np.zeros_like(f)
    if metric == "dot":
        return b + 0 * v, a + 0 * v, zero
    if metric == "l1":
        u, deps = np.sign(v), zero
    elif metric in ("l2", "plummer"):
        safe = np.where(f == 0, 1, f)
        u, deps = v / safe[..., None], eps / safe
    elif metric == "lp":
        safe = np.where(f == 0, 1, f)[..., None]
        u, deps = np.sign(v) * (np.abs(v) / safe) ** (p - 1), zero
    elif metric == "squared":
        u, deps = v, zero
    elif metric == "reciprocal":
        u, deps = -v * (f**3)[..., None], -eps * f**3
    else:
        raise ValueError(metric)
    return u, -u, deps


def path_integral(metric, q_a, q_b, mu, gain, eps, p):
    """W (M, N): Eq. (5)."""
    f = metric_value(metric, q_a[:, :, None, :], q_b[:, None, :, :], eps, p)
    return gain * np.einsum("h,hij->ij", mu, f)


def path_integral_forces(metric, q_a, q_b, mu, gain, eps, p, stress):
    """Forces on everything that makes W, for the stress force F (M, N) = -dE/dW: Eq. (6), corrected.

    Returns (on q_a (H, M, d), on q_b (H, N, d), on mu (H,), on gain, on eps): the last two scalars.
    """
    a, b = q_a[:, :, None, :], q_b[:, None, :, :]
    f = metric_value(metric, a, b, eps, p)
    u_a, u_b, u_eps = metric_gradient(metric, a, b, eps, p)
    # Eq. (6), line 1
    on_a = gain * np.einsum("h,ij,hijk->hik", mu, stress, u_a)
    # Eq. (6), line 2
    on_b = gain * np.einsum("h,ij,hijk->hjk", mu, stress, u_b)
    # Eq. (6), line 3
    weighted = np.einsum("ij,hij->h", stress, f)
    on_mu = gain * weighted
    on_gain = (mu * weighted).sum()
    on_eps = gain * np.einsum("h,ij,hij->", mu, stress, u_eps)
    return on_a, on_b, on_mu, on_gain, on_eps


def occupied_cells(q, delta):
    """Counts (k,) int64 of particles in each occupied cell floor(q / delta), in any order; q (n, d)."""
    return np.unique(np.floor(q / delta).astype(np.int64), axis=0, return_counts=True)[1]


def structural_entropy(q, deltas):
    """psi(delta) in nats, (k,) float64, of points q (n, d) for sides of cells `deltas` (k,): Eq. (13)."""
    shares = [occupied_cells(q, q.dtype.type(delta)) / len(q) for delta in deltas]
    # Eq. (13); the maximum of log(count) = 0 keeps a single cell from giving -0.0
    return np.array([max(0.0, -float((pr * np.log(pr)).sum())) for pr in shares])


def histogram(q, delta, first, shape):
    """Counts, int64 of `shape` (k,), of points q (n, k) in the cells floor(q / delta) from cell `first` (k,) on.

    The cells are those of `occupied_cells`: closed below, open above, so that a point on the upper edge of the
    histogram is out. Points beyond it and NaN are not counted.
    """
    cells = np.floor(q.T / q.dtype.type(delta)).astype(np.float64) - np.reshape(first, (-1, 1))
    inside = ((cells >= 0) & (cells < np.reshape(shape, (-1, 1)))).all(axis=0)
    flat = np.ravel_multi_index(tuple(cells[:, inside].astype(np.int64)), shape)
    return np.bincount(flat, minlength=np.prod(shape)).astype(np.int64, copy=False).reshape(shape)


def project_points(positions, matrix, width, height):
    """Where points are seen: (xy (n, 2) float32, depth (n,) float32, visible (n,) bool).

    positions : (n, 3); matrix : (4, 4), for row vectors, clip = [x, y, z, 1] @ matrix; width, height : pixels.
    As in OpenGL, clip / w is in [-1, 1]: xy are pixels from the upper left corner, y downwards; depth -1 is near, 1
    far; visible is what lies within the clip volume, in front of the eye. Behind it (w <= 0) xy and depth are NaN.
    """
    matrix = np.asarray(matrix, np.float64)
    x, y, z, w = matrix[:3].T @ np.asarray(positions, np.float64).T + matrix[3][:, None]
    seen = np.stack([x, y, z]) / np.where(w > 0, w, np.nan)
    across, up, away = seen
    xy = np.stack([(1 + across) / 2 * width, (1 - up) / 2 * height], axis=1)
    visible = (np.abs(seen) <= 1).all(axis=0)
    return xy.astype(np.float32), away.astype(np.float32), visible


def erf(a):
    """The error function of every number."""
    from scipy.special import erf as of_scipy  # slow to import, and few runs need it

    return of_scipy(a)


def expit(a):
    """1 / (1 + exp(-a)) of every number."""
    from scipy.special import expit as of_scipy

    return of_scipy(a)


def to_device(arrays):
    """Arrays of the host, or numbers, where the kernels work: a list, of the same types and shapes."""
    return list(arrays)


def to_host(arrays):
    """Arrays from where the kernels work as NumPy's: a list, complete on return."""
    return list(arrays)


def to_host_later(arrays):
    """The same without waiting: what to ask for the list (`host_copies.Copies`), as the arrays are now."""
    return host_copies.there(arrays)


def thread_count():
    """How many threads share the work: NumPy's loops run on one."""
    return 1


def matmul(a, b):
    """a @ b with the same bits for any number of threads."""
    return a @ b


def multiply_adds(x, factor, summand, times):
    """x (n,) after `times` of x -> factor x + summand, which measures how fast a device does them."""
    factor, summand = x.dtype.type(factor), x.dtype.type(summand)
    for _ in range(times):
        x = factor * x + summand
    return x
