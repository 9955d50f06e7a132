"""The command `dynsim convert`. Nothing numerical is imported before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dynsim.cli_options import AsJson, Dask, Jobs, Quiet, echo_json

NAME = 20  # letters of a layer's name that a table shows, the last ones


def convert(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx, .safetensors or .npz file.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; one that was stopped goes on.")],
    metric: Annotated[
        str | None, typer.Option(help="Of every layer's particles, without a budget.  [default: l2]")
    ] = None,
    copies: Annotated[int | None, typer.Option(help="H, particles of a sub-model.  [default: 3]")] = None,
    dim: Annotated[int | None, typer.Option(help="d of the state space.  [default: 9]")] = None,
    bits: Annotated[int | None, typer.Option(help="Of a coordinate, 4 to 16; float32 if not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of a layer's fit.")] = None,
    budget_bytes: Annotated[int | None, typer.Option(help="For all tensors; each layer gets its best form.")] = None,
    budget_ratio: Annotated[float | None, typer.Option(help="The same as a share of the original's bytes.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A method that may be used; repeatable.")] = None,
    layers: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Convert these only; repeatable.")] = None,
    data: Annotated[str | None, typer.Option(help="Dataset or .npz file that weighs errors and judges; ONNX.")] = None,
    axes: Annotated[str, typer.Option(help="Of kernels in npz, safetensors: auto, torch or keras.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of all random starts.")] = 0,
    jobs: Jobs = None,
    dask: Dask = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Convert a network that others trained into particles.

    Under a budget of bytes, each layer into its best form.
    """
    from dynsim.backend.conversion import convert as conversion
    from dynsim.progress import Progress

    finished = (out / conversion.REPORT).is_file()
    with Progress(quiet) as progress:
        report = conversion.convert(
            model,
            out,
            metric=metric,
            copies=copies,
            dim=dim,
            bits=bits,
            steps=steps,
            budget_bytes=budget_bytes,
            budget_ratio=budget_ratio,
            only=only or (),
            layers=layers or (),
            data=data,
            axes=axes,
            seed=seed,
            jobs=jobs,
            dask=dask,
            progress=progress,
        )
    if as_json:
        echo_json(report)
    else:
        _show(report, out, finished)


def _show(report: Mapping[str, Any], out: Path, finished: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from dynsim.backend.conversion import report as told

    console = Console()
    if finished:
        console.print(f"{out} was finished before: nothing was done.", highlight=False, soft_wrap=True, markup=False)
    tables: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = [
        (report["network"]["file"], told.LAYERS, told.layer_rows(report))
    ]
    if report["budget"]:
        tables.append(("each method alone, same budget", told.METHODS, told.method_rows(report)))
    for title, head, rows in tables:
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for k, name in enumerate(head):
            left = k < min(3, len(head) - 2)
            table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=k != 2)
        for first, *row in rows:
            table.add_row(first if len(first) <= NAME else "…" + first[1 - NAME :], *row)
        console.print(table)
    for line in (*told.summary_lines(report), *report["notes"], f"in {out}"):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
