"""The step of particles: every device does the same, with the same bits for any number of threads."""

import numpy as np
import pytest

from dynsim.kernels import reference
from dynsim.kernels.load import load

cpu = load("cpu")
KICK, DT = 0.05, 0.1


def particles(shape, dtype=np.float64, seed=0):
    """(q, v, force, work)"""
    rng = np.random.default_rng(seed)
    q, v, force = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    return q, v, force, rng.standard_normal(shape[:-1]).astype(dtype)


def step(kernels, q, v, force, work, mass=2.0, keep=0.9, longest=1.5, kick=KICK, dt=DT):
    mass = np.full((1,) * q.ndim, mass, q.dtype) if np.ndim(mass) == 0 else mass
    return kernels.kick_drift(q, v, force, mass, keep, kick, dt, longest, work)


def assert_same(got, expected, tolerance):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-6)])
@pytest.mark.parametrize("shape", [(2, 701, 3), (1, 1, 3), (3, 40, 1)])
@pytest.mark.parametrize("own", [(), (0,), (0, 1, 2), (3,)], ids=["none", "mass", "all", "coordinates"])
def test_cpu_agrees_with_reference(dtype, tolerance, shape, own):
    """Numbers that are one for all, or of each particle; keep also of each coordinate."""
    rng = np.random.default_rng(1)
    numbers = [2.0, 0.9, 1.5]
    for k in own:
        of = (*shape[:-1], 1) if k < 3 else shape
        numbers[k % 2 if k == 3 else k] = rng.uniform(0.5, 1.0, of).astype(dtype)
    arrays = particles(shape, dtype)
    got, expected = (step(k, *arrays, *numbers) for k in (cpu, reference))
    assert all(a.dtype == dtype for a in got[:4])
    assert_same(got, expected, tolerance)


def test_bits_do_not_depend_on_threads(with_threads):
    arrays = particles((1, 100_003, 3), np.float32)
    one, two = (with_threads(n, lambda: step(cpu, *arrays)) for n in (1, 2))
    for a, b in zip(one, two):
        np.testing.assert_array_equal(a, b)


def test_nobody_is_faster_than_the_limit(kernels):
    q, v, force, work = particles((2, 300, 3))
    moved, slower, _, left, sums = step(kernels, q, v, force, work, longest=0.7)
    speed, free = (np.linalg.norm(u, axis=-1) for u in (slower, 0.9 * v + KICK / 2 * force))
    np.testing.assert_allclose(speed, np.minimum(free, 0.7), rtol=1e-12)
    np.testing.assert_allclose(left, speed / free, rtol=1e-12)
    np.testing.assert_allclose(moved, q + DT * slower, rtol=1e-12)
    assert sums[5] == np.count_nonzero(free > 0.7) > 0
    assert sums[4] == pytest.approx(DT * speed.sum(), rel=1e-12)


def test_energies_are_those_of_the_four_velocities(kernels):
    q, v, force, work = particles((1, 200, 2))
    mass = np.random.default_rng(3).uniform(1, 2, (1, 200, 1))
    _, slower, done, _, sums = step(kernels, q, v, force, work, mass=mass)
    velocities = v, 0.9 * v, 0.9 * v + KICK * force / mass, slower
    expected = [0.5 * (mass * u**2).sum() for u in velocities]
    np.testing.assert_allclose(sums[:4], expected, rtol=1e-12)
    np.testing.assert_allclose(done, work + DT * (force * slower).sum(-1), rtol=1e-9, atol=1e-12)


def test_without_kick_damping_and_limit_particles_only_drift(kernels):
    q, v, force, work = particles((1, 50, 3))
    moved, same, _, left, sums = step(kernels, q, v, force, work, keep=1.0, kick=0.0, longest=np.inf)
    np.testing.assert_array_equal(same, v)
    np.testing.assert_allclose(moved, q + DT * v, rtol=0, atol=1e-15)
    assert (left == 1).all()
    assert sums[0] == sums[1]
    assert sums[2] == sums[3]
    assert sums[5] == 0


def test_what_is_not_finite_stays_so(kernels):
    q, v, force, work = particles((1, 40, 3))
    v[0, 3, 1], force[0, 7, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        moved, *_, sums = step(kernels, q, v, force, work, longest=0.7)
    lost = ~np.isfinite(moved).all(-1)[0]
    assert set(np.flatnonzero(lost)) == {3, 7}
    assert not np.isfinite(sums[:4]).any()


def test_arrays_need_not_be_contiguous():
    q, v, force, work = particles((2, 60, 3))
    strided = np.asfortranarray(force)
    assert not strided.flags.c_contiguous
    for a, b in zip(step(cpu, q, v, strided, work), step(cpu, q, v, force, work)):
        np.testing.assert_array_equal(a, b)
