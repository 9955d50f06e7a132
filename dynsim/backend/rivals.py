"""What a converted layer is compared with, each in its best form: compressors of one matrix of weights (M, N).

Every one takes the matrix, float32, and where data are given the importance (M,) of its inputs (their mean squares),
minimises `weighted_error`, and returns an `Encoded` that counts all that its decoder reads. All are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from dynsim.backend.compression import Encoded, decoder
from dynsim.backend.quantise import (
    NEXT,
    QUANTISER,
    EntropyDecoder,
    cheapest_path,
    entropy_encode,
    frequencies,
    pack,
    signed,
    unpack,
)
from dynsim.errors import OptionError, unknown

_CLIPS = np.geomspace(0.08, 1.0, 18)
_SAMPLE = 1 << 14
_LANE = 1 << 13  # symbols of one entropy coder
_PRICE = 0.08  # of a bit, in squared distances of levels: best at 1 to 3 bits, by trial


def _short(x: np.ndarray) -> np.ndarray:
    """In float16, where it holds them to 0.1 %, else in float32."""
    with np.errstate(over="ignore"):
        half = np.asarray(x).astype(np.float16)
    return half if np.allclose(half, x, rtol=1e-3, atol=0) else np.asarray(x).astype(np.float32)


def _weights(matrix: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """(M, 1) importance of mean 1."""
    if importance is None or not importance.mean() > 0:
        return np.ones((len(matrix), 1))
    return (importance / importance.mean())[:, None].astype(np.float64)


def _gain(matrix: np.ndarray, columns: bool) -> np.ndarray:
    """(1, N) root mean squares of the columns, as they are stored, or (1, 0) where they are not."""
    if not columns:
        return np.zeros((1, 0), dtype=np.float16)
    rms = np.sqrt(np.square(matrix.astype(np.float64)).mean(axis=0, keepdims=True))
    return _short(np.where(rms > 0, rms, 1.0))


def _scale(gain: np.ndarray) -> np.ndarray:
    return gain.astype(np.float64) if gain.size else np.ones((1, 1))


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
    least, width = _short(least), _short(width)
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
    codes, low, step = _grid_of(matrix.astype(np.float64), _weights(matrix, importance), bits, columns)
    arrays = {"codes": pack(codes, bits), "low": low, "step": step}
    settings = {"bits": bits, "columns": columns, "numbers": matrix.size + low.size + step.size}
    return Encoded("rounding", matrix.shape, arrays, settings)


@decoder("rounding")
def _rounding(form: Encoded) -> np.ndarray:
    codes = unpack(form.arrays["codes"], form.settings["bits"], form.shape[0] * form.shape[1]).reshape(form.shape)
    return (codes * form.arrays["step"].astype(np.float64) + form.arrays["low"]).astype(np.float32)


# ---- codebooks of numbers and of sub-vectors


def _lloyd(x: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The `count` values, ascending, of least weighted square distance to x (n,): Lloyd's, from two starts."""
    order = np.argsort(x)
    x, weights = x[order], np.maximum(weights[order], 1e-12)
    mass, moment = (np.concatenate([[0.0], np.cumsum(a)]) for a in (weights, weights * x))
    best, found = np.inf, x[:1]
    for values in (_spread(x, weights, count), x[(2 * np.arange(count) + 1) * len(x) // (2 * count)]):
        for _ in range(100):
            edges = np.concatenate([[0], np.searchsorted(x, (values[1:] + values[:-1]) / 2), [len(x)]])
            m, f = np.diff(mass[edges]), np.diff(moment[edges])
            moved = np.sort(np.divide(f, m, out=values.copy(), where=m > 0))
            if np.array_equal(moved, values):
                break
            values = moved
        error = -np.sum(np.divide(f * f, m, out=np.zeros(count), where=m > 0))
        if error < best:
            best, found = error, values
    return found


def _spread(x: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Levels as dense as the third root of the weight there, the best for many of them (Panter, Dite 1951)."""
    span = x[-1] - x[0]
    bins = np.minimum(512 * ((x - x[0]) / span), 511).astype(np.int64) if span > 0 else np.zeros(len(x), dtype=np.int64)
    dense = np.concatenate([[0.0], np.cumsum(np.cbrt(np.bincount(bins, weights, 512)))])
    return x[0] + span * np.interp((np.arange(count) + 0.5) / count * dense[-1], dense, np.arange(513) / 512)


def _nearest(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.searchsorted((values[1:] + values[:-1]) / 2, x)


def codebook(matrix: np.ndarray, bits: int = 3, columns: bool = False, importance: np.ndarray | None = None) -> Encoded:
    """k-means of the numbers, 2^bits values (1 to 8 bits); `columns`: in units of each one's root mean square."""
    gain = _gain(matrix, columns)
    x = (matrix / _scale(gain)).reshape(-1)
    weights = np.broadcast_to(_weights(matrix, importance) * _scale(gain) ** 2, matrix.shape).reshape(-1)
    values = _short(_lloyd(x, weights, 2**bits))
    codes = _nearest(x, values.astype(np.float64))
    arrays = {"codes": pack(codes, bits), "values": values, "gain": gain}
    settings = {"bits": bits, "columns": columns, "numbers": matrix.size + values.size + gain.size}
    return Encoded("codebook", matrix.shape, arrays, settings)


@decoder("codebook")
def _codebook(form: Encoded) -> np.ndarray:
    codes = unpack(form.arrays["codes"], form.settings["bits"], form.shape[0] * form.shape[1]).reshape(form.shape)
    return (form.arrays["values"].astype(np.float64)[codes] * _scale(form.arrays["gain"])).astype(np.float32)


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
    gain, bits = _gain(matrix, columns), max(1, (count - 1).bit_length())
    weights = np.broadcast_to(_weights(matrix, importance) * _scale(gain) ** 2, matrix.shape)
    v, w = _vectors(matrix / _scale(gain), length, axis), np.maximum(_vectors(weights, length, axis), 1e-9)
    centres = _short(_kmeans(v, w, count, np.random.default_rng(seed)))
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
    return ((padded.T if axis == 0 else padded) * _scale(form.arrays["gain"])).astype(np.float32)


# ---- factors


def svd(matrix: np.ndarray, rank: int, bits: int = 16, importance: np.ndarray | None = None) -> Encoded:
    """The best A (M, r) B (r, N), singular values shared alike, in 32 or 16 (floats) or 2 to 8 bits (per component).

    B is fitted again to the rounded A. With importance, of diag(sqrt(s)) W.
    """
    roots = np.sqrt(np.maximum(_weights(matrix, importance), 1e-6))
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


# ---- trellis-coded, entropy-coded levels


def trellis(matrix: np.ndarray, step: float = 1.0, importance: np.ndarray | None = None) -> Encoded:
    """Levels `step` root mean squares apart, by a four-state trellis, entropy-coded by the row's and column's class.

    Minimises error + 0.08 (2 step)^2 bits, with levels moved to their means, as entropy-constrained quantisation does
    (Chou, Lookabaugh, Gray 1989). With importance, each class of rows has a step of its own. `bits` is the mean of all.
    """
    s = _weights(matrix, importance)
    rows, scale = _row_classes(s[:, 0], matrix.size) if importance is not None else (None, np.ones(1, np.float16))
    g = _per_row(rows, scale, len(matrix))
    x, weights = matrix * g, np.broadcast_to(s / g**2, matrix.shape)
    width = step * np.sqrt(np.average(np.square(x), weights=weights)) or 1.0
    most = int(np.clip(np.ceil(np.abs(x).max() / (2 * width)), 1, 40))
    rows, columns = _contexts(x, _near(x, width, most), rows)
    context, count = _context(rows, columns, matrix.shape), _count(rows) * _count(columns)
    table, values, symbols, quantiser = _search(x, weights, context, count, width, most)
    states, words = entropy_encode(symbols, 2 * _lanes(context) + quantiser, signed(table))
    arrays = {"states": states, "words": words, "table": pack(table, 11), "values": values, "scale": scale}
    widths = {"rows": 2 if scale.size == 1 else 3, "columns": 2}
    arrays |= {name: pack(c, widths[name]) for name, c in (("rows", rows), ("columns", columns)) if c is not None}
    numbers = (
        matrix.size + table.size + values.size + scale.size + sum(c.size for c in (rows, columns) if c is not None)
    )
    settings = {"step": step, "most": most, "contexts": count, "numbers": numbers}
    bits = round(8 * sum(a.nbytes for a in arrays.values()) / matrix.size, 3)
    return Encoded("trellis", matrix.shape, arrays, settings | {"bits": bits})


def _classes(energy: np.ndarray, count: int) -> np.ndarray:
    """Of each row or column, 0 ... count - 1 by the logarithm of its energy."""
    logs = np.log(np.maximum(energy, 1e-6 * energy.mean() + 1e-300))
    return _nearest(logs, _lloyd(logs, np.ones(len(logs)), count))


def _row_classes(s: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of rows of like importance, the more the larger the matrix, and sqrt(s) of each class."""
    count = 8 if size >= 1 << 15 else 4 if size >= 1 << 12 else 2
    rows = _classes(s, count)
    means = np.bincount(rows, np.maximum(s, 1e-6), count) / np.maximum(np.bincount(rows, minlength=count), 1)
    return rows, _short(np.sqrt(np.where(means > 0, means, 1.0)))


def _per_row(rows: np.ndarray | None, scale: np.ndarray, count: int) -> np.ndarray:
    return scale.astype(np.float64)[np.zeros(count, dtype=np.int64) if scale.size == 1 else rows][:, None]


def _contexts(
    x: np.ndarray, levels: np.ndarray, rows: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Classes of rows (unless given) and of columns, where they save more bits than they and their tables take."""
    energy = np.square(x)
    of_rows = [None, _classes(energy.mean(axis=1), 4)] if rows is None else [rows]
    of_columns = [None, _classes(energy.mean(axis=0), 4)]
    pairs = [(r, c) for r in of_rows for c in of_columns]
    return min(pairs, key=lambda pair: _bits(levels, *pair))


def _bits(levels: np.ndarray, rows: np.ndarray | None, columns: np.ndarray | None) -> float:
    """An estimate of all that is stored, from the entropy of levels rounded one by one."""
    contexts, most = _count(rows) * _count(columns), int(levels.max())
    key = _context(rows, columns, levels.shape) * (most + 1) + levels
    counts = np.bincount(key.reshape(-1), minlength=contexts * (most + 1)).reshape(contexts, -1)
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    coded = -float(np.sum(counts * np.log2(np.where(p > 0, p, 1))))
    return coded + 22 * counts.size + sum(2 * c.size for c in (rows, columns) if c is not None)


def _near(x: np.ndarray, width: float, most: int) -> np.ndarray:
    """Magnitudes of the nearest levels of quantiser 0."""
    return np.minimum(np.rint(np.abs(x) / (2 * width)), most).astype(np.int64)


def _count(classes: np.ndarray | None) -> int:
    return 1 if classes is None else int(classes.max()) + 1


def _context(rows: np.ndarray | None, columns: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    r = np.zeros((shape[0], 1), dtype=np.int64) if rows is None else rows[:, None].astype(np.int64)
    c = np.zeros((1, shape[1]), dtype=np.int64) if columns is None else columns[None].astype(np.int64)
    return r * _count(columns) + c


def _lanes(x: np.ndarray, length: int = _LANE) -> np.ndarray:
    """(T, L), one entropy coder a column; zeros at the end."""
    lanes = -(-x.size // length)
    return np.pad(x.reshape(-1), (0, -x.size % lanes)).reshape(-1, lanes)


def _search(
    x: np.ndarray, weights: np.ndarray, context: np.ndarray, contexts: int, width: float, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The table, the values (2, K) of the levels k > 0, and each symbol (k + K) with its quantiser, (T, L).

    Probabilities and values are found with more lanes than are stored, which takes fewer steps and changes them little.
    """
    matrices = x.astype(np.float32), weights.astype(np.float32), context
    k = np.arange(1, most + 1)
    values = width * np.stack([2 * k, 2 * k - 1]).astype(np.float64)
    near = _near(x, width, most)
    counts = np.bincount((context * (most + 1) + near).reshape(-1), minlength=contexts * (most + 1))
    counts = np.repeat(counts.reshape(contexts, -1), 2, axis=0)
    for length in (_LANE // 16, _LANE // 16, _LANE):
        x, weights, context = (_lanes(a, length) for a in matrices)
        symbols, quantiser = _path(x, weights, context, counts, values, width)
        level, sign = np.abs(symbols - most), np.sign(symbols - most)
        key = ((2 * context + quantiser) * (most + 1) + level).reshape(-1)
        counts = np.bincount(key, minlength=counts.size).reshape(counts.shape)
        spot = (quantiser * (most + 1) + level).reshape(-1)
        mass = np.bincount(spot, weights.reshape(-1), 2 * (most + 1)).reshape(2, -1)[:, 1:]
        total = np.bincount(spot, (weights * x * sign).reshape(-1), 2 * (most + 1)).reshape(2, -1)[:, 1:]
        values = np.divide(total, mass, out=values, where=mass > 0)
    return frequencies(counts), _short(values), symbols, quantiser


def _path(
    x: np.ndarray, weights: np.ndarray, context: np.ndarray, counts: np.ndarray, values: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (k + K) and quantisers of least error and price of bits, by the best level of either parity in each."""
    most, smooth = values.shape[1], counts + 0.1
    bits = -np.log2(smooth / smooth.sum(axis=1, keepdims=True))
    bits[:, 1:] += 1  # the sign
    price = (_PRICE * (2 * width) ** 2 * bits).astype(np.float32)
    reached = np.pad(values, ((0, 0), (1, 0))).astype(np.float32)
    cost, level = np.empty((2, 2, *x.shape), dtype=np.float32), np.empty((2, 2, *x.shape), dtype=np.int8)
    size = np.abs(x)
    for q, p in np.ndindex(2, 2):
        nearest = p + 2 * np.rint((size / (2 * width) + q / 2 - p) / 2).astype(np.int64)
        nearest = np.clip(nearest, p, most - (most - p) % 2)
        cost[q, p] = np.inf
        for k in (nearest, np.maximum(nearest - 2, p), np.array(p)):
            tried = weights * np.square(size - reached[q, k]) + price[2 * context + q, k]
            better = tried < cost[q, p]
            cost[q, p], level[q, p] = np.where(better, tried, cost[q, p]), np.where(better, k, level[q, p])
    quantiser, parity = cheapest_path(cost)
    t, lane = np.ogrid[: len(x), : x.shape[1]]
    return level[quantiser, parity, t, lane] * np.where(x < 0, -1, 1) + most, quantiser


@decoder("trellis")
def _trellis(form: Encoded) -> np.ndarray:
    (m, n), most, arrays = form.shape, form.settings["most"], form.arrays
    rows = unpack(arrays["rows"], 2 if arrays["scale"].size == 1 else 3, m) if "rows" in arrays else None
    columns = unpack(arrays["columns"], 2, n) if "columns" in arrays else None
    context, scale = _lanes(_context(rows, columns, form.shape)), _per_row(rows, arrays["scale"], m)
    table = signed(unpack(arrays["table"], 11, 2 * form.settings["contexts"] * most).reshape(-1, most).astype(np.int64))
    half = arrays["values"].astype(np.float64)
    values = np.hstack([-half[:, ::-1], np.zeros((2, 1)), half])
    coder, state = EntropyDecoder(arrays["states"], arrays["words"], table), np.zeros(context.shape[1], dtype=np.int64)
    x = np.empty(context.shape)
    for t in range(len(context)):
        quantiser = QUANTISER[state]
        symbol = coder.take(2 * context[t] + quantiser)
        x[t] = values[quantiser, symbol]
        state = NEXT[state, (symbol - most) & 1]
    return (x.reshape(-1)[: m * n].reshape(m, n) / scale).astype(np.float32)


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
