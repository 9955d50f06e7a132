"""Layers of vector signals, Eq. (2)-(4) with s > 1 and "Converting general tensor data flow into signals" (Fig. 3),
and of a pool of sub-models of which any may hear any other.

A value (..., s, N) holds signals of R^s of N sub-models. A dense layer works over its last axis, so that
R_j = sum_i E_i phi_ij holds for every component alike; what mixes components is a matrix of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from dynsim.system.layer import Count, Layer


@dataclass(frozen=True)
class Reduce(Layer):
    """Slices of a tensor that are alike share their sub-models, which receive the mean (`dynsim.system.tensors`)."""

    op: Literal["reduce"]
    """what it does"""
    groups: tuple[tuple[int, ...], ...]
    """for each axis, the number of the group of each slice: 0, 1, ... in order of their first slices"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Positions(Layer):
    """Fig. 3: a tensor of rank r becomes signals of R^(1+r), its entries and where they stand; (1 + r, entries)."""

    op: Literal["positions"]
    """what it does"""
    layer: float | None = None
    """one more component, R^(r+2), that says from which layer the signals come"""
    trained: bool = True
    """whether the positional features move, or stay where the grid puts them"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Components(Layer):
    """E_j = A R_j for signals of R^s, with one matrix A for the receiving subsystem (Eq. 2); starts as a rotation."""

    op: Literal["components"]
    """what it does"""
    size: Count | None = None
    """s of what is emitted; by default that of what is received"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Magnitude(Layer):
    """|E_j|_p over the components of each sub-model: what the feedback Phi_j = T_j - |E_j|_p compares."""

    op: Literal["magnitude"]
    """what it does"""
    p: Annotated[float, Ge(1), Le(64)] = 2.0
    """of the norm"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Routed(Layer):
    """A pool in which any sub-model may hear any other: those that hold the data, free ones, those that are read.

    At each tick R_j = sum over i != j of E_i phi(q_i, q_j), Eq. (2), E = sigma(R); positions tell who hears whom.
    The answer is what its sub-models receive at the last tick. Signals of R^s are mixed by one matrix A at each tick.
    """

    op: Literal["routed"]
    """what it does"""
    free: Annotated[int, Ge(0), Le(10**6)]
    """sub-models that neither hold data nor are read"""
    size: Count | Literal["auto"] = "auto"
    """sub-models that are read, "auto" for as many as there are classes"""
    ticks: Annotated[int, Gt(0), Le(64)] = 3
    """how often all signals are sent"""
    activation: Literal["relu", "gelu", "tanh", "sigmoid", "identity"] = "tanh"
    """sigma"""
    bias: bool = True
    """a bias per sub-model"""
    metric: str | None = None
    """of its path integrals, "weights" to keep a matrix; by default that of the system"""
    copies: Count | None = None
    """H; by default that of the system"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Hold(Layer):
    """Sub-models that hold data emit it whatever they receive: the first of `size` places are those of the data."""

    op: Literal["hold"]
    """what it does"""
    size: Count
    """sub-models in all"""
    of: str = ""
    """name of the value that is held; by default what comes in is held, and all others are silent"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Read(Layer):
    """What the last `size` sub-models receive."""

    op: Literal["read"]
    """what it does"""
    size: Count
    """sub-models that are read"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


VECTOR_LAYERS = (Reduce, Positions, Components, Magnitude, Routed, Hold, Read)
VectorLayers = Reduce | Positions | Components | Magnitude | Routed | Hold | Read
