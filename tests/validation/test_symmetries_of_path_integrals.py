"""Path integrals do not change when all particles are moved, turned or renumbered together; mu enters linearly."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import DIM, EPS, METRICS

seeds = st.integers(0, 2**32 - 1)
counts = st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
quick = settings(deadline=None, max_examples=25)


def cloud(seed, counts):
    """(generator, q_a (H, M, d), q_b (H, N, d), mu (H,), stress (M, N))."""
    rng = np.random.default_rng(seed)
    copies, m, n = counts
    return rng, *(rng.standard_normal(s) for s in ((copies, m, DIM), (copies, n, DIM), (copies,), (m, n)))


def path_integral(kernels, metric, q_a, q_b, mu):
    return kernels.path_integral(metric, q_a, q_b, mu, 0.7, EPS, 3.0)


def path_forces(kernels, metric, q_a, q_b, mu, stress):
    return kernels.path_integral_forces(metric, q_a, q_b, mu, 0.7, EPS, 3.0, stress)


def assert_close(got, expected):
    assert np.abs(got - expected).max() <= 1e-10 * (1 + np.abs(expected).max())


@quick
@given(seeds, counts, st.sampled_from([m for m in METRICS if m != "dot"]), st.floats(-10, 10))
def test_translation(kernels, seed, counts, metric, length):
    rng, q_a, q_b, mu, stress = cloud(seed, counts)
    shift = length * rng.standard_normal(DIM)
    w = path_integral(kernels, metric, q_a, q_b, mu)
    assert_close(path_integral(kernels, metric, q_a + shift, q_b + shift, mu), w)
    on_a, on_b, *_ = path_forces(kernels, metric, q_a, q_b, mu, stress)
    assert_close(on_a.sum(1), -on_b.sum(1))


@quick
@given(seeds, counts, st.sampled_from(["l2", "squared", "plummer", "reciprocal", "dot"]))
def test_rotation(kernels, seed, counts, metric):
    rng, q_a, q_b, mu, stress = cloud(seed, counts)
    turn, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    assert_close(
        path_integral(kernels, metric, q_a @ turn, q_b @ turn, mu),
        path_integral(kernels, metric, q_a, q_b, mu),
    )
    on_a, on_b, *others = path_forces(kernels, metric, q_a, q_b, mu, stress)
    turned = path_forces(kernels, metric, q_a @ turn, q_b @ turn, mu, stress)
    for got, expected in zip(turned, (on_a @ turn, on_b @ turn, *others), strict=True):
        assert_close(got, expected)


@quick
@given(seeds, counts, st.sampled_from(METRICS))
def test_renumbering(kernels, seed, counts, metric):
    """Sub-models are renumbered with their weights; copies with their mu, which changes nothing."""
    rng, q_a, q_b, mu, stress = cloud(seed, counts)
    h, i, j = (rng.permutation(n) for n in counts)
    other = q_a[h][:, i], q_b[h][:, j], mu[h]
    assert_close(path_integral(kernels, metric, *other), path_integral(kernels, metric, q_a, q_b, mu)[i][:, j])
    on_a, on_b, on_mu, *scalars = path_forces(kernels, metric, q_a, q_b, mu, stress)
    renumbered = path_forces(kernels, metric, *other, stress[i][:, j])
    for got, expected in zip(renumbered, (on_a[h][:, i], on_b[h][:, j], on_mu[h], *scalars), strict=True):
        assert_close(got, expected)


@quick
@given(seeds, counts, st.sampled_from(METRICS), st.floats(-5, 5))
def test_mu_enters_linearly(kernels, seed, counts, metric, factor):
    rng, q_a, q_b, mu, stress = cloud(seed, counts)
    more = rng.standard_normal(mu.shape)
    w, w_more = (path_integral(kernels, metric, q_a, q_b, m) for m in (mu, more))
    assert_close(path_integral(kernels, metric, q_a, q_b, factor * mu + more), factor * w + w_more)
    on_a, on_b, on_mu, *_ = path_forces(kernels, metric, q_a, q_b, mu, stress)
    scaled = path_forces(kernels, metric, q_a, q_b, factor * mu, stress)
    for got, expected in zip(scaled, (factor * on_a, factor * on_b, on_mu)):
        assert_close(got, expected)


def test_dot_is_not_blind_to_translation(kernels):
    """The reason why it stands aside above."""
    _, q_a, q_b, mu, _ = cloud(0, (2, 3, 4))
    w, moved = (path_integral(kernels, "dot", q_a + s, q_b + s, mu) for s in (0, 1))
    assert np.abs(w - moved).max() > 0.1


def test_l1_is_not_blind_to_rotation(kernels):
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0]
    _, q_a, q_b, mu, _ = cloud(0, (2, 3, 4))
    w, turned = (path_integral(kernels, "l1", q_a @ t, q_b @ t, mu) for t in (np.eye(DIM), turn))
    assert np.abs(w - turned).max() > 0.1
