"""What all tests share: the devices on which the physics must hold."""

import pytest

from dynsim.kernels.load import load


@pytest.fixture(scope="session", params=["reference", "cpu"])
def kernels(request):
    """The kernels of every device in turn."""
    return load(request.param)


@pytest.fixture
def device(kernels):
    """The name of the device in a scenario."""
    return kernels.__name__.rsplit(".", 1)[1]
