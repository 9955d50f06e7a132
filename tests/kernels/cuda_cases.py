"""What every function of a GPU is given in its tests, and how its answer is compared with the reference's."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

import numpy as np
import pytest

from dynsim import kernels as package
from dynsim.kernels import reference
from dynsim.kernels.cards import SIMULATED

if SIMULATED:
    import simulator  # noqa: F401

METRICS = reference.METRICS
SINGLE = {"project_points": 1e-6}  # what answers in float32, whatever it is given
EXACT = {"occupied_cells", "histogram", "pool"}  # the reference is given the same bits
HOST = {"limit_blas_threads"}  # of the CPU's facade: about threads of the host

# Blocks of a few threads, which the simulator runs quickly: nearly every size has several of them, the last not full
SMALL = {
    "path_integral_cuda": {"SIDE": 2, "EACH": 2, "TILE": 4, "DEEPEST": 2},
    "forces_cuda": {"ROWS": 2, "LANES": 2, "COLUMNS": 4, "THREADS": 4, "SHARE": 2, "_kept": lambda *_: 2},
    "medium_cuda": {"SIDE": 2, "THREADS": 2},
    "particles_cuda": {"THREADS": 4},
    "images_cuda": {"THREADS": 4, "PATCHES": 50},
    "norms_cuda": {"COLUMNS": 2, "LANES": 2, "ROWS": 4, "EACH": 1, "TALLEST": 2},
    "view_cuda": {"THREADS": 4},
    "limits_cuda": {"THREADS": 4},
}


def functions(kernels):
    """{name: function} of what a device offers."""
    found = {n: f for n, f in vars(kernels).items() if inspect.isfunction(f) and not n.startswith("_")}
    return {n: f for n, f in found.items() if f.__module__.startswith(package.__name__) and n not in HOST}


def modules() -> list[ModuleType]:
    """Those that make kernels for a GPU."""
    names = [m.name for m in iter_modules(package.__path__) if m.name.endswith("_cuda")]
    return [import_module(f"{package.__name__}.{name}") for name in ("device", *names)]


@contextmanager
def small_blocks():
    """Kernels with blocks of `SMALL`; those of the usual size are made anew afterwards."""
    made = {m.__name__.rsplit(".", 1)[1]: m for m in modules()}
    with pytest.MonkeyPatch.context() as patch:
        for name, constants in SMALL.items():
            for constant, value in constants.items():
                patch.setattr(made[name], constant, value)
        _forget(made["device"].KERNELS)
        yield
    _forget(made["device"].KERNELS)


def _forget(kernels):
    for factory in kernels.values():
        factory.cache_clear()


def arguments(function, *sizes):
    """Host arrays, float64, and constants for a function: fresh ones for the same sizes are the same."""
    return _GIVEN[function](np.random.default_rng(len(sizes) + sum(s for s in sizes if isinstance(s, int))), *sizes)


def as_type(dtype, given):
    """The same with float64 arrays of another type."""
    real = [isinstance(a, np.ndarray) and a.dtype == np.float64 for a in given]
    return tuple(a.astype(dtype) if r else a for a, r in zip(given, real))


def compare(kernels, function, sizes, dtype, tolerance):
    """Raise where an answer differs from the reference's by more than this part of its size."""
    given = as_type(dtype, arguments(function, *sizes))
    put = [kernels.to_device([a])[0] if isinstance(a, np.ndarray) else a for a in given]
    got = _flat(getattr(kernels, function)(*put))
    wanted = _flat(getattr(reference, function)(*(given if function in EXACT else as_type(np.float64, _wide(given)))))
    # sums over all pairs have the error of their terms, however much of them cancels
    least = max(np.size(a) for a in given) ** 0.5
    for mine, theirs in zip(got, wanted, strict=True):
        _close(kernels, function, mine, theirs, max(tolerance, SINGLE.get(function, 0)), least)


def _wide(given):
    return tuple(np.float64(a) if isinstance(a, np.ndarray) and a.dtype == np.float32 else a for a in given)


def _flat(answer):
    return answer if isinstance(answer, tuple) else (answer,)


def _close(kernels, function, mine, theirs, tolerance, least):
    if theirs is None:
        assert mine is None
        return
    mine, theirs = (np.asarray(a, np.float64) for a in (*kernels.to_host([mine]), theirs))
    if function == "occupied_cells":
        mine, theirs = np.sort(mine), np.sort(theirs)
    assert mine.shape == theirs.shape, function
    lost = np.isnan(theirs)
    assert (np.isnan(mine) == lost).all(), function
    error = np.linalg.norm(np.where(lost, 0, mine - theirs))
    assert error <= tolerance * max(np.linalg.norm(theirs[~lost]), least), (function, error)


# Arguments -----------------------------------------------------------------------------------------------------


