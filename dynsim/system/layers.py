"""Layers as a scenario says them, and a network: nodes in the order of evaluation, each with the links whose path
integrals are its weights (`dynsim.system.layout` makes one of layers in a row)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le

from dynsim.errors import ShapeError, unknown
from dynsim.system.graph import Graph, Groups
from dynsim.system.layer import Count, Layer
from dynsim.system.tensors import features
from dynsim.system.vectors import VECTOR_LAYERS, Components, Positions, Reduce, VectorLayers


@dataclass(frozen=True)
class Dense(Layer):
    """R_j = sum_i E_i phi_ij + b_j over the last axis; size "auto" is the number of classes."""

    op: Literal["dense"]
    """what it does"""
    size: Count | Literal["auto"]
    """sub-models that receive, "auto" for as many as there are classes"""
    bias: bool = True
    """a bias per receiving sub-model or channel"""
    metric: str | None = None
    """of its path integrals, "weights" to keep a matrix; by default that of the system"""
    copies: Count | None = None
    """H; by default that of the system"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution of (height, width, channels) with a square kernel."""

    op: Literal["conv"]
    """what it does"""
    channels: Count
    """that come out"""
    kernel: Count
    """width of the square kernel"""
    stride: Count = 1
    """pixels from one window to the next"""
    padding: Annotated[int, Ge(0), Le(10**4)] = 0
    """pixels of zeros around the image"""
    bias: bool = True
    """a bias per receiving sub-model or channel"""
    policy: Literal["2k", "k2"] = "2k"
    """of Table 1, or one pair of subsystems for every cell of the kernel"""
    metric: str | None = None
    """of its path integrals, "weights" to keep a matrix; by default that of the system"""
    copies: Count | None = None
    """H; by default that of the system"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Attention(Layer):
    """Softmax attention of (tokens, width), d_k = key and d_v = value over all heads; keeps the width."""

    op: Literal["attention"]
    """what it does"""
    heads: Count
    """parts that attend on their own"""
    key: Count
    """d_k over all heads"""
    value: Count
    """d_v over all heads"""
    bias: bool = True
    """a bias per receiving sub-model or channel"""
    metric: str | None = None
    """of its path integrals, "weights" to keep a matrix; by default that of the system"""
    copies: Count | None = None
    """H; by default that of the system"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Mix(Layer):
    """softmax(Q K^T / sqrt(d_k)) V per head, of (tokens, 2 d_k + d_v): the part of attention without weights."""

    op: Literal["mix"]
    """what it does"""
    heads: Count
    """parts that attend on their own"""
    key: Count
    """d_k over all heads"""
    value: Count
    """d_v over all heads"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Pool(Layer):
    """Largest or mean value of windows that do not overlap; what does not fill a window is left out."""

    op: Literal["maxpool", "averagepool"]
    """what it does"""
    size: Count = 2
    """of the square window"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Norm(Layer):
    """Batch normalisation of the last axis, with running statistics for prediction, or layer normalisation over it."""

    op: Literal["batchnorm", "layernorm"]
    """what it does"""
    eps: Annotated[float, Gt(0)] = 1e-5
    """added to the variance"""
    momentum: Annotated[float, Gt(0), Le(1)] = 0.1
    """weight of a batch in the running statistics"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Activate(Layer):
    """E = sigma(R)."""

    op: Literal["relu", "gelu", "tanh", "sigmoid", "identity"]
    """what it does"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in another shape: "flatten", or `shape`, in which one size may be -1."""

    op: Literal["reshape", "flatten"]
    """what it does"""
    shape: tuple[int, ...] = (-1,)
    """of one sample; one size may be -1"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Mean(Layer):
    """The mean over all axes but the last: of tokens, or of the pixels of an image."""

    op: Literal["mean"]
    """what it does"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


@dataclass(frozen=True)
class Add(Layer):
    """A residual sum: what comes in, and the value of an earlier layer, "input" for the data."""

    op: Literal["add"]
    """what it does"""
    of: str
    """name of the earlier value, "input" for the data"""
    name: str = ""
    """of its value, its links and groups; by default its op and a number"""


LAYERS = (Dense, Conv, Attention, Mix, Pool, Norm, Activate, Reshape, Mean, Add, *VECTOR_LAYERS)
Layers = Dense | Conv | Attention | Mix | Pool | Norm | Activate | Reshape | Mean | Add | VectorLayers
OPS = {op: kind for kind in LAYERS for op in get_args(get_type_hints(kind)["op"])}


