"""Structural entropy by codes of cells: exact where codes are cells, and where they are only hashes of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim.kernels import reference
from dynsim.kernels.load import load

cpu = load("cpu")


def assert_same(q, deltas):
    np.testing.assert_allclose(cpu.structural_entropy(q, deltas), reference.structural_entropy(q, deltas), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([np.float32, np.float64]), st.integers(1, 11), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_psi_is_that_of_the_reference(dtype, d, n, seed):
    """From one cell to a cell for each, points repeated, on edges and far from 0."""
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((n, d))[rng.integers(0, n, n)] + rng.choice([0, 1000])
    q[::3] = np.round(q[::3])
    assert_same(q.astype(dtype), [1e-3, 0.5, 1.0, 40.0])


@pytest.mark.parametrize("d", [9, 63, 64, 80])
def test_cells_that_do_not_fit_into_a_code_are_told_apart(d):
    """+-2^(63 // d - 1) cells fit; the cells of two points differ in one coordinate, by little or by much."""
    at = np.random.default_rng(d).standard_normal(d)
    q = np.repeat(at[None], 2 * d + 2, axis=0)
    q[np.arange(d), np.arange(d)] += 1e-3
    q[np.arange(d, 2 * d), np.arange(d)] += 1e6
    psi = cpu.structural_entropy(q, [1e-4, 0.3, 1e9])
    np.testing.assert_allclose(psi, reference.structural_entropy(q, [1e-4, 0.3, 1e9]), atol=1e-12)
    # every shifted point alone, two together
    assert psi[0] == pytest.approx(np.log(2 * d + 2) - 2 * np.log(2) / (2 * d + 2), abs=1e-12)


def test_signed_zeros_are_in_one_cell():
    q = np.array([[0.0, -0.0], [-0.0, 0.0], [0.2, 0.1]], np.float32)
    assert cpu.structural_entropy(q, [1.0])[0] == 0


def test_bits_of_psi_do_not_depend_on_threads(with_threads):
    q = np.random.default_rng(4).standard_normal((50_000, 3)).astype(np.float32)
    deltas = [0.02, 0.1, 0.3, 1.0]
    one, two = (with_threads(n, lambda: cpu.structural_entropy(q, deltas)) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert_same(q, deltas)
