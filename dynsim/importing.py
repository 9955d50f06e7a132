"""Imports without Python's collector of cycles, which looks again and again through all that modules make and finds
next to nothing: a tenth to a fifth of the time to a first step."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, cycles are not looked for; afterwards they are again, if they were before."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
