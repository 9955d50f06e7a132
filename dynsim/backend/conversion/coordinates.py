"""The stored form of a matrix of weights as path integrals: coordinates, in float32 or packed in few bits, and mu."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dynsim.backend.conversion.compression import Encoded, decoder
from dynsim.backend.conversion.quantise import pack, unpack
from dynsim.errors import OptionError
from dynsim.kernels.load import load
from dynsim.kernels.reference import METRICS as ALL_METRICS

METRICS = tuple(m for m in ALL_METRICS if m != "lp")
SOFTENED = ("l2", "plummer", "reciprocal")
LEARNS_EPS = ("plummer", "reciprocal")
SIDES = ("a", "b")
DIMS = range(4, 10)  # measured equal from 3 to 8, worse from 16 on
Coordinates = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Lattice:
    """The points that b bits a coordinate can name: q = offset + step * code, code in 0 ... 2^b - 1.

    offset : (H, 1, d) and step : (H, 1, 1), float32 numbers that float16 holds exactly: they are stored in it.
    """

    offset: np.ndarray
    step: np.ndarray
    top: int

    @staticmethod
    def around(q: np.ndarray, bits: int) -> Lattice:
        """One that covers coordinates q (H, n, d): reach(bits) standard deviations, but no further than they go."""
        centre = q.mean(axis=1, keepdims=True)
        spread = np.sqrt(q.var(axis=1, keepdims=True).mean(axis=2, keepdims=True))
        half = np.minimum(reach(bits) * spread, np.abs(q - centre).max(axis=(1, 2), keepdims=True))
        top = 2**bits - 1
        return Lattice(_half(centre - half), _half(2 * half / top), top)

    def latent(self, q: np.ndarray) -> np.ndarray:
        """Coordinates in units of codes, not rounded; 0 where all coordinates of a copy are one."""
        return (q - self.offset) / np.where(self.step > 0, self.step, 1)

    def codes(self, q: np.ndarray) -> np.ndarray:
        """The nearest codes, as float32."""
        return np.clip(np.rint(self.latent(q)), 0, self.top)

    def points(self, codes: np.ndarray) -> np.ndarray:
        """The coordinates that codes name."""
        return self.offset + self.step * codes

    def clip(self, q: np.ndarray) -> np.ndarray:
        """Coordinates kept within half a step of the lattice, so that none drifts where rounding hides it."""
        return np.clip(q, self.offset - self.step / 2, self.offset + self.step * (self.top + 0.5))

    def stored(self) -> np.ndarray:
        """(H, d + 1) float16: offsets and step."""
        return np.concatenate([self.offset, self.step], axis=2)[:, 0].astype(np.float16)

    @staticmethod
    def read(stored: np.ndarray, bits: int) -> Lattice:
        wide = stored.astype(np.float32)[:, None]
        return Lattice(wide[..., :-1], wide[..., -1:], 2**bits - 1)


def reach(bits: int) -> float:
    """Half the width of a lattice in standard deviations of the coordinates; measured for 4 bits."""
    return 0.6 + 0.4 * bits


def _half(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


@dataclass(frozen=True)
class PathIntegrals:
    """What a fit moves: q["a"] (H, M, d), q["b"] (H, N, d), mu (H,), eps; gain is the matrix's scale."""

    metric: str
    q: Coordinates
    mu: np.ndarray
    eps: float

    def matrix(self, kernels, gain: float = 1.0) -> np.ndarray:
        """phi (M, N), Eq. (5)."""
        return kernels.path_integral(self.metric, self.q["a"], self.q["b"], self.mu, gain, self.eps, 2.0)


def encode(
    shape: tuple[int, int], phi: PathIntegrals, gain: float, lattices: Mapping[str, Lattice] | None, bits: int | None
) -> Encoded:
    """The stored form; with lattices every coordinate must be one of their points."""
    arrays: dict[str, np.ndarray] = {}
    for side in SIDES:
        if lattices is None or bits is None:
            arrays[f"q_{side}"] = phi.q[side].astype(np.float32)
        else:
            lattice = lattices[side]
            arrays[f"codes_{side}"] = pack(lattice.codes(phi.q[side]).astype(np.int64), bits)
            arrays[f"lattice_{side}"] = lattice.stored()
    arrays["mu"] = phi.mu.astype(np.float32)
    arrays["gain"] = np.array([gain], np.float32)
    if phi.metric in SOFTENED:
        arrays["eps"] = np.array([phi.eps], np.float32)
    copies, _, dim = phi.q["a"].shape
    count = numbers(shape, copies, dim, phi.metric)
    settings = {"metric": phi.metric, "copies": copies, "dim": dim, "bits": bits, "numbers": count}
    return Encoded("dyn", shape, arrays, settings)


