"""What all tests share: the devices on which the physics must hold."""

import os

import pytest

# Before SciPy is imported: without it scikit-learn skips one of its estimator checks.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# Tests that want a card ask for it; the others read states as NumPy arrays.
os.environ["DYNSIM_DEVICE"] = "cpu"

from dynsim.kernels import cards
from dynsim.kernels.load import load


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu(simulated=False): needs a CUDA device, or the simulator where that will do")


def pytest_collection_modifyitems(items):
    reason = cards.obstacle()
    for item in items:
        mark = item.get_closest_marker("gpu")
        if mark is not None and reason and not (cards.SIMULATED and mark.kwargs.get("simulated")):
            item.add_marker(pytest.mark.skip(reason=f"no CUDA device ({reason})"))


@pytest.fixture(scope="session", params=["reference", "cpu"])
def kernels(request):
    """The kernels of every device in turn."""
    return load(request.param)


@pytest.fixture
def device(kernels):
    """The name of the device in a scenario."""
    return kernels.__name__.rsplit(".", 1)[1]
