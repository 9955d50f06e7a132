"""Whether a trial that runs looks poor beside what the others had reached; asked in the process that does it."""

from __future__ import annotations

from pathlib import Path

from dynsim.sweep.journal import STUDY, optuna, storage

LOOKS = 20  # at a trial
FIRST = 5  # trials that are not judged


class Judge:
    """Optuna's rule of the median, on the validation accuracy.

    Parameters
    ----------
    folder : of the sweep. number : of the trial.
    """

    def __init__(self, folder: Path, number: int) -> None:
        library = optuna()
        pruner, sampler = library.pruners.MedianPruner(n_startup_trials=FIRST), library.samplers.RandomSampler()
        study = library.load_study(storage=storage(folder), study_name=STUDY, sampler=sampler, pruner=pruner)
        known = study.get_trials(deepcopy=False)[number]
        self._trial = library.trial.Trial(study, known._trial_id)
        self._up = study.direction.name == "MAXIMIZE"
        self._last = max(known.intermediate_values, default=0)

    def is_poor(self, step: int, total: int, accuracy: float) -> bool:
        """Tell the accuracy at a step, where that is in another twentieth of the run; whether to break it off.

        Where the objective is to become small, what is compared is 1 - accuracy.
        """
        part = step * LOOKS // total
        if part <= self._last:
            return False
        self._last = part
        self._trial.report(accuracy if self._up else 1 - accuracy, part)
        return self._trial.should_prune()
