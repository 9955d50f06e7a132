"""Checkpoints: the whole state of a simulation in one safetensors file, written atomically, verified when read."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from dynsim.errors import FileFormatError, ScenarioError
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import System

SCHEMA = "dynsim-checkpoint/2"
GROUPS = ("x", "v", "force", "mass", "memory")
NUMBERS = ("totals", "step", "time", "event_step", "event_span")


def save(path: Path, simulation: Simulation, elapsed: float) -> None:
    """Write the state of a simulation; the file before it is kept as `.prev`.

    Parameters
    ----------
    elapsed : seconds that the run has taken so far.
    """
    system = simulation.system
    arrays = {f"{g}/{k}": np.asarray(a, order="C") for g in GROUPS for k, a in getattr(system, g).items()}
    for name in simulation.pending[0] if simulation.pending else {}:
        arrays[f"pending/{name}"] = np.array([row[name] for row in simulation.pending])
    notes: dict[str, Any] = {n: getattr(system, n) for n in NUMBERS}
    notes |= {
        "schema": SCHEMA,
        "scenario": fingerprint(simulation.resolved),
        "changes": simulation.changes,
        "total_steps": simulation.total_steps,
        "validation_accuracy": simulation.validation_accuracy,
        "events": simulation.events,
        "logged": simulation.logged,
        "elapsed": elapsed,
        "sha256": digest(arrays),
    }
    write_atomically(path, encode(arrays, {"dynsim": json.dumps(notes, sort_keys=True)}), keep=True)


def load(path: Path, simulation: Simulation) -> float:
    """Put a simulation of the same scenario into the saved state; returns the seconds the run had taken.

    Raises FileFormatError for a damaged file or one of another scenario.
    """
    try:
        raw = path.read_bytes()
        arrays = decode(raw)
        notes = json.loads(metadata(raw)["dynsim"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise FileFormatError("not a readable checkpoint", where=str(path), given=str(error)) from None
    if notes.get("schema") != SCHEMA or notes.get("sha256") != digest(arrays):
        raise FileFormatError(
            "the checkpoint is damaged or of another version",
            where=str(path),
            hint="use the .prev file beside it",
        )
    if not _belongs(notes, simulation):
        raise FileFormatError(
            "the checkpoint belongs to another scenario",
            where=str(path),
            allowed="the same system, field, dynamics and seed",
            hint="take the folder that it came from",
        )
    simulation.system = _system(simulation.system, arrays, notes)
    simulation.equip()
    simulation.response, simulation.last_row = None, {}
    simulation.total_steps = notes["total_steps"]
    simulation.validation_accuracy = notes["validation_accuracy"]
    simulation.events, simulation.logged = pending_events(notes), notes["logged"]
    columns = {k.split("/", 1)[1]: a for k, a in arrays.items() if k.startswith("pending/")}
    rows = len(next(iter(columns.values()))) if columns else 0
    simulation.pending = [{k: float(a[i]) for k, a in columns.items()} for i in range(rows)]
    return float(notes["elapsed"])


def _belongs(notes: dict[str, Any], simulation: Simulation) -> bool:
    """Whether the simulation, with all that had been changed in the saved one, is the same."""
    try:
        simulation.adopt(notes["changes"])
    except ScenarioError:
        return False
    return notes["scenario"] == fingerprint(simulation.resolved)


def peek(path: Path) -> dict[str, Any]:
    """The notes of a checkpoint, unverified: "step", "logged", "events", ... Raises FileFormatError."""
    try:
        with open(path, "rb") as f:
            head = f.read(8)
            return json.loads(metadata(head + f.read(int.from_bytes(head, "little")))["dynsim"])
    except (OSError, KeyError, ValueError, OverflowError) as error:
        raise FileFormatError("not a readable checkpoint", where=str(path), given=str(error)) from None


def pending_events(notes: dict[str, Any]) -> list[tuple[int, str, str]]:
    """What had been done before the checkpoint, but was not in the trajectory yet."""
    return [(int(step), kind, detail) for step, kind, detail in notes["events"]]


def _system(fresh: System, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> System:
    """The saved state, its groups in the order of a fresh system: sums over groups round alike."""
    groups: dict[str, Any] = {g: {} for g in GROUPS}
    rank = {key: k for k, key in enumerate(fresh.x)}
    for name in sorted(arrays, key=lambda n: rank.get(n.split("/", 1)[1], len(rank))):
        group, key = name.split("/", 1)
        if group in groups:
            groups[group][key] = arrays[name]
    return System(fresh.graph, **groups, **{n: notes[n] for n in NUMBERS})


def metadata(raw: bytes) -> dict[str, str]:
    """The notes in a safetensors header."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length])["__metadata__"]


def digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and bytes of all arrays."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        h.update(f"{name} {a.dtype.str} {a.shape}".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def fingerprint(scenario: Scenario) -> str:
    """sha256 of everything in a scenario that decides the trajectory, apart from its length."""
    parts = scenario.model_dump(mode="json", include={"system", "field", "dynamics", "recipe", "merge"})
    parts["seed"], parts["dtype"] = scenario.run.seed, scenario.run.dtype
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_atomically(path: Path, content: bytes, keep: bool = False) -> None:
    """Temporary file, fsync, rename: a reader sees the old file or the new one. `keep` leaves the old as `.prev`."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    if keep and path.exists():
        before = path.with_name(path.name + ".prev")
        before.unlink(missing_ok=True)
        os.link(path, before)  # a second name, so that at no moment there is no checkpoint
    os.replace(temporary, path)
