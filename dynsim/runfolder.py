"""The run folder: what a run leaves behind, and where.

scenario.toml      resolved: every default spelled out
summary.json       the final numbers; its presence says that the run is complete
log.txt            what happened when
trajectory.h5      frames and observables (H5MD)
checkpoints/       latest.safetensors, the whole state; step-NUMBER.safetensors, up to twelve on the way
model.safetensors  the classifier
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dynsim.errors import RunFolderError
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
            )
        return cls(path)

    @classmethod
    def create(cls, out: str | Path | None, name: str) -> RunFolder:
        """A new folder: `out`, or runs/NAME, runs/NAME-2, ...; an existing one is refused."""
        path = Path(out) if out is not None else _free_folder(name)
        refuse_existing(path)
        try:
            (path / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise RunFolderError("cannot be created", where=str(path), given=error.strerror) from None
        return cls(path)

    def __truediv__(self, name: str | Path) -> Path:
        return self.path / name

    @property
    def scenario(self) -> Scenario:
        return Scenario.load(self / SCENARIO)

    @property
    def summary(self) -> dict[str, Any] | None:
        """The final numbers, or None for an unfinished run."""
        file = self / SUMMARY
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint, or the one before it, or None."""
        for path in (self / CHECKPOINT, (self / CHECKPOINT).with_name(CHECKPOINT.name + ".prev")):
            if path.is_file():
                return path
        return None

    @property
    def checkpoints(self) -> dict[int, Path]:
        """Step -> numbered checkpoint, in order."""
        named = (self / CHECKPOINT).parent.glob("step-*.safetensors")
        return dict(sorted((int(p.stem[5:]), p) for p in named if p.stem[5:].isdigit()))

    def checkpoint_before(self, step: int) -> Path | None:
        """The newest numbered checkpoint at or before a step, or None."""
        return next((path for at, path in reversed(self.checkpoints.items()) if at <= step), None)

    def numbered(self, step: int) -> Path:
        """Where the checkpoint of a step is kept."""
        return (self / CHECKPOINT).with_name(f"step-{step:09d}.safetensors")

    def keep_checkpoint(self, step: int) -> None:
        """Give the newest checkpoint a second name by its step; of all, keep twelve spread evenly over the run."""
        self.numbered(step).unlink(missing_ok=True)
        os.link(self / CHECKPOINT, self.numbered(step))
        known = self.checkpoints
        while len(known) > KEPT_CHECKPOINTS:
            known.pop(_most_crowded(list(known))).unlink()

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
        with open(self / LOG, "a", encoding="utf-8") as f:
            f.write(f"{datetime.now().isoformat(timespec='seconds')}  {line}\n")


def refuse_existing(path: Path) -> None:
    """Raises RunFolderError where something is in the way."""
    if path.exists():
        raise RunFolderError("exists already", where=str(path), hint=f"another --out, or: dynsim resume {path}")


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
