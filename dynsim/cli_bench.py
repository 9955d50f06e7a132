"""The command `dynsim bench`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from dynsim.cli_options import AsJson, Quiet, echo_json

DEVICES = ("cpu", "cuda")


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Benchmarks; default all.")] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="1,2", help="Numbers of threads to time with; default 1 and 2.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda: kernels and whole steps on a card.")] = "cpu",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time kernels and a training step beside other libraries.

    On a card results are checked first, with exit code 1 where one is wrong, and times are shown beside its limits.
    """
    from dynsim.errors import unknown

    if device not in DEVICES:
        raise unknown("device", device, DEVICES, where="--device")
    if device == "cuda":
        _on_card(names or [], as_json, quiet)
        return
    # OpenBLAS's idle threads spin for 0.1 s, over which ours would have to wait; with this, 2^20 clocks.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    from dynsim.bench.run import run, text, warning
    from dynsim.progress import Progress

    found = []
    with Progress(quiet) as progress:
        for name, rows in run(names or [], threads, progress):
            found += rows
            if not as_json:
                typer.echo("\n".join(text(name, rows)))
    if as_json:
        echo_json([row.plain() for row in found])
    busy = warning(found)
    if busy and not quiet:
        typer.echo(busy, err=True)


def _on_card(names: list[str], as_json: bool, quiet: bool) -> None:
    from dynsim.bench import device
    from dynsim.progress import Progress

    with Progress(quiet) as progress:
        found = device.run(names, progress)
    if as_json:
        echo_json(found.plain())
    else:
        typer.echo("\n".join(device.text(found)))
    if not found.agrees:
        raise typer.Exit(1)
