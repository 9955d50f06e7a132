"""The model file: safetensors with a small card, no pickle, no date, no path: equal runs give equal bytes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from dynsim.backend.inference import Model
from dynsim.checkpoint import metadata, write_atomically
from dynsim.errors import DynsimError, FileFormatError
from dynsim.fields.data import Scaling
from dynsim.system.graph import Graph, Link, Subsystem
from dynsim.system.layers import Network, node_from

SCHEMA = "dynsim-model/2"


def payload(model: Model) -> dict[str, np.ndarray]:
    """Every array that prediction needs, by its name in the file."""
    centre = model.scaling.centre
    arrays = {k: np.ascontiguousarray(a) for k, a in model.x.items()}
    return arrays | {"scaling:centre": centre, "scaling:scale": np.array([model.scaling.scale], centre.dtype)}


def save_model(model: Model, path: Path) -> None:
    """Write a model, atomically."""
    card = {
        "schema": SCHEMA,
        "subsystems": [asdict(s) for s in model.graph.subsystems],
        "links": [asdict(k) for k in model.graph.links],
        "copies": model.graph.copies,
        "dim": model.graph.dim,
        "network": [asdict(n) for n in model.network.nodes],
        "input": [model.network.input_name, list(model.network.input_shape)],
        "classes": [c.item() if isinstance(c, np.generic) else c for c in model.classes],
    }
    write_atomically(path, encode(payload(model), {"dynsim": json.dumps(card, sort_keys=True)}))


def card_of(path: Path) -> dict[str, Any]:
    """The card in the header of a file of ours; empty for any other file."""
    try:
        return json.loads(metadata(Path(path).read_bytes())["dynsim"])
    except (OSError, KeyError, TypeError, ValueError):
        return {}


def load_model(path: Path) -> Model:
    """Read a model; raises FileFormatError that says what is wrong with the file."""
    version = card_of(path).get("schema", SCHEMA)
    if version != SCHEMA:
        hint = "train it again, or use the version of dynsim that wrote it"
        raise FileFormatError("a model of another version", where=str(path), given=version, allowed=SCHEMA, hint=hint)
    try:
        raw = Path(path).read_bytes()
        arrays = decode(raw)
        return _model(arrays, json.loads(metadata(raw)["dynsim"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, DynsimError) as error:
        raise FileFormatError("not a readable dynsim model", where=str(path), given=str(error)) from None


def _model(arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Model:
    graph = Graph(
        tuple(Subsystem(**s) for s in card["subsystems"]),
        tuple(Link(**k) for k in card["links"]),
        card["copies"],
        card["dim"],
    )
    scaling = Scaling(arrays.pop("scaling:centre"), float(arrays.pop("scaling:scale")[0]))
    name, shape = card["input"]
    network = Network(tuple(node_from(n) for n in card["network"]), name, tuple(shape))
    return Model(graph, arrays, scaling, tuple(card["classes"]), network)
