"""Coordinates whose path integrals approach a matrix: gradient descent with mu solved for at every step.

phi is linear in mu, so that the best mu for given coordinates is a small least-squares problem (variable projection,
Golub & Pereyra 1973). Its normal equations need no more than some rows of the matrix, drawn anew at every step;
the last ones take all. With mu eliminated, Adam (Kingma & Ba 2015)
on the coordinates leaves less error after equally many steps: all distances are positive and share a large mean, which
makes the problem stiff where mu is one more coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from dynsim.backend.conversion.coordinates import LEARNS_EPS, SIDES, Lattice, PathIntegrals, reach
from dynsim.system.initialise import random, sphere_points

EPS = {"l2": 1e-3, "plummer": 0.1, "reciprocal": 0.3}
RATE = {"random": 0.1, "svd": 0.03}
RADIUS = 30.0  # of the singular start, in units of the largest coordinate
SAMPLE = 16384  # entries of the matrix from which mu is solved for during the descent
CAUTION = 0.2  # weight of the rounding noise to come
BALANCED = 0.25  # share of the steps in which mu has zero sum
FREE = 0.55  # share of the steps before coordinates are rounded
REPORTS = 20
Told = Callable[[int, int, float], Any]


@dataclass(frozen=True)
class Target:
    """A matrix to approach: values (M, N) float32 of unit mean square, root (M, 1) of the rows' importance or None."""

    values: np.ndarray
    root: np.ndarray | None
    kernels: Any

    def weighted(self, rows: np.ndarray) -> np.ndarray:
        """Values whose first axis is the rows, times the root of their importance."""
        return rows if self.root is None else rows * self.root

    def error(self, phi: np.ndarray) -> float:
        """|W - phi| / |W|, weighted by rows where they have an importance."""
        return self.relative(self.weighted(self.values - phi))

    def relative(self, residual: np.ndarray) -> float:
        """The norm of a weighted residual over that of the values."""
        return float(np.linalg.norm(residual)) / self._norm

    @cached_property
    def _norm(self) -> float:
        return float(np.linalg.norm(self.weighted(self.values)))

    def rows(self, chosen: np.ndarray | slice) -> Target:
        root = None if self.root is None else self.root[chosen]
        return replace(self, values=self.values[chosen], root=root)

    def transposed(self) -> Target:
        return replace(self, values=np.ascontiguousarray(self.values.T))


def random_start(target: Target, metric: str, copies: int, dim: int, seed: int) -> PathIntegrals:
    """Points on the unit sphere."""
    rng = random(seed, "initial")
    q = {
        s: sphere_points(rng, copies, n, dim).astype(np.float32)
        for s, n in zip(SIDES, target.values.shape, strict=True)
    }
    return PathIntegrals(metric, q, np.zeros(copies), EPS.get(metric, 0.0))


def singular_start(target: Target, metric: str, copies: int, dim: int) -> PathIntegrals:
    """The truncated singular value decomposition as path integrals.

    dot holds rank H d exactly. A metric f(|v|) holds rank H (d - 1), nearly: with both clouds a distance R apart along
    the first axis and the singular vectors x, y on the others,
    f = f(R) + f'(R) (v_1 + |x - y|^2 / 2R) + O(R^-2), and v_1 = -(|x|^2 + |y|^2) / 2R leaves the product
    -f'(R) x.y / R; the constants f(R) vanish with a zero-sum mu. However, that is less rank than numbers pay for, so
    that it is a floor near SVD at (d - 1)/d of the numbers only. l1 has no such limit and starts there all the same.
    """
    inner = dim if metric == "dot" else dim - 1
    x, y = _singular_factors(target, copies, inner)
    if metric == "dot":
        return PathIntegrals(metric, {"a": x, "b": y}, np.ones(copies), 0.0)
    signs = np.where(np.arange(copies) % 2, 1.0, -1.0)
    y = y * signs[:, None, None]
    radius = RADIUS * max(1e-3, *(float(np.abs(v).max()) for v in (x, y)))
    q = {}
    for side, v, sign in (("a", x, 0.5), ("b", y, -0.5)):
        first = sign * (radius - (v**2).sum(axis=2, keepdims=True) / radius)
        q[side] = np.concatenate([first, v], axis=2).astype(np.float32)
    return PathIntegrals(metric, q, np.zeros(copies), EPS.get(metric, 0.0))


