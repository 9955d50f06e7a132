"""What shows that a converted network is still the network: parity of its files, accuracy, fidelity, wall-clock."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dynsim.backend.conversion import onnx_run
from dynsim.backend.conversion.converted import Converted, load_converted
from dynsim.backend.conversion.data import Samples
from dynsim.backend.conversion.networks import Layer, Network
from dynsim.backend.conversion.onnx_io import with_tensors
from dynsim.errors import DynsimError, FileFormatError
from dynsim.files import write_atomically

CALIBRATION = 256  # samples that weigh errors
JUDGED = 10_000  # samples at most that judge
PARITY = 1e-4  # of the largest answer; constants folded or not, float32 sums round in another order


def checked(network: Network, samples: Samples | None, where: str) -> Samples | None:
    """Samples in the shape and type of the graph's input, not more of them than are used.

    Raises FileFormatError for a graph that onnxruntime cannot run, ShapeError, OptionError.
    """
    if samples is None and onnx_run.onnxruntime_package() is None:
        return None
    runner = onnx_run.Runner(network.graph, where)
    if samples is None:
        return None
    shaped = samples.shaped(runner.input_shape, runner.input_dtype)
    step = max(1, len(shaped.x) // CALIBRATION)  # spread, for files are often sorted
    labels = None if shaped.y_test is None else shaped.y_test[:JUDGED]
    return replace(shaped, x=shaped.x[::step][:CALIBRATION], x_test=shaped.x_test[:JUDGED], y_test=labels)


def mean_squares(network: Network, layers: tuple[Layer, ...], samples: Samples, where: str) -> dict[str, np.ndarray]:
    """Of what flows into each layer's channels, over the training part."""
    return onnx_run.mean_squares(network.graph, layers, samples.x, where)


def write_npz(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """The recovered tensors under their names, atomically; equal tensors give equal bytes."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **dict(tensors))
    write_atomically(path, file.getvalue())


def write_onnx(path: Path, network: Network, stored: Converted) -> Any:
    """The graph with the recovered layers, atomically; returns it."""
    recovered = with_tensors(network.graph, {x.name: x.tensor() for x in stored.layers})
    write_atomically(path, recovered.SerializeToString(deterministic=True))
    return recovered


def of_graph(network: Network, recovered: Any, samples: Samples | None, model: Path, where: str) -> dict[str, Any]:
    """Parity, and with data: accuracy, fidelity and wall-clock of both forms."""
    if onnx_run.onnxruntime_package() is None:
        return {"notes": ["onnxruntime is not installed: the recovered graph was not run"]}
    found: dict[str, Any] = _parity(network, recovered, samples, model, where)
    if samples is None:
        return found
    before = onnx_run.Runner(network.graph, where).answer(samples.x_test)
    after = onnx_run.Runner(recovered, str(model)).answer(samples.x_test)
    dense_s = onnx_run.seconds_to_answer(recovered, samples.x_test, where)
    clock = {"dense_s": dense_s, "decode_s": seconds_to_decode(model), "samples": len(after)}
    found["data"] = {"name": samples.name, **onnx_run.likeness(before, after, samples.y_test)}
    found["wall_clock"] = clock | {"decode_and_dense_s": clock["decode_s"] + dense_s}
    return found


def of_function(
    evaluate: Callable[[Mapping[str, np.ndarray]], Mapping[str, float]],
    tensors: Mapping[str, np.ndarray],
    converted: Converted,
    model: Path,
) -> dict[str, Any]:
    """What the caller's own code says of the original tensors and of the recovered ones."""
    before = dict(evaluate(tensors))
    started = perf_counter()
    after = dict(evaluate(converted.tensors()))
    seconds = perf_counter() - started
    return {"before": before, "after": after, "decode_s": seconds_to_decode(model), "decode_and_dense_s": seconds}


def seconds_to_decode(model: Path) -> float:
    """Wall-clock from the model file to dense weights."""
    started = perf_counter()
    load_converted(model).tensors()
    return perf_counter() - started


def _parity(network: Network, recovered: Any, samples: Samples | None, model: Path, where: str) -> dict[str, Any]:
    tensors = {x.name: x.tensor() for x in load_converted(model).layers}
    try:
        values = onnx_run.made_up(network.graph, where)
        if samples is not None:
            name = next(iter(values))
            values[name] = samples.x_test[: max(1, len(values[name]))]
        off = onnx_run.difference(network.graph, recovered, tensors, values, where)
    except FileFormatError:
        raise
    except Exception as error:  # made-up inputs need not make sense to a network
        reason = str(error).split("\n")[0][:200]
        return {"notes": [f"the recovered graph was not compared by running it on made-up inputs: {reason}"]}
    if not (math.isfinite(off) and off <= PARITY):
        raise DynsimError("the recovered graph does not answer as the model file does", where=str(model), given=off)
    return {"parity": off}