@dataclass(frozen=True)
class Node:
    """A layer in its place.

    Attributes
    ----------
    name : of its value. inputs : names of the values that it takes.
    shape : of its value for one sample.
    links : whose path integrals are its weights, in the order of inputs (dense) or row by row of the kernel (conv k2).
    """

    name: str
    layer: Layers
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    links: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What its groups are named by: bias:KEY, scale:KEY and so on."""
        return self.layer.name or self.name


@dataclass(frozen=True)
class Network:
    """Nodes in the order of evaluation; the last one's value is the answer.

    Attributes
    ----------
    input_name, input_shape : of what the data give for one sample.
    """

    nodes: tuple[Node, ...]
    input_name: str
    input_shape: tuple[int, ...]

    @property
    def output_name(self) -> str:
        return self.nodes[-1].name

    def by_name(self, name: str) -> Node:
        return next(n for n in self.nodes if n.name == name)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Shape of a value for one sample."""
        return self.input_shape if name == self.input_name else self.by_name(name).shape

    def node_of(self, link: str) -> Node:
        """The node whose weights a link's path integrals are."""
        return next(n for n in self.nodes if link in n.links)

    def fan_in(self, link: str) -> int:
        """How many products a received signal sums."""
        node = self.node_of(link)
        widths = [self.shape_of(name)[-1] for name in node.inputs]
        return node.layer.kernel**2 * widths[0] if isinstance(node.layer, Conv) else sum(widths)

    def groups(self) -> Groups:
        """Starting positions of the groups without particles: bias, scale and shift, running mean and variance,
        positional features, and the matrices that mix components."""
        start: Groups = {}
        for node in self.nodes:
            width = (node.shape[-1], 1)
            if isinstance(node.layer, Dense | Conv) and node.layer.bias:
                start[f"bias:{node.key}"] = np.zeros(width)
            if isinstance(node.layer, Norm):
                start |= {f"scale:{node.key}": np.ones(width), f"shift:{node.key}": np.zeros(width)}
            if node.layer.op == "batchnorm":
                start |= {f"mean:{node.key}": np.zeros(width), f"variance:{node.key}": np.ones(width)}
            if isinstance(node.layer, Positions) and node.layer.trained:
                start[f"bias:{node.key}"] = features(self.shape_of(node.inputs[0]), node.layer.layer)
            if isinstance(node.layer, Components):
                start[f"weight:{node.key}"] = rotation(node.shape[-2], self.shape_of(node.inputs[0])[-2])[..., None]
        return start


def rotation(rows: int, columns: int) -> np.ndarray:
    """(rows, columns) of the orthogonal cosine transform, in which every component hears all the others."""
    from scipy.fft import dct  # slow to import, and few runs need it

    return dct(np.eye(max(rows, columns)), axis=0, norm="ortho")[:rows, :columns]


def network_of(graph: Graph, reduce: Reduce | None = None, shape: tuple[int, ...] = ()) -> Network:
    """Dense layers along the links of a graph: what each subsystem receives, and what it emits.

    reduce, shape : slices of the data, of this shape, that share the input's sub-models.

    Raises ShapeError where signals do not run from one input to one output.
    """
    check_flow(graph)
    nodes = []
    if reduce is not None:
        groups = tuple(max(numbers) + 1 for numbers in reduce.groups)
        nodes.append(Node("reduced", reduce, ("data",), groups))
        flat = Reshape("flatten", name=graph.input.name)
        nodes.append(Node(graph.input.name, flat, ("reduced",), (graph.input.size,)))
    for name in graph.order:
        links, s = graph.incoming[name], graph.by_name[name]
        if not links:
            continue
        plain = s.activation == "identity"
        layer = Dense("dense", s.size, bias=s.bias, name=name)
        received = name if plain else received_name(name)
        nodes.append(Node(received, layer, tuple(k.source for k in links), (s.size,), tuple(k.name for k in links)))
        if not plain:
            nodes.append(Node(name, Activate(s.activation, name), (received,), (s.size,)))  # type: ignore[arg-type]
    if reduce is not None:
        return Network(tuple(nodes), "data", shape)
    return Network(tuple(nodes), graph.input.name, (graph.input.size,))


def check_flow(graph: Graph) -> None:
    """One subsystem takes the data, one gives the answer, and every other both receives and emits."""
    sources = [s.name for s in graph.subsystems if not graph.incoming[s.name]]
    sinks = [s.name for s in graph.subsystems if not graph.outgoing[s.name]]
    if len(sources) != 1 or len(sinks) != 1:
        raise ShapeError(
            "signals must run from one input to one output",
            where="system.links",
            given=f"without incoming links: {', '.join(sources)}; without outgoing: {', '.join(sinks)}",
            hint="let every subsystem in between receive and emit",
        )


def received_name(subsystem: str) -> str:
    """Name of the value that a subsystem receives, where it emits another."""
    return f"{subsystem}.received"


def node_from(settings: dict[str, Any]) -> Node:
    """A node from its own `dataclasses.asdict`, lists for tuples. Raises OptionError for an unknown layer."""
    layer = settings["layer"]
    if layer["op"] not in OPS:
        raise unknown("layer", layer["op"], tuple(OPS))
    parts: Any = {k: _tuples(v) for k, v in settings.items()}
    made: Any = OPS[layer["op"]]
    return Node(**parts | {"layer": made(**{k: _tuples(v) for k, v in layer.items()})})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
