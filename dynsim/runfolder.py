"""The run folder: what a run leaves behind, and where.

scenario.toml      resolved: every default spelled out
summary.json       the final numbers; its presence says that the run is complete
log.txt            what happened when
trajectory.h5      frames and observables (H5MD)
checkpoints/       latest.safetensors, the whole state, and .prev, the one before; step-NUMBER.safetensors, up to
                   twelve on the way
model.safetensors  the classifier
lock               locked by the process that writes here, if any
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from dynsim.errors import FileFormatError, RunFolderError, did_you_mean
from dynsim.files import name_too, refuse_full
from dynsim.lock import NAME as LOCK
from dynsim.lock import Lock, folder_lock, holder, is_held
from dynsim.scenario import Scenario

SUMMARY, SCENARIO, LOG, TRAJECTORY, MODEL = (
    "summary.json",
    "scenario.toml",
    "log.txt",
    "trajectory.h5",
    "model.safetensors",
)
CHECKPOINT = Path("checkpoints") / "latest.safetensors"
KEPT_CHECKPOINTS = 12
PATIENCE = 60.0  # s to wait for another process that still writes here
_LOG = logging.getLogger("dynsim")


@dataclass(frozen=True)
class RunFolder:
    """Paths and contents of a run folder."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing run folder; raises RunFolderError for anything else."""
        path = Path(path)
        if not (path / SCENARIO).is_file():
            raise RunFolderError(
                "not a run folder" if path.exists() else "no such folder",
                where=str(path),
                allowed=f"a folder with {SCENARIO}, as dynsim run leaves it",
                hint=near(path),
            )
        return cls(path)

    @classmethod
    def create(cls, out: str | Path | None, name: str) -> RunFolder:
        """A new folder: `out`, or runs/NAME, runs/NAME-2, ...; an existing one is refused."""
        path = place(out, name)
        try:
            (path / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise RunFolderError("cannot be created", where=str(path), given=error.strerror) from None
        return cls(path)

    def lock(self) -> Lock:
        """The folder for this process alone; raises RunFolderError where another one has it, and says which."""
        return folder_lock(self.path)

    @property
    def writer(self) -> str:
        """Which process writes here now, "" where none is known to."""
        return holder(self / LOCK) if is_held(self / LOCK) else ""

    def wait_for_writer(self) -> None:
        """Until none is known to, a minute at most: a worker that nobody hears of any more takes a moment to end."""
        ends = monotonic() + PATIENCE
        while self.writer and monotonic() < ends:
            sleep(0.1)

    @property
    def stopped(self) -> str:
        """What stopped the run last, "" where it goes on or nobody wrote it down."""
        text = (self / LOG).read_text(encoding="utf-8") if (self / LOG).is_file() else ""
        said = [line.split("  ", 1)[-1] for line in text.splitlines() if line[:4].isdigit()]
        return said[-1].removeprefix("stopped: ") if said and said[-1].startswith("stopped: ") else ""

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    @property
    def scenario(self) -> Scenario:
        return Scenario.load(self / SCENARIO)

    @property
    def summary(self) -> dict[str, Any] | None:
        """The final numbers, or None for an unfinished run; raises FileFormatError for a damaged file."""
        file = self / SUMMARY
        return read_summary(file) if file.is_file() else None

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint, or None."""
        return next(iter(self.saved), None)

    @property
    def saved(self) -> list[Path]:
        """All checkpoints, the newest first."""
        newest = self / CHECKPOINT, (self / CHECKPOINT).with_name(CHECKPOINT.name + ".prev")
        return [path for path in newest if path.is_file()] + list(reversed(self.checkpoints.values()))

    @property
    def checkpoints(self) -> dict[int, Path]:
        """Step -> numbered checkpoint, in order."""
        named = (self / CHECKPOINT).parent.glob("step-*.safetensors")
        return dict(sorted((int(p.stem[5:]), p) for p in named if p.stem[5:].isdigit()))

    def checkpoints_until(self, step: int) -> list[Path]:
        """The numbered checkpoints at or before a step, the newest first."""
        return [path for at, path in reversed(self.checkpoints.items()) if at <= step]

    def numbered(self, step: int) -> Path:
        """Where the checkpoint of a step is kept."""
        return (self / CHECKPOINT).with_name(f"step-{step:09d}.safetensors")

    def keep_checkpoint(self, step: int) -> None:
        """Give the newest checkpoint a second name by its step; of all, keep twelve spread evenly over the run."""
        name_too(self / CHECKPOINT, self.numbered(step))
        known = self.checkpoints
        while len(known) > KEPT_CHECKPOINTS:
            known.pop(_most_crowded(list(known))).unlink()

    def go_back_to(self, path: Path) -> None:
        """Make an older checkpoint the newest: those after it are damaged, or are to be made again."""
        newest = self / CHECKPOINT
        before = newest.with_name(CHECKPOINT.name + ".prev")
        if path != newest:
            name_too(path, newest)
            if path != before:
                before.unlink(missing_ok=True)

    def drop_checkpoints_after(self, step: int) -> None:
        """Forget a future that a run has not taken."""
        for at, path in self.checkpoints.items():
            if at > step:
                path.unlink()

    @property
    def model(self) -> Path:
        """The model file; raises RunFolderError where the run has left none yet."""
        if not (self / MODEL).is_file():
            raise RunFolderError("holds no classifier yet", where=str(self.path), hint=f"dynsim resume {self.path}")
        return self / MODEL

    def log(self, line: str) -> None:
        """A line in log.txt, with its time."""
        _LOG.info("%s: %s", self.path, line)
        with open(self / LOG, "a", encoding="utf-8") as f:
            f.write(f"{datetime.now().isoformat(timespec='seconds')}  {line}\n")


def near(path: Path) -> str:
    """What to try where a path is no run folder."""
    if any((path / name).is_file() for name in ("batch.json", "sweep.json")):
        return f"dynsim compare {path}"
    if path.is_file() and (path.parent / SCENARIO).is_file():
        return f"its folder, {path.parent}"
    runs = sorted(str(file.parent) for file in (path if path.is_dir() else path.parent).glob(f"*/{SCENARIO}"))
    if path.is_dir() and runs:
        return f"one of the runs in it, such as {runs[0]}"
    return did_you_mean(str(path), runs) or "dynsim run SCENARIO makes one"


def place(out: str | Path | None, name: str) -> Path:
    """Where a new run goes: `out`, or runs/NAME, runs/NAME-2, ...

    Raises RunFolderError where something is in the way, nothing can be written or the disk is nearly full.
    """
    path = Path(out) if out is not None else _free_folder(name)
    if path.exists():
        raise RunFolderError("exists already", where=str(path), hint=f"another --out, or: dynsim resume {path}")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        given = f"{parent} cannot be written to"
        raise RunFolderError("cannot be created", where=str(path), given=given, hint="another --out")
    refuse_full(parent)
    return path


# What whoever shows a summary takes for granted, with its types in JSON.
_SUMMARY: dict[str, tuple[type, ...]] = {
    "scenario": (str,),
    "stopped": (str,),
    "steps": (int,),
    "threads": (int,),
    "wall_s": (int, float),
    "steps_per_s": (int, float),
    "parameters": (int,),
    "bytes": (int,),
    "macs": (int,),
    "final": (dict,),
    "observables": (dict,),
}


def read_summary(path: Path) -> dict[str, Any]:
    """The numbers in a summary.json. Raises FileFormatError that names the key which is missing or something else."""
    try:
        summary = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError("not readable JSON", where=str(path), given=str(error)) from None
    numbers: dict[str, Any] = {}
    for key, kinds in _SUMMARY.items():
        if not isinstance(summary, dict) or not isinstance(summary.get(key), kinds):
            raise FileFormatError(f"{key!r} is missing or damaged", where=str(path))
        numbers |= summary[key] if dict in kinds else {key: summary[key]} if int in kinds else {}
    for name, value in numbers.items():
        # JSON as Python reads it has NaN, Infinity and whole numbers beyond every float
        if not isinstance(value, int | float | None) or not abs(value or 0) <= sys.float_info.max:
            raise FileFormatError(f"{name!r} is no number", where=str(path), given=repr(value)[:80])
    return summary


def _most_crowded(steps: list[int]) -> int:
    """Of rising steps the one whose neighbours lie closest together; the start of the run is one, the last stays."""
    gaps = {at: after - before for before, at, after in zip([0, *steps], steps, steps[1:])}
    return min(gaps, key=gaps.__getitem__)


def _free_folder(name: str) -> Path:
    k, path = 1, Path("runs") / name
    while path.exists():
        k += 1
        path = Path("runs") / f"{name}-{k}"
    return path
