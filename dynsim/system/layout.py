"""Table 1: the layers of a network get sizes, sub-models and links.

    dense      m x n                       P(m) + P(n); layers in a row share their sub-models
    conv       k x k, N_in to N_out        2k policy: k P(N_in) + k P(N_out), phi(q^in,i_c, q^out,j_l) = W[i, j, c, l]
                                           k2 policy: k^2 (P(N_in) + P(N_out)), phi(q^ij_c, q^ij_l) = W[i, j, c, l]
    attention  [Q|K|V], T to 2 d_k + d_v   P(T) + P(2 d_k + d_v), and dense for what is mixed

The k `in` subsystems of the 2k policy are one of k N_in sub-models, the k `out` ones one of k N_out: their path
integrals are all those between them, so that one link with one mu holds the whole kernel.

However, Table 1 says that each of the 2k subsystems has N_in + N_out sub-models; the equation beside it and Table 2
need k (N_in + N_out) in all (docs/deviations.md). T of the attention layer is the width of a token here, so that a
sequence may have any length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from dynsim.errors import OptionError, ShapeError, unknown
from dynsim.system.graph import Graph, Link, Subsystem
from dynsim.system.layers import (
    Activate,
    Add,
    Attention,
    Conv,
    Dense,
    Layers,
    Mean,
    Mix,
    Network,
    Node,
    Norm,
    Pool,
    Reshape,
)
from dynsim.system.tensors import reduced_shape
from dynsim.system.vectors import Components, Hold, Magnitude, Positions, Read, Reduce, Routed

# Names of groups, links and files join those of layers by ":", ">", "." and "/".
NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Defaults:
    """What a layer takes where it says nothing itself."""

    copies: int
    dim: int
    metric: str = "l2"
    p: float = 2.0
    eps: float = 1e-3
    classes: int | None = None


def lay_out(layers: Iterable[Layers], input_shape: tuple[int, ...], defaults: Defaults) -> tuple[Graph, Network]:
    """Sub-models, links and nodes of layers in a row.

    Raises ShapeError where a layer cannot take what comes in, OptionError for the name of no earlier value.
    """
    drawing = _Drawing(tuple(input_shape), defaults)
    for layer in layers:
        drawing.add(layer)
    if not drawing.links:
        raise ShapeError("no layer has weights", where="system.network", hint="a layer dense, conv or attention")
    graph = Graph(tuple(drawing.subsystems.values()), tuple(drawing.links), defaults.copies, defaults.dim)
    return graph, Network(tuple(drawing.nodes), "input", tuple(input_shape))


@dataclass
class _Drawing:
    """What has been laid out so far; `emitter` is the subsystem whose sub-models emit the present value."""

    shape: tuple[int, ...]
    defaults: Defaults
    here: str = "input"
    emitter: str | None = None
    nodes: list[Node] = field(default_factory=list)
    subsystems: dict[str, Subsystem] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shapes = {"input": self.shape}
        self.counts: dict[str, int] = {}

    def add(self, layer: Layers) -> None:
        self.counts[layer.op] = self.counts.get(layer.op, 0) + 1
        name = layer.name or f"{layer.op}{self.counts[layer.op]}"
        if not NAME.fullmatch(name):
            raise OptionError("not a name", where="system.network", given=name, allowed="letters, digits, _ and -")
        if name in self.shapes:
            what = "'input' is the name of the data" if name == "input" else "two layers have the same name"
            raise ShapeError(what, where="system.network", given=name, hint="another name")
        getattr(self, f"_{type(layer).__name__.lower()}")(name, layer)

    def _place(self, name: str, layer: Layers, shape: tuple[int, ...], links: tuple[str, ...] = (), *others: str):
        self.nodes.append(Node(name, layer, (self.here, *others), shape, links))
        self.here, self.shape = name, shape
        self.shapes[name] = shape

    def _subsystem(self, name: str, size: int, copies: int | None) -> str:
        self.subsystems[name] = Subsystem(name, size, copies=copies)
        return name

    def _link(self, source: str, target: str, metric: str | None, delay: int = 0) -> str:
        d = self.defaults
        self.links.append(Link(source, target, metric or d.metric, d.p, d.eps, delay))
        return self.links[-1].name

    def _size(self, name: str, given: int | str) -> int:
        size = self.defaults.classes if given == "auto" else int(given)
        if size is None:
            raise ShapeError('size "auto" needs data with classes', where=f"system.network, {name}")
        return size

    def _axes(self, name: str, wanted: int, meaning: str) -> None:
        if len(self.shape) != wanted:
            raise ShapeError(
                f"takes {meaning}",
                where=f"system.network, {name}",
                given=f"{self.shape} from {self.here!r}",
                hint='put { op = "reshape", shape = [...] } before it',
            )

    def _dense(self, name: str, layer: Dense) -> None:
        size, copies = self._size(name, layer.size), layer.copies
        source = self.emitter
        if source is None or self.subsystems[source].copies != copies:
            source = self._subsystem(f"{name}.in", self.shape[-1], copies)
        target = self._subsystem(name, size, copies)
        link = self._link(source, target, layer.metric)
        self._place(name, layer, (*self.shape[:-1], size), (link,))
        self.emitter = target

    def _conv(self, name: str, layer: Conv) -> None:
        self._axes(name, 3, "(height, width, channels)")
        height, width, channels = self.shape
        out = tuple((n + 2 * layer.padding - layer.kernel) // layer.stride + 1 for n in (height, width))
        if min(out) < 1:
            raise ShapeError(
                "the kernel is larger than the image",
                where=f"system.network, {name}",
                given=f"kernel {layer.kernel}, padding {layer.padding}, {self.shape} from {self.here!r}",
            )
        links = []
        for cell in conv_cells(layer):
            k = layer.kernel if layer.policy == "2k" else 1
            source = self._subsystem(f"{name}.in{cell}", k * channels, layer.copies)
            target = self._subsystem(f"{name}.out{cell}", k * layer.channels, layer.copies)
            links.append(self._link(source, target, layer.metric))
        self._place(name, layer, (*out, layer.channels), tuple(links))
        self.emitter = None

    def _attention(self, name: str, layer: Attention) -> None:
        self._axes(name, 2, "(tokens, width)")
        if layer.key % layer.heads or layer.value % layer.heads:
            raise ShapeError(
                "key and value must divide into heads",
                where=f"system.network, {name}",
                given=f"key {layer.key}, value {layer.value}, heads {layer.heads}",
            )
        width, like = self.shape[-1], (layer.bias, layer.metric, layer.copies)
        self._dense(f"{name}.qkv", Dense("dense", 2 * layer.key + layer.value, *like))
        self._mix(f"{name}.mixed", Mix("mix", layer.heads, layer.key, layer.value))
        self._dense(name, Dense("dense", width, *like))

    def _mix(self, name: str, layer: Mix) -> None:
        self._axes(name, 2, "(tokens, 2 key + value)")
        self._place(name, layer, (self.shape[0], layer.value))
        self.emitter = None

    def _pool(self, name: str, layer: Pool) -> None:
        self._axes(name, 3, "(height, width, channels)")
        height, width, channels = self.shape
        if min(height, width) < layer.size:
            raise ShapeError(
                "the window is larger than the image",
                where=f"system.network, {name}",
                given=f"size {layer.size}, {self.shape} from {self.here!r}",
            )
        self._place(name, layer, (height // layer.size, width // layer.size, channels))
        self.emitter = None

    def _norm(self, name: str, layer: Norm) -> None:
        self._place(name, layer, self.shape)

    def _activate(self, name: str, layer: Activate) -> None:
        self._place(name, layer, self.shape)

    def _reshape(self, name: str, layer: Reshape) -> None:
        shape, size = list(layer.shape), math.prod(self.shape)
        if shape.count(-1) == 1 and (rest := -math.prod(shape)) > 0:
            shape[shape.index(-1)] = size // rest
        if math.prod(shape) != size or min(shape, default=0) < 1:
            raise ShapeError(
                "not a shape of so many numbers",
                where=f"system.network, {name}",
                given=list(layer.shape),
                allowed=f"{size} numbers, {self.shape} from {self.here!r}",
            )
        self._place(name, layer, tuple(shape))
        self.emitter = None

    def _mean(self, name: str, layer: Mean) -> None:
        self._place(name, layer, self.shape[-1:])
        self.emitter = None

    def _add(self, name: str, layer: Add) -> None:
        if layer.of not in self.shapes:
            raise unknown("value", layer.of, tuple(self.shapes), where=f"system.network, {name}")
        if self.shapes[layer.of] != self.shape:
            raise ShapeError(
                "a sum of values of different shapes",
                where=f"system.network, {name}",
                given=f"{self.shape} from {self.here!r}, {self.shapes[layer.of]} from {layer.of!r}",
            )
        self._place(name, layer, self.shape, (), layer.of)
        self.emitter = None

    # Vector signals and pools -----------------------------------------------------------------------------------

    def _reduce(self, name: str, layer: Reduce) -> None:
        if tuple(map(len, layer.groups)) != self.shape:
            raise ShapeError(
                "groups of slices for another tensor",
                where=f"system.network, {name}",
                given=f"{tuple(map(len, layer.groups))}, {self.shape} from {self.here!r}",
                allowed="a number for every slice of every axis",
            )
        for numbers in layer.groups:
            if set(numbers) != set(range(len(set(numbers)))):
                raise ShapeError(
                    "groups are numbered without gaps",
                    where=f"system.network, {name}",
                    given=numbers,
                    allowed="0, 1, ...",
                )
        self._place(name, layer, reduced_shape(layer.groups))
        self.emitter = None

    def _positions(self, name: str, layer: Positions) -> None:
        more = len(self.shape) + (layer.layer is not None)
        self._place(name, layer, (1 + more, math.prod(self.shape)))
        self.emitter = None

    def _components(self, name: str, layer: Components) -> None:
        self._axes(name, 2, "signals (components, sub-models)")
        self._place(name, layer, (layer.size or self.shape[0], self.shape[1]))

    def _magnitude(self, name: str, layer: Magnitude) -> None:
        self._axes(name, 2, "signals (components, sub-models)")
        self._place(name, layer, self.shape[1:])

    def _hold(self, name: str, layer: Hold) -> None:
        held = self.shape
        if layer.of:
            if layer.of not in self.shapes:
                raise unknown("value", layer.of, tuple(self.shapes), where=f"system.network, {name}")
            held = self.shapes[layer.of]
        wanted = (*held[:-1], layer.size)
        if held[-1] > layer.size or (layer.of and self.shape != wanted):
            raise ShapeError(
                "the data and their sub-models do not fit",
                where=f"system.network, {name}",
                given=f"size {layer.size}, {self.shape} from {self.here!r}, {held} held",
            )
        self._place(name, layer, wanted, (), *([layer.of] if layer.of else []))
        self.emitter = None

    def _read(self, name: str, layer: Read) -> None:
        if layer.size > self.shape[-1]:
            raise ShapeError("so many sub-models are not there", where=f"system.network, {name}", given=layer.size)
        self._place(name, layer, (*self.shape[:-1], layer.size))
        self.emitter = None

    def _routed(self, name: str, layer: Routed) -> None:
        """A pool is unrolled in time: one link, which leads to the pool itself and takes a tick, serves every tick."""
        read = self._size(name, layer.size)
        data, held = self.here, self.shape[-1]
        size = held + layer.free + read
        self.subsystems[name] = Subsystem(name, size, copies=layer.copies, holds=held, reads=read)
        link = self._link(name, name, layer.metric, delay=1)
        self._hold(f"{name}.0", Hold("hold", size))
        for tick in range(1, layer.ticks + 1):
            received = Dense("dense", size, bias=layer.bias, name=name)
            self._place(f"{name}.{tick}.received", received, (*self.shape[:-1], size), (link,))
            if len(self.shape) == 2:
                self._components(f"{name}.{tick}.mixed", Components("components", name=f"{name}.mix"))
            if tick < layer.ticks:
                self._activate(f"{name}.{tick}.emitted", Activate(layer.activation))
                self._hold(f"{name}.{tick}", Hold("hold", size, of=data))
        self._read(name, Read("read", read))


def conv_cells(layer: Conv) -> tuple[str, ...]:
    """Marks of the subsystems of a convolution: one pair by the 2k policy, one for every cell of the kernel by k2."""
    if layer.policy == "2k":
        return ("",)
    return tuple(f"{i}.{j}" for i in range(layer.kernel) for j in range(layer.kernel))


def kernel_of(layer: Conv, phi: list[np.ndarray]) -> np.ndarray:
    """W (k, k, N_in, N_out) of a convolution from the path integrals of its links."""
    k = layer.kernel
    if layer.policy == "k2":
        return np.stack(phi).reshape(k, k, *phi[0].shape)
    rows, columns = phi[0].shape
    return phi[0].reshape(k, rows // k, k, columns // k).transpose(0, 2, 1, 3)


def phi_of(layer: Conv, kernel: np.ndarray) -> list[np.ndarray]:
    """The inverse of `kernel_of`: one matrix a link."""
    k, _, n_in, n_out = kernel.shape
    if layer.policy == "k2":
        return list(np.ascontiguousarray(kernel.reshape(k * k, n_in, n_out), like=kernel))
    return [np.ascontiguousarray(kernel.transpose(0, 2, 1, 3), like=kernel).reshape(k * n_in, k * n_out)]
