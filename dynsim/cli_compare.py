"""The command `dynsim compare`. Nothing numerical is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynsim.cli_options import AsJson, Quiet, echo_json, wide_console

if TYPE_CHECKING:
    from dynsim.compare.comparison import Comparison, Task

MOST = 25  # rows of a table on a screen


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs, batches, sweeps, folders of runs.")],
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another number, such as bytes or observables.entropy.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The others are compared with its group; default the first run given."),
    ] = None,
    to_csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="All numbers, a line a group.")] = None,
    to_html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="One page with tables and figures.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs: means over seeds, differences, what mattered.

    Runs that differ only in the seed are one group; --csv, --json and --html have all numbers.
    """
    from dynsim.compare.comparison import compare as comparing
    from dynsim.compare.write import write_csv, write_html
    from dynsim.progress import Progress

    with Progress(quiet) as progress:
        progress.phase("reading runs")
        found = comparing(folders, by, reference)
        if to_csv is not None:
            write_csv(found, to_csv)
        if to_html is not None:
            write_html(found, to_html, lambda name: progress.phase(f"painting {name}"))
    if as_json:
        echo_json(found.plain())
        return
    _show(found)
    for path in (to_csv, to_html):
        if path is not None:
            typer.echo(f"in {path}")


def _show(found: Comparison) -> None:
    console = wide_console()
    for task in found.tasks:
        _table(console, task)
    if len(found.tasks) > 1:
        console.print(f"{len(found.tasks)} tasks: their runs cannot be compared with each other.", highlight=False)
    for run in found.left_out:
        why = run.why.splitlines()[0]
        console.print(f"not compared: {run.path}: {why}", highlight=False, soft_wrap=True, markup=False)


def _table(console, task: Task) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from dynsim.compare.cells import cells, columns, notes

    table = Table(title=Text(task.name), title_justify="left", box=SIMPLE_HEAD, collapse_padding=True)
    for k, name in enumerate(columns(task)):
        table.add_column(Text(name), justify="left" if k == 0 else "right", overflow="fold")
    for row in task.rows[:MOST]:
        table.add_row(*map(Text, cells(task, row)))
    console.print(table)
    if len(task.rows) > MOST:
        console.print(f"… and {len(task.rows) - MOST} more groups: --csv, --json and --html have all.", highlight=False)
    for note in notes(task):
        console.print(note, highlight=False, markup=False)
