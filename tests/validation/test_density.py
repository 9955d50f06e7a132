"""Density: the cells of psi(delta), every particle in range counted once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dynsim import errors
from dynsim.observables.density import density2d, density3d, smoothed


def cloud(n=2000, axes=2, dtype=np.float32):
    return np.random.default_rng(0).standard_normal((n, axes)).astype(dtype)


@pytest.mark.parametrize(("density", "axes"), [(density2d, 2), (density3d, 3)])
def test_every_particle_is_counted_once(kernels, density, axes):
    d = density(kernels, cloud(axes=axes))
    assert d.counts.sum() == 2000
    assert d.counts.shape == tuple(len(e) - 1 for e in d.edges)


def test_counts_are_those_of_numpy_between_the_same_edges(kernels):
    xy = cloud(dtype=np.float64)
    d = density2d(kernels, xy, delta=0.3)
    expected, _, _ = np.histogram2d(*xy.T, bins=[d.x_edges, d.y_edges])
    np.testing.assert_array_equal(d.counts, expected)


def test_cells_are_those_of_psi(kernels):
    xy = cloud()
    d = density2d(kernels, xy, delta=0.25)
    np.testing.assert_array_equal(np.sort(d.counts[d.counts > 0]), np.sort(kernels.occupied_cells(xy, 0.25)))


def test_cells_stay_where_they_are_while_particles_move(kernels):
    xy = cloud()
    before, after = density2d(kernels, xy, delta=0.5), density2d(kernels, xy + np.float32(2), delta=0.5)
    for edges in (*before.edges, *after.edges):
        np.testing.assert_allclose(edges / 0.5, np.round(edges / 0.5), atol=1e-12)
    np.testing.assert_allclose(after.x_edges, before.x_edges + 2, atol=0.5)
    assert after.counts.sum() == len(xy)


def test_bounds_count_what_is_in_range(kernels):
    xy = cloud()
    d = density2d(kernels, xy, delta=0.1, bounds=((-1, 1), (0, 0.5)))
    (left, right), (bottom, top) = ((e[0], e[-1]) for e in d.edges)
    assert left <= -1 < 1 <= right
    inside = (xy >= [left, bottom]) & (xy < [right, top])
    assert 0 < d.counts.sum() == inside.all(axis=1).sum() < len(xy)
    turned = density2d(kernels, xy, delta=0.1, bounds=((1, -1), (0.5, 0)))
    np.testing.assert_array_equal(turned.counts, d.counts)


def test_the_longest_side_has_the_cells_asked_for(kernels):
    xy = cloud() * np.float32([3, 1])
    d = density2d(kernels, xy, cells=50)
    assert 50 <= d.counts.shape[0] <= 52
    assert d.counts.shape[1] < d.counts.shape[0]
    np.testing.assert_allclose(np.diff(d.x_edges), np.diff(d.y_edges)[0])


def test_nan_and_nothing_are_no_particles(kernels):
    xy = cloud(10)
    xy[3, 0], xy[5, 1] = np.nan, np.inf
    assert density2d(kernels, xy, delta=1.0).counts.sum() == 8
    assert density2d(kernels, xy[:0]).counts.sum() == 0


def test_smoothing_keeps_the_sum(kernels):
    d = density2d(kernels, cloud() ** 2, delta=0.2)  # crowded at two walls
    s = smoothed(d, 1.5)
    assert s.counts.sum() == pytest.approx(2000, rel=1e-12)
    assert s.counts.max() < d.counts.max()
    np.testing.assert_array_equal(smoothed(d, 0).counts, d.counts)


@pytest.mark.parametrize("delta", [0.0, -1.0, np.nan, 1e-9])
def test_a_senseless_delta_is_refused(kernels, delta):
    with pytest.raises(errors.OptionError, match="delta"):
        density2d(kernels, cloud(), delta=delta)


def test_points_must_be_in_the_plane(kernels):
    with pytest.raises(errors.ShapeError, match=r"\(n, 2\)"):
        density2d(kernels, cloud(axes=3))


def test_a_window_needs_no_compiler():
    code = "import sys, dynsim.observables.density, dynsim.kernels.reference; exit('numba' in sys.modules)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
