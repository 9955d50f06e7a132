"""The parameters that a running engine can change: their sliders, and when they have no meaning."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Positions of a slider; so few that neighbouring values still differ in their three digits.
STEPS = 400


@dataclass(frozen=True)
class Parameter:
    """A live parameter.

    Attributes
    ----------
    key : of the scenario, e.g. "dynamics.dt". label, symbol, tip : for people.
    lowest, highest : range of the slider (typed values may lie outside); None where there is no slider.
    log : the slider is logarithmic. zero : its leftmost position is 0. integer : whole numbers only.
    options : names to choose among; neither these nor a range make it a switch.
    """

    key: str
    label: str
    symbol: str
    tip: str
    lowest: float | None = None
    highest: float | None = None
    log: bool = True
    zero: bool = False
    integer: bool = False
    options: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """ "number", "choice" or "switch"."""
        return "number" if self.lowest is not None else "choice" if self.options else "switch"

    def value(self, position: int) -> float:
        """What the slider means at a position in 0 ... STEPS, rounded to three digits."""
        if self.zero and position == 0:
            return 0.0
        first = 1 if self.zero else 0
        t = (position - first) / (STEPS - first)
        low, high = self._scaled(self.lowest), self._scaled(self.highest)
        exact = low + t * (high - low)
        exact = math.exp(exact) if self.log else exact
        return max(1, round(exact)) if self.integer else float(f"{exact:.3g}")

    def position(self, value: float) -> int:
        """The nearest position for a value; the ends for those outside of the slider's range."""
        if not value > 0 and (self.zero or self.log):
            return 0
        first = 1 if self.zero else 0
        low, high = self._scaled(self.lowest), self._scaled(self.highest)
        t = (self._scaled(value) - low) / (high - low)
        return round(first + min(1.0, max(0.0, t)) * (STEPS - first))

    def read(self, text: str) -> float | None:
        """The number in a typed text, None if it is none."""
        try:
            return int(text) if self.integer else float(text)
        except ValueError:
            return None

    def write(self, value: Any) -> str:
        """The value as its box shows it: six digits unless more are needed to tell it."""
        if value is None:
            return ""
        short = f"{value:g}"
        return short if float(short) == value else str(value)

    def _scaled(self, value: float | None) -> float:
        assert value is not None
        return math.log(value) if self.log else value


PARAMETERS = (
    Parameter("dynamics.dt", "Step", "Δt", "Length of a step in units of the particles' own time", 1e-3, 10.0),
    Parameter("dynamics.eta", "Limit", "η", "Eq. (10): the longest move of a particle in one step", 1e-4, 1.0),
    Parameter(
        "dynamics.friction",
        "Kept",
        "e^−Λ",
        "Fraction of the velocity that friction leaves per step: 1 is no friction",
        0.5,
        1.0,
        log=False,
    ),
    Parameter(
        "dynamics.law",
        "Law",
        "Λ",
        "Where Λ comes from: constant friction, the climbing of a particle (lagrangian), its signals, or feedback",
        options=("friction", "lagrangian", "signal", "feedback"),
    ),
    Parameter("dynamics.limit", "Speed limit", "", "Whether the Eq. (10) limit holds at all"),
    Parameter(
        "dynamics.decay", "Decay", "Λenv", "How fast the limit closes, per step; empty: by the run's length",
        1e-6, 0.1, zero=True,
    ),
    Parameter(
        "dynamics.coefficients", "Coefficients", "μ", "Longest move of μ, gain and ε per step, relative to them",
        1e-5, 0.1,
    ),
    Parameter("dynamics.confinement", "Well", "k", "Strength of the well k |q|² / 2", 1e-6, 10.0, zero=True),
    Parameter("field.batch", "Batch", "", "Samples per step", 1, 4096, integer=True),
)  # fmt: skip
BY_KEY = {parameter.key: parameter for parameter in PARAMETERS}


def scenario_values(toml: str) -> dict[str, Any]:
    """The live parameters in a scenario's text by dotted key, with its order and kind of field; defaults are left out.

    Raises tomllib.TOMLDecodeError.
    """
    tables = tomllib.loads(toml)
    dotted = {f"{table}.{key}": v for table in ("dynamics", "field") for key, v in tables.get(table, {}).items()}
    return {key: v for key, v in dotted.items() if key in {*BY_KEY, "dynamics.order", "field.kind"}}


def kept(values: Mapping[str, Any]) -> float:
    """Velocity kept per step: as given, or else the default of the law (0.9 under friction)."""
    given = values.get("dynamics.friction")
    return given if given is not None else 0.9 if values.get("dynamics.law") == "friction" else 1.0


def friction_rate(values: Mapping[str, Any]) -> float:
    """The constant part of Λ, per unit of the particles' time: exp(-order Λ Δt) = kept, Eq. (54)-(55)."""
    order = values.get("dynamics.order") or (1.0 if values.get("dynamics.law") == "friction" else 0.5)
    return -math.log(kept(values)) / (order * values["dynamics.dt"])


def inapplicable(values: Mapping[str, Any]) -> dict[str, str]:
    """Keys that have no meaning under these values -> why."""
    reasons = {key: "not part of this run" for key in BY_KEY if key not in values}
    if values.get("field.kind") == "target":
        reasons["field.batch"] = "a target field has no batches"
    if values.get("dynamics.law") == "lagrangian":
        reasons["dynamics.friction"] = "the lagrangian law has no friction beside it"
    if values.get("dynamics.limit") is False:
        reasons["dynamics.coefficients"] = "only under the speed limit"
    return reasons
