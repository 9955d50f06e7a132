"""Coordinates of a whole network by its dependency graph: Algorithm 1 of the second paper, Sec. 2.3 and 4.2.

Layer by layer, each after those that it receives from, in units in which its weights have standard deviation 1:

    min over Q_l   mean (phi(Q_l,in, Q_l,out) - W_l / std)^2 + strength sum_l' mean (phi(Q_l,in, Q_l',out) - I)^2

with phi(q1, q2) = sum_h (-1)^h |q1_h - q2_h| (Sec. 4.2: signs are fixed, nothing but coordinates moves), and with the
predecessor's Q_l',out frozen. I says which receiving neuron is which emitting one: 1 for those of the same channel.
A start depends on the seed and on the layer's name and shape alone, so that fits of two states can be compared.

However, print sums norms, not mean squares, without a strength; it says neither how a layer of 400 neurons follows one
of 80 (here by channels) nor what the second term is for. It costs accuracy: it is off by default, and both errors are
given.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from dynsim.backend.conversion.coordinates import METRICS, SIDES
from dynsim.backend.conversion.descent import EPS, Adam
from dynsim.errors import OptionError, ShapeError, unknown
from dynsim.kernels.load import load_host
from dynsim.system.initialise import random, sphere_points

# layer -> {layer that it receives from: channels in which their neurons are counted}
Dependencies = Mapping[str, Mapping[str, int]]
RATE = 0.04  # of Adam, in units of the radius of the starting sphere


@dataclass(frozen=True)
class Anchor:
    """What a predecessor asks of the receiving neurons: phi(Q_in, q) = identity (M, K), q (H, K, d) frozen."""

    q: np.ndarray
    identity: np.ndarray


@dataclass(frozen=True)
class Fitted:
    """The neurons of one layer: q["a"] (H, M, d) receive what comes into the layer, q["b"] (H, N, d) emit.

    Attributes
    ----------
    std : of the weights, which the path integrals are multiplied by.
    error : |W - std phi| / |W|. constraints : |phi(Q_in, Q'_out) - I| / |I| by predecessor, on or off.
    """

    metric: str
    q: Mapping[str, np.ndarray]
    std: float
    error: float
    constraints: Mapping[str, float] = field(default_factory=dict)

    def matrix(self, device: str = "cpu") -> np.ndarray:
        """W (M, N) as path integrals."""
        return self.std * _phi(load_host(device), self.metric, self.q["a"], self.q["b"])

    @property
    def numbers(self) -> int:
        """How many are stored: the coordinates, and the standard deviation."""
        return sum(a.size for a in self.q.values()) + 1


def learn_coordinates(
    weights: Mapping[str, np.ndarray],
    *,
    dependencies: Dependencies | None = None,
    strength: float = 0.0,
    metric: str = "l2",
    copies: int = 4,
    dim: int = 4,
    steps: int = 300,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Fitted]:
    """Algorithm 1: coordinates of every layer W (M, N), inputs by outputs, in the order of the dependency graph.

    Parameters
    ----------
    dependencies : layer -> {layer that it receives from: channels}; both sizes are multiples of the channels, which
        vary fastest. Empty: every layer on its own.
    strength : of the constraint; 0 leaves it out, its error is measured all the same.
    metric : of `coordinates.METRICS`. copies : H, 2 or more. dim : d. Particles have H d numbers.

    Raises OptionError for a setting out of range or an unknown layer, ShapeError for what is no matrix, for sizes that
    are no multiples of the channels and for a cycle.
    """
    dependencies = dependencies or {}
    _check(weights, dependencies, strength, metric, copies, dim, steps)
    kernels = load_host(device)
    fitted: dict[str, Fitted] = {}
    # Algorithm 1, line 2
    for name in _order(weights, dependencies):
        w = np.asarray(weights[name], np.float64)
        std = float(w.std())
        target = (w / (std or 1)).astype(np.float32)
        # Algorithm 1, line 3
        q = _start(kernels, metric, target.shape, copies, dim, random(seed, "initial", zlib.crc32(name.encode())))
        anchors = {p: _anchor(fitted[p].q["b"], len(w), c) for p, c in dependencies.get(name, {}).items()}
        # Algorithm 1, line 4
        q = _descend(kernels, metric, target, q, list(anchors.values()), strength, steps)
        error = _relative(w, std * _phi(kernels, metric, q["a"], q["b"]))
        constraints = {p: _relative(a.identity, _phi(kernels, metric, q["a"], a.q)) for p, a in anchors.items()}
        fitted[name] = Fitted(metric, q, std, error, constraints)
    return {name: fitted[name] for name in weights}


def energy_and_forces(
    kernels: Any,
    metric: str,
    target: np.ndarray,
    q: Mapping[str, np.ndarray],
    anchors: list[Anchor],
    strength: float,
) -> tuple[float, dict[str, np.ndarray]]:
    """Half of what Algorithm 1, line 4, minimises, and the force on both sides of the layer: minus its gradient."""
    energy, on_in, on_out = _term(kernels, metric, target, q["a"], q["b"])
    for anchor in anchors if strength else []:
        more, on_a, _ = _term(kernels, metric, anchor.identity, q["a"], anchor.q)
        energy, on_in = energy + strength * more, on_in + strength * on_a
    return energy, {"a": on_in, "b": on_out}


def signs(copies: int, dtype: Any = np.float32) -> np.ndarray:
    """(H,) (-1)^h for h = 1 ... H, Sec. 4.2."""
    return np.where(np.arange(1, copies + 1) % 2, -1, 1).astype(dtype)


def _phi(kernels: Any, metric: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return kernels.path_integral(metric, a, b, signs(len(a), a.dtype), 1.0, EPS.get(metric, 0.0), 2.0)


def _term(kernels: Any, metric: str, target: np.ndarray, a: np.ndarray, b: np.ndarray):
    """(1/2 mean (phi - target)^2, force on a, force on b)."""
    stress = (target - _phi(kernels, metric, a, b)) / target.dtype.type(target.size)
    energy = 0.5 * target.size * float(np.square(stress, dtype=np.float64).sum())
    mu = signs(len(a), a.dtype)
    forces = kernels.path_integral_forces(metric, a, b, mu, 1.0, EPS.get(metric, 0.0), 2.0, stress)
    return energy, forces[0], forces[1]


def _descend(kernels, metric, target, q, anchors, strength, steps) -> dict[str, np.ndarray]:
    """Adam, whose rate falls as a cosine, from the start."""
    rate, adam = RATE * float(np.linalg.norm(q["a"], axis=-1).mean()), Adam()
    for t in range(steps):
        _, forces = energy_and_forces(kernels, metric, target, q, anchors, strength)
        moves = adam.step(forces, rate * 0.5 * (1 + math.cos(math.pi * t / steps)))
        q = {side: q[side] + moves[side] for side in SIDES}
    return q


def _start(kernels, metric, shape, copies, dim, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Points on the sphere; those of l1, l2 and plummer as far out as gives path integrals of standard deviation 1."""
    q = {s: sphere_points(rng, copies, n, dim).astype(np.float32) for s, n in zip(SIDES, shape, strict=True)}
    spread = float(_phi(kernels, metric, q["a"], q["b"]).std())
    radius = np.float32(1 / spread if metric in ("l1", "l2", "plummer") and spread > 0 else 1)
    return {side: radius * a for side, a in q.items()}


def _anchor(q: np.ndarray, receiving: int, channels: int) -> Anchor:
    same = np.equal.outer(np.arange(receiving) % channels, np.arange(q.shape[1]) % channels)
    return Anchor(q, same.astype(q.dtype))


def _relative(exact: np.ndarray, approximate: np.ndarray) -> float:
    return float(np.linalg.norm(exact - approximate) / (np.linalg.norm(exact) or 1))


def _order(weights: Mapping[str, np.ndarray], dependencies: Dependencies) -> list[str]:
    try:
        return list(TopologicalSorter({name: dependencies.get(name, {}) for name in weights}).static_order())
    except CycleError as error:
        raise ShapeError("the layers depend on each other in a cycle", given=" > ".join(error.args[1])) from None


def _check(weights, dependencies: Dependencies, strength, metric, copies, dim, steps) -> None:
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS, where="metric")
    for where, value, least in (("copies", copies, 2), ("dim", dim, 1), ("steps", steps, 0), ("strength", strength, 0)):
        if not value >= least:
            raise OptionError("too little", where=where, given=value, allowed=f"{least} or more")
    for name, w in weights.items():
        if np.ndim(w) != 2 or np.size(w) == 0:
            raise ShapeError("not a matrix of weights", where=name, given=f"shape {np.shape(w)}")
    for name, before in dependencies.items():
        for other, channels in before.items():
            if unfit := [k for k in (name, other) if k not in weights]:
                raise unknown("layer", unfit[0], tuple(weights), where="dependencies")
            sizes = np.shape(weights[name])[0], np.shape(weights[other])[1]
            if channels < 1 or any(n % channels for n in sizes):
                raise ShapeError(
                    "neurons that are no multiple of the channels",
                    where=f"{other} > {name}",
                    given=f"{sizes[1]} and {sizes[0]} neurons, {channels} channels",
                )
