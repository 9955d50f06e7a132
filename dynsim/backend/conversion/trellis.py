"""Trellis-coded, entropy-coded levels: the rival that comes closest to the rate-distortion limit.

Marcellin & Fischer, Trellis coded quantization, IEEE Trans. Commun. 38 (1990), with 4 states; levels are coded by rANS
in classes of rows and columns of like size (Duda, arXiv:1311.2540).
"""

from __future__ import annotations

import numpy as np

from dynsim.backend.conversion.clusters import lloyd, nearest, row_weights, short
from dynsim.backend.conversion.compression import Encoded, decoder
from dynsim.backend.conversion.quantise import (
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

_LANE = 1 << 13  # symbols of one entropy coder
_PRICE = 0.08  # of a bit, in squared distances of levels: best at 1 to 3 bits, by trial


def trellis(matrix: np.ndarray, step: float = 1.0, importance: np.ndarray | None = None) -> Encoded:
    """Levels `step` root mean squares apart, by a four-state trellis, entropy-coded by the row's and column's class.

    Minimises error + 0.08 (2 step)^2 bits, with levels moved to their means, as entropy-constrained quantisation does
    (Chou, Lookabaugh, Gray 1989). With importance, each class of rows has a step of its own. `bits` is the mean of all.
    """
    s = row_weights(matrix, importance)
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
    return nearest(logs, lloyd(logs, np.ones(len(logs)), count))


def _row_classes(s: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes of rows of like importance, the more the larger the matrix, and sqrt(s) of each class."""
    count = 8 if size >= 1 << 15 else 4 if size >= 1 << 12 else 2
    rows = _classes(s, count)
    means = np.bincount(rows, np.maximum(s, 1e-6), count) / np.maximum(np.bincount(rows, minlength=count), 1)
    return rows, short(np.sqrt(np.where(means > 0, means, 1.0)))


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
    return frequencies(counts), short(values), symbols, quantiser


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
