"""Lemma C.2 and its proof, Eq. (19)-(23): how many copies a matrix needs, and what the count leaves out."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dynsim.backend.conversion.coordinates import PathIntegrals
from dynsim.reproduce.lemma import (
    METRICS,
    SIDE,
    Polish,
    best_error,
    bound,
    counted,
    lemma_units,
    linearised,
    measured,
    shape_of,
    truncated,
    vanishing,
    verdict,
)


def free_numbers(metric, copies, dim, m=7, n=6, seed=0):
    """Rank of the Jacobian of phi: how many numbers of coordinates and mu move the matrix at all."""
    rng = np.random.default_rng(seed)
    q = {s: rng.standard_normal((copies, k, dim)) for s, k in (("a", m), ("b", n))}
    phi = PathIntegrals(metric, q, rng.standard_normal(copies), 0.0 if metric != "reciprocal" else 0.3)
    x = np.concatenate([q["a"].ravel(), q["b"].ravel(), phi.mu])
    jacobian = linearised(x, (copies, m, dim, n), phi, np.zeros((m, n)))[1]
    return np.linalg.matrix_rank(jacobian, tol=1e-9 * np.linalg.norm(jacobian))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_copy_has_fewer_free_numbers_than_the_bound_counts(dim):
    """Eq. (20): translations and rotations change no distance, which Eq. (23) forgets. mu pays for the scale."""
    assert free_numbers("l2", 1, dim) == dim * 13 - dim * (dim + 1) // 2


def test_free_numbers_add_up_over_copies_until_there_are_as_many_as_entries():
    each = free_numbers("l2", 1, 2)
    assert [free_numbers("l2", h, 2) for h in (1, 2, 3)] == [each, min(2 * each, 42), 42]


@pytest.mark.parametrize("metric", METRICS)
def test_linearised_is_the_slope(metric):
    rng = np.random.default_rng(1)
    q = {s: rng.standard_normal((2, k, 3)) for s, k in (("a", 4), ("b", 5))}
    phi = PathIntegrals(metric, q, rng.standard_normal(2), 0.3)
    x, shape = np.concatenate([q["a"].ravel(), q["b"].ravel(), phi.mu]), (2, 4, 3, 5)
    values, step = rng.standard_normal((4, 5)), 1e-6 * rng.standard_normal(len(x))
    _, jacobian = linearised(x, shape, phi, values)
    ahead, behind = (linearised(x + s * step, shape, phi, values)[0] for s in (1, -1))
    np.testing.assert_allclose(jacobian @ step, (behind - ahead) / 2, rtol=1e-5, atol=1e-11)


def test_error_vanishes_where_the_free_numbers_suffice_and_not_at_the_bound():
    """8 x 8, d = 2: Eq. (19) says 2 copies (64 coordinates); 58 free numbers do not make 64 entries, 87 do."""
    shape, dim = (8, 8), 2
    matrix = np.random.default_rng(0).standard_normal(shape)
    assert (bound(shape, dim), counted(shape, dim)) == (2, 3)
    errors = [best_error(matrix, "l2", h, dim, starts=3, descent=150, polish=Polish(150)) for h in (2, 3)]
    assert errors[0] > 1e-3
    assert errors[1] < 1e-8
    assert truncated(matrix, 3, dim) > 1e-2  # SVD with as many numbers as those that leave no error


def test_svd_control_is_the_truncated_decomposition():
    matrix = np.diag([4.0, 3.0, 2.0, 1.0])
    assert truncated(matrix, 1, 2) == pytest.approx(np.sqrt(5 / 30))
    assert truncated(matrix, 2, 2) == 0


def test_exchanged_sub_models_are_another_matrix():
    """Eq. (20) divides by (m! n!)^d states that exchange sub-models; but W with two rows exchanged is another W."""
    a, b = np.array([0.0, 1.0, 3.0]), np.array([0.5, 2.5])
    matrices = {tuple(np.abs(np.subtract.outer(a[list(p)], b)).ravel()) for p in itertools.permutations(range(3))}
    assert len(matrices) == 6


def made_up(error, metric="l2"):
    """The errors of two matrices of random l2, d = 3."""
    copies = [*range(1, len(error) + 1)]
    return {("random", metric, 3): [{"copies": copies, "error": error, "svd": [0.5] * len(error)}] * 2}


def test_verdict_follows_the_numbers():
    """H* = 3: below, beyond, never."""
    assert bound(shape_of("random"), 3) == 3
    assert "Eq. (19) holds here" in verdict(made_up([0.5, 0.2, 1e-12, 1e-12, 1e-11]))[0]
    assert (
        "Eq. (19) does not hold. Error below 1e-08 only beyond H*: random d = 3 (H* = 3, counted 4) at 4"
        in (verdict(made_up([0.5, 0.2, 1e-3, 1e-12, 1e-11]))[0])
    )
    never = verdict(made_up([0.5, 0.2, 1e-3, 1e-3, 1e-4], "squared"))
    assert "not up to H* + 2: random" in never[0]
    assert "less error than the SVD of equally many numbers in 1 of 1 rows" in never[-1]
    assert vanishing([{"copies": [1, 2, 3], "error": [1e-12, 0.1, 1e-12]}]) == 3  # once gone it must stay so


def test_a_unit_reports_every_number_of_copies():
    names = {u.name for u in lemma_units(2, quick=False)}
    assert len(names) == 2 * (2 * len(METRICS) * 3 + 1)
    found = measured(Path(), "random", "l2", 3, seed=0, copies=[1, 6], starts=1, descent=5, steps=3)
    assert found["copies"] == [1, 6]
    assert 1 > found["error"][0] > found["error"][1] > 0
    assert found["svd"][1] == pytest.approx(0, abs=1e-12) if SIDE <= 18 else found["svd"][1] > 0
