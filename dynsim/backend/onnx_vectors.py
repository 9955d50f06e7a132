"""Layers of `dynsim.system.vectors` as ONNX operators; `drawing` is that of `dynsim.backend.onnx_export`.

Their values have no other layout than ours: (n, components, sub-models), or (n, sub-models).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.system.layers import Node
from dynsim.system.tensors import averaging, features
from dynsim.system.vectors import Components, Hold, Magnitude, Positions, Read, Reduce


def reduce(drawing: Any, node: Node, layer: Reduce) -> None:
    """One product an axis, the axis turned to the end and back."""
    value, rank = drawing.channels_last(node.inputs[0]), len(node.shape)
    for axis, groups in enumerate(layer.groups, start=1):
        matrix = drawing.array(averaging(groups, np.dtype(np.float32)), f"{node.name}.axis{axis}")
        turned = [k for k in range(rank + 1) if k != axis] + [axis]
        product = drawing.op("MatMul", drawing.op("Transpose", value, perm=turned), matrix)
        value = drawing.op("Transpose", product, perm=list(map(int, np.argsort(turned))))
    drawing.last[node.name] = value


def positions(drawing: Any, node: Node, layer: Positions) -> None:
    """Features are the same for all samples: added to zeros of as many samples as come in."""
    moved = drawing.model.x.get(f"bias:{node.key}")
    shape = drawing.model.network.shape_of(node.inputs[0])
    feature = features(shape, layer.layer) if moved is None else moved
    values = drawing.reshape(drawing.channels_last(node.inputs[0]), 1, -1)
    many = drawing.op("Add", _silent(drawing, values), drawing.array(feature.T[None], f"{node.key}.positions"))
    drawing.last[node.name] = drawing.op("Concat", values, many, axis=1)


def components(drawing: Any, node: Node, layer: Components) -> None:
    """A R for every sample."""
    matrix = drawing.array(drawing.model.x[f"weight:{node.key}"][..., 0], f"{node.key}.weight")
    drawing.last[node.name] = drawing.op("MatMul", matrix, drawing.channels_last(node.inputs[0]))


def magnitude(drawing: Any, node: Node, layer: Magnitude) -> None:
    """|E|_p over the components."""
    value = drawing.channels_last(node.inputs[0])
    if layer.p in (1, 2):
        drawing.last[node.name] = drawing.op(f"ReduceL{layer.p:.0f}", value, axes=[1], keepdims=0)
        return
    powers = drawing.op("Pow", drawing.op("Abs", value), drawing.number(layer.p))
    summed = drawing.op("ReduceSum", powers, drawing.whole(1), keepdims=0)
    drawing.last[node.name] = drawing.op("Pow", summed, drawing.number(1 / layer.p))


def hold(drawing: Any, node: Node, layer: Hold) -> None:
    """[data, the others]."""
    data = drawing.channels_last(node.inputs[-1])
    count = drawing.model.network.shape_of(node.inputs[-1])[-1]
    if len(node.inputs) == 1:
        silent = drawing.array(np.zeros((1,) * len(node.shape) + (layer.size - count,)), f"{node.name}.silent")
        one = _part(drawing, _silent(drawing, data), 0, 1)
        others = drawing.op("Add", one, silent)
    else:
        others = _part(drawing, drawing.channels_last(node.inputs[0]), count, layer.size)
    drawing.last[node.name] = drawing.op("Concat", data, others, axis=-1)


def read(drawing: Any, node: Node, layer: Read) -> None:
    """The last sub-models."""
    size = drawing.model.network.shape_of(node.inputs[0])[-1]
    drawing.last[node.name] = _part(drawing, drawing.channels_last(node.inputs[0]), size - layer.size, size)


def _part(drawing: Any, value: str, start: int, stop: int) -> str:
    """value[..., start:stop]."""
    return drawing.op("Slice", value, drawing.whole(start), drawing.whole(stop), drawing.whole(-1))


def _silent(drawing: Any, value: str) -> str:
    """Zeros of the shape of a value."""
    return drawing.op("Sub", value, value)


DRAWN_VECTORS: dict[type, Any] = {
    Reduce: reduce,
    Positions: positions,
    Components: components,
    Magnitude: magnitude,
    Hold: hold,
    Read: read,
}
