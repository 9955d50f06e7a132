"""The command `dynsim report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Default RUN/report/index.html. The pictures go into RUN/report, or a folder FILE.",
        ),
    ] = None,
) -> None:
    """Write one HTML page, with PNGs beside it, on what a run was and measured."""
    from dynsim.report.write import write_report
    from dynsim.runfolder import RunFolder

    typer.echo(write_report(RunFolder.open(folder), out))
