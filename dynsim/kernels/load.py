"""Which devices there are, and the kernels of each: modules that offer the functions of `reference`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from importlib import import_module, util
from types import ModuleType

import numpy as np
import psutil

from ..errors import DeviceError, unknown
from ..versions import processor
from . import cards

DEVICES = ("auto", "reference", "cpu", "cuda")


def load(device):
    """The module of kernels of `device`, one of `DEVICES`; "auto" takes cuda where it can be used, or else cpu.

    Loading "cpu" limits BLAS to one thread a call in the whole process: `matmul` brings its own threads.
    Raises OptionError for an unknown name, DeviceError that says what to do for a device that is not here.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    device = chosen(device)
    if device == "cuda":
        return _load_cuda()
    if device != "reference":
        _numba_without_scipy()
    kernels = import_module(f"{__package__}.{'reference' if device == 'reference' else 'cpu'}")
    if device != "reference":
        kernels.limit_blas_threads()
    return kernels


def chosen(device):
    """The device that a name stands for: "auto" is cuda where nothing is in the way (`cards.why_not`), or else cpu."""
    if device != "auto":
        return device
    return "cpu" if cards.why_not() else "cuda"


def _load_cuda():
    error = cards.trouble()
    if error is not None:
        raise error
    load("cpu")  # for what stays on the host
    with cards.told():
        return import_module(f"{__package__}.cuda")


def host_of(kernels):
    """The kernels for arrays that have not been carried to the device yet, or have been taken from it."""
    return getattr(kernels, "host", kernels)


def load_host(device):
    """The kernels for what works on arrays of the host only: "auto" is cpu. Raises as `load`, DeviceError for cuda."""
    if device == "cuda":
        allowed = ", ".join(name for name in DEVICES if name != "cuda")
        raise DeviceError("this runs on the host only", given="'cuda'", allowed=allowed, hint='device = "cpu"')
    return load("cpu" if device == "auto" else device)


def _numba_without_scipy():
    """Spare the import of SciPy's BLAS, a fifth of the time to a first step: Numba asks whether it could be imported.

    No kernel of ours calls it; one that does imports it itself, when it is compiled.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return
    sys.modules[name] = ModuleType(name)
    try:
        with suppress(ImportError):
            import_module("numba.np.arraymath")  # which asks
    finally:
        del sys.modules[name]


def available():
    """{device: "yes" or why not}, without importing any of them."""
    cpu = "yes" if util.find_spec("numba") else "numba is not installed"
    error = cards.trouble()
    return {"reference": "yes", "cpu": cpu, "cuda": "yes" if error is None else cards.obstacle()}


def hardware(kernels, asked):
    """{"device", "name", ...} of printable facts: on what kernels compute that were asked for by a name, and why not on
    cuda where that was "auto"."""
    device = kernels.__name__.rsplit(".", 1)[-1]
    if device == "cuda":
        return {"device": device} | cards.hardware()
    reason = {"not_cuda": cards.why_not()} if asked == "auto" else {}
    return {"device": device, "name": processor()} | reason


def free_memory(device):
    """Bytes that are free for the arrays of a device."""
    return cards.free_memory() if chosen(device) == "cuda" else psutil.virtual_memory().available


def compile_for(kernels, metric, dim, dtype):
    """Compile what a run with this metric, dimension d and dtype needs, or read it from the cache.

    Raises DeviceError where the packages of a device do not work.
    """
    q, mu, stress = np.ones((1, 2, dim), dtype), np.ones(1, dtype), np.ones((2, 2), dtype)
    with nullcontext() if host_of(kernels) is kernels else cards.told():
        q, mu, stress = kernels.to_device([q, mu, stress])
        kernels.path_integral(metric, q, q, mu, 1.0, 1.0, 2.0)
        kernels.path_integral_forces(metric, q, q, mu, 1.0, 1.0, 2.0, stress)
        kernels.occupied_cells(q[0], 1.0)


def thread_count(kernels):
    """How many threads the kernels may use."""
    return kernels.thread_count()
