"""sweep.json: what a sweep was asked for, and what became of each trial. Reading it needs no optuna."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dynsim import plain
from dynsim.errors import FileFormatError, RunFolderError
from dynsim.files import write_atomically

SWEEP, TRIALS, SCHEMA = "sweep.json", "trials", "dynsim-sweep/1"
STATES = ("running", "complete", "pruned", "failed")


def trial_folder(number: int) -> str:
    """Relative to the sweep's folder."""
    return f"{TRIALS}/{number:04d}"


@dataclass(frozen=True)
class Outcome:
    """What became of a trial, as its worker tells it; see `Trial`."""

    state: str
    value: float | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes
    ----------
    number : from 0. settings : dotted key -> value, of the parameters.
    state : one of `STATES`; a running one may also have been broken off by a kill.
    value : of the objective, where it is complete.
    folder : its run folder, relative to the sweep's; None where there is none.
    seconds : that it took. reason : why it was pruned or failed.
    """

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None = None
    folder: str | None = None
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep as sweep.json holds it, under the same names.

    Attributes
    ----------
    path : its folder.
    scenario : tables of the scenario, without the parameters' values. parameters : key -> kind and range or values.
    objective : dotted key of a run's summary. direction : "maximise" or "minimise".
    method : "tpe" or "grid". prune, seed : as asked for. asked : trials.
    note : what to know when its best value is told, "" for nothing.
    """

    path: Path
    scenario: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    objective: str
    direction: str
    method: str
    prune: bool
    seed: int
    asked: int
    note: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, the first of equals; None where there is none."""
        first = next(iter(self.ranked), None)
        return first if first is not None and first.value is not None else None

    @property
    def ranked(self) -> list[Trial]:
        """The best first, then those without a value."""
        sign = -1.0 if self.direction == "maximise" else 1.0
        return sorted(self.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number))

    @property
    def left(self) -> int:
        """How many trials have not ended yet."""
        return max(0, self.asked - sum(t.state != "running" for t in self.trials))

    def folder(self, trial: Trial) -> Path | None:
        """Where a trial's run folder is."""
        return None if trial.folder is None else self.path / trial.folder

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        best = self.best
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("path", "trials")}
        trials = [asdict(t) for t in self.trials]
        return {"schema": SCHEMA, **told, "best": None if best is None else best.number, "trials": trials}

    def save(self) -> None:
        """Write sweep.json."""
        write_atomically(self.path / SWEEP, (plain.text(self.plain(), 1) + "\n").encode())


# The types in JSON of what every sweep and every trial has.
_SWEEP: dict[str, tuple[type, ...]] = {
    "scenario": (dict,),
    "parameters": (dict,),
    "objective": (str,),
    "direction": (str,),
    "method": (str,),
    "prune": (bool,),
    "seed": (int,),
    "asked": (int,),
    "note": (str,),
}
_TRIAL: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "state": (str,),
    "settings": (dict,),
    "value": (int, float, type(None)),
    "folder": (str, type(None)),
    "seconds": (int, float, type(None)),
    "reason": (str, type(None)),
}


def read_sweep(folder: str | Path) -> Sweep:
    """The sweep of a folder. Raises RunFolderError where there is none, FileFormatError for a damaged file."""
    folder = Path(folder)
    file = folder / SWEEP
    if not file.is_file():
        raise RunFolderError("not a sweep", where=str(folder), allowed=f"a folder with {SWEEP}, as dynsim sweep leaves")
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError("not readable JSON", where=str(file), given=str(error)) from None
    trials = told.get("trials") if isinstance(told, dict) else None
    if not isinstance(trials, list) or told.get("schema") != SCHEMA:
        raise FileFormatError("not a sweep of this version", where=str(file), allowed=f"schema {SCHEMA}")
    known = tuple(Trial(**_checked(t, _TRIAL, f"{file}, trial {k}")) for k, t in enumerate(trials))
    return Sweep(path=folder, trials=known, **_checked(told, _SWEEP, str(file)))


def _checked(table: Any, kinds: dict[str, tuple[type, ...]], where: str) -> dict[str, Any]:
    for key, allowed in kinds.items():
        if not isinstance(table, dict) or key not in table or not isinstance(table[key], allowed):
            raise FileFormatError(f"{key!r} is missing or damaged", where=where)
    if "state" in kinds and table["state"] not in STATES:
        raise FileFormatError("'state' is missing or damaged", where=where, allowed=", ".join(STATES))
    return {key: table[key] for key in kinds}
