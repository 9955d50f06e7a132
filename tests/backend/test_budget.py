"""The knapsack: within the budget, as good as trying everything, never worse than one method everywhere."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim.backend.conversion.budget import choose
from dynsim.errors import OptionError

LAYER = st.lists(st.tuples(st.integers(1, 60), st.floats(0, 10, allow_subnormal=False)), min_size=1, max_size=6)


def totals(options, picks):
    chosen = [layer[i] for layer, i in zip(options, picks, strict=True)]
    return sum(size for size, _ in chosen), sum(error for _, error in chosen)


def least(options):
    return sum(min(size for size, _ in layer) for layer in options)


@given(options=st.lists(LAYER, min_size=1, max_size=4), spare=st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_no_choice_within_the_budget_is_better(options, spare):
    budget = least(options) + spare
    size, error = totals(options, choose(options, budget))
    every = (totals(options, picks) for picks in product(*(range(len(layer)) for layer in options)))
    assert size <= budget
    assert error <= min(e for s, e in every if s <= budget) + 1e-9


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_large_layers_come_close_to_the_best(seed, share):
    """Bytes in the hundred thousands: the grid is coarse there, and the exchanges make up for it."""
    rng = np.random.default_rng(seed)
    options = [
        [(int(s), float(e)) for s, e in zip(rng.integers(10_000, 900_000, 12), rng.exponential(size=12), strict=True)]
        for _ in range(3)
    ]
    most = sum(max(s for s, _ in layer) for layer in options)
    budget = int(least(options) + share * (most - least(options)))
    size, error = totals(options, choose(options, budget))
    best = min(e for s, e in (totals(options, p) for p in product(range(12), repeat=3)) if s <= budget)
    assert size <= budget
    assert error <= best * 1.02 + 1e-12


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_never_worse_than_one_method_in_all_layers(seed, share):
    rng = np.random.default_rng(seed)
    names = ["a", "b", "c"] * 5
    options = [
        [(int(s), float(e)) for s, e in zip(rng.integers(100, 90_000, 15), rng.exponential(size=15), strict=True)]
        for _ in range(6)
    ]
    alone = {m: [[o for o, n in zip(layer, names, strict=True) if n == m] for layer in options] for m in set(names)}
    budget = int(max(least(some) for some in alone.values()) * (1 + share))
    _, error = totals(options, choose(options, budget, methods=[names] * 6))
    assert error <= min(totals(some, choose(some, budget))[1] for some in alone.values()) + 1e-12


def test_a_budget_for_everything_takes_the_best_and_no_byte_too_many():
    options = [[(10, 3.0), (40, 1.0), (90, 1.0)], [(5, 2.0), (70, 0.5)]]
    assert choose(options, 10**9) == [1, 1]


def test_a_model_of_many_layers_spends_its_budget():
    """Convex curves of 50 layers: the left-over is less than the finest step, the error that of equal slopes."""
    rng = np.random.default_rng(3)
    scale = rng.lognormal(size=50)
    options = [[(1000 * b, float(s * 4.0**-b)) for b in range(1, 9)] for s in scale]
    size, error = totals(options, choose(options, 200_000))
    slopes = np.sort(np.concatenate([s * 4.0 ** -np.arange(1, 8) * 0.75 for s in scale]))[::-1]
    assert size == 200_000
    assert error == pytest.approx(scale.sum() / 4 - slopes[:150].sum(), rel=1e-9)


def test_a_budget_too_small_says_what_is_possible():
    with pytest.raises(OptionError) as caught:
        choose([[(30, 1.0), (20, 2.0)], [(7, 0.0)]], 26)
    assert "26 bytes" in str(caught.value)
    assert "27 bytes or more" in str(caught.value)


def test_a_layer_without_options_is_refused():
    with pytest.raises(OptionError, match="without a stored form"):
        choose([[(1, 1.0)], []], 10)
