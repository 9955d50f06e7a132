"""Conditions on observables, such as "accuracy > 0.97": a name, a comparison and a number, never code."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dynsim.errors import OptionError, unknown

_OPERATORS = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_FORM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True)
class Condition:
    """`name` compared with `bound`."""

    name: str
    comparison: str
    bound: float

    @classmethod
    def of(cls, text: str, known: Mapping[str, float]) -> Condition:
        """Read a condition on one of the `known` observables; raises OptionError for anything else."""
        match = _FORM.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            condition = cls(match[1], match[2], float(match[3]))
        except ValueError:
            raise OptionError("not a condition", given=repr(text), allowed='such as "accuracy > 0.97"') from None
        if condition.name not in known:
            raise unknown("observable", condition.name, tuple(sorted(known)), where="condition")
        return condition

    def holds(self, scalars: Mapping[str, float]) -> bool:
        """Whether it is so; never for what is NaN or not there."""
        return self.name in scalars and bool(_OPERATORS[self.comparison](scalars[self.name], self.bound))

    def __str__(self) -> str:
        return f"{self.name} {self.comparison} {self.bound:g}"
