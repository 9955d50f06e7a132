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
SIMULATED = """
import numpy as np
from dynsim.kernels import cuda, reference
from tests.kernels.test_cuda import CASES, compare
for case in CASES:
    compare(cuda, *case, "float64", 1e-12)
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
    for mine, theirs in zip(got, wanted, strict=True):
        mine = np.asarray(mine.get() if hasattr(mine, "get") else mine, np.float64)
        assert np.linalg.norm(mine - theirs) <= tolerance * max(np.linalg.norm(theirs), 1.0), metric


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
