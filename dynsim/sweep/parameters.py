"""What a sweep varies: keys of a scenario, each with a range or a list of values."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from dynsim.errors import OptionError, ScenarioError
from dynsim.scenario import Scenario
from dynsim.validation import value_of

FORMS = "KEY=2,4,8  KEY=0.1:0.9  KEY=log:0.05:2  KEY=int:2:64  KEY=logint:2:64"
RANGES = {"float": float, "log": float, "int": int, "logint": int}
# A place inside a range at which no key of whole numbers takes what is there.
INSIDE = (math.sqrt(5) - 1) / 2
TRIED = 64  # combinations of the others with which a value is tried


@dataclass(frozen=True)
class Parameter:
    """A key of the scenario and what it may be.

    Attributes
    ----------
    key : dotted, such as dynamics.dt.
    kind : "float", "log" (as float, even in the logarithm), "int", "logint", or "choice".
    low, high : of a range, both included. values : of a choice.
    """

    key: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"{self.key}={','.join(map(str, self.values))}"
        kind = "" if self.kind == "float" else f"{self.kind}:"
        return f"{self.key}={kind}{self.low:g}:{self.high:g}"

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        if self.kind == "choice":
            return {"kind": self.kind, "values": list(self.values)}
        return {"kind": self.kind, "low": self.low, "high": self.high}

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are legal where all are: those of a choice; of a range its ends, of numbers one inside too."""
        if self.kind == "choice":
            return self.values
        if self.kind in ("int", "logint"):
            return self.low, self.high
        return self.low, self.low + INSIDE * (self.high - self.low), self.high

    @property
    def listed(self) -> Sequence[Any]:
        """All values, for a grid; raises OptionError for a range of numbers that are not whole."""
        if self.kind == "choice":
            return self.values
        if self.kind == "int":
            return range(int(self.low), int(self.high) + 1)
        raise OptionError("a grid needs a list", where=f"--param {self}", allowed="KEY=0.1,0.2,0.4 or KEY=int:2:64")

    def suggested(self, trial: Any) -> Any:
        """The value that an optuna trial has for it, or now gets."""
        if self.kind == "choice":
            return self.known(trial.suggest_categorical(self.key, list(map(_stored, self.values))))
        if self.kind in ("int", "logint"):
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.kind == "logint")
        return trial.suggest_float(self.key, self.low, self.high, log=self.kind == "log")

    def stored(self, value: Any) -> Any:
        """A value as optuna keeps it."""
        return _stored(value) if self.kind == "choice" else value

    def known(self, stored: Any) -> Any:
        """The value that optuna keeps so."""
        return next((v for v in self.values if _stored(v) == stored), stored)


def _stored(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def parsed(texts: Iterable[str]) -> tuple[Parameter, ...]:
    """Parameters as the command line gives them; raises OptionError."""
    found = tuple(map(_parsed, texts))
    if not found:
        raise OptionError("nothing to vary", where="--param", allowed=FORMS)
    keys = [p.key for p in found]
    for key in keys:
        if keys.count(key) > 1:
            raise OptionError("given twice", where="--param", given=key)
    return found


def _parsed(text: str) -> Parameter:
    key, mark, said = (part.strip() for part in text.partition("="))
    if not mark or not key or not said:
        raise OptionError("not a parameter", where="--param", given=text, allowed=FORMS)
    kind, *ends = parts = said.split(":")
    if kind in RANGES:
        return _range(text, key, kind, ends)
    if len(parts) == 2 and all(map(_is_number, parts)):
        return _range(text, key, "float", parts)
    return _choice(text, key, said)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _range(text: str, key: str, kind: str, ends: list[str]) -> Parameter:
    where = f"--param {text}"
    try:
        low, high = map(RANGES[kind], ends)
    except ValueError:
        wanted = "two whole numbers" if RANGES[kind] is int else "two numbers"
        raise OptionError("not a range", where=where, given=":".join(ends), allowed=f"{wanted}, LOW:HIGH") from None
    if not math.isfinite(low) or not math.isfinite(high):
        raise OptionError("not finite", where=where, given=f"{low}:{high}")
    if kind.startswith("log") and low <= 0:
        raise OptionError("has no logarithm", where=where, given=low, allowed="more than 0")
    if low >= high:
        raise OptionError("an empty range", where=where, given=f"{low} to {high}", allowed="LOW below HIGH")
    return Parameter(key, kind, low, high)


def _choice(text: str, key: str, said: str) -> Parameter:
    """Values as TOML writes them in a list, or texts without quotes."""
    try:
        values = tomllib.loads(f"v = [{said}]")["v"]
    except (ValueError, RecursionError):
        values = list(map(value_of, said.split(",")))
    stored = [(type(v).__name__, str(v)) for v in values]
    if not values or "" in values or len(set(stored)) < len(stored):
        raise OptionError("an empty value, or one given twice", where=f"--param {text}", allowed=FORMS)
    return Parameter(key, "choice", values=tuple(values))


def rehearsed(scenario: Scenario, parameters: tuple[Parameter, ...]) -> Scenario:
    """The scenario at some legal place of what is varied.

    Raises ScenarioError for a key that there is not, and for a value that the scenario refuses whatever the others
    are; OptionError where they never fit together.
    """
    for p in parameters:
        _refuse_unknown(scenario, p)
    for p in parameters:
        others = [o for o in parameters if o is not p]
        for value in p.ends:
            _try(scenario, others, {p.key: value}, p)
    return _try(scenario, parameters, {}, None)


def _refuse_unknown(scenario: Scenario, parameter: Parameter) -> None:
    """Raises ScenarioError for a key that there is not: it says more than what its values do beside the others."""
    try:
        scenario.changed(**{parameter.key: parameter.ends[0]})
    except ScenarioError as error:
        named = tuple(p for p in error.problems if p.what.startswith("unknown key"))
        if named:
            raise ScenarioError("no such key", where=f"--param {parameter}", problems=named) from None


def _try(
    scenario: Scenario, varied: Iterable[Parameter], fixed: Mapping[str, Any], blamed: Parameter | None
) -> Scenario:
    """The scenario with the first of some combinations that is legal."""
    refused: ScenarioError | None = None
    for settings in islice(_combinations({p.key: p.ends for p in varied}), TRIED):
        try:
            return scenario.changed(**settings, **fixed)
        except ScenarioError as error:
            refused = refused or error
    assert refused is not None
    if blamed is None:
        raise ScenarioError("values that never fit together", where="--param", problems=refused.problems or (refused,))
    whole = f"whole numbers: {blamed.key}=int:LOW:HIGH" if blamed.kind in ("float", "log") else None
    problems = refused.problems or (refused,)
    raise ScenarioError("refused by the scenario", where=f"--param {blamed}", hint=whole, problems=problems)


def _combinations(values: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    for chosen in product(*values.values()):
        yield dict(zip(values, chosen))


def grid_size(parameters: Iterable[Parameter]) -> int:
    """How many combinations there are."""
    return math.prod(len(p.listed) for p in parameters)


def grid_point(parameters: Iterable[Parameter], number: int) -> dict[str, Any]:
    """The combination of a number, the last parameter varying fastest."""
    point: dict[str, Any] = {}
    for p in reversed(list(parameters)):
        number, k = divmod(number, len(p.listed))
        point[p.key] = p.listed[k]
    return point
