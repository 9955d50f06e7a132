"""How measured numbers are shown: pure data, declared beside what measures them, that travels with a run.

A screen, a report and a file take it from there, so that none of them keeps a list of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

ROLES = ("main", "second", "third", "good", "bad", "control", "family")


@dataclass(frozen=True)
class Curve:
    """One line: a scalar's name, or a pattern such as "entropy_raw_*" that stands for all names that match.

    role : of ROLES; "control" is drawn dashed, "family" runs through a colour map by the number in its name.
    smooth : shown as a moving average, with the raw values faint behind it.
    """

    name: str
    label: str
    role: str = "main"
    smooth: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves that share an axis, or the histogram of one per-particle observable.

    Attributes
    ----------
    title, unit : of the vertical axis. log : whether it starts logarithmic.
    source : the observable that is measured for it, as `record.observables` or `record.properties` names it.
    signed : of a per-particle observable, whether its numbers lie around 0. A panel with no curves is per-particle.
    """

    title: str
    unit: str
    source: str
    curves: tuple[Curve, ...] = ()
    log: bool = False
    signed: bool = False
