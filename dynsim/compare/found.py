"""Which runs there are beneath the folders that somebody names, and which cannot be compared, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynsim.errors import DynsimError, RunFolderError
from dynsim.plain import flat
from dynsim.runfolder import SCENARIO, RunFolder, near
from dynsim.scenario import Scenario
from dynsim.scores import JUDGED

# What a batch and a sweep tell of their runs, and under which key.
LISTS = {"batch.json": "runs", "sweep.json": "trials"}
# Keys that decide nothing of what a run becomes.
WATCHING = ("name", "run.seed", "run.checkpoint", "run.checkpoint_steps", "run.twin")
# Of a summary, beside its losses, accuracies and observables.
COSTS = ("parameters", "bytes", "macs", "steps", "wall_s", "steps_per_s")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    name : of its scenario. task : what was learned and how it is judged; runs of one task can be compared.
    settings : every key of its scenario that could make it another run but the seed, dotted.
    score : name of the number that it is judged by. numbers : all that it has, by name.
    """

    path: Path
    name: str
    task: str
    seed: int
    settings: Mapping[str, Any]
    score: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class LeftOut:
    """A run that is not compared, and why."""

    path: Path
    why: str


def find(folders: Iterable[Path]) -> tuple[list[Run], list[LeftOut]]:
    """The runs of run folders and of the folders that hold them, a batch's and a sweep's too, and those left out.

    Raises RunFolderError for a folder that is not there.
    """
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    listed: dict[Path, str] = {}
    for folder in folders:
        there = list(_listed(folder))
        for path, told in there:
            listed[path] = listed.get(path) or told
        if not there:
            left_out.append(LeftOut(folder, "no run in it"))
    for path, told in listed.items():
        found = _read(path, told)
        runs.append(found) if isinstance(found, Run) else left_out.append(found)
    return runs, left_out


def _listed(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, what a batch or sweep tells of its state) of every run at or beneath a folder."""
    if (folder / SCENARIO).is_file():
        yield folder, ""
        return
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise RunFolderError(what, where=str(folder), allowed="a run, or a folder of runs", hint=near(folder))
    for name, key in LISTS.items():
        for told in _told(folder / name, key):
            where = told.get("folder") or f"trial {told.get('number')}"
            yield folder / str(where), ": ".join(str(told[k]) for k in ("state", "reason") if told.get(k))
    for path in sorted({*folder.glob(f"*/{SCENARIO}"), *folder.glob(f"*/*/{SCENARIO}")}):
        yield path.parent, ""


def _told(path: Path, key: str) -> list[dict[str, Any]]:
    """The entries of a batch.json or sweep.json; of a damaged one none, as the folders are there."""
    try:
        entries = json.loads(path.read_bytes())[key]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []


def _read(path: Path, told: str) -> Run | LeftOut:
    try:
        there = (path / SCENARIO).is_file()
    except OSError:  # no name that a file could have
        there = False
    if not there:
        return LeftOut(path, told or "no run folder")
    folder = RunFolder(path)
    try:
        scenario, summary = folder.scenario, folder.summary
        if summary is None:
            return LeftOut(path, _unfinished(folder, told))
        numbers = _numbers(summary)
        score = next((name for name in JUDGED if name in numbers), None)
        if score is None:
            return LeftOut(path, "nothing that it could be judged by")
    except DynsimError as error:
        return LeftOut(path, str(error).splitlines()[0])
    task = f"{_task(scenario)}: {score.replace('_', ' ')}"
    return Run(path, scenario.name, task, scenario.run.seed, settings_of(scenario), score, numbers)


def _unfinished(folder: RunFolder, told: str) -> str:
    if folder.writer:
        return f"still running: {folder.writer}"
    return folder.stopped or told or "unfinished: dynsim resume goes on with it"


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """All numbers of a summary by one name each; what is null is left out."""
    found = {**summary["final"], **{k: summary.get(k) for k in COSTS}}
    found |= {f"observables.{name}": value for name, value in summary["observables"].items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def _task(scenario: Scenario) -> str:
    """What is learned, as short as a person would say it."""
    f = scenario.field
    data = f.dataset or f.target or f.kind
    what = Path(data).name if isinstance(data, str) else f.kind
    return f"{what} ({f.samples} samples)" if f.samples else what


def settings_of(scenario: Scenario) -> dict[str, Any]:
    """Dotted key -> value of all that decides what a run becomes, but its seed; lists as they are written."""
    settings = flat(scenario.model_dump(mode="json", exclude={"record"}))
    written = {key: json.dumps(value) if isinstance(value, list) else value for key, value in settings.items()}
    return {key: value for key, value in written.items() if key not in WATCHING}
