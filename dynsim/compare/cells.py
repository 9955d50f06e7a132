"""The table of a task as texts: one for the terminal, the page and the window."""

from __future__ import annotations

from collections.abc import Sequence

from dynsim.compare.comparison import Difference, Row, Task
from dynsim.compare.groups import setting, shortly
from dynsim.reproduce.study import Sample

MOST_SETTINGS = 6  # keys with a column of their own
SHORT = 16  # letters of a reference that stands in a head


def columns(task: Task) -> tuple[str, ...]:
    """Heads: group, the keys that differ, seeds, score, its difference from the reference's, and what it costs."""
    unit = " (%)" if is_share(task.score) else ""
    return (
        "group",
        *shortly(_keys(task)),
        "seeds",
        f"{words(task.score)}{unit}",
        f"from {task.reference}" if len(task.reference) <= SHORT else "difference",
        "bytes",
        "MACs",
        "time (s)",
        "front",
    )


def cells(task: Task, row: Row) -> tuple[str, ...]:
    """The texts of a row, as many as there are columns."""
    group = row.group
    scale = 100 if is_share(task.score) else 1
    costs = [_told(group.numbers.get(name)) for name in ("bytes", "macs", "wall_s")]
    return (
        group.label,
        *(setting(group.settings[key]) for key in _keys(task)),
        str(len(group.seeds)),
        _told(row.score, scale),
        "reference" if group.label == task.reference else spelled(row.difference, scale),
        *costs,
        "*" if row.front else "",
    )


def sortable(task: Task, row: Row) -> tuple[object, ...]:
    """What the columns are sorted by: numbers, where there are any."""
    group = row.group
    costs = [group.numbers[name].mean if name in group.numbers else None for name in ("bytes", "macs", "wall_s")]
    settings = [group.settings[key] for key in _keys(task)]
    away = row.difference.mean if row.difference is not None else None
    return (group.label, *settings, len(group.seeds), row.score.mean, away, *costs, row.front)


def notes(task: Task) -> list[str]:
    """What is to be known of the table."""
    found = ["±: standard deviation over seeds. [ ]: 95 % interval of the paired difference, same seeds. "]
    found[0] += "!: the interval is on one side of zero. *: no other has a better score for as few bytes."
    if len(_all_keys(task)) > MOST_SETTINGS:
        hidden = ", ".join(_all_keys(task)[MOST_SETTINGS:])
        found.append(f"They also differ in {hidden}.")
    shares = task.importance.shares
    if shares:
        told = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        found.append(f"Share of the variance of {words(task.score)} (fANOVA): {told}.")
    else:
        found.append(f"No importance of parameters: {task.importance.note}.")
    return found


def spelled(difference: Difference | None, scale: float = 1) -> str:
    """A difference with its interval."""
    if difference is None:
        return "no common seed"
    text = f"{scale * difference.mean:+.3g}"
    if difference.low is None or difference.high is None:
        return text
    mark = " !" if difference.told_apart else ""
    return f"{text} [{scale * difference.low:+.3g}, {scale * difference.high:+.3g}]{mark}"


def words(name: str) -> str:
    """The name of a number as a person says it."""
    return name.removeprefix("observables.").replace("_", " ")


def is_share(name: str) -> bool:
    """Whether a number is shown in per cent."""
    return name.endswith("accuracy")


def _all_keys(task: Task) -> Sequence[str]:
    return list(task.rows[0].group.settings)


def _keys(task: Task) -> Sequence[str]:
    return _all_keys(task)[:MOST_SETTINGS]


def _told(sample: Sample | None, scale: float = 1) -> str:
    if sample is None:
        return "-"
    mean, several = scale * sample.mean, len(sample.values) > 1
    if mean == int(mean) and abs(mean) >= 1000 and sample.deviation == 0:
        return f"{int(mean):,}"
    return f"{mean:.4g} ± {scale * sample.deviation:.2g}" if several and sample.deviation else f"{mean:.4g}"
