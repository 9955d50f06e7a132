"""Which devices there are, and the kernels of each: modules that offer the functions of `reference`."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module, util

import numpy as np

from ..errors import DeviceError, unknown

DEVICES = ("auto", "reference", "cpu", "cuda")
_NO_CUDA = "the engine does not run on CUDA yet, only its kernels do (dynsim.kernels.cuda, docs/gpu.md)"


def load(device):
    """The module of kernels of `device`, one of `DEVICES`; "auto" takes the fastest one that is here.

    Loading "cpu" limits BLAS to one thread a call in the whole process: `matmul` brings its own threads.
    Raises OptionError for an unknown name, DeviceError for a device that is not here.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    if device == "cuda":
        raise DeviceError(_NO_CUDA, given="'cuda'", allowed="auto, reference, cpu", hint='device = "cpu"')
    if device != "reference":
        _numba_without_scipy()
    kernels = import_module(f"{__package__}.{'reference' if device == 'reference' else 'cpu'}")
    if device != "reference":
        kernels.limit_blas_threads()
    return kernels


def _numba_without_scipy():
    """Spare the import of SciPy, a fifth of the time to a first step: Numba asks it for a BLAS that no kernel calls.

    A kernel that does call it finds it all the same, when it is compiled.
    """
    if "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # the ImportError that Numba expects
    try:
        with suppress(ImportError):
            vars(import_module("numba.np.arraymath"))["_HAVE_BLAS"] = True
    finally:
        del sys.modules["scipy.linalg"]


def available():
    """{device: "yes" or why not}, without importing any of them."""
    cpu = "yes" if util.find_spec("numba") else "numba is not installed"
    return {"reference": "yes", "cpu": cpu, "cuda": _NO_CUDA}


def compile_for(kernels, metric, dim, dtype):
    """Compile what a run with this metric, dimension d and dtype needs, or read it from the cache."""
    q, mu, stress = np.ones((1, 2, dim), dtype), np.ones(1, dtype), np.ones((2, 2), dtype)
    kernels.path_integral(metric, q, q, mu, 1.0, 1.0, 2.0)
    kernels.path_integral_forces(metric, q, q, mu, 1.0, 1.0, 2.0, stress)
    kernels.occupied_cells(q[0], 1.0)


def thread_count(kernels):
    """How many threads the kernels may use."""
    return kernels.thread_count()
