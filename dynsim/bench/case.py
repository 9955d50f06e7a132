"""What is timed: our operation beside its rivals, with the goal that the design sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dynsim.errors import unknown

Work = Callable[[], Any]


@dataclass(frozen=True)
class Context:
    """What cases are built for.

    Attributes
    ----------
    kernels : module of kernels of the device that is timed.
    threads : that ours and the rivals may use.
    brief : whether everything is timed, so that a benchmark of many sizes takes fewer of them.
    """

    kernels: Any
    threads: int = 1
    brief: bool = False


@dataclass(frozen=True)
class Rival:
    """What people would use instead, in its best form.

    Attributes
    ----------
    name : as the table shows it, with what form it is: "torch.cdist + einsum".
    prepare : () -> the work to time; called only where `requires` can be imported, so that it may import it.
        A number is a time allowed in milliseconds instead.
    goal : least rival_ms / ours_ms that is wanted; None for a rival that is shown beside the others.
    requires : package that it needs.
    """

    name: str
    prepare: Callable[[], Work] | float
    goal: float | None = None
    requires: str | None = None

    @property
    def installed(self) -> bool:
        return self.requires is None or find_spec(self.requires) is not None


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    Attributes
    ----------
    name : "path integral l1"; shape : "A (784, 1200, 20, 9)".
    prepare : () -> our work, ready to be timed again and again.
    most : rounds at most, for work that takes seconds.
    tolerance : largest difference between our result and a rival's, over the largest value; None where they return
        nothing that could be compared. A result is an array, a tensor, or a tuple of them.
    amount, unit : what a call does, for rates: (2 * 1024**3, "GFLOP/s").
    """

    name: str
    shape: str
    prepare: Callable[[], Work]
    rivals: tuple[Rival, ...] = ()
    most: int = 50
    tolerance: float | None = None
    amount: float | None = None
    unit: str | None = None


Maker = Callable[[Context], Iterable[Case]]
BENCHMARKS: dict[str, Maker] = {}


def benchmark(name: str) -> Callable[[Maker], Maker]:
    """Register a function (context) -> cases as the benchmark NAME of `dynsim bench NAME`."""

    def register(make: Maker) -> Maker:
        BENCHMARKS[name] = make
        return make

    return register


def cases(name: str, context: Context) -> Iterator[Case]:
    """The cases of a benchmark; raises OptionError that lists the names."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, tuple(sorted(BENCHMARKS)))
    return iter(BENCHMARKS[name](context))
