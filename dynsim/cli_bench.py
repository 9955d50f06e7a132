"""The command `dynsim bench`."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks; default all.")] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="1,2", help="Numbers of threads to time with; default 1 and 2.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Time the kernels and a training step against what people would use instead."""
    # OpenBLAS's idle threads spin for 0.1 s, over which ours would have to wait; with this, 2^20 clocks.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    from dynsim.bench.run import run, text, warning
    from dynsim.progress import Progress

    found = []
    with Progress() as progress:
        for name, rows in run(names or [], threads, progress):
            found += rows
            if not as_json:
                typer.echo("\n".join(text(name, rows)))
    if as_json:
        typer.echo(json.dumps([row.plain() for row in found], indent=2))
    busy = warning(found)
    if busy:
        typer.echo(busy, err=True)
