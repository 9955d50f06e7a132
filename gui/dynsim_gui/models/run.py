"""What is open, and what its engine does; the names of what a run leaves in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from dynsim.frame import Cast

# Phases of an engine that is at work on something that cannot be steered.
BUSY = ("starting", "building", "compiling", "evaluating")


@dataclass
class Status:
    """The engine's state, always visible.

    phase : "empty", "starting", "building", "compiling", "running", "paused", "done", "evaluating", "looking"
    (a file), "failed" (by an error), "crashed" (its process has ended). until : the condition that will pause it.
    part : what the particles do in this part of a recipe, "" without one.
    """

    phase: str = "empty"
    step: int = 0
    total: int = 0
    rate: float = 0.0
    note: str = ""
    until: str = ""
    part: str = ""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()


@dataclass(frozen=True)
class Run:
    """What is open.

    Attributes
    ----------
    title : its name. cast, scenario, classes, input_shape, high, links : as in `Opened`.
    folder : of the run, or None. path : the folder or file that its frames are in. live : whether it can be stepped.
    """

    title: str
    cast: Cast
    scenario: str
    folder: Path | None
    live: bool
    path: Path | None = None
    classes: tuple = ()
    input_shape: tuple[int, ...] = ()
    high: float = 1.0
    links: tuple[tuple[str, str, str, str], ...] = ()


def last_checkpoint(folder: Path | None) -> int | None:
    """Step of the newest checkpoint of a run folder, None without one."""
    names = [p.stem for p in (folder / "checkpoints").glob("step-*.safetensors")] if folder is not None else []
    return max((int(name.removeprefix("step-")) for name in names), default=None)


def another_folder(folder: Path | None) -> Path | None:
    """A folder beside one that was asked for, with a name that is free."""
    if folder is None:
        return None
    k = 2
    while (other := folder.with_name(f"{folder.name}-{k}")).exists():
        k += 1
    return other
