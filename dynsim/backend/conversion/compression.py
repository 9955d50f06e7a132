"""Stored forms of a matrix of weights: what each costs in bytes, and the matrix that it gives back.

A stored form is a method with its settings and the arrays that are written to the file. Methods register a decoder by
name, so that a file can be read without knowing how its content was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynsim.errors import unknown


@dataclass(frozen=True)
class Encoded:
    """One stored form of one matrix (M, N).

    Attributes
    ----------
    method : name of its decoder in `DECODERS`.
    shape : (M, N), inputs by outputs.
    arrays : what is stored, by name; codes of fewer than 8 bits are packed in uint8.
    settings : what else the decoder needs, and what a report says of it (bits, rank, copies, ...); JSON.
    """

    method: str
    shape: tuple[int, int]
    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is stored: codes, codebooks, scales and coordinates."""
        return sum(a.nbytes for a in self.arrays.values())

    @property
    def numbers(self) -> int:
        """How many numbers are stored, whatever their width."""
        return int(self.settings["numbers"])

    def decode(self) -> np.ndarray:
        """(M, N) float32. Raises OptionError for a method that this version does not know."""
        if self.method not in DECODERS:
            raise unknown("stored form", self.method, tuple(DECODERS))
        return DECODERS[self.method](self)


DECODERS: dict[str, Callable[[Encoded], np.ndarray]] = {}


def decoder(method: str) -> Callable:
    """Register the decoder of a method."""

    def register(function: Callable[[Encoded], np.ndarray]) -> Callable[[Encoded], np.ndarray]:
        DECODERS[method] = function
        return function

    return register


def weighted_error(exact: np.ndarray, approximate: np.ndarray, importance: np.ndarray | None = None) -> float:
    """sum_ij s_i (W_ij - W'_ij)^2, with the importance s (M,) of each input: its mean square, where data are given."""
    squares = np.square(exact.astype(np.float64) - approximate).sum(axis=1)
    return float(squares.sum() if importance is None else importance @ squares)
