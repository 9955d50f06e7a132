"""The CUDA devices of this machine, as NVIDIA's driver tells of them, and why there is none to compute on.

The driver is asked through its own library, so that a machine without a card does not wait for CUDA's packages.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import util
from typing import Any

import psutil

from dynsim.errors import DeviceError
from dynsim.versions import version_of

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
PACKAGES = ("cupy", "numba_cuda")
CUPY = {"cupy-cuda13x": 13, "cupy-cuda12x": 12, "cupy": 12}  # its wheels, and the toolkit that each is made for
OLDEST = {12: (5, 0), 13: (7, 5)}  # compute capability that a toolkit still compiles for
TOOLKIT = ("nvrtc", "runtime", "nvcc")  # nvidia-cuda-...
LIBRARIES = ("nvvm", "nvjitlink", "cublas")  # nvidia-...
EXTRA = "pip install 'dynsim[gpu]'"
PREFERRED = "DYNSIM_DEVICE"  # environment variable: "cpu" keeps "auto" from taking a card
OR_ELSE = ', or device = "cpu"'
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


@dataclass(frozen=True)
class Card:
    """A device: its name, compute capability (major, minor), and memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int

    def __str__(self) -> str:
        return f"{self.name}, compute capability {dotted(self.capability)}, {self.memory / 2**30:.1f} GiB"


@dataclass(frozen=True)
class Driver:
    """What the driver says.

    Attributes
    ----------
    release : "580.65.06", or "unknown". cuda : newest version of CUDA, (major, minor), that it runs.
    cards : its devices; the first one is used (CUDA_VISIBLE_DEVICES chooses). error : why it cannot be used, or "".
    """

    release: str
    cuda: tuple[int, int]
    cards: tuple[Card, ...] = ()
    error: str = ""


@cache
def driver() -> Driver | None:
    """The driver of this machine; None where there is none."""
    library = _library("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    if library is None:
        return None
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    cuda = version.value // 1000, version.value % 1000 // 10
    code = library.cuInit(0)
    if code not in (0, _NO_DEVICE):
        return Driver(_release(), cuda, error=f"cuInit says {code}")
    count = ctypes.c_int()
    library.cuDeviceGetCount(ctypes.byref(count))
    return Driver(_release(), cuda, tuple(_card(library, k) for k in range(count.value)))


def _card(library: Any, number: int) -> Card:
    handle, major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(handle), number)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    return Card(name.value.decode(), (major.value, minor.value), memory.value)


def _release() -> str:
    """Of the driver, from the library that manages devices."""
    library = _library("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
    text = ctypes.create_string_buffer(96)
    if library is None or library.nvmlInit_v2() != 0:
        return "unknown"
    found = library.nvmlSystemGetDriverVersion(text, len(text)) == 0
    library.nvmlShutdown()
    return text.value.decode() if found else "unknown"


def _library(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def trouble() -> DeviceError | None:
    """Why nothing can be computed on CUDA here, with the way out; None where it can."""
    if SIMULATED:
        return None
    found = driver()
    if found is None:
        return _error("no CUDA driver", "its library is not found", f"NVIDIA's driver, and {EXTRA}")
    if found.error:
        return _error("CUDA's driver does not start", found.error, f"nvidia-smi tells more; driver {found.release}")
    if not found.cards:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        given = "none is there" if hidden is None else f"CUDA_VISIBLE_DEVICES={hidden}"
        return _error("no CUDA device", given, "a machine with a card")
    missing = [name for name in PACKAGES if util.find_spec(name) is None]
    if missing:
        given = f"{found.cards[0].name}, but {' and '.join(missing)} not installed".replace("_", "-")
        return _error("CUDA's packages are missing", given, EXTRA)
    return _too_old(found, toolkit())


def _too_old(found: Driver, major: int) -> DeviceError | None:
    card, oldest = found.cards[0], OLDEST[major]
    if found.cuda[0] < major:
        given = f"driver {found.release} for CUDA {dotted(found.cuda)}"
        newer = "a newer driver" if major == 12 else f"a newer driver, or {EXTRA}, which is for CUDA 12"
        return _error("the driver is too old", given, newer, allowed=f"one for CUDA {major}")
    if card.capability < oldest:
        given = f"{card.name}, compute capability {dotted(card.capability)}"
        allowed = f"compute capability {dotted(oldest)} or higher, for which CUDA {major} compiles"
        return _error("the card is too old", given, "a newer card", allowed)
    return None


def _error(what: str, given: str, hint: str, allowed: str = "") -> DeviceError:
    allowed = allowed or "auto, reference, cpu"
    return DeviceError(what, where='device = "cuda"', given=given, allowed=allowed, hint=f"{hint}{OR_ELSE}")


def why_not() -> str:
    """Why "auto" does not take cuda, in a line; "" where it does."""
    return f"{PREFERRED}=cpu is set" if os.environ.get(PREFERRED) == "cpu" else obstacle()


def obstacle() -> str:
    """What is in the way of cuda, in a line; "" where nothing is."""
    if SIMULATED:
        return "CUDA is simulated (NUMBA_ENABLE_CUDASIM)"
    found = trouble()
    return "" if found is None else f"{found.what}: {found.given}; try {str(found.hint).removesuffix(OR_ELSE)}"


def toolkit() -> int:
    """Major version of CUDA that the installed CuPy is made for."""
    return next((major for name, major in CUPY.items() if version_of(name) != "not installed"), 12)


@contextmanager
def told() -> Iterator[None]:
    """What CUDA's packages raise while they are loaded or first compile, as an error that says what to do."""
    try:
        yield
    except Exception as error:  # they have a class for every library that is missing or does not fit
        given = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
        hint = f"dynsim doctor, which tells the versions, {EXTRA} --force-reinstall{OR_ELSE}"
        raise DeviceError("CUDA's packages do not work", where='device = "cuda"', given=given, hint=hint) from error


def free_memory() -> int:
    """Bytes that are free on the device; what CuPy keeps for arrays to come is among them."""
    if SIMULATED:
        return psutil.virtual_memory().available
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0]) + cupy.get_default_memory_pool().free_bytes()


def hardware() -> dict[str, str]:
    """What a run on the device is to be remembered by: card, driver, versions."""
    found = driver()
    if SIMULATED or found is None:
        return {"name": "CUDA simulator"}
    card = found.cards[0]
    return {
        "name": card.name,
        "capability": dotted(card.capability),
        "memory": f"{card.memory / 2**30:.1f} GiB",
        "driver": f"{found.release}, CUDA {dotted(found.cuda)}",
    } | packages()


def packages() -> dict[str, str]:
    """Versions of those that compute on CUDA, as far as they are installed."""
    wheels = (*(f"nvidia-cuda-{name}" for name in TOOLKIT), *(f"nvidia-{name}" for name in LIBRARIES))
    names = (*CUPY, "numba-cuda", "cuda-bindings", *wheels, *(f"{name}-cu12" for name in wheels))
    versions = {name: version_of(name) for name in names}
    return {name: version for name, version in versions.items() if version != "not installed"}


def dotted(version: tuple[int, int]) -> str:
    """(9, 0) -> "9.0"."""
    return f"{version[0]}.{version[1]}"
