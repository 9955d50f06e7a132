"""The GPU kernels keep the contracts of `reference`: on numba's simulator, and on a card where there is one.

The simulator wants a process of its own, `make cuda-proof`: NUMBA_ENABLE_CUDASIM=1 python -m pytest -k cuda. The most
telling tests run there in every `make test`.
"""

import inspect
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cuda_cases import METRICS, arguments, as_type, compare, functions, small_blocks
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda as language
from numba import float64

from dynsim.kernels.cards import SIMULATED
from dynsim.kernels.checks import poisoned

ROOT = Path(__file__).resolve().parents[2]
on_device = pytest.mark.gpu(simulated=True)
# A card overflows silently
pytestmark = pytest.mark.filterwarnings("ignore:.*overflow encountered:RuntimeWarning")
on_simulator = pytest.mark.skipif(not SIMULATED, reason="only on numba's simulator")

# One more than a block has, one less, and 1; on the simulator a few pairs, on a card as many as it takes
SIZES = {
    "path_integral": [*((m, 5, 3, 2, 3) for m in METRICS), ("l1", 3, 65, 1, 1), ("l2", 2, 2, 1, 33)],
    "path_integral_forces": [*((m, 4, 3, 2, 2) for m in METRICS), ("l2", 33, 2, 1, 1), ("dot", 2, 2, 1, 34)],
    "mean_field": [(17, 1, 2, 2), (1, 3, 3, 9)],
    "mean_field_forces": [(3, 2, 4, 2)],
    "field_at": [(7, 5, 3)],
    "kick_drift": [(65, 3, True, 1), (3, 1, False, 1), (5, 9, True, 9), (3, 2, True, 0)],
    "occupied_cells": [(300, 9), (257, 1), (1, 3)],
    "structural_entropy": [(300, 9), (257, 2), (1, 3)],
    "histogram": [(301, 2), (17, 3), (1, 1)],
    "convolve": [
        (3, 6, 7, 2, 3, 4, 1, 0),
        (2, 5, 5, 3, 5, 2, 1, 2),
        (2, 9, 10, 2, 4, 3, 3, 2),
        (1, 1, 1, 1, 1, 1, 1, 0),
    ],
    "convolve_back": [(3, 6, 7, 2, 3, 4, 1, 0), (2, 5, 5, 3, 5, 2, 1, 2), (2, 9, 10, 2, 4, 3, 3, 2)],
    "pool": [(3, 5, 7, 3, 2, True), (2, 7, 8, 2, 3, False), (1, 2, 2, 1, 2, True)],
    "pool_back": [(3, 5, 7, 3, 2, True), (2, 7, 8, 2, 3, False)],
    "sums": [(257, 3), (1, 33)],
    "squares": [(9, 33)],
    "products": [(9, 33)],
    "scaled": [(129, 3), (1, 33)],
    "norm_back": [(129, 3), (1, 33)],
    "project_points": [(129,), (1,)],
    "multiply_adds": [(129,), (1,)],
    "matmul": [(5, 3, 7)],
    "erf": [(33,)],
    "expit": [(33,)],
}
# Of a card too: shapes with many blocks
LARGER = [
    *(("path_integral_forces", (m, *s)) for m in METRICS for s in ((37, 53, 3, 9), (300, 33, 2, 9), (5, 200, 4, 40))),
    *(("path_integral", (m, *s)) for m in METRICS for s in ((37, 53, 3, 9), (300, 131, 2, 9), (5, 200, 4, 40))),
    *(("mean_field_forces", s) for s in ((37, 21, 40, 3), (5, 200, 300, 8))),
    ("kick_drift", (1001, 3, True, 3)),
    ("convolve_back", (70, 13, 12, 6, 5, 16, 1, 2)),
    ("norm_back", (5001, 300)),
    ("products", (5001, 300)),
    ("structural_entropy", (100_001, 9)),
]


# What is launched -----------------------------------------------------------------------------------------------


@contextmanager
def counted():
    """Every launch on the simulator, as {array: how often each of its places was written}; shared memory is none."""
    from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray as Array
    from numba.cuda.simulator.kernel import FakeCUDAKernel as Kernel

    launches, written, write, launch = [], [], Array.__setitem__, Kernel.__call__

    def count(array, place, value):
        written.append((array._item, place))
        write(array, place, value)

    def launched(kernel, *given):
        if kernel._device or running:
            return launch(kernel, *given)
        running.append(kernel)
        written.clear()
        launch(kernel, *given)
        running.pop()
        arrays = {id(a): a for a, _ in written}
        places = Counter((id(a), place) for a, place in written)
        launches.append({k: (a.size, [n for (i, _), n in places.items() if i == k]) for k, a in arrays.items()})

    running = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Array, "__setitem__", count)
        patch.setattr(Kernel, "__call__", launched)
        yield launches


def check(function, sizes, dtype=np.float64, tolerance=1e-12):
    """Contract and geometry of a function: nothing is forgotten, nothing is written twice."""
    from dynsim.kernels import cuda

    with poisoned(cuda.xp):
        if not SIMULATED:
            compare(cuda, function, sizes, dtype, tolerance)
            return
        compare(cuda, function, sizes, dtype, tolerance)
        from simulator import backwards

        with backwards(), counted() as launches:
            compare(cuda, function, sizes, dtype, tolerance)
    for launch in launches:
        assert launch, function
        for size, times in launch.values():
            assert len(times) == size, function
            assert set(times) == {1}, function


@on_device
@pytest.mark.parametrize(("function", "sizes"), [(f, s) for f, cases in SIZES.items() for s in cases], ids=str)
def test_it_keeps_its_contract(function, sizes):
    check(function, sizes)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize(("function", "sizes"), LARGER, ids=str)
