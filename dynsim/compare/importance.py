"""How much of a score's variation each key explains: functional ANOVA over a forest of trees, by optuna.

Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter importance", ICML 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from dynsim.compare.found import Run
from dynsim.compare.groups import varied

FEWEST = 10  # runs from which on trees say something
WIDE = 30  # ratio of the ends from which on a range of positive numbers is looked at by its logarithm


@dataclass(frozen=True)
class Importance:
    """Shares of the variance of a score, that add up to one; why there are none.

    Attributes
    ----------
    shares : dotted key -> share, the largest first. note : "" where there are some.
    """

    shares: dict[str, float] = field(default_factory=dict)
    note: str = ""


def importance(runs: Sequence[Run], score: str) -> Importance:
    """Of the keys in which the runs differ, for their scores."""
    keys = varied([run.settings for run in runs])
    keys = [key for key in keys if all(key in run.settings for run in runs)]
    values = [run.numbers[score] for run in runs]
    if not keys:
        return Importance(note="the runs differ in nothing but the seed")
    if len(runs) < FEWEST:
        return Importance(note=f"{FEWEST} finished runs or more are needed, there are {len(runs)}")
    if len(set(values)) == 1:
        return Importance(note="all scores are the same")
    if find_spec("optuna") is None:
        return Importance(note="needs optuna: pip install 'dynsim[sweep]'")
    return Importance(_shares(runs, keys, values))


def _shares(runs: Sequence[Run], keys: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        distributions = {key: _distribution(optuna, [run.settings[key] for run in runs]) for key in keys}
        for run, value in zip(runs, values):
            parameters = {key: _value(run.settings[key]) for key in keys}
            study.add_trial(optuna.create_trial(params=parameters, distributions=distributions, value=value))
        return dict(optuna.importance.get_param_importances(study, evaluator=_evaluator(optuna)))
    finally:
        optuna.logging.set_verbosity(before)


def _evaluator(optuna: Any) -> Any:
    return optuna.importance.FanovaImportanceEvaluator(seed=0)


def _value(given: Any) -> Any:
    return given if given is None or isinstance(given, bool | int | float | str) else str(given)


def _distribution(optuna: Any, given: Sequence[Any]) -> Any:
    """The range that the values span, or the values themselves where they are no numbers."""
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in given):
        low, high = min(given), max(given)
        wide = low > 0 and high >= WIDE * low
        kind = optuna.distributions
        whole = all(isinstance(v, int) for v in given)
        return (kind.IntDistribution if whole else kind.FloatDistribution)(low, high, log=wide)
    return optuna.distributions.CategoricalDistribution(list(dict.fromkeys(map(_value, given))))
