"""The command `dynsim merge`. Nothing numerical is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dynsim.cli_options import AsJson, echo_json


def merge(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run folder or a model file.")],
    radius: Annotated[list[float], typer.Option(help="Longest distance from a leader; repeat it to compare several.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the merged model, .safetensors; with one radius.")
    ] = None,
    across: Annotated[bool, typer.Option("--across", help="Particles of different subsystems merge too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Merge particles of a finished classifier that are close.

    Says accuracy, numbers and bytes before and after.
    """
    from dynsim.backend.merging import merge as merging

    report = merging(source, radius, out, across)
    if as_json:
        echo_json(report)
    else:
        _show(report)


def _show(report: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console, rows = Console(), report["rows"]
    where = "across subsystems" if report["across"] else "within subsystems"
    scores = [name for name in ("validation", "test") if name in rows[0]]
    table = Table(
        title=f"{report['source']}, merged {where}", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True
    )
    for name in ("radius", "distinct", "merged", "largest", *scores, "numbers", "bytes"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            f"{row['radius']:g}" if row["radius"] else "none",
            f"{row['distinct']:,}",
            f"{100 * row['merged']:.1f} %",
            f"{row['largest_cluster']:,}",
            *(f"{100 * row[name]:.2f} %" if report["classifies"] else f"{row[name]:.4g}" for name in scores),
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
        )
    console.print(table)
    for line in _notes(report, scores):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _notes(report: dict[str, Any], scores: list[str]) -> list[str]:
    notes = []
    if not scores:
        notes.append("No accuracy: a model file does not say what it was trained on.")
    elif not report["classifies"]:
        notes.append("validation, test: mean loss.")
    if "validation" in scores:
        notes.append("Choose a radius by the validation part; the test part is for what was chosen.")
    if report["file"]:
        notes.append(f"{report['file']}: {report['file_bytes']:,} bytes with its header.")
    return notes
