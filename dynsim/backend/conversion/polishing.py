"""Better codes for coordinates that are rounded already: successive rounding, row by row, where it lowers the error.

With one side's coordinates fixed, every row of the matrix depends on its own sub-model's codes only. Near them the
residual is linear in the codes, so that a row is a closest-point problem in a lattice of basis J = d phi / d code;
Babai's nearest plane (1986) on the Cholesky factor of J^T J rounds one code after the other, each rounding made up for
by those still free. Whatever does not lower the true error is dropped.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dynsim.backend.conversion.coordinates import SIDES, Lattice, PathIntegrals
from dynsim.backend.conversion.descent import Target, finished
from dynsim.kernels import reference
from dynsim.system.initialise import random

ROUNDS = 8
TRIES = 2  # orders of rounding, drawn by chance
WORTH = 3e-4  # relative fall of the error that justifies another round
ENTRIES = 4_000_000  # of J at a time
RIDGE = 1e-3


def polish(target: Target, phi: PathIntegrals, lattices: dict[str, Lattice], seed: int) -> tuple[PathIntegrals, float]:
    """(path integrals with better codes and mu, relative error): rounds over both sides until little is won."""
    rng = random(seed, "validation")
    error = target.error(phi.matrix(target.kernels))
    for _ in range(ROUNDS):
        better = phi
        for side in SIDES:
            better = _polish_side(target, better, side, lattices[side], rng)
        better = finished(target, better)
        before, error_now = error, target.error(better.matrix(target.kernels))
        if error_now >= before:
            break
        phi, error = better, error_now
        if error > (1 - WORTH) * before:
            break
    return phi, error


def _polish_side(target: Target, phi: PathIntegrals, side: str, lattice: Lattice, rng) -> PathIntegrals:
    values = target.values if side == "a" else target.values.T
    weight = np.ones((1, 1), np.float32) if target.root is None else target.root
    weight = weight if side == "a" else weight.T
    q = phi.q[side].copy()
    other = phi.q["b" if side == "a" else "a"]
    copies, n, dim = q.shape
    block = max(1, ENTRIES // (other.shape[1] * copies * dim))
    for i in range(0, n, block):
        rows = slice(i, i + block)
        w = weight[rows] if len(weight) > 1 else weight
        problem = _Rows(target.kernels, phi, np.ascontiguousarray(values[rows]), w, other)
        q[:, rows] = problem.improve(q[:, rows], lattice, rng)
    return replace(phi, q={**phi.q, side: q})


class _Rows:
    """Some rows of the matrix (m, n), their weights, and the other side's coordinates (H, n, d), fixed."""

    def __init__(self, kernels, phi: PathIntegrals, values: np.ndarray, weight: np.ndarray, other: np.ndarray) -> None:
        self.kernels, self.phi, self.values, self.weight, self.other = kernels, phi, values, weight, other

    def residual(self, q: np.ndarray) -> np.ndarray:
        p = self.phi
        q = np.ascontiguousarray(q)
        return self.weight * (self.values - self.kernels.path_integral(p.metric, q, self.other, p.mu, 1.0, p.eps, 2.0))

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """(m, n, H d): d phi / d coordinate, weighted."""
        p = self.phi
        u = reference.metric_gradient(p.metric, q[:, :, None], self.other[:, None], np.float32(p.eps), 2.0)[0]
        u = u * p.mu.astype(np.float32)[:, None, None, None]
        copies, m, n, dim = u.shape
        return u.transpose(1, 2, 0, 3).reshape(m, n, copies * dim) * self.weight[..., None]

    def improve(self, q: np.ndarray, lattice: Lattice, rng: np.random.Generator) -> np.ndarray:
        """Coordinates (H, m, d), each row's replaced where other codes have less error."""
        copies, m, dim = q.shape
        residual = self.residual(q)
        least = np.einsum("ij,ij->i", residual, residual)
        basis = self.jacobian(q) * np.repeat(lattice.step[:, 0, 0], dim)
        normal = (basis.transpose(0, 2, 1) @ basis).astype(np.float64)
        pull = np.einsum("mnk,mn->mk", basis, residual).astype(np.float64)
        diagonal = np.arange(copies * dim)
        normal[:, diagonal, diagonal] += RIDGE * normal[:, diagonal, diagonal].mean(axis=1, keepdims=True) + 1e-12
        codes = lattice.codes(q).transpose(1, 0, 2).reshape(m, -1).astype(np.float64)
        best = q.copy()
        for _ in range(TRIES):
            found = nearest_plane(normal, pull, codes, lattice.top, rng.permutation(copies * dim))
            trial = lattice.points(found.reshape(m, copies, dim).transpose(1, 0, 2).astype(np.float32))
            error = np.square(self.residual(trial)).sum(axis=1)
            better = error < least
            best[:, better], least[better] = trial[:, better], error[better]
        return best


def nearest_plane(normal: np.ndarray, pull: np.ndarray, codes: np.ndarray, top: int, order: np.ndarray) -> np.ndarray:
    """Codes (m, k) in 0 ... top near the minimum of x.normal.x / 2 - pull.x over moves x, last of `order` first.

    normal (m, k, k) positive definite, pull (m, k), codes (m, k) from which the moves start: Babai (1986).
    """
    normal, pull, start = normal[:, order][:, :, order], pull[:, order], codes[:, order]
    factor = np.linalg.cholesky(normal)
    aim = np.linalg.solve(normal, pull[..., None])[..., 0]
    found, deviation = np.empty_like(start), np.zeros_like(start)
    for k in range(len(order) - 1, -1, -1):
        made_up = np.einsum("ml,ml->m", factor[:, k + 1 :, k], deviation[:, k + 1 :]) / factor[:, k, k]
        found[:, k] = np.clip(np.rint(start[:, k] + aim[:, k] - made_up), 0, top)
        deviation[:, k] = found[:, k] - start[:, k] - aim[:, k]
    result = np.empty_like(found)
    result[:, order] = found
    return result
