"""The commands `dynsim info` and `dynsim repair`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynsim.cli_options import AsJson, echo_json

if TYPE_CHECKING:
    from dynsim.following import Told


def info(
    path: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="A run folder, trajectory, model or scenario.")],
    follow: Annotated[bool, typer.Option("--follow", help="Tell how a run goes on, until it ends or Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is inside a run folder or file."""
    if follow:
        _follow(path, as_json)
        return
    from dynsim.backend.report import describe

    lines = describe(path)
    if as_json:
        echo_json(lines)
        return
    echo_pairs({name: _said(name, value) for name, value in lines.items()})


def _said(name: str, value: object) -> object:
    """Five digits of what is no whole number, and thousands apart where something is counted."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and name != "seed" else value


def repair(
    path: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run folder or trajectory that a kill left open.")],
    as_json: AsJson = False,
) -> None:
    """Close a trajectory that a killed run left open.

    Then every program reads it again.
    """
    from dynsim.progress import counted
    from dynsim.runs import repair

    done = repair(path)
    if as_json:
        echo_json(asdict(done) | {"changed": done.changed})
        return
    kept = f"{counted(done.frames, 'frame')}, {counted(done.steps, 'step')} and {counted(done.events, 'event')}"
    if not done.changed:
        typer.echo(f"nothing to repair: {kept}, closed in order")
        return
    typer.echo(f"repaired: {'the mark of a killed writer is off; ' if done.marked else ''}{kept} are kept")
    typer.echo(
        f"rows of torn chunks restored: {done.rescued}; rows dropped that a kill left half written: {done.dropped}"
    )


def echo_pairs(pairs: Mapping[str, object]) -> None:
    """Two columns; on a terminal the second is folded to its width, elsewhere a pair stays on its line."""
    width = max(map(len, pairs)) + 2
    room = max(shutil.get_terminal_size().columns - width, 40) if sys.stdout.isatty() else sys.maxsize
    for key, value in pairs.items():
        lines = textwrap.wrap(str(value), room, break_long_words=False, break_on_hyphens=False) or [""]
        typer.echo(f"{key:<{width}}" + ("\n" + " " * width).join(lines))


def _follow(path: Path, as_json: bool) -> None:
    from dynsim.feed import trajectory_of
    from dynsim.following import follow
    from dynsim.trajectory.admission import admit

    admit(trajectory_of(path))
    try:
        for told in follow(path):
            typer.echo(_as_json(told) if as_json else _as_text(told))
    except KeyboardInterrupt:  # the way to leave
        return


def _as_json(told: Told) -> str:
    from dynsim import plain

    return plain.text(asdict(told) | {"eta": told.eta}, indent=None)


def _as_text(told: Told) -> str:
    from dynsim.observables import briefly, named
    from dynsim.progress import clock

    rate = f"{told.rate:7.1f} steps/s" if told.rate is not None else ""
    left = f"ETA {clock(told.eta)}" if told.eta is not None else ""
    known = briefly(named("scalar"), told.scalars)
    numbers = [f"{label} {value:.4g}" for label, value in known.items() if value == value]
    where = f"step {told.step}" + (f"/{told.total}" if told.total is not None else "")
    lines = [f"event at step {step}: {kind} {detail}" for step, kind, detail in told.events]
    lines.append("  ".join(filter(None, (where, rate, left, *numbers))))
    return "\n".join([*lines, told.ended] if told.ended else lines)
