"""What a run folder holds, read once: finished, still going, or ended by an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dynsim.errors import DynsimError, RunFolderError
from dynsim.frame import Cast, Frame
from dynsim.plain import plain
from dynsim.runfolder import TRAJECTORY, RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.summary import summarise
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory


@dataclass(frozen=True)
class Record:
    """A run as its report sees it.

    Attributes
    ----------
    ended : "finished", "failed" (by an error, or a signal) or "unfinished". how : in words.
    summary : as `dynsim.summary.summarise` makes it; of an unfinished run that of its last frame, {} where it cannot be
        had. note : why not, "" for nothing.
    history, frames : scalars of every step and of every frame, with "step" and "time".
    first, last : frames.
    confusion : (true, predicted) counts of the test part by the last frame; None where nothing is classified.
    """

    folder: RunFolder
    scenario: Scenario
    ended: str
    how: str
    summary: Mapping[str, Any]
    note: str
    cast: Cast
    history: Mapping[str, np.ndarray]
    frames: Mapping[str, np.ndarray]
    first: Frame
    last: Frame
    events: tuple[tuple[int, str, str], ...]
    seed: int
    versions: str
    confusion: np.ndarray | None
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all recorded scalars."""
        return tuple(n for n in dict.fromkeys((*self.history, *self.frames)) if n not in ("step", "time"))

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a scalar, of every step where it was measured so often; finite values only."""
        table = self.history if name in self.history else self.frames
        steps, values = np.asarray(table.get("step", ())), np.asarray(table.get(name, ()), float)
        known = np.isfinite(values) if len(values) else np.zeros(0, bool)
        return (steps[known], values[known]) if len(values) else (np.zeros(0), np.zeros(0))

    def final(self, name: str) -> float | None:
        """A scalar at the end, None where it was not measured: the summary's number, else the last recorded one."""
        value = self.summary.get("observables", {}).get(name)
        if value is not None:
            return float(value)
        values = self.series(name)[1]
        return float(values[-1]) if len(values) else None


def read(folder: RunFolder) -> Record:
    """A run folder's record. Raises RunFolderError where nothing was recorded, and what reading a trajectory raises."""
    admit(folder / TRAJECTORY)
    with Trajectory(folder / TRAJECTORY) as trajectory:
        if not len(trajectory):
            raise RunFolderError("no frame has been recorded yet", where=str(folder.path), hint="try again in a moment")
        first, last = trajectory.frame(0), trajectory.frame(-1)
        history, frames = trajectory.history_from(0), trajectory.observables_from(0)
        cast, events, texts = trajectory.cast, trajectory.events, trajectory.parameters
    scenario, summary = folder.scenario, folder.summary
    ended, how = _ended(folder, summary, last.step)
    simulation, note = _simulation(scenario, last)
    if summary is None:
        summary = plain(summarise(simulation, float("nan"), float("nan"))) if simulation is not None else {}
    return Record(
        folder=folder,
        scenario=scenario,
        ended=ended,
        how=how,
        summary=summary,
        note=note,
        cast=cast,
        history=history,
        frames=frames,
        first=first,
        last=last,
        events=events,
        seed=int(texts.get("seed", scenario.run.seed)),
        versions=texts.get("versions", "{}"),
        confusion=simulation.evaluate("test").confusion if simulation is not None and simulation.classifies else None,
        classes=tuple(map(str, simulation.data.classes)) if simulation is not None and simulation.data else (),
    )


def _ended(folder: RunFolder, summary: Mapping[str, Any] | None, step: int) -> tuple[str, str]:
    """Whether and how a run has ended: its summary says it, or the last line of its log."""
    if summary is not None:
        return "finished", f"{summary['stopped']} at step {summary['steps']:,}"
    if folder.stopped:
        return "failed", f"{folder.stopped}; the last recorded step is {step:,}"
    return "unfinished", f"still going, or interrupted: the last recorded step is {step:,}"


def _simulation(scenario: Scenario, frame: Frame) -> tuple[Simulation | None, str]:
    """The simulation in the state of a frame, to be evaluated; None, and why, where it cannot be built here."""
    try:
        simulation = Simulation(scenario)
        simulation.system = simulation.state_at(frame)
        return simulation, ""
    except (DynsimError, OSError) as error:
        return None, str(error).splitlines()[0]
