"""Networks that others trained: their tensors, and which of these are layers of weights that can be converted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from dynsim.backend.conversion.layouts import Layout
from dynsim.errors import OptionError, did_you_mean


@dataclass(frozen=True)
class Layer:
    """One tensor of weights.

    Attributes
    ----------
    name : of the tensor.
    layouts : the ways in which it can be a matrix.
    nodes : what uses it, where the file has a graph.
    """

    name: str
    layouts: tuple[Layout, ...]
    nodes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """dense, conv or depthwise."""
        return {"im2col": "conv"}.get(self.layouts[0].name, self.layouts[0].name)


@dataclass(frozen=True, eq=False)
class Network:
    """What a file of weights holds.

    Attributes
    ----------
    file : name of the file, without its folder.
    sha256 : of its bytes.
    tensors : every array by its name.
    layers : those that can be converted.
    graph : the onnx.ModelProto, or None for files without a graph.
    """

    file: str
    sha256: str
    tensors: dict[str, np.ndarray]
    layers: tuple[Layer, ...]
    graph: Any = None

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as the file has them."""
        return sum(a.nbytes for a in self.tensors.values())

    @property
    def numbers(self) -> int:
        """How many numbers that is."""
        return sum(a.size for a in self.tensors.values())

    def matching(self, patterns: Sequence[str]) -> tuple[Layer, ...]:
        """Layers of which a name, the tensor's or a node's, fits a pattern; all of them without patterns.

        Raises OptionError for a pattern that fits none.
        """
        for pattern in patterns:
            if not any(_fits(layer, pattern) for layer in self.layers):
                names = [layer.name for layer in self.layers]
                close = did_you_mean(pattern, names)
                raise OptionError(
                    "no layer has such a name",
                    where=f"{self.file}, --layers",
                    given=repr(pattern),
                    allowed=f"patterns like '*' that fit one of: {listed(names)}",
                    hint=close,
                )
        return tuple(x for x in self.layers if not patterns or any(_fits(x, p) for p in patterns))


def _fits(layer: Layer, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in (layer.name, *layer.nodes))


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in a row, the first of many."""
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def is_vector(shape: tuple[int, ...]) -> bool:
    """Whether all numbers lie along one axis: nothing to factor."""
    return bool(shape) and math.prod(shape) == max(shape) > 0
