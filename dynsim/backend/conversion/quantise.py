"""Numbers in few bits: Eq. (12), the Cantor code of a coordinate vector, packed codes, and entropy-coded symbols.

However, Eq. (12) as printed takes the floor, which moves every coordinate down by half a step on average; `round` is
its control. It is idempotent where 1/delta is a whole number, as in the paper: else the largest value is no level.
"""

from __future__ import annotations

import math

import numpy as np

from dynsim.errors import OptionError, unknown

ROUNDINGS = {"floor": np.floor, "round": np.rint}
PRECISION = 12  # bits of a probability in the entropy coder
_TOTAL = 1 << PRECISION


def levels(delta: float) -> int:
    """How many values Eq. (12) leaves: 0, delta J, ..., floor(1/delta) delta J above the least."""
    if not 0 < delta <= 1:
        raise OptionError("not a resolution of Eq. (12)", given=delta, allowed="0 < delta <= 1", where="delta")
    return math.floor(1 / delta + 1e-9) + 1


def steps(x: np.ndarray, delta: float, rounding: str = "floor") -> np.ndarray:
    """The integers of Eq. (12), (x - min) / (delta J) taken down or to the nearest, in 0 ... levels - 1; int64, as x.

    Values within a rounding error of a level belong to it. Raises OptionError for another rounding or delta.
    """
    if rounding not in ROUNDINGS:
        raise unknown("rounding", rounding, tuple(ROUNDINGS))
    count = levels(delta)
    wide = np.asarray(x, dtype=np.float64)
    span = np.ptp(wide) if wide.size else 0.0
    if span == 0:
        return np.zeros(wide.shape, dtype=np.int64)
    ratio = (wide - wide.min()) / span / delta
    nearest = np.rint(ratio)
    eps = np.finfo(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float64).eps
    tolerance = 4 * eps * (1 + np.abs(wide).max() / span) / delta + 1e-9
    k = np.where(np.abs(ratio - nearest) < min(tolerance, 0.25), nearest, ROUNDINGS[rounding](ratio))
    return np.minimum(k, count - 1).astype(np.int64)


def quantise(x: np.ndarray, delta: float, rounding: str = "floor") -> np.ndarray:
    """Eq. (12): min(X) + floor((X - min(X)) / (delta J)) delta J with J = max(X) - min(X); as x in shape and type.

    delta (dimensionless) 0 changes nothing. Raises OptionError for a delta outside [0, 1] or another rounding.
    """
    if delta == 0:
        return x.copy()
    k = steps(x, delta, rounding)
    if x.size == 0:
        return x.copy()
    low, high = float(x.min()), float(x.max())
    return np.minimum(low + k * (delta * (high - low)), high).astype(x.dtype)


def cantor_bits(dim: int, delta: float) -> int:
    """Bits that the Cantor code of R^d needs: ceil(d log2 levels), levels being one more than the paper's 1/delta."""
    return (levels(delta) ** dim - 1).bit_length()


def cantor_encode(k: np.ndarray, delta: float) -> np.ndarray:
    """Steps (n, d) of Eq. (12) to one natural number each, (n,): uint64, or Python's integers beyond 64 bits."""
    base, dim = levels(delta), k.shape[1]
    if k.size and not 0 <= k.min() <= k.max() < base:
        raise OptionError("not steps of this delta", given=f"{k.min()} ... {k.max()}", allowed=f"0 ... {base - 1}")
    code = np.zeros(len(k), dtype=np.uint64 if cantor_bits(dim, delta) <= 64 else object)
    radix = np.array(base, dtype=code.dtype)
    for column in k.T[::-1]:
        code = code * radix + column.astype(code.dtype)
    return code


