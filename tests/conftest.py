"""What all tests share: the devices on which the physics must hold."""

import os

import pytest

# Before SciPy is imported: without it scikit-learn skips one of its estimator checks.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from dynsim.kernels.load import load


@pytest.fixture(scope="session", params=["reference", "cpu"])
def kernels(request):
    """The kernels of every device in turn."""
    return load(request.param)


@pytest.fixture
def device(kernels):
    """The name of the device in a scenario."""
    return kernels.__name__.rsplit(".", 1)[1]
