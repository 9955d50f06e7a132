"""The command `dynsim sweep`. Nothing numerical is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dynsim.cli_options import AsJson, Dask, Jobs, Quiet, echo_json, wide_console
from dynsim.errors import DynsimError, OptionError

if TYPE_CHECKING:
    from dynsim.sweep.record import Sweep

SHOWN = 10  # trials in the table


def sweep(
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="A TOML file, or the name of a shipped scenario.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; a sweep that was stopped there goes on.")],
    param: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=RANGE",
            help="What varies: 2,4,8 (values), 0.1:0.9, log:0.05:2, int:2:64 or logint:2:64; repeatable.",
        ),
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key for all trials; repeatable.")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many in all.  [default: 20]")] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination, instead of a search.")] = False,
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Number of a run's summary.  [default: final.validation_accuracy, else final.test_accuracy]",
        ),
    ] = None,
    minimise: Annotated[
        bool | None, typer.Option("--minimise/--maximise", help="Which way is better, where its name does not say so.")
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Break off trials whose validation accuracy is below the median.")
    ] = False,
    jobs: Jobs = None,
    dask: Dask = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Run a scenario with many settings, and find the best.

    More in docs/sweeps.md.
    """
    from dynsim.progress import Progress
    from dynsim.scenario import Scenario
    from dynsim.sweep import conduct

    if grid and trials is not None:
        raise OptionError("a grid has as many trials as combinations", where="--trials", given=trials)
    with Progress(quiet) as progress:
        found = conduct.sweep(
            Scenario.load(scenario, settings or []),
            param,
            out,
            trials=trials or 20,
            grid=grid,
            objective=objective,
            minimise=minimise,
            prune=prune,
            seed=seed,
            jobs=jobs,
            dask=dask,
            progress=progress,
        )
    if as_json:
        echo_json(found.plain())
    else:
        _show(found, out)
    if all(t.state == "failed" for t in found.trials):
        raise DynsimError("every trial has failed", where=str(out), given=found.trials[0].reason)


def _show(found: Sweep, out: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = wide_console()
    table = Table(title=found.scenario["name"], title_justify="left", box=SIMPLE_HEAD)
    for name in ("trial", *found.parameters, found.objective, "seconds"):
        table.add_column(name, justify="right", overflow="fold")
    for trial in found.ranked[:SHOWN]:
        value, seconds = (f"{x:.5g}" if x is not None else "" for x in (trial.value, trial.seconds))
        table.add_row(str(trial.number), *map(_shown, trial.settings.values()), value or trial.state, seconds)
    console.print(table)
    for line in _lines(found, out):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lines(found: Sweep, out: Path):
    from dynsim.progress import counted

    states = [t.state for t in found.trials]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(("complete", *states)))
    yield f"{counted(len(states), 'trial')}: {counts}"
    for trial in found.trials:
        if trial.state == "failed":
            yield f"trial {trial.number} failed: {' '.join((trial.reason or '').split())}"
    if found.best is not None:
        yield f"best: {out / (found.best.folder or '')}"
        if found.note:
            yield f"note: {found.note}"
