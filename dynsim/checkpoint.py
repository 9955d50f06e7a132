"""Checkpoints: the whole state of a simulation in one safetensors file, written atomically, verified when read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from dynsim.errors import FileFormatError, ScenarioError
from dynsim.files import write_atomically
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import STATE, System
from dynsim.versions import versions

SCHEMA = "dynsim-checkpoint/3"
NUMBERS = ("totals", "step", "time", "event_step", "event_span")
# Of the simulation: what is saved beside its system and its pending rows.
NOTED = ("changes", "planned", "total_steps", "stopped", "validation_accuracy", "last_row", "events", "logged")

# What a simulation holds that is not saved, and why it need not be; a test walks the tree and knows no other.
DERIVED = {
    "response": "the field is asked again: what it said at the last step is in last_row and in the frame of the step",
    "_started": "a limit of seconds counts anew in every process",
    "_revision": "counts what a screen has been shown",
    "field._epoch": "of the order of batches in memory, which comes from seed and epoch",
    "field._order": "drawn again from seed and epoch",
}

# What reading raises where the bytes are not those of a checkpoint.
_UNREADABLE = (
    OSError,
    SafetensorError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


class DamagedCheckpointError(FileFormatError):
    """A checkpoint that is not what was written; the one before it may be."""


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says of its run beside the state.

    Attributes
    ----------
    elapsed : seconds that the run had taken. planned : steps that its scenario asked for then.
    versions : package -> version that wrote it, where it is another one here.
    """

    elapsed: float
    planned: int
    versions: dict[str, str]


def save(path: Path, simulation: Simulation, elapsed: float) -> None:
    """Write the state of a simulation; the file before it is kept as `.prev`.

    Parameters
    ----------
    elapsed : seconds that the run has taken so far.

    Raises RunFolderError where it cannot be written; the file before it stays then.
    """
    system = simulation.system.carried(simulation.kernels.to_host)
    arrays = {f"{g}/{k}": np.asarray(a, order="C") for g in STATE for k, a in getattr(system, g).items()}
    for name in simulation.pending[0] if simulation.pending else {}:
        arrays[f"pending/{name}"] = np.array([row[name] for row in simulation.pending])
    notes: dict[str, Any] = {n: getattr(system, n) for n in NUMBERS} | {n: getattr(simulation, n) for n in NOTED}
    notes |= {"schema": SCHEMA, "versions": versions(), "scenario": decisive(simulation.resolved), "elapsed": elapsed}
    notes["order"] = list(arrays)
    notes["sha256"] = digest(arrays, notes)
    write_atomically(path, encode(arrays, {"dynsim": json.dumps(notes)}), keep=True)


def load(path: Path, simulation: Simulation) -> Saved:
    """Put a simulation of the same scenario into the saved state.

    Raises DamagedCheckpointError for a damaged file; FileFormatError for one of another version or scenario, naming
    what differs.
    """
    try:
        raw = path.read_bytes()
        arrays, notes = decode(raw), json.loads(metadata(raw)["dynsim"])
        _refuse_version(path, notes)
        sound = notes.pop("sha256") == digest(arrays, notes)
    except _UNREADABLE as error:
        if isinstance(error, FileFormatError):
            raise
        raise _damaged(path, str(error)) from None
    if not sound:
        raise _damaged(path, "its sha256 is another one")
    _refuse_scenario(path, notes, simulation)
    simulation.system = _system(simulation.system, arrays, notes).carried(simulation.kernels.to_device)
    simulation.equip()
    simulation.response = None
    for name in NOTED:
        if name not in ("changes", "planned"):
            setattr(simulation, name, notes[name])
    simulation.events = pending_events(notes)
    columns = {k.split("/", 1)[1]: arrays[k] for k in notes["order"] if k.startswith("pending/")}
    rows = len(next(iter(columns.values()))) if columns else 0
    simulation.pending = [{k: float(a[i]) for k, a in columns.items()} for i in range(rows)]
    here = versions()
    others = {name: v for name, v in notes["versions"].items() if v != here.get(name)}
    return Saved(float(notes["elapsed"]), notes["planned"], others)


def _damaged(path: Path, given: str) -> DamagedCheckpointError:
    return DamagedCheckpointError("the checkpoint is damaged", where=str(path), given=given, hint="an older one")


def _refuse_version(path: Path, notes: dict[str, Any]) -> None:
    wrote, here = notes.get("versions", {}).get("dynsim", "an older version"), versions()["dynsim"]
    if notes.get("schema") != SCHEMA or wrote != here:
        raise FileFormatError(
            "the checkpoint is of another version of dynsim",
            where=str(path),
            given=f"written by dynsim {wrote} ({notes.get('schema')})",
            allowed=f"dynsim {here} ({SCHEMA})",
            hint=f"go on with dynsim {wrote}, or run its scenario again",
        )


def _refuse_scenario(path: Path, notes: dict[str, Any], simulation: Simulation) -> None:
    """The simulation, with all that had been changed in the saved one, must be the same."""
    try:
        simulation.adopt(notes["changes"])
        differing = differences(notes["scenario"], decisive(simulation.resolved))
    except ScenarioError as error:
        differing = [str(error)]
    if differing:
        raise FileFormatError(
            "the checkpoint belongs to another scenario",
            where=str(path),
            given="; ".join(differing),
            allowed="the same system, field, dynamics, recipe, merging, seed and dtype",
            hint="take the folder that it came from",
        )


def differences(there: Any, here: Any, key: str = "") -> list[str]:
    """ "dynamics.eta is 0.1 there and 0.3 here" for every key in which two tables differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = dict.fromkeys([*there, *here])
        parts = [differences(there.get(k), here.get(k), f"{key}.{k}" if key else k) for k in keys]
        return [line for part in parts for line in part]
    return [] if there == here else [f"{key} is {_brief(there)} there and {_brief(here)} here"]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def peek(path: Path) -> dict[str, Any]:
    """The notes of a checkpoint, unverified: "step", "logged", "events", ... Raises FileFormatError."""
    try:
        with open(path, "rb") as f:
            head = f.read(8)
            length = min(int.from_bytes(head, "little"), path.stat().st_size)
            return json.loads(metadata(head + f.read(length))["dynsim"])
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FileFormatError("not a readable checkpoint", where=str(path), given=str(error)) from None


def pending_events(notes: dict[str, Any]) -> list[tuple[int, str, str]]:
    """What had been done before the checkpoint, but was not in the trajectory yet."""
    return [(int(step), kind, detail) for step, kind, detail in notes["events"]]


def _system(fresh: System, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> System:
    """The saved state, its groups in their order: sums over groups round alike."""
    groups: dict[str, Any] = {g: {} for g in STATE}
    for name in notes["order"]:
        group, key = name.split("/", 1)
        if group in groups:
            groups[group][key] = arrays[name]
    return System(fresh.graph, **groups, **{n: notes[n] for n in NUMBERS})


def metadata(raw: bytes) -> dict[str, str]:
    """The notes in a safetensors header."""
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length])["__metadata__"]


def digest(arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> str:
    """sha256 over names, shapes, types and bytes of all arrays, and over the notes."""
    h = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        h.update(f"{name} {a.dtype.str} {a.shape}".encode())
        h.update(a.tobytes())
    return h.hexdigest()


def decisive(scenario: Scenario) -> dict[str, Any]:
    """Everything in a scenario that decides the trajectory, apart from its length."""
    parts = scenario.model_dump(mode="json", include={"system", "field", "sequence", "dynamics", "recipe", "merge"})
    return parts | {"run": {"seed": scenario.run.seed, "dtype": scenario.run.dtype}}
