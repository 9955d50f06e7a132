"""The GPU kernels keep the contract of `reference`: on numba's simulator here, on a card where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# (metric, M, N, H, d): more rows than a block of the forces has; two copies; more coordinates than a thread keeps
CASES = (("l2", 34, 3, 1, 2), ("l1", 3, 2, 2, 1), ("dot", 2, 2, 1, 34))
# (mass, what is kept, longest speed): of a particle, of every coordinate, or one for all
STEPS = ((True, 1, True), (False, 3, False), (True, 0, False))
SIMULATED = """
import numpy as np
from dynsim.kernels import cuda, reference
from tests.kernels.test_cuda import CASES, compare, compare_medium, compare_step, STEPS
for case in CASES:
    compare(cuda, *case, "float64", 1e-12)
compare_medium(cuda, 3, 2, 4, 2, "float64", 1e-12)
for case in STEPS:
    compare_step(cuda, 130, *case, "float64", 1e-12)
q = np.random.default_rng(0).standard_normal((300, 9))
for delta in (1.0, 1e-3, 1e-9):  # the last one's cells do not fit into 63 bits
    assert sorted(cuda.occupied_cells(q, delta)) == sorted(reference.occupied_cells(q, delta))
shape = (q[:, :2], 0.5, (-2, -3), (5, 6))
assert (cuda.histogram(*shape) == reference.histogram(*shape)).all()
print("agreed")
"""


def compare(kernels, metric, m, n, copies, dim, dtype, tolerance):
    """Raise where a kernel differs from the reference in float64 by more than this part of its size."""
    from dynsim.kernels import reference

    rng = np.random.default_rng(m + n)
    q_a, q_b = (rng.standard_normal((copies, k, dim)) for k in (m, n))
    mu, stress = rng.standard_normal(copies), rng.standard_normal((m, n))
    q_b[:, 0] = q_a[:, 0]  # a pair at one place: no direction, and no NaN
    own = [kernels.xp.asarray(a, dtype) for a in (q_a, q_b, mu, stress)]
    constants = 1.3, 0.1, 3.0
    got = (
        kernels.path_integral(metric, *own[:3], *constants),
        *kernels.path_integral_forces(metric, *own[:3], *constants, own[3]),
    )
    wanted = (
        reference.path_integral(metric, q_a, q_b, mu, *constants),
        *reference.path_integral_forces(metric, q_a, q_b, mu, *constants, stress),
    )
    # sums over all pairs have the error of their terms, however much of them cancels
    _close(got, wanted, tolerance, metric, least=(m * n) ** 0.5)


def compare_medium(kernels, m, n, sources, dim, dtype, tolerance):
    """The same for paths through a medium."""
    from dynsim.kernels import medium

    rng = np.random.default_rng(m + n)
    q_a, q_b = (rng.standard_normal((2, k, dim)) for k in (m, n))
    stress, width = rng.standard_normal((2, m, n)), 0.7
    ways, weights = np.polynomial.legendre.leggauss(3)
    arrays = (
        (q_a, q_b, rng.standard_normal((sources, dim)), rng.standard_normal(sources)),
        (0.5 + ways / 2, weights / 2),
    )
    own = [[kernels.xp.asarray(a, dtype) for a in part] for part in arrays]
    got = (
        kernels.mean_field(*own[0], width, *own[1]),
        *kernels.mean_field_forces(*own[0], width, *own[1], kernels.xp.asarray(stress, dtype)),
    )
    wanted = (
        medium.mean_field(*arrays[0], width, *arrays[1]),
        *medium.mean_field_forces(*arrays[0], width, *arrays[1], stress),
    )
    _close(got, wanted, tolerance, "medium")


def compare_step(kernels, n, own_mass, kept, own_limit, dtype, tolerance):
    """The same for the step of n particles; more than a block has threads."""
    from dynsim.kernels import particles

    rng = np.random.default_rng(n)
    q, v, force = (rng.standard_normal((2, n // 2, 3)) for _ in range(3))
    mass = 0.5 + rng.random((2, n // 2, 1) if own_mass else (1, 1, 1))
    keep = rng.random((2, n // 2, kept)) if kept else rng.random(())
    longest = rng.random((2, n // 2, 1)) if own_limit else np.inf
    arrays, work = (q, v, force, mass, keep), rng.standard_normal((2, n // 2))
    put = [kernels.xp.asarray(a, dtype) for a in (*arrays, longest, work)]
    got = kernels.kick_drift(*put[:5], 0.3, 0.2, *put[5:])
    _close(got, particles.kick_drift(*arrays, 0.3, 0.2, longest, work), tolerance, "step")


def _close(got, wanted, tolerance, what, least=1.0):
    for mine, theirs in zip(got, wanted, strict=True):
        mine = np.asarray(mine.get() if hasattr(mine, "get") else mine, np.float64)
        assert np.linalg.norm(mine - theirs) <= tolerance * max(np.linalg.norm(theirs), least), what


def test_kernels_agree_with_the_reference_on_the_simulator():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.endswith("agreed\n"), done.stderr


def _card():
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceCount() > 0
    except Exception:  # no package, no driver, no card: cupy has a class of error for each
        return False


@pytest.mark.skipif(not _card(), reason="no CUDA device")
@pytest.mark.parametrize("metric", ["l1", "l2", "lp", "squared", "reciprocal", "plummer", "dot"])
@pytest.mark.parametrize("shape", [(37, 53, 3, 9), (300, 33, 2, 9), (5, 200, 4, 40)])
def test_kernels_agree_with_the_reference_on_a_card(metric, shape):
    from dynsim.kernels import cuda

    compare(cuda, metric, *shape, "float32", 2e-5)


@pytest.mark.skipif(not _card(), reason="no CUDA device")
@pytest.mark.parametrize("shape", [(37, 21, 40, 3), (5, 200, 300, 8)])
def test_the_medium_agrees_with_the_reference_on_a_card(shape):
    from dynsim.kernels import cuda

    compare_medium(cuda, *shape, "float32", 2e-5)


@pytest.mark.skipif(not _card(), reason="no CUDA device")
@pytest.mark.parametrize("case", STEPS)
def test_the_step_agrees_with_the_reference_on_a_card(case):
    from dynsim.kernels import cuda

    compare_step(cuda, 1000, *case, "float32", 2e-5)
