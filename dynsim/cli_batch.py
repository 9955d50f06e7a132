"""The command `dynsim batch`. Nothing numerical is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynsim.cli_options import AsJson, Dask, Jobs, Quiet, echo_json

if TYPE_CHECKING:
    from dynsim.batch import Batch


def batch(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="[[run]] tables: a scenario, seeds, settings.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of all runs; default runs/FILE.")] = None,
    jobs: Jobs = None,
    dask: Dask = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a list of scenarios and seeds.

    What is finished is kept, what was broken off goes on.
    """
    from dynsim.batch import Batch
    from dynsim.progress import Progress

    runs = Batch(file, out)
    with Progress(quiet) as progress:
        runs.run(jobs, dask, progress)
    if as_json:
        echo_json(runs.plain())
    else:
        _show(runs)
    if runs.failed:
        raise typer.Exit(1)


def _show(runs: Batch) -> None:
    kept = sum(m.kept for m in runs.members.values())
    before = f" ({kept} of them before)" if kept else ""
    typer.echo(f"{runs.counts['done']} of {len(runs.members)} runs are done{before}, {len(runs.failed)} failed")
    for member in runs.failed:
        typer.echo("\n  ".join([f"{member.folder}:", *member.reason.splitlines()]))
    typer.echo(f"In {runs.folder}: batch.json, and a run folder each. dynsim compare {runs.folder}")
