"""Eq. (12) and its control, the Cantor code, packed bits, the entropy coder: what they lose, and what they do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dynsim.backend.conversion import quantise as q
from dynsim.errors import OptionError

FLOATS = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e3, 1e3, width=32))
WHOLE = st.sampled_from([1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01, 1e-3])  # 1 / delta is a whole number
ROUNDING = st.sampled_from(["floor", "round"])


def test_eq_12_as_printed():
    x = np.array([[-1.0, -0.76], [0.49, 1.0]])
    assert np.allclose(q.quantise(x, 0.25), [[-1.0, -1.0], [0.0, 1.0]])
    assert np.allclose(q.quantise(x, 0.25, "round"), [[-1.0, -1.0 + 0.0], [0.5, 1.0]])


@given(x=FLOATS, delta=st.floats(1e-3, 1), rounding=ROUNDING)
@settings(deadline=None)
def test_moves_by_less_than_a_step_and_stays_in_range(x, delta, rounding):
    y, step = q.quantise(x, delta, rounding), delta * np.ptp(x.astype(float))
    slack = 1e-6 * np.abs(x).max() + 1e-6 * step
    assert y.dtype == x.dtype
    assert y.min() == x.min()
    assert y.max() <= x.max()
    down = x.astype(float) - y
    if rounding == "floor":
        assert down.min() >= -slack
        assert down.max() <= step + slack
    else:  # above the last level there may be nothing to round up to
        assert down.min() >= -step / 2 - slack
        assert down[x <= y.min() + step * (q.levels(delta) - 1)].max() <= step / 2 + slack


@given(x=FLOATS, delta=WHOLE, rounding=ROUNDING)
@settings(deadline=None)
def test_twice_is_once(x, delta, rounding):
    once = q.quantise(x, delta, rounding)
    assert np.array_equal(q.quantise(once, delta, rounding), once)


def test_floor_moves_the_mean_by_half_a_step_and_round_does_not():
    x = np.random.default_rng(0).uniform(size=100_000)
    assert np.mean(q.quantise(x, 0.1) - x) == pytest.approx(-0.05, abs=1e-3)
    assert np.mean(q.quantise(x, 0.1, "round") - x) == pytest.approx(0, abs=1e-3)


def test_nothing_to_quantise():
    x = np.full((2, 3), 7.0, dtype=np.float32)
    assert np.array_equal(q.quantise(x, 0.1), x)
    assert np.array_equal(q.quantise(np.arange(5.0), 0), np.arange(5.0))
    assert q.quantise(np.empty((0, 9)), 0.1).shape == (0, 9)


@pytest.mark.parametrize("call", [lambda x: q.quantise(x, -0.1), lambda x: q.quantise(x, 1.5)])
def test_a_delta_that_is_none(call):
    with pytest.raises(OptionError, match="resolution"):
        call(np.arange(3.0))


def test_a_rounding_that_is_none():
    with pytest.raises(OptionError, match="round"):
        q.quantise(np.arange(3.0), 0.1, "rounded")


@given(dim=st.integers(1, 12), delta=st.sampled_from([0.5, 0.3, 0.1, 1e-2, 1e-3]), seed=st.integers(0, 99))
@settings(deadline=None)
def test_the_cantor_code_keeps_every_coordinate_in_its_bits(dim, delta, seed):
    k = q.steps(np.random.default_rng(seed).normal(size=(20, dim)), delta)
    code, bits = q.cantor_encode(k, delta), q.cantor_bits(dim, delta)
    assert np.array_equal(q.cantor_decode(code, dim, delta), k)
    assert all(0 <= int(c) < 2**bits for c in code)
    largest = q.cantor_encode(np.full((1, dim), q.levels(delta) - 1), delta)
    assert int(largest[0]).bit_length() == bits


def test_the_cantor_code_is_one_number_of_many_bits():
    """At d = 9 and delta = 1e-3 a vector is "one number" of 90 bits: more than a 64-bit integer holds."""
    assert q.cantor_bits(9, 1e-3) == 90
    assert q.cantor_encode(np.zeros((1, 9), dtype=int), 1e-3).dtype == object
    assert q.cantor_encode(np.zeros((1, 6), dtype=int), 1e-3).dtype == np.uint64
    with pytest.raises(OptionError, match="not steps"):
        q.cantor_encode(np.array([[11]]), 0.1)


@given(bits=st.integers(1, 16), count=st.integers(0, 70), seed=st.integers(0, 99))
@settings(deadline=None)
def test_packed_codes_come_back(bits, count, seed):
    codes = np.random.default_rng(seed).integers(0, 2**bits, count)
    packed = q.pack(codes, bits)
    assert packed.dtype == np.uint8
    assert packed.size == -(-count * bits // 8)
    assert np.array_equal(q.unpack(packed, bits, count), codes)


def test_codes_that_do_not_fit():
    with pytest.raises(OptionError, match="do not fit"):
        q.pack(np.array([3, 8]), 3)
    with pytest.raises(OptionError, match="width"):
        q.pack(np.array([1]), 17)
    with pytest.raises(OptionError, match="too few"):
        q.unpack(np.zeros(2, dtype=np.uint8), 6, 3)


@given(contexts=st.integers(1, 4), most=st.integers(1, 9), lanes=st.integers(1, 5), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_entropy_coded_symbols_come_back(contexts, most, lanes, seed):
    rng = np.random.default_rng(seed)
    context = rng.integers(0, contexts, (60, lanes))
    level = rng.binomial(most, rng.uniform(), (60, lanes))
    counts = np.zeros((contexts, most + 1), dtype=int)
    np.add.at(counts, (context, level), 1)
    table = q.signed(q.frequencies(counts))
    symbols = level * rng.choice([-1, 1], level.shape) + most
    states, words = q.entropy_encode(symbols, context, table)
    coder = q.EntropyDecoder(states, words, table)
    assert np.array_equal(table.sum(axis=1), np.full(contexts, 4096))
    assert np.array_equal([coder.take(c) for c in context], symbols)


def test_entropy_coded_symbols_take_their_entropy():
    rng, p = np.random.default_rng(1), np.array([0.02, 0.1, 0.76, 0.1, 0.02])
    symbols = rng.choice(5, size=(8192, 4), p=p)
    level = np.bincount(np.abs(symbols - 2).reshape(-1), minlength=3)[None]
    table = q.signed(q.frequencies(level))
    states, words = q.entropy_encode(symbols, np.zeros_like(symbols), table)
    assert 8 * (states.nbytes + words.nbytes) / symbols.size == pytest.approx(-p @ np.log2(p), rel=0.02)


def test_the_path_is_the_cheapest_of_all():
    """Against every sequence of parities, each of which fixes its quantisers."""
    cost = np.random.default_rng(2).uniform(size=(2, 2, 7, 3))
    quantiser, parity = q.cheapest_path(cost)

    def price(parities, lane):
        state, total = 0, 0.0
        for t, p in enumerate(parities):
            total += cost[q.QUANTISER[state], p, t, lane]
            state = q.NEXT[state, p]
        return total

    for lane in range(3):
        every = [price([(n >> t) & 1 for t in range(7)], lane) for n in range(2**7)]
        assert price(parity[:, lane], lane) == pytest.approx(min(every))
        assert cost[quantiser[:, lane], parity[:, lane], range(7), lane].sum() == pytest.approx(min(every))
