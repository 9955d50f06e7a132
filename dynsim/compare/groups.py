"""Runs that differ only in the seed are one group: its means, its deviations, and its differences from another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dynsim.compare.found import LeftOut, Run
from dynsim.reproduce.study import Sample

# Of the values around the mean of the differences that are told, were they normal.
LEVEL = 0.95


@dataclass(frozen=True)
class Group:
    """Runs of one scenario but for the seed.

    Attributes
    ----------
    label : unlike every other of its task. settings : the keys in which the groups of the task differ.
    runs : by rising seed.
    """

    label: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.runs)

    @cached_property
    def numbers(self) -> dict[str, Sample]:
        """Every number that all runs have, with its mean and deviation over the seeds."""
        first, *others = (run.numbers for run in self.runs)
        names = [name for name in first if all(name in other for other in others)]
        return {name: Sample(tuple(run.numbers[name] for run in self.runs)) for name in names}


@dataclass(frozen=True)
class Difference:
    """Of a number from a reference's, seed by seed.

    Attributes
    ----------
    seeds : that both have. mean : of the differences. low, high : Student's interval of 95 %, None of fewer than two.
    """

    seeds: tuple[int, ...]
    mean: float
    low: float | None
    high: float | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval is on one side of zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def grouped(runs: Iterable[Run]) -> tuple[list[Group], list[LeftOut]]:
    """Groups of the runs of one task in their order, and runs of a seed that their group has already."""
    of: dict[tuple, dict[int, Run]] = {}
    twice: list[LeftOut] = []
    for run in runs:
        mine = of.setdefault(tuple(sorted(run.settings.items())), {})
        first = mine.setdefault(run.seed, run)
        if first is not run:
            twice.append(LeftOut(run.path, f"the same settings and seed as {first.path}"))
    members = [tuple(by_seed[seed] for seed in sorted(by_seed)) for by_seed in of.values()]
    return _labelled(members), twice


def _labelled(members: Sequence[tuple[Run, ...]]) -> list[Group]:
    keys = varied([runs[0].settings for runs in members])
    settings = [{key: runs[0].settings.get(key) for key in keys} for runs in members]
    labels = _labels([runs[0].name for runs in members], settings)
    return [Group(label, said, runs) for label, said, runs in zip(labels, settings, members)]


def _labels(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names, where each has its own; else the settings with them, as short as they can be told apart."""
    if len(set(names)) == len(names):
        return list(names)
    for digits in (".4g", ".8g", ""):
        said = [spelled(one, digits) for one in settings]
        labels = said if len(set(names)) == 1 else [f"{n}, {s}" for n, s in zip(names, said)]
        if len(set(labels)) == len(labels):
            break
    return labels


def varied(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys in which they differ."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]


def spelled(settings: Mapping[str, Any], digits: str = ".4g") -> str:
    """Settings in a few words; of a dotted key its last part, where that is clear."""
    said = (setting(value, digits) for value in settings.values())
    return " ".join(f"{short}={value}" for short, value in zip(shortly(list(settings)), said))


def setting(value: Any, digits: str = ".4g") -> str:
    """The value of a key as a person reads it."""
    return "-" if value is None else format(value, digits) if isinstance(value, float) else str(value)


def shortly(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted keys, where two are not the same."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return [end if last[end := key.rpartition(".")[2]] == 1 else key for key in keys]


def difference(of: Group, reference: Group, number: str) -> Difference | None:
    """Of a number from the reference's over the seeds that both have; None where there is none."""
    ours, theirs = ({run.seed: run.numbers[number] for run in g.runs if number in run.numbers} for g in (of, reference))
    seeds = tuple(seed for seed in ours if seed in theirs)
    if not seeds:
        return None
    found = Sample(tuple(ours[s] - theirs[s] for s in seeds))
    if len(seeds) < 2:
        return Difference(seeds, found.mean, None, None)
    from scipy.stats import t

    reach = float(t.ppf(0.5 + LEVEL / 2, len(seeds) - 1)) * found.deviation / len(seeds) ** 0.5
    return Difference(seeds, found.mean, found.mean - reach, found.mean + reach)


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (cost, gain) pairs: whether no other costs at most as much and gains at least as much, one of them truly."""

    def beaten(cost: float, gain: float) -> bool:
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)

    return [not beaten(*point) for point in points]
