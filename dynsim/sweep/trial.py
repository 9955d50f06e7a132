"""One trial, in the process that does it: an ordinary run, what it says of the objective, or why it has failed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from dynsim.errors import DynsimError, FileFormatError, unknown
from dynsim.files import OF_DISK
from dynsim.plain import flat
from dynsim.scenario import Scenario
from dynsim.sweep.record import TRIALS, Outcome, trial_folder
from dynsim.wanted import WhileWanted


@dataclass(frozen=True)
class Task:
    """What a worker is given.

    Attributes
    ----------
    number : of the trial. scenario : before its settings (dotted key -> value).
    sweep : the folder, absolute. objective : dotted key of the summary.
    session : a file that is there as long as the sweep lives which wants the result (`dynsim.wanted`).
    prune : whether to break it off where it looks poor.
    """

    number: int
    scenario: Scenario
    settings: Mapping[str, Any]
    sweep: Path
    objective: str
    session: Path
    prune: bool = False

    @property
    def folder(self) -> Path:
        """Of the run."""
        return self.sweep / trial_folder(self.number)


class _Pruned(DynsimError):
    """A trial that looks poor."""


def work_out(task: Task) -> Outcome:
    """Do a trial; whatever happens to it is told and not raised, but for what the next one would meet as well: a disk
    that is full or cannot be written (RunFolderError)."""
    started = perf_counter()
    try:
        summary = _summary(task)
        value = objective_of(summary, task.objective)
        return Outcome("complete", value, max(perf_counter() - started, summary["wall_s"]))
    except _Pruned as error:
        state, reason = "pruned", str(error)
    except DynsimError as error:
        if getattr(error, "errno", None) in OF_DISK:
            raise
        state, reason = "failed", str(error)
    except MemoryError as error:
        state, reason = "failed", f"out of memory: {error}"
    except Exception as error:
        state, reason = "failed", f"{type(error).__name__}: {error}"
    return Outcome(state, None, perf_counter() - started, reason)


def _summary(task: Task) -> dict[str, Any]:
    """Of the run, which is begun, goes on from where a kill broke it off, or was finished before."""
    from dynsim import runs
    from dynsim.runfolder import SCENARIO, RunFolder

    told = _Told(task.session, task=task)
    run = RunFolder(task.folder)
    if (task.folder / SCENARIO).is_file():
        run.wait_for_writer()
        try:
            runs.resume(task.folder, progress=told)
            return run.summary or {}
        except FileFormatError:
            pass  # what is left is of no use
    shutil.rmtree(task.folder, ignore_errors=True)
    return runs.run(task.scenario.changed(**task.settings), task.folder, told).summary or {}


@dataclass(kw_only=True)
class _Told(WhileWanted):
    """Breaks the run off where nobody wants it any more or it is to be pruned."""

    task: Task
    _judge: Any = None

    def update(self, step: int, total: int, numbers: Mapping[str, float]) -> None:
        super().update(step, total, numbers)
        if self.task.prune:
            self._judged(step, total, numbers)

    def _judged(self, step: int, total: int, numbers: Mapping[str, float]) -> None:
        from dynsim.sweep.judge import Judge  # with optuna, which only pruning needs
        from dynsim.sweep.plan import validation_label

        accuracy = numbers.get(validation_label() or "", math.nan)
        if math.isnan(accuracy):
            return
        self._judge = self._judge or Judge(self.task.sweep, self.task.number)
        if self._judge.is_poor(step, total, accuracy):
            raise _Pruned(f"pruned at step {step} of {total}: validation accuracy {accuracy:.4f} is below the median")


def objective_of(summary: Mapping[str, Any], key: str) -> float:
    """A number of a summary; raises OptionError, which lists those that there are."""
    known = numbers_of(summary)
    value = known.get(key)
    if value is None:
        listed = tuple(name for name, found in known.items() if found is not None)
        raise unknown("number of a run's summary", key, listed, "--objective")
    return value


def numbers_of(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Dotted key -> number, None for one that is not finite or does not apply."""
    numbers = (int, float, type(None))
    return {k: v for k, v in flat(summary).items() if isinstance(v, numbers) and not isinstance(v, bool)}


def rehearse(scenario: Scenario, sweep: Path) -> dict[str, float | None] | None:
    """The numbers of the summary of a few steps; None where these fail, which says nothing of the others."""
    from dynsim import runs

    place = sweep / TRIALS / "rehearsal"
    shutil.rmtree(place, ignore_errors=True)  # of a sweep that was killed at it
    try:
        return numbers_of(runs.run(runs.smoke(scenario), place).summary or {})
    except Exception:
        return None
    finally:
        shutil.rmtree(place, ignore_errors=True)
