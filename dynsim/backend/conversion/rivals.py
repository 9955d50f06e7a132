"""What a converted layer is compared with, each in its best form: compressors of one matrix of weights (M, N).

Every one takes the matrix, float32, and where data are given the importance (M,) of its inputs (their mean squares),
minimises `weighted_error`, and returns an `Encoded` that counts all that its decoder reads. All are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from dynsim.backend.conversion.clusters import column_gain, lloyd, nearest, row_weights, scale_of, short
from dynsim.backend.conversion.compression import Encoded, decoder
from dynsim.backend.conversion.quantise import pack, unpack
from dynsim.backend.conversion.trellis import trellis
from dynsim.errors import OptionError, unknown

_CLIPS = np.geomspace(0.08, 1.0, 18)
_SAMPLE = 1 << 14


# ---- keep and rounding


def keep(matrix: np.ndarray, bits: int = 32) -> Encoded:
    """As it is, in float32 or float16 (there within its range)."""
    if bits not in (16, 32):
        raise OptionError("not a floating-point width", given=bits, allowed="16 or 32", where="keep")
    most = np.finfo(np.float16).max
    stored = matrix.astype(np.float32) if bits == 32 else np.clip(matrix, -most, most).astype(np.float16)
    return Encoded("keep", matrix.shape, {"values": stored}, {"bits": bits, "numbers": matrix.size})


@decoder("keep")
def _keep(form: Encoded) -> np.ndarray:
    return form.arrays["values"].astype(np.float32)


def _grid_of(x: np.ndarray, weights: np.ndarray, bits: int, columns: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (M, N) on 2^bits even levels, with the lowest and the step, (1, N) or (1, 1), of the best clipped range."""
    axis, top = (0 if columns else None), 2**bits - 1
    low, high = x.min(axis=axis, keepdims=True), x.max(axis=axis, keepdims=True)
    best, least, width = np.full(low.shape, np.inf), low, low
    for clip in _CLIPS:
        step = (high - low) * (clip / top)
        start = (high + low) / 2 - step * (top / 2)
        error = np.square(_levels(x, start, step, top) * step + start - x) * weights
        total = error.sum(axis=axis, keepdims=True)
        least, width = np.where(total < best, start, least), np.where(total < best, step, width)
        best = np.minimum(best, total)
    for _ in range(4):
        least, width = _regressed(x, _levels(x, least, width, top), weights, axis, least, width)
    least, width = short(least), short(width)
    return _levels(x, least.astype(np.float64), width.astype(np.float64), top).astype(np.uint8), least, width


