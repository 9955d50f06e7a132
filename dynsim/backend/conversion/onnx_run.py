"""ONNX graphs at work: what flows through their layers, and how alike two of them answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

from dynsim.backend.conversion.networks import Layer
from dynsim.backend.conversion.onnx_io import flowing_input, onnx_package, without_tensors
from dynsim.errors import DeviceError, FileFormatError, OptionError

BATCH = 32


def onnxruntime_package() -> ModuleType | None:
    """The onnxruntime package, or None."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime


class Runner:
    """A graph that can be run.

    Parameters
    ----------
    model : onnx.ModelProto.
    outputs : values to return; by default the graph's first output.
    where : for error messages.

    Raises DeviceError without onnxruntime, FileFormatError for a graph that it cannot run.
    """

    def __init__(self, model: Any, where: str, outputs: tuple[str, ...] = ()) -> None:
        ort = onnxruntime_package()
        if ort is None:
            raise DeviceError("running ONNX graphs needs onnxruntime", where=where, hint="pip install 'dynsim[onnx]'")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise FileFormatError(
                "cannot be run by onnxruntime",
                where=where,
                given=str(error).split("\n")[0][:300],
                hint="export it with operators that onnxruntime knows",
            ) from None
        self.where = where
        self.inputs = self._session.get_inputs()
        self.outputs = list(outputs) or [self._session.get_outputs()[0].name]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Of the only input, None for sizes that are free; raises OptionError for several inputs."""
        if len(self.inputs) != 1:
            raise OptionError(
                "data can be given to networks with one input only",
                where=self.where,
                given=", ".join(i.name for i in self.inputs),
                hint="convert without --data",
            )
        return tuple(d if isinstance(d, int) and d > 0 else None for d in self.inputs[0].shape)

    @property
    def input_dtype(self) -> np.dtype:
        """Of the first input."""
        return _dtype(self.inputs[0].type)

    def feed(self, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs for all inputs by name."""
        return self._session.run(self.outputs, dict(values))

    @property
    def batch(self) -> int:
        """Samples that it takes at once."""
        shape = self.inputs[0].shape
        return shape[0] if shape and isinstance(shape[0], int) and shape[0] > 0 else BATCH

    def batches(self, x: np.ndarray, more: Mapping[str, np.ndarray] | None = None) -> Iterator[list[np.ndarray]]:
        """The outputs for x (n, ...) of the first input, batch by batch; a rest is left out where batches are fixed."""
        fixed = isinstance(self.inputs[0].shape[0], int)
        whole = len(x) - len(x) % self.batch if fixed else len(x)
        for i in range(0, whole, self.batch):
            yield self.feed({self.inputs[0].name: x[i : i + self.batch], **(more or {})})

    def answer(self, x: np.ndarray, more: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
        """The first output (n, ...) for x (n, ...)."""
        return np.concatenate([b[0] for b in self.batches(x, more)])


def mean_squares(model: Any, layers: tuple[Layer, ...], x: np.ndarray, where: str) -> dict[str, np.ndarray]:
    """Mean square of what flows into each layer's channels over samples x, by the layer's name."""
    onnx = onnx_package()
    flows = {layer.name: flowing_input(model, layer) for layer in layers}
    names = sorted({name for flow in flows.values() for name, _ in flow})
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    known = {v.name for v in (*graph.graph.output, *graph.graph.input, *graph.graph.initializer)}
    graph.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    inputs = {v.name for v in graph.graph.input}
    runner = Runner(graph, where, tuple(n for n in names if n not in inputs) or (graph.graph.output[0].name,))
    sums: dict[tuple[str, int], Any] = {}
    size = runner.batch
    for k, batch in enumerate(runner.batches(x)):
        values = dict(zip(runner.outputs, batch)) | {runner.inputs[0].name: x[k * size : (k + 1) * size]}
        for flow in flows.values():
            for name, axis in flow:
                squares, count = _channel_squares(values[name], axis)
                before = sums.get((name, axis), (0.0, 0))
                sums[name, axis] = before[0] + squares, before[1] + count
    means = {key: squares / count for key, (squares, count) in sums.items()}
    return {name: found for name, flow in flows.items() if (found := _of_layer(layers, name, flow, means)) is not None}


def _of_layer(layers: tuple[Layer, ...], name: str, flow: Any, means: Mapping) -> np.ndarray | None:
    """The mean over all nodes that share the layer; those that see it in another orientation say nothing."""
    layout = next(x for x in layers if x.name == name).layouts[0]
    channels = int(np.prod([layout.split[a] for a in layout.channels]))
    fitting = [means[key] for key in flow if means[key].size == channels]
    return np.mean(fitting, axis=0) if fitting else None


def _channel_squares(value: np.ndarray, axis: int) -> tuple[np.ndarray, int]:
    """Sum of squares (channels,) over all other axes, and over how many numbers."""
    moved = np.moveaxis(value, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    return np.einsum("ij,ij->j", rows, rows, dtype=np.float64), len(rows)


def likeness(before: np.ndarray, after: np.ndarray, y: np.ndarray | None) -> dict[str, float]:
    """How alike answers (n, ...) are: mean cosine, agreement of the largest, and accuracy where labels are known."""
    a, b = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (before, after))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = {
        "samples": len(a),
        "logit_cosine": float(np.mean((a * b).sum(axis=1) / np.maximum(norms, 1e-30))),
        "agreement": float(np.mean(a.argmax(axis=1) == b.argmax(axis=1))),
    }
    if y is not None:
        labels = y[: len(a)]
        found["accuracy_before"] = float(np.mean(a.argmax(axis=1) == labels))
        found["accuracy_after"] = float(np.mean(b.argmax(axis=1) == labels))
    return found


def made_up(model: Any, where: str) -> dict[str, np.ndarray]:
    """A value for every input, from a seed: normal numbers, or zeros and ones; free sizes are 1."""
    rng = np.random.default_rng(0)
    values = {}
    for given in Runner(model, where).inputs:
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in given.shape]
        dtype = _dtype(given.type)
        drawn = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        values[given.name] = drawn.astype(dtype)
    return values


def difference(model: Any, recovered: Any, tensors: Mapping[str, np.ndarray], values: Mapping, where: str) -> float:
    """Largest difference, relative to the largest answer, of two ways to run the same converted network.

    The one feeds tensors decoded from our model file into the original graph, the other runs the recovered graph.
    """
    ours = Runner(without_tensors(model, tensors), where).feed({**values, **tensors})[0]
    theirs = Runner(recovered, where).feed(values)[0]
    scale = float(np.abs(theirs).max(initial=0)) or 1.0
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) / scale


def seconds_to_answer(model: Any, x: np.ndarray, where: str) -> float:
    """Wall-clock of the graph over x (n, ...), warmed up; the least of three."""
    runner = Runner(model, where)
    runner.answer(x[: runner.batch])
    return min(_timed(runner, x) for _ in range(3))


def _timed(runner: Runner, x: np.ndarray) -> float:
    started = perf_counter()
    runner.answer(x)
    return perf_counter() - started


def _dtype(name: str) -> np.dtype:
    """`tensor(int64)` as NumPy calls it."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(inner, inner))
