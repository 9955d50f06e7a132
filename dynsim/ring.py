"""The newest frames of an engine in shared memory: one writer, any number of readers, and neither ever waits.

Every slot carries a sequence number that is odd while it is being written (a sequence lock): a reader copies a slot
and looks at the number again; if it changed, the copy is torn and the reader takes a newer slot.
"""

from __future__ import annotations

import math
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from dynsim.frame import Cast, Frame

SLOTS = 4
_ALIGNED = 64


class FrameRing:
    """A ring of frames of one cast.

    Parameters
    ----------
    cast : decides shapes and types; writer and readers must agree on it.
    name : of the shared memory to read from; None creates one to write to.

    A frame in the ring has no history and no events; `positions` is left to the reader, who chooses the view.
    """

    def __init__(self, cast: Cast, name: str | None = None) -> None:
        self._cast = cast
        shapes = {name: cast.form(name) for name in ("position", *cast.widths, *cast.groups)}
        # First a mark for each array, whether it is there.
        sizes = [len(shapes)] + [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes.values()]
        starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)])
        slot = _ALIGNED * 2 + int(starts[-1])
        self._memory = SharedMemory(name, create=name is None, size=_ALIGNED + SLOTS * slot)
        self._owner = name is None
        buffer = self._memory.buf
        # How many frames were published; the last one is in slot (count - 1) % SLOTS.
        self._count = np.ndarray(1, np.int64, buffer, 0)
        self._slots: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
        for k in range(SLOTS):
            base = _ALIGNED + k * slot
            # sequence, step, time (as float64)
            head = np.ndarray(3, np.int64, buffer, base)
            there = np.ndarray(len(shapes), np.bool_, buffer, base + 2 * _ALIGNED)
            arrays = {
                key: np.ndarray(shape, dtype, buffer, base + 2 * _ALIGNED + int(start))
                for (key, (shape, dtype)), start in zip(shapes.items(), starts[1:])
            }
            self._slots.append((head, there, arrays))

    @property
    def name(self) -> str:
        """Of the shared memory."""
        return self._memory.name

    @property
    def count(self) -> int:
        """Frames published so far."""
        return int(self._count[0])

    def publish(self, frame: Frame) -> None:
        """Copy a frame into the oldest slot; its properties that the ring does not know are left out."""
        head, there, arrays = self._slots[self.count % SLOTS]
        head[0] += 1
        for k, key in enumerate(arrays):
            there[k] = key in frame.properties
            if there[k]:
                arrays[key][...] = frame.properties[key]
        head[1] = frame.step
        head[2:3].view(np.float64)[0] = frame.time
        head[0] += 1
        self._count[0] += 1

    def newest(self, after: int = 0) -> Frame | None:
        """The newest frame, copied, if more than `after` were published; its `revision` is the new count."""
        for _ in range(SLOTS):
            count = self.count
            if count <= after:
                return None
            head, there, arrays = self._slots[(count - 1) % SLOTS]
            sequence = int(head[0])
            step, time = int(head[1]), float(head[2:3].view(np.float64)[0])
            properties = {key: array.copy() for (key, array), known in zip(arrays.items(), there) if known}
            if sequence % 2 == 0 and int(head[0]) == sequence:
                return Frame(step, time, np.zeros((0, 3), np.float32), properties, {}, revision=count)
        return None

    def close(self, remove: bool = False) -> None:
        """Let go; safe to call twice. The writer also removes the memory, a reader where the writer was killed."""
        if not self._slots:
            return
        # The memory cannot be let go of while arrays look at it.
        self._slots, self._count = [], np.zeros(1, np.int64)
        self._memory.close()
        if self._owner or remove:
            with suppress(FileNotFoundError):  # whoever ended first has removed it
                self._memory.unlink()
