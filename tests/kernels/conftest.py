"""What the tests of all kernels share."""

import pytest

from dynsim.kernels.sharing import limited_to


@pytest.fixture
def with_threads():
    """(n, compute) -> what compute() gives with n threads."""

    def computed(n, compute):
        with limited_to(n):
            return compute()

    return computed
