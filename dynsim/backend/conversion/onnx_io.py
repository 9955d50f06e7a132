"""ONNX files: which of their tensors are weights of layers, and the same graph with other weights.

Format: onnx.proto and Operators.md of the ONNX project. Tensors are initialisers or outputs of Constant nodes of the
main graph; those inside subgraphs (If, Loop) stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from dynsim.backend.conversion.layouts import Layout, convolution, dense
from dynsim.backend.conversion.networks import Layer, is_vector
from dynsim.errors import DeviceError, FileFormatError

STANDARD = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")
# A tensor's place among the inputs of a layer's node where it can be a weight; the other place is what flows in.
OPERATORS = {"Gemm": (1, 0), "MatMul": (1, 0), "Conv": (1,)}


def onnx_package() -> ModuleType:
    """The onnx package; raises DeviceError where it is not installed."""
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError:
        raise DeviceError(
            "reading .onnx files needs the onnx package",
            hint="pip install 'dynsim[onnx]', or give .npz or .safetensors",
        ) from None
    return onnx


def read_onnx(raw: bytes, where: str) -> tuple[Any, dict[str, np.ndarray], tuple[Layer, ...]]:
    """(graph as onnx.ModelProto, tensors, layers) of a file's bytes.

    Raises FileFormatError: not an ONNX, external data, unknown operators.
    """
    onnx = onnx_package()
    model = _parsed(onnx, raw, where)
    _refuse_external(onnx, model, where)
    _refuse_unknown(onnx, model, where)
    tensors = {name: onnx.numpy_helper.to_array(t) for name, t in _stored(model.graph) if _numeric(onnx, t)}
    return model, tensors, _layers(model.graph, tensors)


def with_tensors(model: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """A copy of the graph with some tensors replaced, each in its old type."""
    onnx = onnx_package()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, proto in _stored(copy.graph):
        if name in tensors:
            old = onnx.helper.tensor_dtype_to_np_dtype(proto.data_type)
            proto.CopyFrom(onnx.numpy_helper.from_array(tensors[name].astype(old), proto.name))
    return copy


def without_tensors(model: Any, names: Iterable[str]) -> Any:
    """A copy of the graph in which some tensors are inputs."""
    onnx = onnx_package()
    names = set(names)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    types = {n: onnx.helper.make_tensor_value_info(n, t.data_type, t.dims) for n, t in _stored(graph) if n in names}
    initialisers = [t for t in graph.initializer if t.name not in names]
    nodes = [n for n in graph.node if n.op_type != "Constant" or n.output[0] not in names]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(initialisers)
    graph.node.extend(nodes)
    known = {v.name for v in graph.input}
    graph.input.extend(v for n, v in types.items() if n not in known)
    return copy


def flowing_input(model: Any, layer: Layer) -> tuple[tuple[str, int], ...]:
    """(name, axis of the input channels) of the values that flow into each node of a layer."""
    found = []
    aliases = _aliases(model.graph)
    for node in model.graph.node:
        for place in OPERATORS.get(node.op_type, ()):
            if len(node.input) > place and aliases.get(node.input[place], node.input[place]) == layer.name:
                found.append((node.input[1 - place], _channel_axis(node, place)))
    return tuple(found)


def _parsed(onnx: ModuleType, raw: bytes, where: str) -> Any:
    try:
        model = onnx.load_model_from_string(raw)
    except Exception as error:
        raise _not_onnx(where, f"{type(error).__name__}: {error}") from None
    if not model.ir_version or not model.graph.node:
        raise _not_onnx(where, "no operators in it")
    return model


def _not_onnx(where: str, given: str) -> FileFormatError:
    return FileFormatError(
        "is not an ONNX file, or is cut short",
        where=where,
        given=given,
        allowed="a whole ONNX file",
        hint="export or download it again",
    )


def _refuse_external(onnx: ModuleType, model: Any, where: str) -> None:
    for tensor in _everywhere(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise FileFormatError(
                "keeps weights in another file, which is not opened",
                where=f"{where}, {tensor.name}",
                allowed="an ONNX with all weights inside",
                hint="onnx.save(onnx.load(file), new_file, save_as_external_data=False)",
            )


def _refuse_unknown(onnx: ModuleType, model: Any, where: str) -> None:
    own = {(f.domain, f.name) for f in model.functions}
    for node in model.graph.node:
        if node.domain not in STANDARD or (node.domain, node.op_type) in own:
            continue
        if not onnx.defs.has(node.op_type, node.domain.removeprefix("ai.onnx") and node.domain):
            raise FileFormatError(
                "has an operator that ONNX does not know",
                where=f"{where}, node {node.name or node.output[0]!r}",
                given=node.op_type,
                allowed=f"operators of ONNX {onnx.__version__}",
                hint="export it with standard operators, or give its weights as .npz or .safetensors",
            )


def _everywhere(graph: Any) -> Iterator[Any]:
    """Every tensor of a graph and of the graphs inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _everywhere(inner)


def _stored(graph: Any) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of the initialisers and constants of the main graph."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            yield node.output[0], node.attribute[0].t


def _numeric(onnx: ModuleType, tensor: Any) -> bool:
    """Whether it has a type that NumPy itself knows."""
    return onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind in "biuf"


def _aliases(graph: Any) -> dict[str, str]:
    """What Identity nodes call a tensor: exporters share weights so."""
    named = {name for name, _ in _stored(graph)}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Identity":
            source = found.get(node.input[0], node.input[0])
            if source in named:
                found[node.output[0]] = source
    return found


def _layers(graph: Any, tensors: Mapping[str, np.ndarray]) -> tuple[Layer, ...]:
    """The layers in the order of the graph, each tensor once, with all nodes that use it."""
    aliases = _aliases(graph)
    found: dict[str, Layer] = {}
    for node in graph.node:
        for place in OPERATORS.get(node.op_type, ()):
            name = aliases.get(node.input[place], node.input[place])
            if name not in tensors or tensors[name].dtype.kind != "f":
                continue
            before = found.get(name)
            layouts = before.layouts if before else _layouts(node, place, tensors[name].shape)
            if layouts:
                found[name] = Layer(name, layouts, (*(before.nodes if before else ()), node.name or node.output[0]))
            break
    return tuple(found.values())


def _layouts(node: Any, place: int, shape: tuple[int, ...]) -> tuple[Layout, ...]:
    if len(shape) < 2 or is_vector(shape):
        return ()
    if node.op_type == "Conv":
        return convolution(shape, _attribute(node, "group", 1))
    if place == 1:
        return dense(shape, outputs_first=node.op_type == "Gemm" and bool(_attribute(node, "transB", 0)))
    transposed = node.op_type == "Gemm" and bool(_attribute(node, "transA", 0))
    return dense(shape, outputs_first=not transposed) if len(shape) == 2 else ()


def _channel_axis(node: Any, place: int) -> int:
    """Of what flows in: x @ W has its channels last, W @ x before the last axis, a convolution after the batch."""
    if node.op_type == "Conv":
        return 1
    transposed = node.op_type == "Gemm" and _attribute(node, "transA" if place else "transB", 0)
    return (-1 if place else -2) if not transposed else (-2 if place else -1)


def _attribute(node: Any, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)