def _path_integral(rng, metric, m, n, copies, d):
    q_a, q_b = (rng.standard_normal((copies, k, d)) for k in (m, n))
    q_b[:, 0] = q_a[:, 0]  # a pair at one place: no direction, and no NaN
    return metric, q_a, q_b, rng.standard_normal(copies), 1.3, 0.1, 3.0


def _path_integral_forces(rng, metric, m, n, copies, d):
    return *_path_integral(rng, metric, m, n, copies, d), rng.standard_normal((m, n))


def _mean_field(rng, m, n, sources, d):
    ways, weights = np.polynomial.legendre.leggauss(3)
    ends = (rng.standard_normal((2, k, d)) for k in (m, n))
    return *ends, rng.standard_normal((sources, d)), rng.standard_normal(sources), 0.7, 0.5 + ways / 2, weights / 2


def _mean_field_forces(rng, m, n, sources, d):
    return *_mean_field(rng, m, n, sources, d), rng.standard_normal((2, m, n))


def _field_at(rng, n, sources, d):
    return rng.standard_normal((n, d)), rng.standard_normal((sources, d)), rng.standard_normal(sources), 0.7


def _kick_drift(rng, n, d, of_particle, kept):
    """kept : numbers of the factor of a particle; 0 for one number for all."""
    q, v, force = (rng.standard_normal((2, n, d)) for _ in range(3))
    mass = 0.5 + rng.random((2, n, 1) if of_particle else (1, 1, 1))
    keep = rng.random((2, n, kept)) if kept else rng.random((1, 1, 1))
    longest = rng.random((2, n, 1)) if of_particle else np.inf
    return q, v, force, mass, keep, 0.3, 0.2, longest, rng.standard_normal((2, n))


def _points(rng, n, d):
    """Some at one place, some on the edges of cells, one far away: its cells fit into no code."""
    q = rng.standard_normal((n, d))[rng.integers(0, n, n)]
    q[::3] = np.round(q[::3])
    q[n // 2] *= 1e12
    return q


def _histogram(rng, n, d):
    return rng.standard_normal((n, d)), 0.5, (-2, -3, 0)[:d], (5, 6, 2)[:d]


def _convolve(rng, b, height, width, channels, k, out, stride, padding):
    x, kernel = rng.standard_normal((b, height, width, channels)), rng.standard_normal((k, k, channels, out))
    return x, kernel, stride, padding


def _convolve_back(rng, b, height, width, channels, k, out, stride, padding):
    x, kernel, *rest = _convolve(rng, b, height, width, channels, k, out, stride, padding)
    return rng.standard_normal(reference.convolve(x, kernel, *rest).shape), x, kernel, *rest


def _pool(rng, b, height, width, channels, size, largest):
    x = rng.standard_normal((b, height, width, channels))
    x[0, 0, 0, 0] = x[0, 0, -1, 0]  # the first of two is chosen
    return x, size, largest


def _pool_back(rng, *sizes):
    x, size, largest = _pool(rng, *sizes)
    y, place = reference.pool(x, size, largest)
    return rng.standard_normal(y.shape), place, x.shape, size


def _columns(rng, b, k, count):
    return [rng.standard_normal((b, k)), *rng.standard_normal((count, k))]


_GIVEN = {
    "path_integral": _path_integral,
    "path_integral_forces": _path_integral_forces,
    "mean_field": _mean_field,
    "mean_field_forces": _mean_field_forces,
    "field_at": _field_at,
    "kick_drift": _kick_drift,
    "occupied_cells": lambda rng, n, d: (_points(rng, n, d), 1e-3),
    "structural_entropy": lambda rng, n, d: (_points(rng, n, d), (1e-6, 0.5, 40.0)),
    "histogram": _histogram,
    "convolve": _convolve,
    "convolve_back": _convolve_back,
    "pool": _pool,
    "pool_back": _pool_back,
    "sums": lambda rng, b, k: (rng.standard_normal((b, k)),),
    "squares": lambda rng, b, k: (*_columns(rng, b, k, 1),),
    "products": lambda rng, b, k: (rng.standard_normal((b, k)), *_columns(rng, b, k, 1)),
    "scaled": lambda rng, b, k: (*_columns(rng, b, k, 3),),
    "norm_back": lambda rng, b, k: (rng.standard_normal((b, k)), *_columns(rng, b, k, 4)),
    "project_points": lambda rng, n: (rng.standard_normal((n, 3)), rng.standard_normal((4, 4)), 640, 480),
    "multiply_adds": lambda rng, n: (rng.standard_normal(n), 0.5, 0.3, 7),
    "matmul": lambda rng, m, k, n: (rng.standard_normal((m, k)), rng.standard_normal((k, n))),
    "erf": lambda rng, n: (rng.standard_normal(n),),
    "expit": lambda rng, n: (rng.standard_normal(n),),
}