def test_it_keeps_its_contract_on_a_card(function, sizes, dtype, tolerance):
    check(function, sizes, dtype, tolerance)


few, metric, truth = st.integers(1, 7), st.sampled_from(METRICS), st.booleans()
image = few, st.integers(3, 7), st.integers(3, 7), st.integers(1, 3)
window = *image, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2)
pools = *image, st.integers(1, 3), truth
DRAWN = {
    "path_integral": (metric, few, few, st.integers(1, 2), st.integers(1, 5)),
    "path_integral_forces": (metric, few, few, st.integers(1, 2), st.integers(1, 5)),
    "mean_field": (few, few, few, st.integers(1, 3)),
    "mean_field_forces": (few, few, st.integers(1, 3), st.integers(1, 3)),
    "kick_drift": (few, st.integers(1, 4), truth, st.integers(0, 1)),
    "convolve": window,
    "convolve_back": window,
    "pool": pools,
    "pool_back": pools,
    **dict.fromkeys(("sums", "squares", "products", "scaled", "norm_back"), (st.integers(1, 19), few)),
    "project_points": (few,),
    "multiply_adds": (few,),
}


@on_simulator
@pytest.mark.parametrize("function", DRAWN)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_place_is_written_once(function, data):
    with small_blocks():
        check(function, data.draw(st.tuples(*DRAWN[function])))


# The same for one size each, and of the metrics those with bodies of their own
TELLING = {
    "path_integral": [(m, 5, 3, 2, 3) for m in ("l1", "l2", "lp", "reciprocal")],
    "path_integral_forces": [(m, 3, 5, 1, 3) for m in ("l1", "l2", "lp", "reciprocal")],
    "mean_field": [(3, 3, 2, 2)],
    "mean_field_forces": [(2, 1, 2, 2)],
    "kick_drift": [(3, 2, True, 1)],
    "convolve": [(2, 3, 4, 2, 2, 3, 2, 1)],
    "convolve_back": [(2, 3, 4, 2, 2, 3, 2, 1)],
    "pool": [(1, 3, 5, 3, 2, True)],
    "pool_back": [(1, 3, 5, 3, 2, True)],
    **{name: [(9, 3)] for name in ("sums", "squares", "products", "scaled", "norm_back")},
    "project_points": [(5,)],
    "multiply_adds": [(5,)],
    "structural_entropy": [(300, 9)],
    "histogram": [(301, 2)],
}


@on_simulator
@pytest.mark.parametrize(("function", "sizes"), [(f, s) for f, cases in TELLING.items() for s in cases], ids=str)
def test_it_keeps_its_contract_telling(function, sizes):
    with small_blocks():
        check(function, sizes)


@on_simulator
@pytest.mark.parametrize("barrier", [True, False])
def test_a_missing_barrier_shows_telling(barrier):
    """Else the simulator would prove little."""
    from simulator import backwards

    def turned(out):
        parts = language.shared.array(4, float64)
        t = language.threadIdx.x
        parts[t] = t
        if barrier:
            language.syncthreads()
        out[t] = parts[3 - t]

    forth, back = np.empty(4), np.empty(4)
    with poisoned(np):
        language.jit(turned)[1, 4](forth)
        with backwards():
            language.jit(turned)[1, 4](back)
    assert np.array_equal(forth, back) == np.array_equal(forth, [3, 2, 1, 0]) == barrier


# What is offered ------------------------------------------------------------------------------------------------


@on_device
def test_it_offers_what_the_cpu_offers_telling():
    from dynsim.kernels import cpu, cuda

    own, wanted = functions(cuda), functions(cpu)
    assert wanted.keys() <= own.keys()
    for name, function in wanted.items():
        assert _parameters(own[name]) == _parameters(function), name


def _parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@on_device
def test_every_function_has_its_cases():
    from dynsim.kernels import cpu, cuda

    assert {*functions(cpu)} - {"to_device", "to_host", "to_host_later", "thread_count"} == {*SIZES}
    assert cuda.thread_count() >= 1


@on_device
def test_arrays_go_to_the_device_and_come_back():
    from dynsim.kernels import cuda

    given = [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), np.float32), np.float32(2), np.arange(3)]
    there = cuda.to_device(given)
    assert all(isinstance(a, cuda.xp.ndarray) for a in there)
    back = cuda.to_host([*there, given[0]])
    assert all(isinstance(a, np.ndarray) for a in back)
    for a, b in zip([*given, given[0]], back, strict=True):
        assert (np.shape(a), np.asarray(a).dtype) == (b.shape, b.dtype)
        assert (a == b).all()


@on_device
@pytest.mark.parametrize("function", ["path_integral", "path_integral_forces", "mean_field", "kick_drift", "convolve"])
def test_not_a_number_stays_visible(function):
    from dynsim.kernels import cuda

    given = list(as_type(np.float32, arguments(function, *SIZES[function][0])))
    first = next(i for i, a in enumerate(given) if isinstance(a, np.ndarray))
    given[first].reshape(-1)[0] = np.nan
    put = [cuda.to_device([a])[0] if isinstance(a, np.ndarray) else a for a in given]
    answer = getattr(cuda, function)(*put)
    assert np.isnan(cuda.to_host(answer if isinstance(answer, tuple) else [answer])[0]).any()


@pytest.mark.skipif(SIMULATED, reason="this is the simulator")
def test_the_most_telling_ones_pass_on_the_simulator():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    files = [Path(__file__), Path(__file__).with_name("test_cuda_engine.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "telling", *files]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert f"{sum(map(len, TELLING.values())) + 4} passed" in done.stdout
