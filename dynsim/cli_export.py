"""The command `dynsim export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run folder or a model file.")],
    to: Annotated[str, typer.Option(help="onnx, npz, safetensors or sklearn.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it; a model card goes to FILE.md.")],
    form: Annotated[
        str, typer.Option(help="dense: weights are stored; dyn: coordinates, from which the ONNX graph computes them.")
    ] = "dense",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Write a classifier for other programs, compared with the model before it is written."""
    from dynsim.backend.export import export as write

    report = write(source, to, out, form)
    typer.echo(json.dumps(report, indent=2) if as_json else _told(report))


def _told(report: dict[str, Any]) -> str:
    parity, speed = report["parity"], report["wall_clock"]
    file = f"{speed['file_us_per_sample']:.2f} by this file, " if speed["file_us_per_sample"] is not None else ""
    real = f"{parity['real']:.2g}" if parity["real"] is not None else "none"
    return "\n".join(
        [
            f"{report['file']}: {report['file_bytes']:,} bytes, {report['to']}, form {report['form']}",
            f"largest difference of logits (limit {parity['limit']:g}): {parity['random']:.2g} on random inputs, "
            f"{real} on real ones ({parity['real_inputs']})",
            f"microseconds a sample: {file}{speed['dyn_us_per_sample']:.2f} by dynsim, "
            f"{speed['dense_us_per_sample']:.2f} with dense weights",
            f"model card: {report['card']}",
        ]
    )
