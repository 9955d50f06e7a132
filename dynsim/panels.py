"""How measured numbers are shown: pure data, declared beside what measures them, that travels with a run.

A screen, a report and a file take it from there, so that none of them keeps a list of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

ROLES = ("main", "second", "third", "good", "bad", "control", "family")

T = TypeVar("T")


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

    @property
    def per_particle(self) -> bool:
        return not self.curves


def drawn(panels: Sequence[Panel], names: Iterable[str]) -> list[tuple[Panel, tuple[Curve, ...]]]:
    """Every panel of scalars with exactly the curves that are there, families spelled out, () where there are none.

    A scalar that no panel shows gets one of its own at the end, so that nothing recorded is ever invisible.
    """
    names = tuple(dict.fromkeys(names))
    declared = [p for p in panels if not p.per_particle]
    closest = {n: _closest([c.name for p in declared for c in p.curves], n) for n in names}
    found = [(p, tuple(c for curve in p.curves for c in _members(curve, closest))) for p in declared]
    alone = [n for n, pattern in closest.items() if pattern is None]
    own = [Panel(n.replace("_", " "), "", n, (Curve(n, n.replace("_", " ")),)) for n in alone]
    return found + [(p, p.curves) for p in own]


def particles_of(panels: Iterable[Panel], properties: Iterable[str]) -> list[Panel]:
    """The panels of per-particle observables: those declared, and one of its own for each property without."""
    declared = [p for p in panels if p.per_particle]
    known = {p.source for p in declared}
    return declared + [Panel(n.replace("_", " "), "", n) for n in properties if n not in known]


def _closest(patterns: Iterable[str], name: str) -> str | None:
    """Of the patterns that a name matches the one that says most: itself, else the longest."""
    matching = [p for p in patterns if p == name or ("*" in p and fnmatchcase(name, p))]
    return max(matching, key=lambda p: (p == name, len(p)), default=None)


def _members(curve: Curve, closest: dict[str, str | None]) -> list[Curve]:
    names = [n for n, pattern in closest.items() if pattern == curve.name]
    prefix = curve.name.partition("*")[0]
    part = {n: n.removeprefix(prefix) for n in names}
    names.sort(key=lambda n: _number_first(part[n]))
    return [replace(curve, name=n, label=curve.label.replace("*", part[n].replace("_", " "))) for n in names]


def _number_first(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then words as they stand."""
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def to_text(panels: Iterable[Panel]) -> str:
    """Panels as JSON."""
    return json.dumps([asdict(p) for p in panels], ensure_ascii=False)


def from_text(text: str) -> tuple[Panel, ...]:
    """What `to_text` was given; of a file of another version what is known here, () for what is no such text."""
    try:
        tables = [p | {"curves": tuple(_known(Curve, c) for c in p["curves"])} for p in json.loads(text)]
        return tuple(_known(Panel, p) for p in tables)
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def _known(kind: type[T], table: dict[str, Any]) -> T:
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in table.items() if k in names})
