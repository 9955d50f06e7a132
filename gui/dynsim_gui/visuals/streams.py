"""Vertex data that changes with every frame."""

from __future__ import annotations

import numpy as np
from vispy.gloo import VertexBuffer


class Stream:
    """One attribute of a program, fed through a staging array of its own.

    VisPy reads an array only when the canvas is drawn; a caller that writes its next frame into the same array would
    tear the picture. `fill` copies at once (converting on the way), so the caller's array is free when it returns, and
    allocates nothing while the length stays the same. `nan`, where given, is uploaded in the place of NaN, which not
    every driver keeps apart from numbers.
    """

    def __init__(self, program, name: str, columns: int, nan: float | None = None) -> None:
        self._program, self._name, self._nan = program, name, nan
        self._buffer = VertexBuffer()
        self._staging = np.empty((0, columns) if columns > 1 else 0, np.float32)

    def __len__(self) -> int:
        return len(self._staging)

    @property
    def array(self) -> np.ndarray:
        """What was last given, float32; to be read only."""
        return self._staging

    def fill(self, data: np.ndarray) -> None:
        """Upload (n,) or (n, columns) numbers; ValueError where the columns differ."""
        if np.shape(data)[1:] != self._staging.shape[1:]:
            raise ValueError(f"{self._name}: shape (n, *{self._staging.shape[1:]}) expected, {np.shape(data)} given")
        if len(data) != len(self._staging):
            self._staging = np.empty((len(data), *self._staging.shape[1:]), np.float32)
            self._buffer = VertexBuffer()
        np.copyto(self._staging, data, casting="same_kind")
        if self._nan is not None and np.isnan(self._staging.max(initial=0)):
            np.copyto(self._staging, self._nan, where=np.isnan(self._staging))
        self._upload()

    def clear(self) -> None:
        """Back to length 0; the program may be given one value for all points instead."""
        self._staging = self._staging[:0]

    def _upload(self) -> None:
        if not len(self):
            return
        if self._buffer.size:
            self._buffer.set_subdata(self._staging)
        else:
            self._buffer.set_data(self._staging)
            self._program[self._name] = self._buffer
