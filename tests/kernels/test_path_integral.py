"""The path integral on CPU threads where its distances are hard: near pairs, far clouds, lost particles, odd sizes."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim.kernels import load, reference
from dynsim.kernels.sharing import limited_to

cpu = load.load("cpu")
D = 6  # dimensions: enough that |a - b|^2 is expanded
KINDS = [("l2", np.float64), ("reciprocal", np.float32)]
DIGITS = {np.float32: 3e-5, np.float64: 1e-13}


def clouds(M, N, dtype, H=1, far=0.0, seed=0):
    """Particles about `far`; of the first ones in q_b some meet those of q_a, some nearly do, at all distances."""
    rng = np.random.default_rng(seed)
    q_a, q_b = rng.standard_normal((H, M, D)), rng.standard_normal((H, N, D))
    pairs = min(M, N) // 2
    apart = np.logspace(-6, 0, pairs)[:, None]
    apart[::5] = 0
    q_b[:, :pairs] = q_a[:, :pairs] + apart * q_b[:, :pairs]
    return (q_a + far).astype(dtype), (q_b + far).astype(dtype), rng.uniform(0.5, 1, H).astype(dtype)


def exact(metric, q_a, q_b, mu, eps):
    return reference.path_integral(metric, *(x.astype(np.float64) for x in (q_a, q_b, mu)), 1.0, eps, 2.0)


def assert_every_entry_is_right(metric, q_a, q_b, mu, eps):
    w, expected = cpu.path_integral(metric, q_a, q_b, mu, 1.0, eps, 2.0), exact(metric, q_a, q_b, mu, eps)
    assert w.dtype == q_a.dtype
    # Where particles meet l2 is the root of the smallest number.
    digits = DIGITS[q_a.dtype.type]
    assert (np.abs(w - expected) <= digits * np.abs(expected) + np.sqrt(np.finfo(w.dtype).tiny) * 2 * len(mu)).all()


@pytest.mark.parametrize("far", [0.0, 1000.0])
@pytest.mark.parametrize(("metric", "dtype"), KINDS)
def test_near_pairs_keep_their_digits(metric, dtype, far):
    eps = 0.0 if metric == "l2" else 1e-6
    assert_every_entry_is_right(metric, *clouds(70, 90, dtype, far=far), eps)


@pytest.mark.parametrize(("metric", "dtype"), KINDS)
def test_a_cloud_that_has_become_one_point(metric, dtype):
    q_a, q_b, mu = clouds(40, 50, dtype)
    assert_every_entry_is_right(metric, q_a * 0 + 3, q_b * 0 + 3, mu, 0.01)


@pytest.mark.parametrize("far", [0.0, 1000.0])
def test_the_closed_form_of_squared_distances_does_not_depend_on_the_origin(far):
    q_a, q_b, mu = clouds(70, 90, np.float32, H=3, far=far)
    w, expected = cpu.path_integral("squared", q_a, q_b, mu, 1.0, 0.0, 2.0), exact("squared", q_a, q_b, mu, 0.0)
    assert np.abs(w - expected).max() <= 2e-6 * expected.max()


@pytest.mark.parametrize(("metric", "dtype"), KINDS)
@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_lost_particles_stay_visible_and_alone(metric, dtype, lost):
    q_a, q_b, mu = clouds(70, 90, dtype, H=2)
    q_a[1, 3, 2], q_b[0, 88, 1] = lost, lost
    w = cpu.path_integral(metric, q_a, q_b, mu, 1.0, 0.1, 2.0)
    assert not np.isfinite(w[3]).any()
    assert not np.isfinite(w[:, 88]).any()
    kept = (np.arange(70) != 3)[:, None] & (np.arange(90) != 88)
    q_a[1, 3, 2] = q_b[0, 88, 1] = 0
    np.testing.assert_allclose(w[kept], exact(metric, q_a, q_b, mu, 0.1)[kept], rtol=DIGITS[dtype])


@pytest.mark.parametrize(("metric", "dtype"), KINDS)
def test_a_lost_coefficient_stays_visible(metric, dtype):
    q_a, q_b, mu = clouds(9, 40, dtype, H=2)
    mu[1] = np.nan
    assert np.isnan(cpu.path_integral(metric, q_a, q_b, mu, 1.0, 0.1, 2.0)).all()


# On both sides of the widths of vectors and of the rows of a task.
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from([1, 3, 4, 63, 64, 65, 130]),
    st.sampled_from([1, 15, 16, 17, 32, 33, 70]),
    st.integers(1, 3),
)
def test_sizes_on_both_sides_of_every_block(kind, M, N, H):
    metric, dtype = kind
    assert_every_entry_is_right(metric, *clouds(M, N, dtype, H=H, seed=M * N), 0.01)


def test_particles_need_not_be_contiguous():
    q_a, q_b, mu = clouds(20, 70, np.float64, H=2)
    strided = [np.repeat(q, 2, axis=2)[:, :, ::2].transpose(0, 2, 1).copy().transpose(0, 2, 1) for q in (q_a, q_b)]
    assert not any(q.flags.c_contiguous for q in strided)
    w = cpu.path_integral("l2", *strided, mu, 1.0, 0.1, 2.0)
    np.testing.assert_array_equal(w, cpu.path_integral("l2", q_a, q_b, mu, 1.0, 0.1, 2.0))


@pytest.mark.parametrize(("metric", "dtype"), KINDS)
def test_bits_do_not_depend_on_threads_or_calls(metric, dtype):
    arrays = clouds(203, 317, dtype, H=20)
    found = []
    for threads in (1, 2, 2):
        with limited_to(threads):
            found.append(cpu.path_integral(metric, *arrays, 0.7, 0.1, 2.0))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])


def test_memory_beside_inputs_and_w():
    arrays = clouds(784, 1200, np.float32, H=20)
    cpu.path_integral("reciprocal", *arrays, 1.0, 0.1, 2.0)
    tracemalloc.start()
    w = cpu.path_integral("reciprocal", *arrays, 1.0, 0.1, 2.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < peak - w.nbytes < 8e6
