"""Convolutions, pools and norms of images: every device against the reference, and against what defines them."""

import numpy as np
import pytest

from dynsim.kernels import load, reference
from dynsim.kernels.sharing import limited_to

cpu = load.load("cpu")
DTYPES = [np.float32, np.float64]
# (B, height, width, C), kernel k, N, stride, padding; the fourth has more than one tile, the last leaves pixels out
WINDOWS = [
    ((3, 6, 7, 2), 3, 4, 1, 0),
    ((2, 5, 5, 3), 5, 2, 1, 2),
    ((2, 7, 6, 1), 1, 3, 1, 0),
    ((70, 12, 12, 6), 5, 16, 1, 0),
    ((2, 8, 9, 3), 3, 2, 2, 1),
    ((2, 11, 10, 2), 2, 3, 3, 0),
    ((2, 9, 10, 2), 4, 3, 3, 2),
]


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(got, want, dtype):
    """To rounding, in units of the largest value."""
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=(1e-12 if dtype == np.float64 else 2e-5) * np.abs(want).max())


def convolution(kernels, shape, k, channels, stride, padding, dtype=np.float64):
    """(y, feedback on x, feedback on kernel) and the arrays that gave them."""
    x, kernel = normal(*shape, dtype=dtype), normal(k, k, shape[-1], channels, dtype=dtype, seed=1)
    y = kernels.convolve(x, kernel, stride, padding)
    d = normal(*y.shape, dtype=dtype, seed=2)
    return (y, *kernels.convolve_back(d, x, kernel, stride, padding)), (x, kernel, d)


def pooling(kernels, x, size, largest):
    y, place = kernels.pool(x, size, largest)
    return y, kernels.pool_back(normal(*y.shape, dtype=x.dtype, seed=1), place, x.shape, size)


def normalising(kernels, rows):
    d, centre = normal(*rows.shape, dtype=rows.dtype, seed=1), rows.mean(axis=0)
    parts = kernels.sums(rows), kernels.squares(rows, centre), kernels.scaled(rows, centre, centre + 2, centre - 1)
    back = kernels.norm_back(d, rows, centre, centre + 2, centre - 1, centre + 3)
    return *parts, *kernels.products(d, rows, centre), back


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
def test_convolutions_agree_with_the_reference(window, dtype):
    expected, _ = convolution(reference, *window)
    for got, want in zip(convolution(cpu, *window, dtype)[0], expected):
        close(got, want, dtype)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_convolution_is_the_sum_over_its_windows(kernels, window):
    """y[b, r, c, n] = sum_ijm x[b, r s + i - p, c s + j - p, m] kernel[i, j, m, n], term by term."""
    (y, *_), (x, kernel, _) = convolution(kernels, *window)
    _, k, _, stride, padding = window
    around = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    for r, c in [(0, 0), (y.shape[1] - 1, y.shape[2] - 1), (y.shape[1] // 2, 0)]:
        cut = around[:, r * stride : r * stride + k, c * stride : c * stride + k]
        np.testing.assert_allclose(y[:, r, c], np.einsum("bijm,ijmn->bn", cut, kernel), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("window", WINDOWS)
def test_the_way_back_of_a_convolution_is_its_transpose(kernels, window):
    """d . conv(x, w) = x . (what comes back to x) = w . (what comes back to w), because it is linear in both."""
    (y, on_x, on_kernel), (x, kernel, d) = convolution(kernels, *window)
    assert np.vdot(x, on_x) == pytest.approx(np.vdot(d, y), rel=1e-10, abs=1e-10)
    assert np.vdot(kernel, on_kernel) == pytest.approx(np.vdot(d, y), rel=1e-10, abs=1e-10)


def test_nobody_pays_for_feedback_that_is_not_wanted(kernels):
    (_, _, on_kernel), (x, kernel, d) = convolution(kernels, *WINDOWS[0])
    on_x, again = kernels.convolve_back(d, x, kernel, wanted=False)
    assert on_x is None
    assert np.array_equal(again, on_kernel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("shape", "size"), [((40, 8, 6, 5), 2), ((3, 7, 8, 2), 3), ((2, 4, 5, 1), 4)])
def test_pools_agree_with_the_reference(shape, size, largest, dtype):
    x = normal(*shape, dtype=dtype)
    for got, want in zip(pooling(cpu, x, size, largest), pooling(reference, x, size, largest)):
        close(got, want, dtype)


def test_not_a_number_stays_in_its_window(kernels):
    x = np.zeros((1, 4, 4, 2))
    x[0, 0, 1, 0] = np.nan
    y, place = kernels.pool(x, 2, True)
    assert np.isnan(y).sum() == 1
    assert place[0, 0, 0, 0] == 1
    assert np.isnan(kernels.pool(x, 2, False)[0]).sum() == 1
    convolved = kernels.convolve(x, np.ones((3, 3, 2, 1)), padding=1)
    assert np.isnan(convolved[0, :, :, 0]).sum() == 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 33), (50, 4000), (1, 1)])
def test_norms_agree_with_the_reference(shape, dtype):
    rows = normal(*shape, dtype=dtype)
    for got, want in zip(normalising(cpu, rows), normalising(reference, rows)):
        np.testing.assert_allclose(got, want, rtol=0, atol=(1e-12 if dtype == np.float64 else 1e-5) * len(rows) * 20)


def test_bits_do_not_depend_on_threads():
    window = (130, 20, 20, 3), 5, 6, 1, 2
    x = normal(130, 20, 20, 6, dtype=np.float32)
    found = []
    for count in (1, 2):
        with limited_to(count):
            parts = (
                convolution(cpu, *window, np.float32)[0],
                pooling(cpu, x, 2, True),
                normalising(cpu, x.reshape(130, -1)),
            )
        found.append([a for part in parts for a in part])
    assert all(map(np.array_equal, *found))