@decoder("dyn")
def decode(encoded: Encoded) -> np.ndarray:
    """W (M, N) float32 by the CPU kernels: the same bits for any number of threads."""
    return integrals(encoded).matrix(load("cpu"), float(encoded.arrays["gain"][0]))


def integrals(encoded: Encoded) -> PathIntegrals:
    """The coordinates, mu and eps of a stored form, in units of its gain."""
    settings, arrays = encoded.settings, encoded.arrays
    copies, dim, bits = settings["copies"], settings["dim"], settings["bits"]
    q = {}
    for side, n in zip(SIDES, encoded.shape, strict=True):
        if bits is None:
            q[side] = np.asarray(arrays[f"q_{side}"])
        else:
            codes = unpack(arrays[f"codes_{side}"], bits, copies * n * dim).reshape(copies, n, dim)
            q[side] = Lattice.read(arrays[f"lattice_{side}"], bits).points(codes.astype(np.float32))
    eps = float(arrays["eps"][0]) if "eps" in arrays else 0.0
    return PathIntegrals(settings["metric"], q, np.asarray(arrays["mu"]), eps)


def numbers(shape: tuple[int, int], copies: int, dim: int, metric: str) -> int:
    """How many numbers are trained: H d (M + N) coordinates, H of mu, the gain, and eps where it is learned."""
    return copies * dim * sum(shape) + copies + 1 + (metric in LEARNS_EPS)


def stored_bytes(shape: tuple[int, int], copies: int, dim: int, metric: str, bits: int | None) -> int:
    """`Encoded.nbytes` of such a form, without making it."""
    rest = 4 * (copies + 1 + (metric in SOFTENED))
    if bits is None:
        return 4 * copies * dim * sum(shape) + rest
    return sum(-(-copies * dim * n * bits // 8) for n in shape) + 4 * copies * (dim + 1) + rest


def settings_for(
    shape: tuple[int, int],
    *,
    numbers: int | None = None,
    bytes: int | None = None,
    bits: int | None = None,
    metric: str = "reciprocal",
) -> tuple[int, int]:
    """(H, d) that make the most of an allowance of numbers, or of bytes at `bits` a coordinate.

    d is 4 ... 9 and H at least 2; of forms that use it about equally (3 %), the one with d nearest to 5.
    Raises OptionError where not even H = 2, d = 4 fits, or without exactly one allowance.
    """
    if (numbers is None) == (bytes is None):
        raise OptionError("one allowance is needed", where="settings_for", allowed="numbers or bytes")
    allowance = numbers if bytes is None else bytes

    def cost(copies: int, dim: int) -> int:
        if bytes is None:
            return _numbers(shape, copies, dim, metric)
        return stored_bytes(shape, copies, dim, metric, bits)

    fits = {dim: _most_copies(cost, dim, allowance) for dim in DIMS}
    sizes = {(copies, dim): copies * dim for dim, copies in fits.items() if copies >= 2}
    if not sizes:
        raise OptionError(
            "too little for path integrals",
            where=f"a matrix of {shape[0]} x {shape[1]}",
            given=allowance,
            allowed=f"at least {cost(2, DIMS[0])} {'numbers' if bytes is None else 'bytes'}",
        )
    most = max(sizes.values())
    return min((s for s, size in sizes.items() if size >= 0.97 * most), key=lambda s: (abs(s[1] - 5), s[1]))


def _most_copies(cost, dim: int, allowance: int | None) -> int:
    """The largest H whose cost, which grows evenly with H but for rounding, is within the allowance."""
    allowance = allowance or 0
    each = max(1, cost(2, dim) - cost(1, dim))
    copies = max(0, math.ceil((allowance - cost(1, dim)) / each) + 2)
    while copies > 0 and cost(copies, dim) > allowance:
        copies -= 1
    return copies


_numbers = numbers  # `settings_for` has an argument of that name
