"""What this machine has and whether it computes right, so that a question about it can be answered by one command."""

from __future__ import annotations

import ctypes.util
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import psutil

from dynsim import datasets
from dynsim.errors import DeviceError
from dynsim.kernels import cards, checks
from dynsim.kernels.load import available, load, thread_count
from dynsim.shipped import data_folder, scenario_folder
from dynsim.versions import version_of

OPTIONAL = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "MDAnalysis": "MDAnalysis",
}


CHECKS = "checks on "


def examine() -> dict[str, dict[str, Any]]:
    """Sections of facts, each a mapping of printable values; of the sections `CHECKS` + device, what `checks` found.

    Checked are the kernels of the CPU, and those of CUDA where they can be loaded.
    """
    devices = available()
    checked = [name for name in ("cpu", "cuda") if devices[name] == "yes"]
    return {
        "machine": _machine(),
        "devices": devices,
        "cuda": _cuda(),
        **{CHECKS + name: _checks(name) for name in checked},
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
        "cores": f"{os.cpu_count()}, kernels use {thread_count(load('cpu'))}",
        "memory": f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free",
    }


def _cuda() -> dict[str, str]:
    """Driver, devices and packages, as far as they are there."""
    found, facts = cards.driver(), {}
    if found is not None:
        facts = {"driver": found.release, "newest CUDA": cards.dotted(found.cuda)}
        facts |= {f"device {k}": str(card) for k, card in enumerate(found.cards)}
    return facts | cards.packages()


def _checks(device: str) -> dict[str, dict[str, Any]]:
    """The worst of each kernel on fresh random input; "packages" where those of the device do not work."""
    try:
        kernels = load(device)
    except DeviceError as error:
        return {"packages": asdict(checks.Check("packages", "", math.nan, str(error)))}
    size = checks.TINY if device == "cuda" and cards.SIMULATED else checks.USUAL
    return {name: asdict(found) for name, found in checks.worst(checks.check(kernels, size)).items()}


def healthy(found: dict[str, dict[str, Any]]) -> bool:
    """Whether no check of `examine` failed."""
    return not any(it["error"] for name, lines in found.items() if name.startswith(CHECKS) for it in lines.values())


def text(found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Lines that show what `examine` found."""
    for section, lines in found.items():
        yield from [section] if lines else []
        for key, value in lines.items():
            yield f"  {key:<20} {_said(value) if section.startswith(CHECKS) else value}"


def _said(check: dict[str, Any]) -> str:
    return check["error"] or f"ok, differs by {check['difference']:.0e}"


def _graphics() -> dict[str, str]:
    libraries = {name: ctypes.util.find_library(name) or "not found" for name in ("GL", "EGL")}
    window = "importable" if find_spec("vispy") and find_spec("qtpy") else "the window is not part of this version"
    return libraries | {"display": os.environ.get("DISPLAY", "none"), "window": window}


def _versions() -> dict[str, str]:
    core = ("dynsim", "numpy", "scipy", "numba", "h5py", "pydantic", "safetensors", "scikit-learn")
    found = {name: version_of(name) for name in core}
    return found | {n: version_of(n) if find_spec(m) else "not installed" for n, m in OPTIONAL.items()}