def _regressed(
    x: np.ndarray, codes: np.ndarray, weights: np.ndarray, axis: int | None, start: np.ndarray, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The start and step of least weighted error at given codes; those given, where all codes are one."""
    share = np.broadcast_to(weights / np.broadcast_to(weights, x.shape).sum(axis=axis, keepdims=True), x.shape)
    mean_x, mean = (np.sum(share * a, axis=axis, keepdims=True) for a in (x, codes))
    spread = np.sum(share * np.square(codes - mean), axis=axis, keepdims=True)
    slope = np.sum(share * (codes - mean) * (x - mean_x), axis=axis, keepdims=True) / np.where(spread > 0, spread, 1)
    fits = (spread > 1e-12) & (slope > 0)
    return np.where(fits, mean_x - slope * mean, start), np.where(fits, slope, step)


def _levels(x: np.ndarray, start: np.ndarray, step: np.ndarray, top: int) -> np.ndarray:
    return np.clip(np.rint((x - start) / np.where(step > 0, step, 1.0)), 0, top)


def rounding(matrix: np.ndarray, bits: int = 4, columns: bool = True, importance: np.ndarray | None = None) -> Encoded:
    """To the nearest of 2^bits (2 to 8) even levels in the best clipped range, of the matrix or of each column."""
    if not 2 <= bits <= 8:
        raise OptionError("not a width of rounding", given=bits, allowed="2 to 8 bits", where="rounding")
    codes, low, step = _grid_of(matrix.astype(np.float64), row_weights(matrix, importance), bits, columns)
    arrays = {"codes": pack(codes, bits), "low": low, "step": step}
    settings = {"bits": bits, "columns": columns, "numbers": matrix.size + low.size + step.size}
    return Encoded("rounding", matrix.shape, arrays, settings)


@decoder("rounding")
def _rounding(form: Encoded) -> np.ndarray:
    codes = unpack(form.arrays["codes"], form.settings["bits"], form.shape[0] * form.shape[1]).reshape(form.shape)
    return (codes * form.arrays["step"].astype(np.float64) + form.arrays["low"]).astype(np.float32)


# ---- codebooks of numbers and of sub-vectors


def codebook(matrix: np.ndarray, bits: int = 3, columns: bool = False, importance: np.ndarray | None = None) -> Encoded:
    """k-means of the numbers, 2^bits values (1 to 8 bits); `columns`: in units of each one's root mean square."""
    gain = column_gain(matrix, columns)
    x = (matrix / scale_of(gain)).reshape(-1)
    weights = np.broadcast_to(row_weights(matrix, importance) * scale_of(gain) ** 2, matrix.shape).reshape(-1)
    values = short(lloyd(x, weights, 2**bits))
    codes = nearest(x, values.astype(np.float64))
    arrays = {"codes": pack(codes, bits), "values": values, "gain": gain}
    settings = {"bits": bits, "columns": columns, "numbers": matrix.size + values.size + gain.size}
    return Encoded("codebook", matrix.shape, arrays, settings)


@decoder("codebook")
def _codebook(form: Encoded) -> np.ndarray:
    codes = unpack(form.arrays["codes"], form.settings["bits"], form.shape[0] * form.shape[1]).reshape(form.shape)
    return (form.arrays["values"].astype(np.float64)[codes] * scale_of(form.arrays["gain"])).astype(np.float32)


def _vectors(matrix: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Consecutive inputs (axis 0) or outputs (axis 1) of an (M, N) matrix as (n, length), zeros at the end."""
    lines = matrix.T if axis == 0 else matrix
    padded = np.pad(lines, ((0, 0), (0, -lines.shape[1] % length)))
    return padded.reshape(-1, length).astype(np.float32)


def _closest(v: np.ndarray, w: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which centre is closest to each vector, sum_k w_k (v_k - c_k)^2, and how far it is."""
    codes, costs = np.empty(len(v), dtype=np.int64), np.empty(len(v))
    for part in (slice(i, i + 4096) for i in range(0, len(v), 4096)):
        cost = w[part] @ np.square(centres).T - (2 * w[part] * v[part]) @ centres.T
        codes[part] = cost.argmin(axis=1)
        costs[part] = cost[np.arange(len(cost)), codes[part]] + (w[part] * v[part] ** 2).sum(axis=1)
    return codes, costs


def _kmeans(v: np.ndarray, w: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, length) centres: weighted Lloyd's on a sample, then on all; a centre of nobody goes to the worst off."""
    sample = rng.permutation(len(v))[:_SAMPLE]
    centres = v[sample[rng.integers(0, len(sample), count)]] if len(sample) < count else v[sample[:count]]
    for part in [sample] * 24 + [slice(None)] * 2:
        codes, costs = _closest(v[part], w[part], centres)
        for k in range(v.shape[1]):
            mass = np.bincount(codes, w[part, k], count)
            total = np.bincount(codes, w[part, k] * v[part, k], count)
            centres[:, k] = np.divide(total, mass, out=centres[:, k].astype(np.float64), where=mass > 0)
        lonely = np.flatnonzero(np.bincount(codes, minlength=count) == 0)[: len(codes)]
        centres[lonely] = v[part][np.argsort(-costs)[: len(lonely)]]
    return centres


def product(
    matrix: np.ndarray,
    length: int = 4,
    count: int = 256,
    axis: int = 0,
    columns: bool = False,
    importance: np.ndarray | None = None,
    seed: int = 0,
) -> Encoded:
    """Product quantisation: sub-vectors of `length` inputs (axis 0) or outputs (axis 1), one of `count` centres each.

    `columns`: in units of each column's root mean square. k-means is weighted by importance and these units.
    """
    gain, bits = column_gain(matrix, columns), max(1, (count - 1).bit_length())
    weights = np.broadcast_to(row_weights(matrix, importance) * scale_of(gain) ** 2, matrix.shape)
    v, w = _vectors(matrix / scale_of(gain), length, axis), np.maximum(_vectors(weights, length, axis), 1e-9)
    centres = short(_kmeans(v, w, count, np.random.default_rng(seed)))
    codes = _closest(v, w, centres.astype(np.float32))[0]
    arrays = {"codes": pack(codes, bits), "centres": centres, "gain": gain}
    numbers = codes.size + centres.size + gain.size
    settings = {"bits": bits, "length": length, "count": count, "axis": axis, "columns": columns, "numbers": numbers}
    return Encoded("product", matrix.shape, arrays, settings)


@decoder("product")
def _product(form: Encoded) -> np.ndarray:
    length, axis = form.settings["length"], form.settings["axis"]
    along, lines = form.shape[axis], form.shape[1 - axis]
    codes = unpack(form.arrays["codes"], form.settings["bits"], lines * -(-along // length))
    padded = form.arrays["centres"].astype(np.float64)[codes].reshape(lines, -1)[:, :along]
    return ((padded.T if axis == 0 else padded) * scale_of(form.arrays["gain"])).astype(np.float32)


# ---- factors


def svd(matrix: np.ndarray, rank: int, bits: int = 16, importance: np.ndarray | None = None) -> Encoded:
    """The best A (M, r) B (r, N), singular values shared alike, in 32 or 16 (floats) or 2 to 8 bits (per component).

    B is fitted again to the rounded A. With importance, of diag(sqrt(s)) W.
    """
    roots = np.sqrt(np.maximum(row_weights(matrix, importance), 1e-6))
    u, s, _ = np.linalg.svd(roots * matrix.astype(np.float64), full_matrices=False)
    a = _stored(u[:, :rank] * np.sqrt(s[:rank]) / roots, roots**2, bits)
    left = roots * _factor(a, bits, (len(matrix), rank))
    b = _stored(np.linalg.lstsq(left, roots * matrix, rcond=1e-9)[0].T, np.ones((1, 1)), bits)
    arrays = {f"{name}.{k}": x for name, factor in (("a", a), ("b", b)) for k, x in factor.items()}
    stored = rank * sum(matrix.shape) + (4 * rank if bits <= 8 else 0)
    return Encoded("svd", matrix.shape, arrays, {"bits": bits, "rank": rank, "numbers": stored})


def _stored(x: np.ndarray, weights: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """One factor, components as columns."""
    if bits > 8:
        return {"values": keep(x, bits).arrays["values"]}
    codes, low, step = _grid_of(x, weights, bits, columns=True)
    return {"codes": pack(codes, bits), "low": low, "step": step}


def _factor(stored: dict[str, np.ndarray], bits: int, shape: tuple[int, int]) -> np.ndarray:
    if bits > 8:
        return stored["values"].astype(np.float64)
    codes = unpack(stored["codes"], bits, shape[0] * shape[1]).reshape(shape)
    return codes * stored["step"].astype(np.float64) + stored["low"]


@decoder("svd")
def _svd(form: Encoded) -> np.ndarray:
    rank, bits = form.settings["rank"], form.settings["bits"]
    a, b = ({k[2:]: x for k, x in form.arrays.items() if k[0] == name} for name in "ab")
    return (_factor(a, bits, (form.shape[0], rank)) @ _factor(b, bits, (form.shape[1], rank)).T).astype(np.float32)


# ---- all of them, for a knapsack to choose from

METHODS = ("keep", "rounding", "codebook", "product", "svd", "trellis")


def candidates(
    matrix: np.ndarray,
    importance: np.ndarray | None = None,
    seed: int = 0,
    most_bytes: int | None = None,
    methods: Sequence[str] | None = None,
) -> list[Encoded]:
    """Every rival at every sensible setting, without those of more than `most_bytes`.

    `methods` names some of METHODS (default all). Raises OptionError for another name.
    """
    chosen = METHODS if methods is None else tuple(methods)
    for name in chosen:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    most = float("inf") if most_bytes is None else most_bytes
    forms = (make() for name in chosen for least, make in _GRIDS[name](matrix, importance, seed) if least <= most)
    return [form for form in forms if form.nbytes <= most]


Grid = Iterator[tuple[float, Callable[[], Encoded]]]  # bytes that it takes at least, and the form


def _keeps(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    for bits in (32, 16):
        yield matrix.size * bits / 8, partial(keep, matrix, bits)


def _roundings(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    for bits, columns in ((b, c) for b in range(2, 9) for c in (False, True)):
        yield matrix.size * bits / 8, partial(rounding, matrix, bits, columns, importance)


def _codebooks(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    for bits, columns in ((b, c) for b in range(1, 6) for c in (False, True)):
        yield matrix.size * bits / 8, partial(codebook, matrix, bits, columns, importance)


def _products(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    for length, count in ((n, k) for n in (2, 4, 8) for k in (16, 64, 256, 1024)):
        bits = (count - 1).bit_length()
        if bits > 4 * length or 4 * count * length > matrix.size:  # others do better there
            continue
        for axis, columns in ((0, False), (0, True), (1, False)):
            least = matrix.size / length * bits / 8 + 2 * count * length
            yield least, partial(product, matrix, length, count, axis, columns, importance, seed)


def _svds(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    full = min(matrix.shape)
    ranks = sorted({max(1, round(full * share)) for share in np.geomspace(0.02, 1.0, 12)})
    for rank, bits in ((r, b) for r in ranks for b in (32, 16, 8, 6, 4)):
        yield rank * sum(matrix.shape) * bits / 8, partial(svd, matrix, rank, bits, importance)


def _trellises(matrix: np.ndarray, importance: np.ndarray | None, seed: int) -> Grid:
    for step in np.geomspace(0.05, 2.0, 20):
        yield 0, partial(trellis, matrix, float(step), importance)


_GRIDS: dict[str, Callable[[np.ndarray, np.ndarray | None, int], Grid]] = dict(
    zip(METHODS, (_keeps, _roundings, _codebooks, _products, _svds, _trellises))
)
