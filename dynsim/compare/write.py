"""A comparison as a CSV file, and as one HTML page that needs nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from dynsim.compare.cells import cells, columns, notes
from dynsim.compare.comparison import Comparison, Task
from dynsim.compare.figures import figures
from dynsim.errors import OptionError
from dynsim.files import write_atomically
from dynsim.report import page as p
from dynsim.report.pictures import DARK, LIGHT, Picture, png


def write_csv(comparison: Comparison, path: Path) -> None:
    """A line for each group: settings, seeds, and mean and deviation of every number.

    Raises RunFolderError where it cannot be written.
    """
    groups = [(task, row) for task in comparison.tasks for row in task.rows]
    keys = list(dict.fromkeys(key for _, row in groups for key in row.group.settings))
    numbers = list(dict.fromkeys(name for _, row in groups for name in row.group.numbers))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["task", "group", *keys, "seeds", "front", "difference", "low", "high"]
        + [f"{name}.{what}" for name in numbers for what in ("mean", "deviation")]
    )
    for task, row in groups:
        group, away = row.group, row.difference
        found = [group.numbers.get(name) for name in numbers]
        lines.writerow(
            [task.name, group.label, *(group.settings.get(key) for key in keys)]
            + [" ".join(map(str, group.seeds)), int(row.front)]
            + ([away.mean, away.low, away.high] if away is not None else [None] * 3)
            + [v for s in found for v in ((s.mean, s.deviation if len(s.values) > 1 else None) if s else (None, None))]
        )
    write_atomically(path, text.getvalue().encode())


def write_html(comparison: Comparison, path: Path, told: Callable[[str], None] = lambda name: None) -> None:
    """The page. Raises OptionError for a name without .html, DeviceError without matplotlib, RunFolderError."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError("not the name of a page", where="--html", given=str(path), allowed="a file ending in .html")
    page = p.Page("Runs compared")
    page.head("", _facts(comparison))
    for task in comparison.tasks:
        page.section(task.name, _table(task), "<br>", *(f'<p class="dim">{p.escape(note)}</p>' for note in notes(task)))
        told(task.name)
        page.section(f"Figures: {task.name}", p.grid([_painted(x) for x in figures(task)], pairs=True))
    if comparison.left_out:
        page.section("Not compared", p.table(("run", "why"), [(str(x.path), x.why) for x in comparison.left_out]))
    write_atomically(path, page.html.encode())


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    groups = [row.group for task in comparison.tasks for row in task.rows]
    runs = sum(len(group.runs) for group in groups)
    facts = [("runs", f"{runs:,} in {len(groups):,} groups; those of a group differ in the seed alone")]
    if len(comparison.tasks) > 1:
        facts.append(("tasks", f"{len(comparison.tasks)}, each with a table of its own: they cannot be compared"))
    if comparison.left_out:
        facts.append(("not compared", f"{len(comparison.left_out)}, named at the end"))
    return facts


def _table(task: Task) -> str:
    return p.table(columns(task), [cells(task, row) for row in task.rows])


def _painted(picture: Picture) -> str:
    return p.figure(picture.title, picture.unit, picture.alt, png(picture, LIGHT), png(picture, DARK))
