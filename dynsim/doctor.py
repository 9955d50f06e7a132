"""What this machine has, so that a question about it can be answered by one command."""

from __future__ import annotations

import ctypes.util
import os
import platform
from importlib.util import find_spec
from typing import Any

import numpy as np
import psutil

from dynsim import datasets
from dynsim.kernels import reference
from dynsim.kernels.load import available, load, thread_count
from dynsim.shipped import data_folder, scenario_folder
from dynsim.versions import version_of

OPTIONAL = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "cupy": "cupy",
    "MDAnalysis": "MDAnalysis",
}


def examine() -> dict[str, dict[str, Any]]:
    """Sections of facts, each a flat mapping of printable values."""
    return {
        "machine": _machine(),
        "devices": available(),
        "kernels": _kernels(),
        "graphics": _graphics(),
        "versions": _versions(),
        "data": {
            "scenarios": str(scenario_folder()),
            "mnist": str(data_folder() / "mnist"),
            **dict(datasets.describe()),
        },
    }


def _machine() -> dict[str, str]:
    memory = psutil.virtual_memory()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free",
    }


def _kernels() -> dict[str, str]:
    """Whether the compiled kernels agree with the reference on fresh random input."""
    cpu = load("cpu")
    rng = np.random.default_rng()
    q_a, q_b, mu = rng.standard_normal((2, 7, 3)), rng.standard_normal((2, 5, 3)), rng.standard_normal(2)
    result = {"threads": str(thread_count(cpu))}
    for metric in ("l1", "l2", "squared"):
        arguments = (metric, q_a, q_b, mu, 1.0, 1e-3, 2.0)
        error = np.abs(cpu.path_integral(*arguments) - reference.path_integral(*arguments)).max()
        result[f"cpu {metric}"] = f"{'agrees' if error < 1e-12 else 'DIFFERS'} with the reference (error {error:.1e})"
    return result


def _graphics() -> dict[str, str]:
    libraries = {name: ctypes.util.find_library(name) or "not found" for name in ("GL", "EGL")}
    window = "importable" if find_spec("vispy") and find_spec("qtpy") else "the window is not part of this version"
    return libraries | {"display": os.environ.get("DISPLAY", "none"), "window": window}


def _versions() -> dict[str, str]:
    core = ("dynsim", "numpy", "scipy", "numba", "h5py", "pydantic", "safetensors", "scikit-learn")
    found = {name: version_of(name) for name in core}
    return found | {n: version_of(n) if find_spec(m) else "not installed" for n, m in OPTIONAL.items()}