def _singular_factors(target: Target, copies: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, M, d), (H, N, d): the leading singular vectors, each times the root of its value, dealt out to the copies."""
    u, s, v = np.linalg.svd(target.weighted(target.values).astype(np.float64), full_matrices=False)
    if target.root is not None:
        u = u / np.maximum(target.root, 1e-3 * target.root.max())
    count = min(copies * dim, len(s))
    factors = []
    for vectors in (u[:, :count], v[:count].T):
        dealt = np.zeros((len(vectors), dim * copies))
        dealt[:, :count] = vectors * np.sqrt(s[:count])
        factors.append(dealt.reshape(-1, dim, copies).transpose(2, 0, 1).astype(np.float32))
    return factors[0], factors[1]


class Adam:
    """Adam with bias correction on a dict of arrays; `step` gives the moves."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.99) -> None:
        self.beta1, self.beta2, self.age = beta1, beta2, 0
        self.first: dict[str, np.ndarray] = {}
        self.second: dict[str, np.ndarray] = {}

    def step(self, forces: dict[str, np.ndarray], rate: float) -> dict[str, np.ndarray]:
        self.age += 1
        moves = {}
        for key, f in forces.items():
            m = self.first.setdefault(key, np.zeros_like(f))
            w = self.second.setdefault(key, np.zeros_like(f))
            m += (1 - self.beta1) * (f - m)
            w += (1 - self.beta2) * (f * f - w)
            scale = np.sqrt(w / (1 - self.beta2**self.age)) + 1e-12
            moves[key] = (rate / (1 - self.beta1**self.age)) * m / scale
        return moves


