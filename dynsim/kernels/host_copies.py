"""Copies from a card to the host that do not stall a step.

They run on a stream of their own, behind what is queued when they are asked for, into page-locked memory, to which a
card writes by itself. What is copied is held until it has arrived: CuPy would give the memory of an array that nobody
holds to the next step, which would write over it under the copy. What comes back has memory of its own, so that a
copy that is still on its way is never in the place of another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np

from . import cards

Arrays = list[np.ndarray]


class Copies:
    """Arrays that have been asked for; `arrays` gives them, complete."""

    def __init__(self, found: Arrays, event: Any = None, held: list[Any] | None = None) -> None:
        self._found, self._event, self._held = found, event, held

    def arrays(self) -> Arrays:
        """The arrays; waits for their own copies, not for what the card computes meanwhile."""
        if self._event is not None:
            self._event.synchronize()
            self._event = self._held = None
        return self._found


class Copier:
    """What asks for copies.

    Parameters
    ----------
    cuda : CuPy's module of streams and events.
    empty_pinned : (shape, dtype) -> a NumPy array in page-locked memory that is free (`cupyx.empty_pinned`).
    """

    def __init__(self, cuda: Any, empty_pinned: Callable[..., np.ndarray]) -> None:
        self._cuda, self._empty_pinned = cuda, empty_pinned
        # non-blocking: launches on the default stream would wait for any other
        self._stream = cuda.Stream(non_blocking=True)

    def ask(self, arrays: Iterable[Any]) -> Copies:
        """Begin to copy arrays of the card as they are after all that is queued now."""
        held = [a.copy(order="C") if not a.flags.c_contiguous else a for a in arrays]
        self._stream.wait_event(self._recorded(self._cuda.get_current_stream()))
        found = [self._begun(a) for a in held]
        return Copies(found, self._recorded(self._stream), held)

    def _begun(self, a: Any) -> np.ndarray:
        if not a.size:
            return np.empty(a.shape, a.dtype)
        return a.get(stream=self._stream, out=self._empty_pinned(a.shape, a.dtype), blocking=False)

    def _recorded(self, stream: Any) -> Any:
        """An event that is done when all that is queued on a stream now is done."""
        event = self._cuda.Event(disable_timing=True)
        event.record(stream)
        return event


def to_host_later(arrays: Iterable[Any]) -> Copies:
    """Arrays of the card, asked for now and taken later; see `reference.to_host_later`."""
    return there(a.copy() for a in arrays) if cards.SIMULATED else _copier().ask(arrays)


def there(arrays: Iterable[np.ndarray]) -> Copies:
    """Arrays of the host, which need no copies."""
    return Copies(list(arrays))


@functools.cache
def _copier() -> Copier:
    return Copier(import_module("cupy").cuda, import_module("cupyx").empty_pinned)
