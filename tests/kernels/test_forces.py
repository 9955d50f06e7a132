"""Forces of path integrals on CPU threads: by products, by differences where particles nearly meet, by signs."""

import tracemalloc

import numpy as np
import pytest

from dynsim.kernels import cpu, factored, forces_cpu, reference
from dynsim.kernels.sharing import limited_to

GAIN, P = 0.7, 2.0


def link(H, M, N, d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in ((H, M, d), (H, N, d), (H,), (M, N))]


def forces(kernels, metric, q_a, q_b, mu, stress, eps):
    return kernels.path_integral_forces(metric, q_a, q_b, mu, GAIN, eps, P, stress)


def assert_parity(metric, arrays, eps, tolerance):
    """Errors relative to the largest force; those of sums, which may nearly cancel, to what they are made of."""
    got = forces(cpu, metric, *arrays, eps)
    want = forces(reference, metric, *(x.astype(np.float64) for x in arrays), eps)
    size = np.abs(arrays[3]).sum() ** 0.5
    for x, y in zip(got, want, strict=True):
        assert np.shape(x) == np.shape(y)
        assert x.dtype == arrays[0].dtype
        assert np.abs(x - y).max() <= tolerance * (np.abs(y).max() + size)


@pytest.mark.parametrize(("metric", "dtype", "tolerance"), [("l2", "f8", 1e-12), ("reciprocal", "f4", 1e-5)])
def test_products_agree_with_differences_across_tiles(metric, dtype, tolerance):
    assert_parity(metric, link(2, 51, forces_cpu.COLUMNS + 70, 6, np.dtype(dtype)), 0.1, tolerance)


@pytest.mark.parametrize(("metric", "dtype", "tolerance"), [("l2", "f8", 1e-12), ("reciprocal", "f4", 1e-5)])
def test_particles_that_meet_are_done_by_differences(metric, dtype, tolerance):
    """Every third one coincides with its partner, every other third is 1e-3 beside it; products would lose 1e-2."""
    q_a, q_b, mu, stress = link(2, 45, 50, 6, np.dtype(dtype))
    q_a[:, ::3] = q_b[:, :45:3]
    q_a[:, 1::3] = q_b[:, 1:45:3] + q_a[:, 1::3] * q_a.dtype.type(1e-3)
    assert_parity(metric, [q_a, q_b, mu, stress], 0.0 if metric == "l2" else 0.01, tolerance)


def test_coincident_clouds_do_not_push():
    q = np.ones((2, 40, 6))
    on_a, on_b, *_ = forces(cpu, "l2", q, q, np.ones(2), np.ones((40, 40)), 0.0)
    assert not on_a.any()
    assert not on_b.any()


@pytest.mark.parametrize(("metric", "d"), [("reciprocal", 6), ("squared", 6), ("l1", 2)])
def test_clouds_far_from_the_origin_keep_their_digits(metric, d):
    q_a, q_b, mu, stress = link(2, 43, 61, d, np.float32)
    q_a, q_b = q_a + np.float32(1000), q_b + np.float32(1000)
    assert_parity(metric, [q_a, q_b, mu, stress], 0.1, 1e-5)


def test_signs_are_exact():
    """Neighbouring numbers pull with their full sign, equal ones not at all, wherever they are."""
    rng = np.random.default_rng(1)
    q_b = (rng.standard_normal((1, 64, 2)) * 10.0 ** rng.integers(-9, 9, (1, 64, 2))).astype(np.float32)
    beside = [np.nextafter(q_b, np.float32(side)) for side in (-np.inf, np.inf)]
    q_a = np.concatenate([q_b, *beside], axis=1)
    stress = rng.integers(-8, 9, (192, 64)).astype(np.float32)
    on_a, on_b, *_ = forces(cpu, "l1", q_a, q_b, np.ones(1, np.float32), stress, 0.0)
    sign = np.sign(q_a[:, :, None] - q_b[:, None])
    np.testing.assert_array_equal(on_a, np.float32(GAIN) * np.einsum("ij,hijk->hik", stress, sign))
    np.testing.assert_array_equal(on_b, np.float32(GAIN) * -np.einsum("ij,hijk->hjk", stress, sign))


@pytest.mark.parametrize(("metric", "d"), [("reciprocal", 6), ("squared", 6), ("l1", 2)])
def test_a_lost_particle_is_seen_and_takes_no_other_row_along(metric, d):
    q_a, q_b, mu, stress = link(2, 43, 61, d, np.float32)
    q_a[1, 7, 1] = np.nan
    on_a, on_b, *_ = forces(cpu, metric, q_a, q_b, mu, stress, 0.1)
    assert np.isnan(on_a[1, 7, 1])
    assert np.isnan(on_b[1, :, 1]).all()
    assert np.isfinite(np.delete(on_a, 7, axis=1)).all()
    assert np.isfinite(on_b[0]).all()


@pytest.mark.parametrize("metric", ["l1", "squared", "dot"])
def test_forces_of_the_papers_network_take_little_memory(metric):
    """784 x 1200 weights of 20 copies in 9 dimensions: 677 MB of pairs and coordinates, if they were stored."""
    arrays = link(20, 784, 1200, 9, np.float32)
    forces(cpu, metric, *arrays, 0.1)
    tracemalloc.start()
    results = forces(cpu, metric, *arrays, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - sum(np.asarray(x).nbytes for x in results) <= 8 << 20


@pytest.mark.parametrize("shape", [(2304, 768, 8, 32), (784, 1200, 20, 9)])
def test_parts_of_the_forces_on_columns_stay_small(shape):
    M, N, H, d = shape
    rows = forces_cpu._rows_per_task(H, M, N, d, 4)
    assert rows % 4 == 0
    assert -(-M // rows) * H * N * d * 4 <= 8 << 20


@pytest.mark.parametrize(("metric", "d"), [("reciprocal", 6), ("l1", 2), ("squared", 6)])
def test_bits_do_not_depend_on_threads(metric, d):
    arrays = link(8, 301, 517, d, np.float32)
    results = []
    for threads in (1, 2, 2):
        with limited_to(threads):
            results.append(forces(cpu, metric, *arrays, 0.1))
    for x, *others in zip(*results, strict=True):
        for y in others:
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("metric", ["squared", "dot"])
def test_factored_forces_are_those_of_the_product(metric):
    q_a, q_b, mu, _ = link(3, 20, 30, 4, np.float64)
    rng = np.random.default_rng(2)
    emitted, feedback = rng.standard_normal((5, 20)), rng.standard_normal((5, 30))
    got = factored.factored_forces(metric, q_a, q_b, mu, GAIN, emitted, feedback, np.matmul)
    want = forces(reference, metric, q_a, q_b, mu, emitted.T @ feedback, 0.0)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11)
