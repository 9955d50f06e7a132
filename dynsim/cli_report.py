"""The command `dynsim report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dynsim.cli_options import AsJson, echo_json


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Default RUN/report/index.html. The pictures go into RUN/report, or a folder FILE.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an HTML page on what a run was and measured.

    Its pictures lie beside it as PNGs too.
    """
    from dynsim.report.write import write_report
    from dynsim.runfolder import RunFolder

    page = write_report(RunFolder.open(folder), out)
    echo_json({"page": str(page)}) if as_json else typer.echo(page)
