"""Versions of what decides the numbers."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def versions() -> dict[str, str]:
    """Of Python and of the packages that compute."""
    packages = ("dynsim", "numpy", "scipy", "numba", "h5py")
    return {"python": platform.python_version()} | {name: version_of(name) for name in packages}


@cache
def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def processor() -> str:
    """The name of this machine's processor, such as "Intel(R) Xeon(R) Processor @ 2.10GHz"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
