"""The comparison: of each task its groups, the best first, with all that the table, the files and the window show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dynsim.compare.found import LeftOut, Run, find
from dynsim.compare.groups import Difference, Group, difference, grouped, pareto
from dynsim.compare.importance import Importance, importance
from dynsim.errors import OptionError, RunFolderError, unknown
from dynsim.reproduce.study import Sample
from dynsim.scores import more_is_better


@dataclass(frozen=True)
class Row:
    """A group as the table shows it.

    Attributes
    ----------
    score : by which it stands in the table. difference : of the score from the reference's, None for the reference
        itself and for a group without common seeds. front : no other group has a better score for as few bytes.
    """

    group: Group
    score: Sample
    difference: Difference | None
    front: bool


@dataclass(frozen=True)
class Task:
    """Runs that can be compared: what they learned and how they are judged is the same.

    Attributes
    ----------
    name : data and score. score : the number; higher : more of it is better.
    rows : the best first. reference : label of the group that the others are compared with.
    """

    name: str
    score: str
    higher: bool
    rows: tuple[Row, ...]
    reference: str
    importance: Importance


@dataclass(frozen=True)
class Comparison:
    """All tasks, and the runs that are in none of them."""

    tasks: tuple[Task, ...]
    left_out: tuple[LeftOut, ...]

    def plain(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "schema": "dynsim-compare/1",
            "tasks": [_plain_task(task) for task in self.tasks],
            "left_out": [{"run": str(x.path), "why": x.why} for x in self.left_out],
        }


def compare(
    folders: Sequence[Path],
    by: str | None = None,
    reference: Path | None = None,
) -> Comparison:
    """Compare runs, and all those in the folders of batches and sweeps.

    Parameters
    ----------
    by : a number of their summaries instead of what they are judged by. reference : one of the runs, with whose group
        the others are compared; by default the first that was given.

    Raises RunFolderError where there is no such folder or no finished run, OptionError for an unknown number or a
    reference that is not among them.
    """
    runs, left_out = find(folders)
    if not runs:
        why = "\n".join(f"{x.path}: {x.why}" for x in left_out)
        raise RunFolderError("no finished run to compare", where=", ".join(map(str, folders)), given=why)
    if by is not None:
        left_out += [LeftOut(run.path, f"has no number {by}") for run in runs if by not in run.numbers]
        known = sorted({name for run in runs for name in run.numbers})
        runs = [run for run in runs if by in run.numbers]
        if not runs:
            raise unknown("number", by, known, where="--by")
    against = None
    if reference is not None:
        against = next((run for run in runs if run.path.resolve() == reference.resolve()), None)
        if against is None:
            raise OptionError("not one of the finished runs", where="--reference", given=str(reference))
    tasks = []
    for name in dict.fromkeys(run.task for run in runs):
        groups, twice = grouped([run for run in runs if run.task == name])
        left_out += twice
        tasks.append(_task(name, groups, by, against))
    return Comparison(tuple(tasks), tuple(left_out))


def _task(name: str, groups: list[Group], by: str | None, against: Run | None) -> Task:
    score = by or groups[0].runs[0].score
    higher = more_is_better(score) is not False
    others = next((g for g in groups if against and g.runs[0].settings == against.settings), groups[0])
    sign = 1 if higher else -1
    front = pareto([(g.numbers["bytes"].mean, sign * g.numbers[score].mean) for g in groups])
    rows = [
        Row(g, g.numbers[score], difference(g, others, score) if g is not others else None, best)
        for g, best in zip(groups, front)
    ]
    rows.sort(key=lambda row: -sign * row.score.mean)
    runs: list[Run] = [run for g in groups for run in g.runs]
    shares = importance(runs, score)
    return Task(name, score, higher, tuple(rows), others.label, shares)


def _plain_task(task: Task) -> dict[str, Any]:
    return {
        "task": task.name,
        "score": task.score,
        "better": "higher" if task.higher else "lower",
        "reference": task.reference,
        "groups": [_plain_row(row) for row in task.rows],
        "importance": task.importance.shares or None,
        "importance_note": task.importance.note,
    }


def _plain_row(row: Row) -> dict[str, Any]:
    numbers = {
        name: {"mean": s.mean, "deviation": s.deviation if len(s.values) > 1 else None, "values": list(s.values)}
        for name, s in row.group.numbers.items()
    }
    return {
        "group": row.group.label,
        "settings": dict(row.group.settings),
        "seeds": list(row.group.seeds),
        "runs": [str(run.path) for run in row.group.runs],
        "front": row.front,
        "difference": asdict(row.difference) if row.difference is not None else None,
        "numbers": numbers,
    }
