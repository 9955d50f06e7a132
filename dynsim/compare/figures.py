"""The figures of a comparison: scores seed by seed, scores against bytes, curves, importance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynsim.compare.cells import is_share, words
from dynsim.compare.comparison import Row, Task
from dynsim.compare.groups import Group
from dynsim.errors import DynsimError
from dynsim.report.curves import averaged, file_name, thinned
from dynsim.report.pictures import SUBSYSTEMS, Look, Picture
from dynsim.runfolder import TRAJECTORY
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory

MOST_ROWS, MOST_CURVES = 25, 6
WIDE = 3  # ratio of the largest to the least from which on an axis is logarithmic
CURVES = ("loss", "accuracy")  # of the steps' batches


def figures(task: Task) -> list[Picture]:
    """Those that the runs give something for."""
    found = [_scores(task), _front(task)]
    found += [picture for name in CURVES if (picture := _curves(task, name)) is not None]
    if task.importance.shares:
        found.append(_importance(task))
    return found


def _shown(task: Task, most: int) -> tuple[Sequence[Row], str]:
    """The best rows, and what to say where some are not shown."""
    rows = task.rows[:most]
    return rows, f", the best {most} of {len(task.rows)}" if len(rows) < len(task.rows) else ""


def _unit(task: Task) -> tuple[float, str]:
    return (100, f"{words(task.score)} (%)") if is_share(task.score) else (1, words(task.score))


def _scores(task: Task) -> Picture:
    rows, cut = _shown(task, MOST_ROWS)
    scale, unit = _unit(task)

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for place, row in enumerate(rows):
            values = scale * np.array(row.score.values)
            axes.plot(values, np.full(len(values), place), "o", color=look.roles["main"], alpha=0.45, markersize=4)
            spread = scale * row.score.deviation
            style = {"color": look.ink, "markersize": 9, "linewidth": 1.2, "capsize": 3}
            axes.errorbar(scale * row.score.mean, place, xerr=spread or None, fmt="|", **style)
        axes.set_yticks(range(len(rows)), [short(row.group.label) for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.margins(y=0.6 / len(rows))

    best = rows[0]
    alt = f"{words(task.score)} of {len(rows)} groups; the best is {best.group.label}, {scale * best.score.mean:.4g}."
    size = (4.6, 1.0 + 0.3 * max(len(rows), 3))
    return Picture("scores", "Every seed, mean and deviation", unit + cut, alt, paint, size)


def _front(task: Task) -> Picture:
    scale, unit = _unit(task)

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        points = [
            (row.group.numbers["bytes"].mean, scale * row.score.mean, scale * row.score.deviation, row.front)
            for row in task.rows
        ]
        for on, role, name in ((False, "control", "others"), (True, "main", "front")):
            some = [(x, y, e) for x, y, e, front in points if front == on]
            if some:
                x, y, e = map(np.array, zip(*some))
                axes.errorbar(x, y, e, fmt="o", color=look.roles[role], markersize=5, capsize=2, label=name)
        best = sorted((x, y) for x, y, _, front in points if front)
        axes.plot(*zip(*best), color=look.roles["main"], linewidth=0.9, drawstyle="steps-post")
        _sizes(axes, [x for x, *_ in points])
        axes.set(xlabel="bytes", ylabel=unit)
        if len({p[3] for p in points}) > 1:
            axes.legend(loc="best")

    front = [row.group.label for row in task.rows if row.front]
    alt = f"{words(task.score)} against bytes of {len(task.rows)} groups; on the front: {', '.join(front)}."
    return Picture("front", "Score against bytes", "mean over seeds", alt, paint, (4.6, 3.0))


def _sizes(axes: Any, values: Sequence[float]) -> None:
    """An axis of bytes, logarithmic where they differ much."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if max(values) > WIDE * min(values) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _curves(task: Task, name: str) -> Picture | None:
    rows, cut = _shown(task, MOST_CURVES)
    known = [(row.group.label, *found) for row in rows if (found := course(row.group, name)) is not None]
    if not known:
        return None

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for k, (label, steps, values) in enumerate(known):
            colour = SUBSYSTEMS[k]
            smooth = np.array([averaged(one) for one in values])
            mean, spread = smooth.mean(axis=0), smooth.std(axis=0, ddof=1) if len(smooth) > 1 else None
            axes.plot(*thinned(steps, mean), color=colour, label=short(label))
            if spread is not None:
                axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.2, linewidth=0)
        axes.set_xlabel("step")
        axes.margins(x=0.01)
        axes.legend(loc="best")

    unit = "moving average over 50 steps, mean and deviation over seeds"
    alt = f"{name} over the steps of {', '.join(label for label, *_ in known)}."
    return Picture(file_name(f"curve {name}"), name.capitalize(), unit + cut, alt, paint, (4.6, 3.0))


def course(group: Group, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps (n,) and values (seeds, n) of a number that was recorded at every step, as far as all runs go."""
    found = [series for run in group.runs if (series := history(run.path / TRAJECTORY, name)) is not None]
    length = min((len(steps) for steps, _ in found), default=0)
    if not length:
        return None
    return found[0][0][:length], np.stack([values[:length] for _, values in found])


def history(path: Any, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and values, both (n,), of a number of every step in a trajectory; None where it is not there."""
    try:
        admit(path)
        with Trajectory(path) as trajectory:
            table = trajectory.history_from(0)
    except (DynsimError, OSError):
        return None
    values = np.asarray(table.get(name, ()), float)
    known = np.isfinite(values)
    return (np.asarray(table["step"])[known], values[known]) if known.any() else None


def _importance(task: Task) -> Picture:
    shares = task.importance.shares

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        axes.barh(range(len(shares)), [100 * v for v in shares.values()], color=look.roles["main"], height=0.6)
        axes.set_yticks(range(len(shares)), list(shares))
        axes.invert_yaxis()
        axes.set_xlabel("share of the variance (%)")

    alt = "; ".join(f"{key}: {share:.0%}" for key, share in shares.items())
    size = (4.6, 1.0 + 0.3 * max(len(shares), 3))
    return Picture("importance", "What mattered", f"fANOVA of {words(task.score)}", alt, paint, size)


def short(label: str, most: int = 34) -> str:
    """A label that leaves room for the plot."""
    return label if len(label) <= most else label[: most - 1] + "…"
