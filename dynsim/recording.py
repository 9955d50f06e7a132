"""A simulation that writes down what it does: steps, frames, events and checkpoints go into its run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from time import perf_counter
from typing import Any

from dynsim import checkpoint
from dynsim.backend.formats import save_model
from dynsim.backend.inference import Model
from dynsim.frame import Frame
from dynsim.kernels.load import thread_count
from dynsim.progress import Progress
from dynsim.runfolder import CHECKPOINT, MODEL, SUMMARY, TRAJECTORY, RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.summary import Teller, plain, summarise, train_twin, versions
from dynsim.trajectory.writer import TrajectoryWriter


class Recording:
    """A simulation, its run folder and its trajectory; a context manager that closes the file.

    Parameters
    ----------
    writer : of the folder's trajectory, at the simulation's step.
    elapsed : seconds that the run has taken before.
    """

    def __init__(
        self, simulation: Simulation, folder: RunFolder, writer: TrajectoryWriter, elapsed: float = 0.0
    ) -> None:
        self.simulation, self.folder, self._writer = simulation, folder, writer
        self._started = perf_counter() - elapsed
        self._saved = perf_counter()
        self._steps, self._busy, self._complete = 0, 0.0, True
        folder.drop_checkpoints_after(simulation.system.step if folder.checkpoint is not None else -1)
        if simulation.system.step == 0 and writer.last_step < 0:
            writer.write(simulation.frame())

    def step(self) -> Frame | None:
        """One step; the frame that it wrote, if one was due. Raises DivergenceError, RunFolderError."""
        begun = perf_counter()
        self._go_on()
        self.simulation.step()
        frame = self.simulation.frame() if self.simulation.frame_due else None
        if frame is not None:
            self._writer.write(frame)
        self._steps += 1
        self._busy += perf_counter() - begun
        if perf_counter() - self._saved > self.simulation.scenario.run.checkpoint:
            self.save()
        return frame

    def note(self) -> None:
        """Write down what was done to the simulation since the last frame.

        Between two frames it waits for the next: a row of the file is a whole frame of its own step.
        """
        if not self.simulation.events:
            return
        self._go_on()
        if self.simulation.system.step == self._writer.last_step:
            self._writer.write(replace(self.simulation.look(), events=self.simulation.hand_over()))

    def save(self) -> None:
        """Write a checkpoint; the file holds every frame that it knows of."""
        self._writer.flush()
        checkpoint.save(self.folder / CHECKPOINT, self.simulation, perf_counter() - self._started)
        self.folder.keep_checkpoint(self.simulation.system.step)
        self._saved = perf_counter()

    def finish(self, progress: Teller | None = None, twin: bool = True) -> dict[str, Any]:
        """Evaluate the state and leave model and summary in the folder; the summary. It may go on afterwards.

        Parameters
        ----------
        twin : train the weight-based twin too, where the scenario asks for one.
        """
        progress, simulation = progress or Progress(quiet=True), self.simulation
        self.note()
        self.save()
        self.folder.log(f"done at step {simulation.system.step}: {simulation.stopped or 'all steps done'}")
        progress.phase("evaluating")
        rate = self._steps / self._busy if self._steps else 0.0
        summary = summarise(simulation, perf_counter() - self._started, rate)
        if simulation.data is not None:
            save_model(Model.of(simulation), self.folder / MODEL)
            if twin and simulation.scenario.run.twin is not None:
                summary["twin"] = train_twin(simulation, progress)
        checkpoint.write_atomically(self.folder / SUMMARY, (json.dumps(plain(summary), indent=2) + "\n").encode())
        self._complete = True
        return summary

    def close(self) -> None:
        """Close the trajectory; safe to call twice. What was done since the last `save` is only in the trajectory."""
        self._writer.close()

    def _go_on(self) -> None:
        """A summary says that a run is complete, which it is no more."""
        if self._complete:
            (self.folder / SUMMARY).unlink(missing_ok=True)
            self._complete = False

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)


def new_trajectory(simulation: Simulation, folder: RunFolder, scenario: str) -> TrajectoryWriter:
    """A trajectory without frames in place of any that is there; `scenario` is the TOML that the run starts from."""
    path = folder / TRAJECTORY
    path.unlink(missing_ok=True)
    record = simulation.scenario.record
    of_frame, of_step = simulation.recorded_names()
    return TrajectoryWriter(
        path,
        simulation.cast,
        properties=("position", *record.properties),
        observables=of_frame,
        step_observables=of_step,
        law=Scenario.from_text(scenario).dynamics.law,
        compression=None if record.compression == "none" else record.compression,
        parameters={
            "scenario": scenario,
            "seed": str(simulation.scenario.run.seed),
            "versions": json.dumps(versions(), sort_keys=True),
            "threads": str(thread_count(simulation.kernels)),
        },
    )


def reopened_trajectory(simulation: Simulation, folder: RunFolder, scenario: str) -> TrajectoryWriter:
    """The folder's trajectory cut back to what the simulation knows of, or a new one where it has none."""
    step = simulation.system.step
    if step and (folder / TRAJECTORY).is_file():
        return TrajectoryWriter.append_to(folder / TRAJECTORY, step, simulation.logged)
    return new_trajectory(simulation, folder, scenario)
