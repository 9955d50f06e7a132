"""What a sweep is asked to do, and whether that is what its folder was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynsim.errors import OptionError
from dynsim.observables import find
from dynsim.scenario import Scenario
from dynsim.scores import LESS, MORE, more_is_better
from dynsim.sweep.parameters import Parameter

# What pruning looks at is a validation accuracy, which says something about these only.
QUALITY = ("accuracy", "loss", "error")
TEST = "chosen by test data: what the best trial reaches on them is no estimate for data that the choice has not seen"


@dataclass(frozen=True)
class Plan:
    """What a sweep is asked to do.

    Attributes
    ----------
    scenario : before the parameters. objective : dotted key of a run's summary. direction : "maximise" or "minimise".
    grid : every combination instead of a search. prune : break off what looks poor. seed : of the search.
    """

    scenario: Scenario
    parameters: tuple[Parameter, ...]
    objective: str
    direction: str
    grid: bool = False
    prune: bool = False
    seed: int = 0

    @property
    def note(self) -> str:
        """What to know when the best value is told."""
        return TEST if "test" in self.objective else ""

    def plain(self) -> dict[str, Any]:
        """As sweep.json has it."""
        return {
            "scenario": self.scenario.model_dump(mode="json", exclude_none=True),
            "parameters": {p.key: p.plain() for p in self.parameters},
            "objective": self.objective,
            "direction": self.direction,
            "method": "grid" if self.grid else "tpe",
            "prune": self.prune,
            "seed": self.seed,
            "note": self.note,
        }


def asked_for(
    scenario: Scenario,
    parameters: tuple[Parameter, ...],
    objective: str | None,
    minimise: bool | None,
    **how: Any,
) -> Plan:
    """A plan with what was left open filled in.

    The objective is, if None, the accuracy of the validation part where there is one, else of the test part; its
    direction, if None, that of its name. Raises OptionError for a direction that no name tells, and for pruning
    without a validation accuracy to look at.
    """
    if objective is None:
        objective = "final.validation_accuracy" if scenario.field.validation else "final.test_accuracy"
    name = objective.rsplit(".", 1)[-1]
    if minimise is None:
        more = more_is_better(name)
        if more is None:
            raise OptionError(
                "which way is better?",
                where="--objective",
                given=objective,
                allowed=f"a name with {', '.join(MORE + LESS)}",
                hint="--minimise or --maximise, for another name",
            )
        minimise = not more
    plan = Plan(scenario, parameters, objective, "minimise" if minimise else "maximise", **how)
    if plan.prune:
        _refuse_blind(plan, name)
    return plan


def _refuse_blind(plan: Plan, name: str) -> None:
    if not any(word in name for word in QUALITY):
        raise OptionError(
            "pruning looks at the validation accuracy, which says nothing about this",
            where="--prune",
            given=plan.objective,
            allowed=f"an objective of {', '.join(QUALITY)}",
        )
    if not plan.scenario.field.validation:
        raise OptionError(
            "pruning looks at a validation part, and there is none", where="--prune", hint="--set field.validation=0.1"
        )
    if validation_label() is None or "accuracy" not in plan.scenario.record.observables:
        raise OptionError("pruning needs the accuracy recorded", where="--prune", hint="record.observables: accuracy")


def validation_label() -> str | None:
    """How a run's progress names the validation accuracy."""
    return find("accuracy").brief.get("validation_accuracy")


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    """Each key in which two nested tables differ, with both values."""
    found = []
    for key in dict.fromkeys((*before, *after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key}: {_shown(old)} before, {_shown(new)} now")
    return found


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
