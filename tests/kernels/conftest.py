"""What the tests of all kernels share."""

import pytest


@pytest.fixture
def with_threads():
    """(n, compute) -> what compute() gives with n threads."""
    import numba

    before = numba.get_num_threads()
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("needs two threads")
    yield lambda n, compute: (numba.set_num_threads(n), compute())[1]
    numba.set_num_threads(before)
