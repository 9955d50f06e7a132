"""What is measured: one registry feeds the trajectory, the curves, the progress line, the report and the final table.

An observable is a class with `name`, `kind` ("scalar" or "per_particle"), `every` ("step" or "frame": how often it
is cheap enough) and `compute(snapshot)`; `@observable` registers it. A module of this package with such a class is
all that a new one takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dynsim.errors import unknown
from dynsim.forces import Response
from dynsim.panels import Panel
from dynsim.system.graph import System


@dataclass(frozen=True)
class Snapshot:
    """What observables see: the system after a step, the field's response that pushed it, kernels and settings.

    seed : of the run, from which its untrained coordinates come.
    limited : whether the Eq. (10) limit is on; None for an integrator that knows none.
    bounded : whether that limit has been one and the same since the start, so that what it allowed in all is known.
    """

    system: System
    response: Response | None
    kernels: Any
    dt: float
    eta: float
    envelope: float
    decay: float
    law: str
    confinement: float
    resolutions: tuple[float, ...]
    projection: np.ndarray
    seed: int = 0
    limited: bool | None = True
    bounded: bool = True


class Observable(ABC):
    """compute(snapshot) -> {name: number} for a scalar, {subsystem: array (H, N) or (H, N, d)} for a per-particle one.

    Attributes
    ----------
    panels : how its numbers are shown.
    brief : of a scalar, name -> what the progress line calls it; empty to leave it out there.
    vector : of a per-particle one, whether every particle has a vector of R^d.
    on_host : of a scalar, whether it needs the state as arrays of the host; what is per particle always gets these.
    needs_classes : whether it means nothing where nothing is classified.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    every: ClassVar[str]
    panels: ClassVar[tuple[Panel, ...]] = ()
    brief: ClassVar[Mapping[str, str]] = {}
    vector: ClassVar[bool] = False
    on_host: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False

    @abstractmethod
    def compute(self, snapshot: Snapshot) -> dict[str, Any]: ...


OBSERVABLES: dict[str, Observable] = {}


def observable(cls: Any) -> Any:
    """Class decorator: registers an instance under its name."""
    OBSERVABLES[cls.name] = cls()
    return cls


def named(kind: str) -> tuple[str, ...]:
    """Names of the observables of a kind."""
    return tuple(n for n, o in OBSERVABLES.items() if o.kind == kind)


def find(name: str) -> Observable:
    """The observable of that name; raises OptionError that lists the options."""
    if name not in OBSERVABLES:
        raise unknown("observable", name, tuple(OBSERVABLES))
    return OBSERVABLES[name]


def panels(first: Iterable[str], classes: bool) -> tuple[Panel, ...]:
    """How all that can be measured is shown, what is recorded `first`; without what needs classes where none are."""
    order = dict.fromkeys((*(n for n in first if n in OBSERVABLES), *OBSERVABLES))
    return tuple(p for n in order if classes or not OBSERVABLES[n].needs_classes for p in OBSERVABLES[n].panels)


def widths(dim: int) -> dict[str, tuple[int, ...]]:
    """Per-particle observable -> shape of one particle's numbers, () or (d,)."""
    return {n: (dim,) if OBSERVABLES[n].vector else () for n in named("per_particle")}


def briefly(names: Iterable[str], scalars: Mapping[str, float]) -> dict[str, float]:
    """What a progress line says of the named observables: its short label -> number."""
    labels = {k: label for n in names for k, label in find(n).brief.items()}
    return {label: scalars[k] for k, label in labels.items() if k in scalars}


def measure(
    names: tuple[str, ...], every: str, snapshot: Snapshot, seen: Callable[[], Snapshot] | None = None
) -> dict[str, float]:
    """All scalars of the named observables that are due `every` "step" or "frame"; `seen` gives it on the host."""
    result: dict[str, float] = {}
    for name in names:
        o = find(name)
        if o.kind == "scalar" and o.every == every:
            result |= o.compute(seen() if seen is not None and o.on_host else snapshot)
    return result
