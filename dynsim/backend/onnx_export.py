"""A classifier as an ONNX graph: raw inputs in, logits and probabilities out, the scaling and softmax inside.

Form "dense" stores W of every link. Form "dyn" stores coordinates and computes W of Eq. (5) in the graph, from
broadcast Sub, Abs, Mul, ReduceSum and Sqrt, which every runtime has; most fold it into a constant when they load it.

Operators: Operators.md of the ONNX project, opset 17. Images are (batch, channels, height, width) there and
(batch, height, width, channels) here: values change their layout where the next operator wants the other one.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np

from dynsim.backend.inference import Model
from dynsim.backend.onnx_vectors import DRAWN_VECTORS
from dynsim.errors import DeviceError, OptionError
from dynsim.system.graph import Link, System, without_own
from dynsim.system.interaction import pairs
from dynsim.system.layers import Activate, Add, Conv, Dense, Mean, Mix, Node, Norm, Pool, Reshape
from dynsim.system.layout import kernel_of

FORMS = ("dense", "dyn")
OPSET, IR_VERSION = 17, 8
INPUT, LOGITS, PROBABILITIES, VALUES = "inputs", "logits", "probabilities", "values"
OPERATORS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "identity": "Identity"}


def onnx_package() -> ModuleType:
    """The onnx package; raises DeviceError where it is not installed."""
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise DeviceError("an ONNX file needs the onnx package", hint="pip install 'dynsim[onnx]'") from None
    return onnx


def onnx_model(model: Model, form: str = "dense", notes: dict[str, Any] | None = None) -> Any:
    """onnx.ModelProto of a model in float32, with any number of samples at a time.

    Inputs: "inputs" (n, features). Outputs: "logits" and "probabilities" (n, classes), or "values" (n, outputs) of a
    regression. Notes are kept in the file's metadata under "dynsim", as JSON.
    """
    onnx = onnx_package()
    drawing = _Drawing(model, form)
    outputs = drawing.draw()
    tensor, width = onnx.TensorProto.FLOAT, model.network.nodes[-1].shape[-1]
    graph = onnx.helper.make_graph(
        drawing.nodes,
        "dynsim",
        [onnx.helper.make_tensor_value_info(INPUT, tensor, ["n", model.features])],
        [onnx.helper.make_tensor_value_info(name, tensor, ["n", width]) for name in outputs],
        drawing.stored,
    )
    opset = [onnx.helper.make_opsetid("", OPSET)]
    proto = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="dynsim")
    classes = [c.item() if isinstance(c, np.generic) else c for c in model.classes]
    onnx.helper.set_model_props(
        proto, {"classes": json.dumps(classes), "dynsim": json.dumps({"form": form} | (notes or {}))}
    )
    onnx.checker.check_model(proto)
    return proto


class _Drawing:
    """The graph as far as it is drawn: `last` and `first` hold each value with channels last and channels first."""

    def __init__(self, model: Model, form: str) -> None:
        self.model, self.form, self.onnx = model, form, onnx_package()
        self.system = System(model.graph, model.x, {}, {}, {})
        self.links = {k.name: k for k in model.graph.links}
        self.matrices = {name: w.matrix() for name, w in model.weights().items() if self._stores_matrix(name)}
        self.nodes: list[Any] = []
        self.stored: list[Any] = []
        self.names: set[str] = set()
        self.integrals: dict[str, str] = {}
        self.last: dict[str, str] = {}
        self.first: dict[str, str] = {}

    def _stores_matrix(self, link: str) -> bool:
        return self.form == "dense" or f"weight:{link}" in self.model.x

    # Writing -------------------------------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output; returns its name."""
        (name,) = self.ops(kind, 1, *inputs, **attributes)
        return name

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        names = [f"{kind}_{len(self.nodes)}.{k}" for k in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, f"{kind}_{len(self.nodes)}", **attributes))
        return names

    def array(self, values: Any, name: str, dtype: Any = np.float32) -> str:
        """Store an array under a name, once."""
        if name not in self.names:
            self.names.add(name)
            stored = np.asarray(values, dtype, order="C")
            self.stored.append(self.onnx.numpy_helper.from_array(stored, name))
        return name

    def whole(self, *values: int) -> str:
        return self.array(values, f"int64:{','.join(map(str, values))}", np.int64)

    def number(self, value: float) -> str:
        return self.array(value, f"float:{value:.9g}")

    # Values --------------------------------------------------------------------------------------------------

    def channels_last(self, name: str) -> str:
        """A value as (n, ..., channels)."""
        if name not in self.last:
            rank = len(self.model.network.shape_of(name)) + 1
            self.last[name] = self.op("Transpose", self.first[name], perm=[0, *range(2, rank), 1])
        return self.last[name]

    def channels_first(self, name: str) -> str:
        """A value as (n, channels, ...)."""
        rank = len(self.model.network.shape_of(name)) + 1
        if rank == 2:
            return self.channels_last(name)
        if name not in self.first:
            self.first[name] = self.op("Transpose", self.last[name], perm=[0, rank - 1, *range(1, rank - 1)])
        return self.first[name]

    def reshape(self, value: str, *shape: int) -> str:
        """With the number of samples kept: 0 copies it."""
        return self.op("Reshape", value, self.whole(0, *shape))

    def draw(self) -> tuple[str, ...]:
        """All of it; returns the names of the outputs."""
        model, network = self.model, self.model.network
        centred = self.op("Sub", INPUT, self.array(model.scaling.centre, "scaling.centre"))
        scaled = self.op("Div", centred, self.array(model.scaling.scale, "scaling.scale"))
        flat = len(network.input_shape) == 1
        self.last[network.input_name] = scaled if flat else self.reshape(scaled, *network.input_shape)
        for node in network.nodes:
            DRAWN[type(node.layer)](self, node, node.layer)
        answer = self.channels_last(network.output_name)
        if not model.classes:
            self.nodes.append(self.onnx.helper.make_node("Identity", [answer], [VALUES]))
            return (VALUES,)
        self.nodes.append(self.onnx.helper.make_node("Identity", [answer], [LOGITS]))
        self.nodes.append(self.onnx.helper.make_node("Softmax", [answer], [PROBABILITIES], axis=-1))
        return LOGITS, PROBABILITIES

    # Path integrals ------------------------------------------------------------------------------------------

    def weights(self, name: str) -> str:
        """W (M, N) of a link: stored, or computed from coordinates."""
        if self._stores_matrix(name):
            return self.array(self.matrices[name], f"{name}.weight")
        if name not in self.integrals:  # a link may serve several nodes
            self.integrals[name] = self._path_integral(self.links[name])
        return self.integrals[name]

    def _path_integral(self, link: Link) -> str:
        """Eq. (5): phi_ij = gain sum_h mu_h f(q_ih, q_jh); raises OptionError for a link through a medium."""
        if link.medium is not None:
            raise OptionError(
                "path integrals through a medium have no ONNX form",
                where=link.name,
                given="dyn",
                allowed="--form dense",
            )
        metric, _, _, mu, gain, eps, p = self.system.link_arguments(link)
        q_a, q_b = (self.array(self.model.x[f"q:{end}"], f"{end}.q") for end in (link.source, link.target))
        if link.interactive:  # Eq. (61)
            h, other = (self.whole(*map(int, of)) for of in pairs(len(self.model.x[f"q:{link.source}"])))
            q_a, q_b = self.op("Gather", q_a, h, axis=0), self.op("Gather", q_b, other, axis=0)
        a, b = self.op("Unsqueeze", q_a, self.whole(2)), self.op("Unsqueeze", q_b, self.whole(1))
        f = self._metric(metric, a, b, float(eps), float(p))
        weighted = self.op("Mul", f, self.array(mu[:, None, None], f"{link.name}.mu"))
        summed = self.op("ReduceSum", weighted, self.whole(0), keepdims=0)
        phi = self.op("Mul", summed, self.array(gain, f"{link.name}.gain"))
        if not link.to_itself:
            return phi
        others = without_own(link, np.ones(self.model.graph.shape(link)))
        return self.op("Mul", phi, self.array(others, f"{link.name}.others"))

    def _metric(self, metric: str, a: str, b: str, eps: float, p: float) -> str:
        """f (H, M, N) of `dynsim.kernels.reference.metric_value`, from (H, M, 1, d) and (H, 1, N, d)."""
        if metric == "dot":
            return self._summed(self.op("Mul", a, b))
        v = self.op("Sub", a, b)
        if metric == "l1":
            return self._summed(self.op("Abs", v))
        if metric == "lp":
            powers = self._summed(self.op("Pow", self.op("Abs", v), self.number(p)))
            return self.op("Pow", powers, self.number(1 / p))
        squares = self._summed(self.op("Mul", v, v))
        if metric == "squared":
            return self.op("Mul", squares, self.number(0.5))
        root = self.op("Sqrt", self.op("Add", squares, self.number(eps**2)))
        return self.op("Reciprocal", root) if metric == "reciprocal" else root

    def _summed(self, terms: str) -> str:
        return self.op("ReduceSum", terms, self.whole(-1), keepdims=0)

    # Layers --------------------------------------------------------------------------------------------------

    def group(self, kind: str, node: Node) -> str:
        return self.array(self.model.x[f"{kind}:{node.key}"][:, 0], f"{node.key}.{kind}")

    def dense(self, node: Node, layer: Dense) -> None:
        parts = [
            self.op("MatMul", self.channels_last(name), self.weights(k)) for name, k in zip(node.inputs, node.links)
        ]
        received = parts[0]
        for part in parts[1:]:
            received = self.op("Add", received, part)
        if layer.bias:
            received = self.op("Add", received, self.group("bias", node))
        self.last[node.name] = received

    def conv(self, node: Node, layer: Conv) -> None:
        inputs = [self.channels_first(node.inputs[0]), self._kernel(node, layer)]
        inputs += [self.group("bias", node)] if layer.bias else []
        k, strides, pads = layer.kernel, [layer.stride] * 2, [layer.padding] * 4
        self.first[node.name] = self.op("Conv", *inputs, kernel_shape=[k, k], strides=strides, pads=pads)

    def _kernel(self, node: Node, layer: Conv) -> str:
        """(N_out, N_in, k, k)."""
        k, n_out = layer.kernel, node.shape[-1]
        if all(map(self._stores_matrix, node.links)):
            kernel = kernel_of(layer, [self.matrices[name] for name in node.links])
            return self.array(kernel.transpose(3, 2, 0, 1), f"{node.key}.weight")
        phi = [self.weights(name) for name in node.links]
        if layer.policy == "2k":
            split = self.op("Reshape", phi[0], self.whole(k, -1, k, n_out))
            return self.op("Transpose", split, perm=[3, 1, 0, 2])
        cells = [self.op("Unsqueeze", w, self.whole(0)) for w in phi]
        split = self.op("Reshape", self.op("Concat", *cells, axis=0), self.whole(k, k, -1, n_out))
        return self.op("Transpose", split, perm=[3, 2, 0, 1])

    def mix(self, node: Node, layer: Mix) -> None:
        tokens, key = node.shape[0], layer.key // layer.heads
        sizes = self.whole(layer.key, layer.key, layer.value)
        parts = self.ops("Split", 3, self.channels_last(node.inputs[0]), sizes, axis=-1)
        q, k, v = (self.reshape(part, tokens, layer.heads, -1) for part in parts)
        scores = self.op(
            "MatMul", self.op("Transpose", q, perm=[0, 2, 1, 3]), self.op("Transpose", k, perm=[0, 2, 3, 1])
        )
        attention = self.op("Softmax", self.op("Mul", scores, self.number(key**-0.5)), axis=-1)
        mixed = self.op("MatMul", attention, self.op("Transpose", v, perm=[0, 2, 1, 3]))
        self.last[node.name] = self.reshape(self.op("Transpose", mixed, perm=[0, 2, 1, 3]), *node.shape)

    def pool(self, node: Node, layer: Pool) -> None:
        kind = "MaxPool" if layer.op == "maxpool" else "AveragePool"
        window = [layer.size] * 2
        self.first[node.name] = self.op(kind, self.channels_first(node.inputs[0]), kernel_shape=window, strides=window)

    def norm(self, node: Node, layer: Norm) -> None:
        of_input, scale, shift = node.inputs[0], self.group("scale", node), self.group("shift", node)
        if layer.op == "layernorm":
            self.last[node.name] = self.op(
                "LayerNormalization", self.channels_last(of_input), scale, shift, axis=-1, epsilon=layer.eps
            )
            return
        statistics = self.group("mean", node), self.group("variance", node)
        value = self.op(
            "BatchNormalization", self.channels_first(of_input), scale, shift, *statistics, epsilon=layer.eps
        )
        (self.last if len(node.shape) == 1 else self.first)[node.name] = value

    def activate(self, node: Node, layer: Activate) -> None:
        layout = self.first if node.inputs[0] in self.first else self.last
        value = layout[node.inputs[0]]
        layout[node.name] = self._gelu(value) if layer.op == "gelu" else self.op(OPERATORS[layer.op], value)

    def _gelu(self, r: str) -> str:
        """r (1 + erf(r / sqrt 2)) / 2: Gelu itself is younger than this opset."""
        erf = self.op("Erf", self.op("Mul", r, self.number(0.5**0.5)))
        return self.op("Mul", self.op("Mul", r, self.number(0.5)), self.op("Add", erf, self.number(1.0)))

    def flat(self, node: Node, layer: Reshape) -> None:
        self.last[node.name] = self.reshape(self.channels_last(node.inputs[0]), *node.shape)

    def mean(self, node: Node, layer: Mean) -> None:
        value = self.channels_last(node.inputs[0])
        axes = list(range(1, len(self.model.network.shape_of(node.inputs[0]))))
        self.last[node.name] = self.op("ReduceMean", value, axes=axes, keepdims=0) if axes else value

    def add(self, node: Node, layer: Add) -> None:
        self.last[node.name] = self.op("Add", *map(self.channels_last, node.inputs))


DRAWN: dict[type, Any] = {
    Dense: _Drawing.dense,
    Conv: _Drawing.conv,
    Mix: _Drawing.mix,
    Pool: _Drawing.pool,
    Norm: _Drawing.norm,
    Activate: _Drawing.activate,
    Reshape: _Drawing.flat,
    Mean: _Drawing.mean,
    Add: _Drawing.add,
    **DRAWN_VECTORS,
}
