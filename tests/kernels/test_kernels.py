"""Every device computes what `reference` computes, with the same bits for any number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynsim import errors
from dynsim.kernels import forces_cpu, load, path_integral_cpu, reference

METRICS = reference.METRICS
SMOOTH = tuple(m for m in METRICS if m != "l1")
GAIN, EPS, P = 0.7, 0.1, 2.5
cpu = load.load("cpu")


@pytest.fixture(params=["reference", "cpu"])
def kernels(request):
    return load.load(request.param)


def particles(H, M, N, d, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (H, M, d), (H, N, d), (H,), (M, N)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def everything(kernels, metric, q_a, q_b, mu, stress, eps=EPS):
    w = kernels.path_integral(metric, q_a, q_b, mu, GAIN, eps, P)
    return w, *kernels.path_integral_forces(metric, q_a, q_b, mu, GAIN, eps, P, stress)


def assert_parity(metric, arrays, eps=EPS):
    expected = everything(reference, metric, *(x.astype(np.float64) for x in arrays), eps)
    dtype = arrays[0].dtype
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    # A scalar sum may nearly cancel: its error is relative to the sums that it is made of.
    largest = [np.abs(x).max() for x in expected]
    largest[4:] = (max(x, largest[3]) for x in largest[4:])
    for got, want, scale in zip(everything(cpu, metric, *arrays, eps), expected, largest):
        assert got.dtype == dtype
        assert np.shape(got) == np.shape(want)
        assert np.abs(got - want).max() <= tolerance * (scale + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_cpu_agrees_with_reference_across_tiles(metric, dtype):
    assert_parity(metric, particles(3, 71, 523, 2, dtype))


# One d, so that a metric is compiled once; other d below.
@settings(max_examples=30, deadline=None)
@given(st.sampled_from(METRICS), *[st.integers(1, 40)] * 2, st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_cpu_agrees_with_reference_for_odd_shapes(metric, M, N, H, seed):
    assert_parity(metric, particles(H, M, N, 2, np.float64, seed))


@pytest.mark.parametrize("d", [1, 13])
def test_cpu_agrees_with_reference_for_other_dimensions(d):
    assert_parity("l2", particles(2, 9, 35, d))


def test_stress_need_not_be_contiguous():
    *arrays, stress = particles(2, 7, 34, 2)
    strided = np.repeat(stress.T, 2, axis=0)[::2].T
    assert not strided.flags.c_contiguous
    for got, want in zip(everything(cpu, "l2", *arrays, strided), everything(cpu, "l2", *arrays, stress)):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_coincident_particles_do_not_push(kernels, metric):
    q = np.ones((1, 3, 2))
    w, on_a, on_b, *_ = everything(kernels, metric, q, q, np.ones(1), np.ones((3, 3)), eps=0.0)
    assert np.abs(w).max() < 1e-150
    assert not on_a.any()
    assert not on_b.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_stay_visible(kernels, bad):
    q_a, q_b, mu, _ = particles(2, 5, 34, 2)
    q_a[0, 3, 1] = bad
    w = kernels.path_integral("squared", q_a, q_b, mu, GAIN, EPS, P)
    assert not np.isfinite(w[3]).any()
    assert np.isfinite(np.delete(w, 3, axis=0)).all()


@pytest.mark.parametrize("metric", METRICS)
def test_forces_are_the_gradient_of_energy(kernels, metric):
    """Central differences of sum F W; for l1 no step crosses a kink, as the coordinates are far apart."""
    q_a, q_b, mu, stress = particles(2, 3, 4, 2)
    if metric == "l1":
        q_a, q_b = np.round(q_a, 1), np.round(q_b, 1) + 0.05

    def energy(q_a, q_b, mu, gain, eps):
        return (stress * kernels.path_integral(metric, q_a, q_b, mu, gain[0], eps[0], P)).sum()

    given_ = [q_a, q_b, mu, np.array([GAIN]), np.array([EPS])]
    forces = kernels.path_integral_forces(metric, q_a, q_b, mu, GAIN, EPS, P, stress)
    for which, force in enumerate(forces):
        numeric = np.empty(given_[which].size)
        for index in range(numeric.size):
            sides = []
            for step in (1e-5, -1e-5):
                moved = [x.copy() for x in given_]
                moved[which].flat[index] += step
                sides.append(energy(*moved))
            numeric[index] = (sides[0] - sides[1]) / 2e-5
        error = np.abs(numeric - np.ravel(force)).max()
        assert error < 1e-6 * max(np.abs(force).max(), 1)


@pytest.mark.parametrize("metric", ["l1", "reciprocal"])
def test_bits_do_not_depend_on_threads(with_threads, metric):
    arrays = particles(20, 203, 517, 2, np.float32)
    one, two = (with_threads(n, lambda: everything(cpu, metric, *arrays)) for n in (1, 2))
    for x, y in zip(one, two):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("shape", [(128, 784, 256), (784, 128, 256), (128, 256, 784), (7, 5, 3)])
def test_product_bits_do_not_depend_on_threads(with_threads, shape):
    M, K, N = shape
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((K, M)).T, rng.standard_normal((K, N))
    one, two = (with_threads(n, lambda: cpu.matmul(a, b)) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(one, a @ b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "delta"), [(1, 1, 1.0), (3001, 2, 0.3), (2000, 9, 1.7)])
def test_occupied_cells_are_the_unique_floors(dtype, n, d, delta):
    q = np.random.default_rng(2).standard_normal((n, d)).astype(dtype)
    counts = cpu.occupied_cells(q, delta)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(np.sort(counts), np.sort(reference.occupied_cells(q, delta)))


def test_a_histogram_counts_the_cells_of_psi(kernels):
    """Cells are closed below and open above: 0 and 1 are in, the upper edge 2, what lies below, NaN and Inf are out."""
    x = np.array([0.0, 0.5, 1.0, 1.999, 2.0, -1e-9, np.nan, np.inf, -np.inf])
    counts = kernels.histogram(np.stack([x, np.full(9, -0.5)], axis=1), 1.0, (0, -1), (2, 1))
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [[2], [2]])
    everywhere = np.random.default_rng(3).standard_normal((500, 2))
    counts = kernels.histogram(everywhere, 0.4, (-50, -50), (100, 100))
    np.testing.assert_array_equal(np.sort(counts[counts > 0]), np.sort(kernels.occupied_cells(everywhere, 0.4)))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([np.float32, np.float64]), st.integers(2, 3), st.floats(0.01, 3), st.integers(0, 2**32 - 1))
def test_histograms_of_every_device_are_equal(dtype, axes, delta, seed):
    rng = np.random.default_rng(seed)
    # multiples of delta among them, so that many points stand on edges
    q = np.concatenate([rng.standard_normal((200, axes)), rng.integers(-5, 6, (50, axes)) * delta]).astype(dtype)
    arguments = q[::2], delta, rng.integers(-5, 1, axes), tuple(rng.integers(1, 9, axes))
    np.testing.assert_array_equal(cpu.histogram(*arguments), reference.histogram(*arguments))


def test_histogram_bits_do_not_depend_on_threads(with_threads):
    q = np.random.default_rng(4).standard_normal((300_000, 2)).astype(np.float32)
    one, two = (with_threads(n, lambda: cpu.histogram(q, 0.1, (-20, -20), (40, 40))) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_projection_of_known_points(kernels):
    """A camera at the origin that looks along -z with 90 degrees, near 1 and far 3, matrix for row vectors."""
    near, far = 1.0, 3.0
    matrix = np.zeros((4, 4))
    matrix[0, 0] = matrix[1, 1] = 1
    matrix[2, 2], matrix[3, 2] = -(far + near) / (far - near), -2 * far * near / (far - near)
    matrix[2, 3] = -1
    points = np.array([[0, 0, -1], [0, 0, -3], [2, 2, -2], [-1, 1, -2], [3, 0, -2], [0, 0, -4], [0, 0, 1]], np.float32)
    xy, depth, visible = kernels.project_points(points, matrix, 800, 600)
    assert (xy.dtype, depth.dtype, visible.dtype) == (np.float32, np.float32, np.bool_)
    # the centre, its far end, the upper right corner, half way to the upper left one
    expected = [[400, 300], [400, 300], [800, 0], [200, 150], [1000, 300], [400, 300]]
    np.testing.assert_allclose(xy[:6], expected, atol=1e-4)
    np.testing.assert_allclose(depth[[0, 1, 2]], [-1, 1, 0.5], atol=1e-6)
    np.testing.assert_array_equal(visible, [True, True, True, True, False, False, False])
    assert np.isnan(xy[6]).all()
    assert np.isnan(depth[6])


def test_projections_of_every_device_are_equal():
    rng = np.random.default_rng(5)
    points = rng.standard_normal((1000, 3)).astype(np.float32)
    matrix = np.eye(4) + 0.3 * rng.standard_normal((4, 4))  # some points lie behind the eye
    got, want = (k.project_points(points[::2], matrix, 640, 480) for k in (cpu, reference))
    np.testing.assert_array_equal(got[2], want[2])
    assert 0 < want[2].sum() < 500
    assert 0 < np.isnan(want[1]).sum() < 500
    for x, y in zip(got[:2], want[:2]):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4)


CACHE_SCRIPT = """
import sys
import numpy as np
from dynsim.kernels import cpu, path_integral_cpu, reference
rng = np.random.default_rng(0)
q_a, q_b, mu, F = (rng.standard_normal(s) for s in ((2, 3, 2), (2, 34, 2), (2,), (3, 34)))
for metric in sys.argv[1].split(","):
    w = cpu.path_integral(metric, q_a, q_b, mu, 1.0, 0.1, 2.0)
    np.testing.assert_allclose(w, reference.path_integral(metric, q_a, q_b, mu, 1.0, 0.1, 2.0), atol=1e-12)
    stats = path_integral_cpu._forward(metric, 2).stats
    print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_kernels_of_several_processes_share_the_cache(tmp_path):
    """Each process finds its own kernel, not a namesake (numba issue 10486), and compiles nothing twice."""

    def hits_and_misses(metrics):
        environment = dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path), PYTHONPATH=os.pathsep.join(sys.path))
        command = [sys.executable, "-c", CACHE_SCRIPT, metrics]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return out.split("\n")[:-1]

    assert hits_and_misses("l2") == ["0 1"]
    assert hits_and_misses("l1") == ["0 1"]
    assert hits_and_misses("l1,l2") == ["1 0", "1 0"]
    assert hits_and_misses("l2,l1") == ["1 0", "1 0"]


def test_devices_are_loaded_by_name():
    assert load.load("auto") is load.load("cpu")
    assert load.load("reference") is reference
    assert set(load.available()) == set(load.DEVICES) - {"auto"}
    with pytest.raises(errors.OptionError, match="did you mean 'cpu'"):
        load.load("cpuu")


def test_reference_does_not_import_numba():
    code = "from dynsim.kernels import load; import sys; load.load('reference'); exit('numba' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_compile_for_leaves_nothing_to_compile():
    load.compile_for(cpu, "l2", 3, np.float32)
    compiled = [path_integral_cpu._forward("l2", 3), forces_cpu._forces("l2", 3)]
    before = [len(kernel.signatures) for kernel in compiled]
    everything(cpu, "l2", *particles(2, 5, 34, 3, np.float32))
    assert min(before) > 0
    assert before == [len(kernel.signatures) for kernel in compiled]