def solve_mu(target: Target, phi: PathIntegrals, noise: np.ndarray | float = 0.0, balanced: bool = False) -> np.ndarray:
    """(H,) float64: the mu of least weighted squares for given coordinates, all rows of the target.

    noise : (H,) variance that rounding will add to each copy's distances; it damps mu as in ridge regression.
    balanced : with zero sum. Early in a descent all mu may else take one sign, a trap: f > 0, so that no W of zero
    mean is left within reach.
    """
    copies = len(phi.mu)
    gram, block = np.zeros((copies + 1, copies + 1)), max(1, SAMPLE // target.values.shape[1])
    one = np.ones(1)
    for i in range(0, len(target.values), block):
        part = target.rows(slice(i, i + block))
        shells = np.empty((copies + 1, *part.values.shape))
        for h in range(copies):
            a, b = phi.q["a"][h : h + 1, i : i + block], phi.q["b"][h : h + 1]
            shells[h] = part.weighted(target.kernels.path_integral(phi.metric, a, b, one, 1.0, phi.eps, 2.0))
        shells[copies] = part.weighted(part.values)
        flat = shells.reshape(copies + 1, -1)
        gram += flat @ flat.T
    normal = gram[:copies, :copies]
    normal[np.diag_indices(copies)] += 1e-12 * np.trace(normal) / copies + 1e-30 + noise * target.values.size
    mu = np.linalg.solve(normal, gram[:copies, copies])
    if balanced and copies > 1:
        uniform = np.linalg.solve(normal, np.ones(copies))
        mu -= uniform * mu.sum() / uniform.sum()
    return mu


def descend(
    target: Target, phi: PathIntegrals, *, steps: int, rate: float, bits: int | None, seed: int, told: Told | None
) -> tuple[PathIntegrals, dict[str, Lattice] | None, float]:
    """(path integrals, their lattices, relative error) after `steps` steps of a rate that falls as a cosine.

    With bits the descent feels from the start how much rounding will cost, sum_h mu_h^2 step_h^2 / 12 a side, and
    after a share `FREE` of the steps coordinates are rounded in the forward pass (straight-through, Bengio et al.
    2013).
    """
    rng, adam = random(seed, "batch"), Adam()
    lattices: dict[str, Lattice] | None = None
    latent = {side: phi.q[side] for side in SIDES}
    log_eps = np.array([math.log(phi.eps)], np.float32) if phi.metric in LEARNS_EPS else None
    for t in range(steps):
        if bits is not None and lattices is None and t >= FREE * steps:
            lattices = {side: Lattice.around(q, bits) for side, q in latent.items()}
        noise = 0.0 if bits is None or lattices is not None else CAUTION * (2 * reach(bits) / (2**bits - 1)) ** 2 / 12
        phi = _solved(target, replace(phi, q=_rounded(latent, lattices)), noise, t < BALANCED * steps, rng)
        forces, error = _forces(target, phi, noise)
        moves = adam.step(forces, rate * 0.5 * (1 + math.cos(math.pi * t / steps)))
        latent = {side: latent[side] + moves[side] for side in SIDES}
        if lattices is not None:
            latent = {side: lattices[side].clip(q) for side, q in latent.items()}
        if log_eps is not None:
            log_eps = log_eps + moves["eps"]
            phi = replace(phi, eps=float(np.exp(log_eps[0])))
        if told is not None and t % max(1, steps // REPORTS) == 0:
            told(t, steps, error)
    phi = finished(target, replace(phi, q=_rounded(latent, lattices)))
    return phi, lattices, target.error(phi.matrix(target.kernels))


def finished(target: Target, phi: PathIntegrals) -> PathIntegrals:
    """With the best mu, as it will be stored."""
    phi = replace(phi, eps=float(np.float32(phi.eps)))
    return replace(phi, mu=solve_mu(target, phi).astype(np.float32))


def _rounded(latent: dict[str, np.ndarray], lattices: dict[str, Lattice] | None) -> dict[str, np.ndarray]:
    if lattices is None:
        return latent
    return {side: lattices[side].points(lattices[side].codes(q)) for side, q in latent.items()}


def _solved(
    target: Target, phi: PathIntegrals, noise: float, balanced: bool, rng: np.random.Generator
) -> PathIntegrals:
    """With the mu that suits a few rows, drawn anew each time."""
    m, n = target.values.shape
    count = min(m, max(len(phi.mu), SAMPLE // n))
    chosen = np.sort(rng.choice(m, count, replace=False)) if count < m else np.arange(m)
    sample = replace(phi, q={"a": np.ascontiguousarray(phi.q["a"][:, chosen]), "b": phi.q["b"]})
    spread = noise and noise * sum(q.var(axis=1).mean(axis=1) for q in phi.q.values())
    return replace(phi, mu=solve_mu(target.rows(chosen), sample, spread, balanced and phi.metric != "dot"))


def _forces(target: Target, phi: PathIntegrals, noise: float) -> tuple[dict[str, np.ndarray], float]:
    """Forces on the coordinates (Eq. 6) and on log eps, with the relative error; noise pulls each cloud together."""
    residual = phi.matrix(target.kernels)
    residual = target.weighted(np.subtract(target.values, residual, out=residual))
    error = target.relative(residual)
    stress = target.weighted(residual)
    a, b = phi.q["a"], phi.q["b"]
    on_a, on_b, _, _, on_eps = target.kernels.path_integral_forces(phi.metric, a, b, phi.mu, 1.0, phi.eps, 2.0, stress)
    forces = {"a": on_a, "b": on_b}
    if noise:
        pull = (noise * residual.size / a.shape[2] * phi.mu**2)[:, None, None].astype(np.float32)
        for side, q in phi.q.items():
            forces[side] = forces[side] - pull / q.shape[1] * (q - q.mean(axis=1, keepdims=True))
    if phi.metric in LEARNS_EPS:
        forces["eps"] = np.array([on_eps * phi.eps], np.float32)
    return forces, error
