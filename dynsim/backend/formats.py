"""The model file: safetensors with a small card, no pickle, no date, no path: equal runs give equal bytes.

Particles that have merged are stored as one, where that is smaller: distinct:NAME (U, d) holds the different
coordinates of a subsystem, which:NAME (H, N) says whose are whose, in the smallest integers that can; a table that
several subsystems share is called distinct:. Without such tables the file is one of the version before, "/2".
"""

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
from dynsim.checkpoint import metadata
from dynsim.errors import FileFormatError, ShapeError
from dynsim.fields.data import Scaling
from dynsim.files import write_atomically
from dynsim.system.graph import Graph, Groups, Link, Subsystem, group_kind
from dynsim.system.layers import Network, node_from
from dynsim.system.medium import Medium

# What parsers raise on a damaged card, and a card that speaks of what is not there.
UNREADABLE = (
    OSError,
    SafetensorError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
PLAIN, MERGED = "dynsim-model/2", "dynsim-model/3"


def payload(model: Model) -> dict[str, np.ndarray]:
    """Every array that prediction needs, by its name in the file."""
    centre = model.scaling.centre
    arrays = {k: np.ascontiguousarray(a) for k, a in stored_once(model.x).items()}
    return arrays | {"scaling:centre": centre, "scaling:scale": np.array([model.scaling.scale], centre.dtype)}


def stored_once(x: Groups) -> Groups:
    """Groups with equal coordinates stored once: in the smallest of three layouts (one table, one each, none)."""
    q = {k[2:]: a for k, a in x.items() if group_kind(k) == "q"}
    each: Groups = {}
    for name, a in q.items():
        own: Groups = min(_table({name: a}, name), {f"q:{name}": a}, key=_bytes)
        each |= own
    smallest: Groups = min(each, _table(q, ""), key=_bytes) if q else {}
    return {k: a for k, a in x.items() if group_kind(k) != "q"} | smallest


def _table(q: Groups, name: str) -> Groups:
    """The different rows (U, d) of all the coordinates, bit by bit, and for every particle the number of its own."""
    rows = np.concatenate([np.ascontiguousarray(a).reshape(-1, a.shape[-1]) for a in q.values()])
    bits = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    _, first, number = np.unique(bits, return_index=True, return_inverse=True)
    parts = np.split(number.astype(np.min_scalar_type(len(first) - 1)), np.cumsum([a[..., 0].size for a in q.values()]))
    which = {f"which:{n}": part.reshape(a.shape[:-1]) for (n, a), part in zip(q.items(), parts)}
    return {f"distinct:{name}": rows[first]} | which


def _bytes(arrays: Groups) -> int:
    return sum(a.nbytes for a in arrays.values())


def _coordinates(arrays: Groups) -> Groups:
    """The inverse of `stored_once`."""
    q = {}
    for key in [k for k in arrays if group_kind(k) == "which"]:
        name = key.removeprefix("which:")
        table = arrays[f"distinct:{name}" if f"distinct:{name}" in arrays else "distinct:"]
        q[f"q:{name}"] = table[arrays[key]]
    return {k: a for k, a in arrays.items() if group_kind(k) not in ("which", "distinct")} | q


def save_model(model: Model, path: Path) -> None:
    """Write a model, atomically."""
    arrays = payload(model)
    card = {
        "schema": MERGED if any(group_kind(k) == "which" for k in arrays) else PLAIN,
        "subsystems": [asdict(s) for s in model.graph.subsystems],
        "links": [asdict(k) for k in model.graph.links],
        "copies": model.graph.copies,
        "dim": model.graph.dim,
        "network": [asdict(n) for n in model.network.nodes],
        "input": [model.network.input_name, list(model.network.input_shape)],
        "classes": [c.item() if isinstance(c, np.generic) else c for c in model.classes],
    }
    write_atomically(path, encode(arrays, {"dynsim": json.dumps(card, sort_keys=True)}))


def card_of(path: Path) -> dict[str, Any]:
    """The card in the header of a file of ours; empty for any other file."""
    try:
        card = json.loads(metadata(Path(path).read_bytes())["dynsim"])
    except UNREADABLE:
        return {}
    return card if isinstance(card, dict) else {}


def load_model(path: Path) -> Model:
    """Read a model; raises FileFormatError that says what is wrong with the file."""
    version = card_of(path).get("schema", MERGED)
    if version not in (PLAIN, MERGED):
        hint = "train it again, or use the version of dynsim that wrote it"
        known = f"{PLAIN}, {MERGED}"
        raise FileFormatError("a model of another version", where=str(path), given=version, allowed=known, hint=hint)
    try:
        raw = Path(path).read_bytes()
        arrays = decode(raw)
        return _model(arrays, json.loads(metadata(raw)["dynsim"]))
    except UNREADABLE as error:
        raise FileFormatError("not a readable dynsim model", where=str(path), given=str(error)) from None


def _link(card: dict[str, Any]) -> Link:
    medium = card.get("medium")
    return Link(**card | {"medium": medium and Medium(**medium)})


def _model(arrays: dict[str, np.ndarray], card: dict[str, Any]) -> Model:
    graph = Graph(
        tuple(Subsystem(**s) for s in card["subsystems"]),
        tuple(_link(k) for k in card["links"]),
        card["copies"],
        card["dim"],
    )
    scaling = Scaling(arrays.pop("scaling:centre"), float(arrays.pop("scaling:scale")[0]))
    name, shape = card["input"]
    network = Network(tuple(node_from(n) for n in card["network"]), name, tuple(shape))
    x = _coordinates(arrays)
    _check_shapes(graph, x)
    return Model(graph, x, scaling, tuple(card["classes"]), network)


def _check_shapes(graph: Graph, x: Groups) -> None:
    """Raises ShapeError where a card speaks of other particles than those whose coordinates are there."""
    sizes = {f"q:{s.name}": (graph.copies_of(s.name), s.size, graph.dim) for s in graph.particle_subsystems}
    sizes |= {f"weight:{k.name}": (*graph.shape(k), 1) for k in graph.links if not k.kind.particles}
    for key, shape in sizes.items():
        if x[key].shape != shape:
            raise ShapeError(f"{key} does not fit the card", given=x[key].shape, allowed=str(shape))
