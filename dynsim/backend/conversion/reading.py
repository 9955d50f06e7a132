"""Reading networks that others trained: .onnx, .safetensors and .npz, and nothing in them that could run code."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode

from dynsim.backend.conversion.layouts import channels_last, channels_last_depthwise, convolution, dense
from dynsim.backend.conversion.networks import Layer, Network, is_vector, listed
from dynsim.backend.conversion.onnx_io import read_onnx
from dynsim.checkpoint import metadata
from dynsim.datafiles import bounded, npz_arrays
from dynsim.errors import DataError, FileFormatError, unknown

SMALLEST = 256  # numbers; below, no form saves what its own scales and codebooks cost
AXES = ("auto", "torch", "keras")
FORMATS = (".onnx", ".safetensors", ".npz")


def read_network(path: Path, axes: str = "auto") -> Network:
    """Read an .onnx, .safetensors or .npz file.

    Parameters
    ----------
    axes : of kernels in files without a graph: torch (out, in, *window), keras (*window, in, out), or auto: by the
        names (`weight`, `kernel`), else by the shape.

    Raises
    ------
    OptionError : unknown axes.
    FileFormatError : unknown kind of file, or a damaged one.
    DataError : zero-sized or non-finite weights, object arrays, or no layer to convert.
    DeviceError : the onnx package is not installed.
    """
    path = Path(path)
    if axes not in AXES:
        raise unknown("order of axes", axes, AXES, where="--axes")
    raw = _content(path)
    if path.suffix.lower() == ".onnx":
        graph, tensors, layers = read_onnx(raw, str(path))
    else:
        read = _read_npz if path.suffix.lower() == ".npz" else _read_safetensors
        graph, tensors = None, read(path, raw)
        layers = tuple(x for name, a in tensors.items() if (x := _named_layer(name, a, axes)))
    for layer in layers:
        _check_weights(tensors[layer.name], f"{path}, {layer.name}")
    layers = tuple(x for x in layers if tensors[x.name].size >= SMALLEST)
    if not layers:
        raise DataError(
            "has no layer that could be converted",
            where=str(path),
            given=f"tensors {listed([f'{k} {a.shape}' for k, a in tensors.items()], 8) or '(none)'}",
            allowed=f"weights of fully connected, convolution or attention layers with {SMALLEST} numbers or more, "
            "float16, float32 or float64",
        )
    return Network(path.name, hashlib.sha256(raw).hexdigest(), tensors, layers, graph)


def _content(path: Path) -> bytes:
    if path.suffix.lower() not in FORMATS:
        raise FileFormatError(
            "unknown kind of network",
            where=str(path),
            given=path.suffix or "no suffix",
            allowed=", ".join(FORMATS),
            hint="torch: torch.onnx.export(...) or safetensors.torch.save_file(module.state_dict(), ...); "
            "Keras: numpy.savez(..., **{w.path: w.numpy() for w in model.weights})",
        )
    if not path.is_file():
        raise FileFormatError("there is no such file", where=str(path), hint="check the path")
    bounded(path.stat().st_size, str(path))
    raw = path.read_bytes()
    if not raw:
        raise FileFormatError("the file is empty", where=str(path), hint="export or download it again")
    return raw


def _check_weights(array: np.ndarray, where: str) -> None:
    if array.size == 0:
        raise DataError("the weights have no numbers", where=where, given=f"shape {array.shape}")
    with np.errstate(over="ignore"):
        finite = np.isfinite(array.astype(np.float32))
    if not finite.all():
        place = tuple(np.argwhere(~finite)[0].tolist())
        raise DataError(
            "a weight is not finite",
            where=where,
            given=f"{array[place]} at {list(place)}, {int((~finite).sum())} of {array.size}",
            allowed="finite numbers within float32",
            hint="train it again or replace them: no form of such weights means anything",
        )


def _read_npz(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    del raw
    try:
        return npz_arrays(path)
    except DataError as error:
        if isinstance(error.__cause__, Exception):  # of a parser: it is no such file at all
            raise _damaged(path, "an .npz file of arrays", error.__cause__) from None
        raise


def _read_safetensors(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    try:
        tensors = decode(raw)
        ours = "dynsim" in (metadata(raw) if b"__metadata__" in raw[: 8 + int.from_bytes(raw[:8], "little")] else {})
    except KeyError as error:
        raise FileFormatError(
            "has tensors of a type that NumPy does not know",
            where=str(path),
            given=str(error),
            allowed="F16, F32, F64 and integers",
            hint="save them as float32: {k: v.float() for k, v in state_dict.items()}",
        ) from None
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, "a safetensors file", error) from None
    if ours:
        raise FileFormatError("is a file of dynsim itself, not a network of weights", where=str(path))
    return {name: tensors[name] for name in sorted(tensors)}


def _damaged(path: Path, expected: str, error: Exception) -> FileFormatError:
    return FileFormatError(
        "cannot be read",
        where=str(path),
        given=f"{type(error).__name__}: {error}",
        allowed=expected,
        hint="export or download it again: it may be cut short",
    )


def _named_layer(name: str, array: np.ndarray, axes: str) -> Layer | None:
    """A layer told by its name and shape, where there is no graph; None for biases, norms and the like."""
    if array.dtype.kind != "f" or array.dtype.itemsize > 8 or not 2 <= array.ndim <= 5:
        return None
    if is_vector(array.shape):
        return None
    last = name.removesuffix(":0").replace("/", ".").rsplit(".", 1)[-1]
    keras = _like_keras(last, array.shape) if axes == "auto" else axes == "keras"
    if array.ndim == 2:
        return Layer(name, dense(array.shape, outputs_first=not keras))
    if keras and "depthwise" in last:
        return Layer(name, channels_last_depthwise(array.shape))
    return Layer(name, channels_last(array.shape) if keras else convolution(array.shape))


def _like_keras(last: str, shape: tuple[int, ...]) -> bool:
    if "kernel" in last or "weight" in last:
        return "kernel" in last
    # x @ W is what nets written by hand do; a window is smaller than the channels
    return len(shape) == 2 or math.prod(shape[:-2]) < math.prod(shape[2:])
