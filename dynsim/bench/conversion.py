"""A matrix fitted by path integrals: the descent of `dynsim convert` against the same one written in torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dynsim.backend.conversion.coordinates import LEARNS_EPS, PathIntegrals
from dynsim.backend.conversion.descent import BALANCED, RATE, SAMPLE, Target, descend, random_start
from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.system.initialise import random

SIDE, COPIES, DIM = 512, 8, 4
WHOLE, STEPS = 1200, 20  # of a fit; that are timed
ALLOWED = 20e3  # ms for a whole fit on one thread


@benchmark("conversion")
def conversion(context: Context) -> Iterator[Case]:
    """The first steps of a fit; the same starting points, rows and rate for both."""
    shape = f"{SIDE} x {SIDE}, H {COPIES}, d {DIM}, {STEPS} of {WHOLE} steps"
    for metric in ("l2", "reciprocal"):
        fit = _Fit(metric, context)
        rivals = [Rival("torch, Adam, mu solved for", fit.torch, 5.0, "torch")]
        if context.threads == 1:
            allowed = f"allowed: {ALLOWED / 1e3:g} s for {WHOLE} steps"
            rivals.append(Rival(allowed, ALLOWED * STEPS / WHOLE, 1.0))
        yield Case(f"conversion {metric}", shape, fit.ours, tuple(rivals), most=3, tolerance=1e-2)


@dataclass(frozen=True)
class _Fit:
    """Works that return the relative error reached."""

    metric: str
    context: Context

    def start(self) -> tuple[Target, PathIntegrals]:
        values = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
        target = Target(values, None, self.context.kernels)
        return target, random_start(target, self.metric, COPIES, DIM, seed=0)

    def ours(self) -> Work:
        target, first = self.start()
        how = {"steps": STEPS, "rate": RATE["random"], "bits": None, "seed": 0, "told": None}
        return lambda: np.float64(descend(target, first, **how)[2])  # type: ignore[arg-type]

    def torch(self) -> Work:
        target, first = self.start()
        return lambda: _torch_descend(target.values, first)


def _torch_descend(values: np.ndarray, first: PathIntegrals) -> float:
    """Distances of all copies at once, their gradients by torch, its fused Adam."""
    import torch

    rng, w = random(0, "batch"), torch.from_numpy(values)
    a, b = (torch.from_numpy(first.q[side]).clone().requires_grad_() for side in ("a", "b"))
    log_eps = torch.tensor(math.log(first.eps), requires_grad=True)
    moving = [a, b, log_eps] if first.metric in LEARNS_EPS else [a, b]
    adam = torch.optim.Adam(moving, lr=1.0, betas=(0.9, 0.99), eps=1e-12, fused=True)
    shells = _torch_shells(first.metric)
    count = max(COPIES, SAMPLE // SIDE)

    def solved(rows: torch.Tensor, balanced: bool) -> torch.Tensor:
        with torch.no_grad():
            flat = shells(a[:, rows], b, log_eps.exp()).reshape(COPIES, -1).double()
            normal, right = flat @ flat.T, flat @ w[rows].reshape(-1).double()
            normal += (1e-12 * normal.trace() / COPIES + 1e-30) * torch.eye(COPIES)
            mu, uniform = torch.linalg.solve(normal, torch.stack([right, torch.ones_like(right)], 1)).T
            return (mu - uniform * mu.sum() / uniform.sum() if balanced else mu).float()

    for t in range(STEPS):
        rows = torch.from_numpy(np.sort(rng.choice(SIDE, count, replace=False)))
        mu = solved(rows, t < BALANCED * STEPS)
        phi = torch.einsum("h,hij->ij", mu, shells(a, b, log_eps.exp()))
        adam.zero_grad()
        ((w - phi).square().sum() / 2).backward()
        adam.param_groups[0]["lr"] = RATE["random"] * 0.5 * (1 + math.cos(math.pi * t / STEPS))
        adam.step()
    with torch.no_grad():
        mu = solved(torch.arange(SIDE), False)
        phi = torch.einsum("h,hij->ij", mu, shells(a, b, log_eps.exp()))
        return float((w - phi).norm() / w.norm())


def _torch_shells(metric: str) -> Callable:
    """(q_a (H, M, d), q_b (H, N, d), eps) -> f(distance) (H, M, N); eps is one more coordinate."""
    import torch
    from torch.nn.functional import pad

    def shells(a, b, eps):
        away = torch.cdist(torch.cat([a, eps.expand(*a.shape[:2], 1)], 2), pad(b, (0, 1)))
        return 1 / away if metric == "reciprocal" else away

    return shells
