"""Short vectors: what holds them to the machine's registers, and lanes of one type from numbers of another."""

import numpy as np
import pytest
from numba import njit

from dynsim.kernels import lanes


def test_a_function_asks_for_the_widest_registers_and_no_other_does():
    @njit
    def summed(x, y):
        for j in range(x.size):
            x[j] += y[j]

    @njit
    def widely(x, y):
        lanes.widest()
        for j in range(x.size):
            x[j] += y[j]

    numbers = np.ones(64, np.float32)
    for function, times in ((summed, 0), (widely, 1)):
        function(numbers, numbers)
        (code,) = function.inspect_llvm().values()
        assert code.count('"prefer-vector-width"="512"') == times
    np.testing.assert_array_equal(numbers, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_begin_at_a_line_of_the_cache(dtype):
    like = np.empty(0, dtype)
    for size in (1, 33, 1000):
        numbers = lanes.aligned(size, like)
        assert (numbers.size, numbers.dtype) == (size, dtype)
        assert numbers.ctypes.data % lanes.BYTES == 0
        assert not numbers.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_doubles_come_from_numbers_of_either_type(dtype):
    @njit
    def doubled(x, out):
        numbers = lanes.load_doubles(x, 3)
        lanes.store(out, 0, numbers + numbers)

    x, out = np.arange(40, dtype=dtype) / 3, np.empty(lanes.BYTES // 8)
    doubled(x, out)
    np.testing.assert_array_equal(out, 2 * x[3 : 3 + out.size].astype(np.float64))
