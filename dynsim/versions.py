"""Versions of what decides the numbers."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


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
