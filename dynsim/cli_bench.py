"""The command `dynsim bench`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks; default all.")] = None,
    threads: Annotated[str, typer.Option(metavar="1,2", help="Numbers of threads to time with.")] = "1,2",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Time the kernels and a training step against what people would use instead."""
    from dynsim.bench.run import run, show

    found = run(names or [], threads)
    if as_json:
        typer.echo(json.dumps([row.plain() for row in found], indent=2))
    else:
        show(found)
