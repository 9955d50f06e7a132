"""A simulation that writes down what it does: steps, frames, events and checkpoints go into its run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from time import perf_counter
from typing import Any

from dynsim import checkpoint
from dynsim.backend.formats import save_model
from dynsim.backend.inference import Model
from dynsim.files import write_atomically
from dynsim.frame import Frame
from dynsim.kernels.load import hardware, host_of, thread_count
from dynsim.lock import Lock
from dynsim.plain import plain
from dynsim.progress import Progress
from dynsim.runfolder import CHECKPOINT, MODEL, SUMMARY, TRAJECTORY, RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.stopping import Stop
from dynsim.summary import Teller, summarise, train_twin
from dynsim.trajectory.writer import TrajectoryWriter
from dynsim.versions import versions


class Recording:
    """A simulation, its run folder and its trajectory; a context manager that closes the file and frees the folder.

    Parameters
    ----------
    lock : of the folder.
    writer : of the folder's trajectory, at the simulation's step.
    elapsed : seconds that the run has taken before.
    """

    def __init__(
        self, simulation: Simulation, folder: RunFolder, lock: Lock, writer: TrajectoryWriter, elapsed: float = 0.0
    ) -> None:
        self.simulation, self.folder, self._lock, self._writer = simulation, folder, lock, writer
        self._started = perf_counter() - elapsed  # a clock that nobody can set back
        self._saved, self._saved_step = perf_counter(), simulation.system.step
        self._steps, self._busy, self._complete = 0, 0.0, True
        self._asked: Callable[[], Frame] | None = None
        folder.drop_checkpoints_after(simulation.system.step if folder.checkpoint is not None else -1)
        if simulation.system.step == 0 and writer.last_step < 0:
            writer.write(simulation.frame())

    def step(self, stop: Stop | None = None) -> Frame | None:
        """One step; the frame that it wrote, if any. Raises DivergenceError, RunFolderError.

        On a card the frame of a step is written after the next one, while which it arrives.

        Parameters
        ----------
        stop : what may break it off by KeyboardInterrupt; it is then as if it had not begun.
        """
        begun = perf_counter()
        self._go_on()
        with _whole(self.simulation), stop.in_time() if stop is not None else nullcontext():
            self.simulation.step()
        frame = self._write_asked()
        if self.simulation.frame_due:
            self._asked = self.simulation.asked()
            if self.simulation.done or host_of(self.simulation.kernels) is self.simulation.kernels:
                frame = self._write_asked()
        self._steps += 1
        self._busy += perf_counter() - begun
        if self._checkpoint_due:
            self.save()
        return frame

    def _write_asked(self) -> Frame | None:
        """Write the frame that was asked for, if any."""
        if self._asked is None:
            return None
        frame, self._asked = self._asked(), None
        self._writer.write(frame)
        return frame

    @property
    def _checkpoint_due(self) -> bool:
        run, steps = self.simulation.scenario.run, self.simulation.system.step - self._saved_step
        late = perf_counter() - self._saved > run.checkpoint
        return late or (run.checkpoint_steps is not None and steps >= run.checkpoint_steps)

    def note(self) -> None:
        """Write down what was done to the simulation since the last frame.

        Between two frames it waits for the next: a row of the file is a whole frame of its own step.
        """
        self._write_asked()
        if not self.simulation.events:
            return
        self._go_on()
        if self.simulation.system.step == self._writer.last_step:
            self._writer.write(replace(self.simulation.look(), events=self.simulation.hand_over()))

    def save(self) -> None:
        """Write a checkpoint; the file holds every frame that it knows of. Raises RunFolderError."""
        if not self.simulation.done:
            self._go_on()
        self._write_asked()
        self._writer.sync()
        checkpoint.save(self.folder / CHECKPOINT, self.simulation, perf_counter() - self._started)
        self.folder.keep_checkpoint(self.simulation.system.step)
        self._saved, self._saved_step = perf_counter(), self.simulation.system.step

    def finish(
        self, progress: Teller | None = None, twin: bool = True, within: AbstractContextManager | None = None
    ) -> dict[str, Any]:
        """Evaluate the state and leave model and summary in the folder; the summary. It may go on afterwards.

        Parameters
        ----------
        twin : train the weight-based twin too, where the scenario asks for one.
        within : entered for all that can be done again after the last checkpoint.
        """
        self.note()
        self.save()
        with within or nullcontext():
            return self._evaluate(progress or Progress(quiet=True), twin)

    def _evaluate(self, progress: Teller, twin: bool) -> dict[str, Any]:
        simulation = self.simulation
        self.folder.log(f"done at step {simulation.system.step}: {simulation.stopped or 'all steps done'}")
        progress.phase("evaluating")
        rate = self._steps / self._busy if self._steps else 0.0
        summary = summarise(simulation, perf_counter() - self._started, rate)
        if simulation.data is not None:
            save_model(Model.of(simulation), self.folder / MODEL)
            if twin and simulation.scenario.run.twin is not None:
                summary["twin"] = train_twin(simulation, progress)
        write_atomically(self.folder / SUMMARY, (json.dumps(plain(summary), indent=2) + "\n").encode())
        self._complete = True
        return summary

    def close(self) -> None:
        """Close the trajectory and free the folder; safe to call twice.

        What was done since the last `save` is only in the trajectory.
        """
        self.__exit__(None, None, None)

    def _go_on(self) -> None:
        """A summary says that a run is complete, which it is no more."""
        if self._complete:
            (self.folder / SUMMARY).unlink(missing_ok=True)
            self._complete = False

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._write_asked()
        finally:
            try:
                self._writer.__exit__(*error)
            finally:
                self._lock.release()


@contextmanager
def _whole(simulation: Simulation) -> Iterator[None]:
    """A step that is broken off has not been: states are replaced, never changed."""
    before, rows = dict(vars(simulation)), len(simulation.pending)
    try:
        yield
    except KeyboardInterrupt:
        vars(simulation).update(before)
        del simulation.pending[rows:]
        raise


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
            "steps": str(simulation.total_steps),
            "versions": json.dumps(versions(), sort_keys=True),
            "threads": str(thread_count(simulation.kernels)),
            "hardware": json.dumps(hardware(simulation.kernels, simulation.scenario.run.device)),
        },
    )


def reopened_trajectory(simulation: Simulation, folder: RunFolder, scenario: str) -> TrajectoryWriter:
    """The folder's trajectory cut back to what the simulation knows of, or a new one where it has none."""
    step = simulation.system.step
    if not step or not (folder / TRAJECTORY).is_file():
        return new_trajectory(simulation, folder, scenario)
    writer = TrajectoryWriter.append_to(folder / TRAJECTORY, step, simulation.logged)
    known = int(simulation.pending[0]["step"]) - 1 if simulation.pending else step
    if writer.last_history < known:  # it was copied while the run went on, or a disk has lost it
        folder.log(f"the trajectory ends at step {writer.last_history}: the steps until {known} are missing in it")
    return writer
