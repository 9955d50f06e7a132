"""Eq. (13): 0 <= psi(delta) <= log N, whatever the points."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim.observables.entropy import relative_entropy, structural_entropy


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 5), st.floats(1e-3, 1e3), st.integers(0, 2**32 - 1))
def test_psi_is_bounded_and_blind_to_the_order_of_the_points(kernels, n, dim, delta, seed):
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((n, dim))
    psi = structural_entropy(kernels, q, delta)
    assert 0 <= psi <= math.log(n) + 1e-12
    assert structural_entropy(kernels, rng.permutation(q), delta) == pytest.approx(psi, abs=1e-12)
    assert 0 <= relative_entropy(kernels, q, delta) <= 1 + 1e-12


def test_coincident_points_have_none(kernels):
    assert structural_entropy(kernels, np.full((50, 3), 0.3), 0.25) == 0


def test_points_far_apart_have_log_n(kernels):
    q = np.arange(50.0)[:, None] * np.ones(3)
    assert structural_entropy(kernels, q, 0.5) == pytest.approx(math.log(50), rel=1e-12)
    assert relative_entropy(kernels, q, 0.5) == pytest.approx(1, rel=1e-12)


def test_psi_of_cells_with_known_occupation(kernels):
    """Cells of 1, 2 and 5 points; -0.1 and 0.1 lie in different ones."""
    q = np.array([-0.1, 0.1, 0.2, 1.1, 1.2, 1.3, 1.4, 1.5])[:, None]
    expected = -sum(k / 8 * math.log(k / 8) for k in (1, 2, 5))
    assert structural_entropy(kernels, q, 1.0) == pytest.approx(expected, rel=1e-12)


def test_coarser_cells_of_a_multiple_size_hold_less(kernels):
    q = np.random.default_rng(0).standard_normal((500, 2))
    psi = [structural_entropy(kernels, q, 0.1 * 2**k) for k in range(6)]
    assert psi == sorted(psi, reverse=True)
