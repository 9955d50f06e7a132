"""The command `dynsim export`: classifiers and trajectories for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dynsim.cli_options import AsJson, echo_json


def export(
    source: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run folder, a model or a trajectory.")],
    to: Annotated[str, typer.Option(help="onnx, npz, safetensors or sklearn; gsd for the trajectory.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write it; a model card goes to FILE.md.")],
    form: Annotated[
        str, typer.Option(help="dense: weights are stored; dyn: coordinates, from which the ONNX graph computes them.")
    ] = "dense",
    as_json: AsJson = False,
) -> None:
    """Write a classifier or a trajectory for other programs.

    A classifier is compared with the model before it is written.
    """
    from dynsim.backend.export import export as write

    if to == "gsd":
        _trajectory(source, out, as_json)
        return
    report = write(source, to, out, form)
    echo_json(report) if as_json else typer.echo(_told(report))


def _trajectory(source: Path, out: Path, as_json: bool) -> None:
    from dynsim.backend.gsd_export import export_gsd

    report = export_gsd(source, out)
    line = "{file}: {frames} frames of {particles} particles, {file_bytes:,} bytes".format_map(report)
    echo_json(report) if as_json else typer.echo(line)


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