def cantor_decode(code: np.ndarray, dim: int, delta: float) -> np.ndarray:
    """The steps (n, d), int64, of Cantor codes (n,)."""
    base = levels(delta)
    radix = np.array(base, dtype=code.dtype)
    k = np.empty((len(code), dim), dtype=np.int64)
    for i in range(dim):
        k[:, i] = (code % radix).astype(np.int64)
        code = code // radix
    return k


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes below 2^bits, of any shape, one after the other in uint8: ceil(size bits / 8) bytes, 1 to 16 bits each."""
    _check_bits(bits)
    flat = np.ascontiguousarray(codes).reshape(-1)
    if flat.size and not 0 <= flat.min() <= flat.max() < 1 << bits:
        raise OptionError("codes do not fit", given=f"{flat.min()} ... {flat.max()}", allowed=f"0 ... {2**bits - 1}")
    each = np.unpackbits(flat.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)
    return np.packbits(each[:, 16 - bits :])


def unpack(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` codes of what `pack` made, (count,) uint16."""
    _check_bits(bits)
    if packed.size * 8 < count * bits:
        raise OptionError("too few packed bytes", given=packed.size, allowed=f"{-(-count * bits // 8)} or more")
    each = np.zeros((count, 16), dtype=np.uint8)
    each[:, 16 - bits :] = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return np.packbits(each, axis=1).view(">u2").reshape(-1).astype(np.uint16)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 16:
        raise OptionError("not a width of codes", given=bits, allowed="1 to 16 bits", where="bits")


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Counts (contexts, K + 1) of the levels 0 ... K, either sign together, to integers (contexts, K) of those above 0.

    Each is 4096 times the probability of +k, which is that of -k, below 2048; what is left of 4096 is the zero's.
    """
    share = counts[:, 1:] / np.maximum(counts.sum(axis=1, keepdims=True), 1) / 2
    table = np.where(counts[:, 1:] > 0, np.maximum(np.rint(share * _TOTAL), 1), 0).astype(np.int64)
    for row in table:
        while row.sum() > _TOTAL // 2 - 1:  # the zero keeps two
            row[row.argmax()] -= 1
    return table


def signed(table: np.ndarray) -> np.ndarray:
    """The frequencies (contexts, 2 K + 1) of -K ... K, of sum 4096, from those of 1 ... K."""
    return np.hstack([table[:, ::-1], _TOTAL - 2 * table.sum(axis=1, keepdims=True), table])


def entropy_encode(symbols: np.ndarray, contexts: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interleaved range asymmetric numeral systems (Duda 2013): symbols and their contexts (T, L), one coder a column.

    `table` (contexts, K) holds frequencies of sum 4096 in each row, as `signed` gives them. Returns the coders' last
    states (L,) uint32 and the words, uint16.
    """
    starts = np.cumsum(table, axis=1) - table
    f, c = table[contexts, symbols].astype(np.uint64), starts[contexts, symbols].astype(np.uint64)
    x = np.full(symbols.shape[1], 1 << 16, dtype=np.uint64)
    words: list[np.ndarray] = []
    for t in range(len(symbols) - 1, -1, -1):  # the decoder gives the last first
        full = x >= f[t] << np.uint64(32 - PRECISION)
        words.append(x[full].astype(np.uint16))
        x = np.where(full, x >> np.uint64(16), x)
        quotient = x // f[t]
        x = (quotient << np.uint64(PRECISION)) + (x - quotient * f[t]) + c[t]
    return x.astype(np.uint32), np.concatenate(words[::-1])


class EntropyDecoder:
    """Gives back what `entropy_encode` took, a row of symbols (L,) for a row of contexts (L,)."""

    def __init__(self, states: np.ndarray, words: np.ndarray, table: np.ndarray) -> None:
        self._x, self._words, self._at = states.astype(np.uint64), words, 0
        self._f, self._c = table.astype(np.uint64), (np.cumsum(table, axis=1) - table).astype(np.uint64)
        self._symbol = np.stack([np.repeat(np.arange(table.shape[1]), row) for row in table])

    def take(self, contexts: np.ndarray) -> np.ndarray:
        """The next symbols (L,), given their contexts."""
        slot = self._x & np.uint64(_TOTAL - 1)
        symbols = self._symbol[contexts, slot]
        x = self._f[contexts, symbols] * (self._x >> np.uint64(PRECISION)) + slot - self._c[contexts, symbols]
        empty = x < 1 << 16
        count = int(np.count_nonzero(empty))
        x[empty] = (x[empty] << np.uint64(16)) | self._words[self._at : self._at + count]
        self._x, self._at = x, self._at + count
        return symbols


# The trellis of dependent quantisation (Albrecht et al. 2019): quantiser 0 has the levels 2 k, quantiser 1 the levels
# 2 k - sign(k); the parity of each k says by which of four states the next symbol's quantiser is chosen.
NEXT = np.array([[0, 2], [2, 0], [1, 3], [3, 1]])  # (state, parity)
QUANTISER = np.array([0, 0, 1, 1])
_BEFORE = np.array([[0, 1], [2, 3], [0, 1], [2, 3]])  # the two states from which each is reached,
_PARITY = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])  # and by which parity


def cheapest_path(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Viterbi's: quantisers and parities (T, L) of least total cost, given the costs (quantiser 2, parity 2, T, L)."""
    _, _, length, lanes = cost.shape
    branch = np.ascontiguousarray(cost[QUANTISER[_BEFORE], _PARITY].transpose(2, 0, 1, 3))
    total = np.full((4, lanes), np.inf)
    total[0] = 0.0
    second = np.empty((length, 4, lanes), dtype=np.uint8)
    for t in range(length):
        ways = total[_BEFORE] + branch[t]
        second[t] = ways[:, 1] < ways[:, 0]
        total = np.minimum(ways[:, 0], ways[:, 1])
    quantiser, parity = np.empty((2, length, lanes), dtype=np.int64)
    state, lane = total.argmin(axis=0), np.arange(lanes)
    for t in range(length - 1, -1, -1):
        way = second[t, state, lane]
        parity[t] = _PARITY[state, way]
        state = _BEFORE[state, way]
        quantiser[t] = QUANTISER[state]
    return quantiser, parity
