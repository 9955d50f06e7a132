"""The model file of a converted network: safetensors with a small card, no pickle, no date, no path of the machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from dynsim.backend.conversion import fit, rivals  # noqa: F401  they register the decoders
from dynsim.backend.conversion.compression import Encoded
from dynsim.backend.conversion.layouts import Layout
from dynsim.checkpoint import metadata
from dynsim.errors import DynsimError, FileFormatError
from dynsim.files import write_atomically

SCHEMA = "dynsim-converted/1"


@dataclass(frozen=True)
class ConvertedLayer:
    """A layer in its stored form.

    Attributes
    ----------
    name : of the tensor.
    dtype : of the tensor in the original network.
    """

    name: str
    dtype: str
    layout: Layout
    encoded: Encoded

    def tensor(self) -> np.ndarray:
        """The recovered weights in their original shape and type; raises FileFormatError for what cannot be decoded."""
        try:
            return self.layout.tensor(self.encoded.decode()).astype(self.dtype)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise FileFormatError(
                "a stored form that cannot be decoded",
                where=self.name,
                given=f"{self.encoded.method}: {error}",
                hint="the file is damaged, or of a newer version of dynsim",
            ) from None


@dataclass(frozen=True)
class Converted:
    """A converted network.

    Attributes
    ----------
    layers : those in a stored form.
    kept : all other tensors, as they were.
    order : names of all tensors as the original had them.
    card : source (file, sha256) and settings of the conversion; JSON.
    """

    layers: tuple[ConvertedLayer, ...]
    kept: Mapping[str, np.ndarray]
    order: tuple[str, ...]
    card: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, np.ndarray]:
        """Every tensor under its original name, shape and type; layers as recovered."""
        recovered = {layer.name: layer.tensor() for layer in self.layers}
        return {name: recovered[name] if name in recovered else self.kept[name] for name in self.order}

    @property
    def nbytes(self) -> int:
        """Bytes of all stored arrays."""
        return sum(a.nbytes for a in self._payload().values())

    @property
    def numbers(self) -> int:
        """How many numbers are stored, whatever their width."""
        return sum(x.encoded.numbers for x in self.layers) + sum(a.size for a in self.kept.values())

    def _payload(self) -> dict[str, np.ndarray]:
        stored = {f"layer:{x.name}:{k}": a for x in self.layers for k, a in x.encoded.arrays.items()}
        return stored | {f"kept:{name}": a for name, a in self.kept.items()}

    def save(self, path: Path) -> int:
        """Write the model file, atomically; returns the bytes of its payload, the file's size without its header."""
        layers = [
            {
                "name": x.name,
                "dtype": x.dtype,
                "layout": asdict(x.layout),
                "method": x.encoded.method,
                "matrix": x.encoded.shape,
                "settings": dict(x.encoded.settings),
                "arrays": list(x.encoded.arrays),
            }
            for x in self.layers
        ]
        card = {**self.card, "schema": SCHEMA, "layers": layers, "order": list(self.order)}
        payload = {k: np.asarray(a, order="C") for k, a in self._payload().items()}
        raw = encode(payload, {"dynsim": json.dumps(card, sort_keys=True)})
        write_atomically(path, raw)
        return len(raw) - 8 - int.from_bytes(raw[:8], "little")


def load_converted(path: str | Path) -> Converted:
    """Read a model file that `dynsim convert` wrote.

    Raises FileFormatError: missing, damaged, of another version, or no converted network.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
        arrays, card = decode(raw), json.loads(metadata(raw)["dynsim"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise FileFormatError("not a readable converted network", where=str(path), given=str(error)) from None
    schema = card.get("schema") if isinstance(card, dict) else card
    if schema != SCHEMA:
        raise FileFormatError(
            "not a converted network of this version",
            where=str(path),
            given=schema,
            allowed=SCHEMA,
            hint="convert the network again with this version of dynsim",
        )
    try:
        return _converted(arrays, card)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, DynsimError) as error:
        given = f"{type(error).__name__}: {error}"
        raise FileFormatError("a damaged converted network", where=str(path), given=given) from None


def _converted(arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Converted:
    layers = []
    for x in card.pop("layers"):
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in x["layout"].items()}
        layout = Layout(**fields)
        stored = {k: arrays[f"layer:{x['name']}:{k}"] for k in x["arrays"]}
        encoded = Encoded(x["method"], tuple(x["matrix"]), stored, x["settings"])
        layers.append(ConvertedLayer(x["name"], x["dtype"], layout, encoded))
    kept = {k.removeprefix("kept:"): a for k, a in arrays.items() if k.startswith("kept:")}
    order = tuple(card.pop("order"))
    if set(order) != {x.name for x in layers} | set(kept):
        raise ValueError("its tensors are not those that its card lists")
    return Converted(tuple(layers), kept, order, card)
