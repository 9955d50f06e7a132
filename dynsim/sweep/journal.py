"""The journal of a sweep: optuna's study in a file, which says what has been tried and chooses what comes next."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.errors import DeviceError, FileFormatError, OptionError
from dynsim.sweep.parameters import grid_point, grid_size
from dynsim.sweep.plan import Plan, differences
from dynsim.sweep.record import Outcome, Sweep, Trial, trial_folder

JOURNAL, STUDY = "journal.log", "sweep"
PLAN, OUTCOME = "plan", "outcome"  # what is kept with optuna's study and trials
LOCK = ".lock"  # optuna's, beside the file


def optuna() -> Any:
    """The library, which only says what goes wrong; raises DeviceError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise DeviceError("a sweep needs optuna", hint="pip install 'dynsim[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def storage(folder: Path) -> Any:
    """The file as optuna reads and writes it; several processes may do so."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


class Journal:
    """The trials of a sweep; only the process that holds the folder's lock has one.

    Parameters
    ----------
    asked : trials; of a grid it is their number.

    Raises OptionError where the folder was begun with another plan, and names each difference; FileFormatError for a
    damaged file.
    """

    def __init__(self, folder: Path, plan: Plan, asked: int) -> None:
        self.folder, self.plan = folder, plan
        self.asked = grid_size(plan.parameters) if plan.grid else asked
        self._optuna = optuna()
        self._study: Any = None
        self._broken: list[Any] = []
        self._running: dict[int, Any] = {}
        if (folder / JOURNAL).exists():
            _mend(folder)
            self._open()

    @property
    def begun(self) -> bool:
        """Whether there is a study yet."""
        return self._study is not None

    def begin(self) -> None:
        """Make the study."""
        self._study = self._optuna.create_study(
            storage=storage(self.folder), study_name=STUDY, direction=self.plan.direction.replace("ise", "ize")
        )
        self._study.set_user_attr(PLAN, self.plan.plain())

    def _open(self) -> None:
        try:
            self._study = self._optuna.load_study(storage=storage(self.folder), study_name=STUDY)
        except KeyError:  # killed before it was made
            return
        except Exception as error:
            where = str(self.folder / JOURNAL)
            raise FileFormatError("not readable", where=where, given=str(error), hint="another --out") from None
        before = self._study.user_attrs.get(PLAN)
        if before is None:
            self._study.set_user_attr(PLAN, self.plan.plain())
        elif told := differences(before, self.plan.plain() | {"note": before.get("note")}):
            raise OptionError(
                "another sweep was begun in this folder",
                where=str(self.folder),
                given="; ".join(told),
                hint="another --out, or what it was begun with",
            )
        self._broken = [t for t in self._trials() if t.state.name == "RUNNING"]

    def _trials(self) -> list[Any]:
        return self._study.get_trials(deepcopy=False)

    def next(self) -> tuple[int, dict[str, Any]] | None:
        """Number and settings of the next trial, first of those that were broken off; None at the end.

        What is chosen depends on the seed, the number and the trials that have ended, not on what came to be before
        and after a kill.
        """
        if self._broken:
            known = self._broken.pop(0)
            self._sample(known.number)
            return self._settled(self._optuna.trial.Trial(self._study, known._trial_id))
        trials = self._trials()
        number = sum(t.state.name != "WAITING" for t in trials)
        if number >= self.asked:
            return None
        self._sample(number)
        if self.plan.grid and number == len(trials):
            point = grid_point(self.plan.parameters, number)
            self._study.enqueue_trial({p.key: p.stored(point[p.key]) for p in self.plan.parameters})
        return self._settled(self._study.ask())

    def _sample(self, number: int) -> None:
        seed = int(np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0])
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)

    def _settled(self, trial: Any) -> tuple[int, dict[str, Any]]:
        self._running[trial.number] = trial
        return trial.number, {p.key: p.suggested(trial) for p in self.plan.parameters}

    def tell(self, number: int, outcome: Outcome) -> None:
        """Write down what became of a trial."""
        trial = self._running.pop(number)
        trial.set_user_attr(OUTCOME, asdict(outcome))
        states = self._optuna.trial.TrialState
        state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[outcome.state]
        self._study.tell(trial, outcome.value, state=state)

    def record(self) -> Sweep:
        """Everything that is known."""
        trials = tuple(self._told(t) for t in self._trials() if t.state.name != "WAITING")
        return Sweep(self.folder, trials=trials, asked=max(self.asked, len(trials)), **self.plan.plain())

    def _told(self, trial: Any) -> Trial:
        settings = self._settings(trial)
        place = trial_folder(trial.number)
        folder = place if (self.folder / place).is_dir() else None
        if not trial.state.is_finished():
            return Trial(trial.number, "running", settings, folder=folder)
        told = trial.user_attrs[OUTCOME]
        return Trial(trial.number, told["state"], settings, told["value"], folder, told["seconds"], told["reason"])

    def _settings(self, trial: Any) -> dict[str, Any]:
        return {p.key: p.known(trial.params[p.key]) for p in self.plan.parameters if p.key in trial.params}


def _mend(folder: Path) -> None:
    """Take away what a kill left: the file's lock, and half of its last line."""
    with suppress(FileNotFoundError):
        (folder / (JOURNAL + LOCK)).unlink()
    with open(folder / JOURNAL, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
            file.flush()
            os.fsync(file.fileno())
