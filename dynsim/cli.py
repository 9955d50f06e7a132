"""The command line. Nothing numerical is imported before a command needs it."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from dynsim.cli_batch import batch
from dynsim.cli_bench import bench
from dynsim.cli_compare import compare
from dynsim.cli_convert import convert
from dynsim.cli_export import export
from dynsim.cli_files import echo_pairs, info, repair
from dynsim.cli_merge import merge
from dynsim.cli_options import AsJson, Commands, Dask, Jobs, Quiet, Version, echo_json, verbose
from dynsim.cli_report import report
from dynsim.cli_sweep import sweep
from dynsim.errors import DynsimError
from dynsim.importing import uncollected
from dynsim.stopping import SIGNALS, end

app = typer.Typer(
    cls=Commands,
    help="A neural network as a cloud of interacting particles: simulate, record, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ScenarioName = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A TOML file, or the name of a shipped scenario.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A run folder.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. dynamics.dt=0.5; repeatable."),
]


def main() -> None:
    """Entry point: our own errors become one message and an exit code (2 for bad input, 1 otherwise)."""
    for number in SIGNALS:
        signal.signal(number, end)
    try:
        app()
    except DynsimError as error:
        if verbose() and not hasattr(error, "number"):
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(_exit_code(error)) from None
    except KeyboardInterrupt:  # before there is a command that hears it
        raise SystemExit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None


def _exit_code(error: DynsimError) -> int:
    number = getattr(error, "number", None)
    if number is not None:
        return 128 + number
    return 2 if isinstance(error, ValueError) else 1


@app.callback()
def every_command(version: Version = False) -> None:
    """What can be said before a command."""


@app.command()
def run(
    scenario: ScenarioName,
    out: Annotated[Path | None, typer.Option(help="New folder for the results; default runs/NAME.")] = None,
    settings: Settings = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, reference or auto.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Cap the run to a few seconds.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a scenario and leave a run folder."""
    with uncollected():
        from dynsim import runs
        from dynsim.progress import Progress
        from dynsim.scenario import Scenario

    loaded = Scenario.load(scenario, settings or [])
    if device is not None:
        loaded = loaded.changed(**{"run.device": device})
    if smoke:
        loaded = runs.smoke(loaded)
    with Progress(quiet) as progress:
        folder = runs.run(loaded, out, progress)
    if as_json:
        echo_json({"folder": str(folder.path), **(folder.summary or {})})
        return
    from dynsim.backend.report import final_table  # not before the run: it imports what a run does not need

    final_table(folder)


@app.command()
def resume(folder: Folder, settings: Settings = None, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Continue a run folder, or make it longer.

    Longer by --set run.steps=N or run.epochs=N, more than it has.
    """
    from dynsim import runs
    from dynsim.backend.report import final_table, program
    from dynsim.progress import Progress

    with Progress(quiet) as progress:
        done, moved = runs.resume(folder, settings or [], progress)
    if as_json:
        echo_json({"folder": str(done.path), "moved": moved, **(done.summary or {})})
        return
    if not moved:
        length = "epochs" if done.scenario.run.epochs else "steps"
        typer.echo(f"{folder} is finished. For longer: {program()} resume {folder} --set run.{length}=N")
        return
    final_table(done)


@app.command()
def scenarios(as_json: AsJson = False) -> None:
    """List the shipped scenarios."""
    from dynsim.shipped import shipped_scenarios

    listed = dict(shipped_scenarios())
    if as_json:
        echo_json([{"name": name, "about": about} for name, about in listed.items()])
        return
    echo_pairs(listed)


@app.command()
def evaluate(folder: Folder, as_json: AsJson = False) -> None:
    """Test the classifier of a run: accuracy, confusion, time."""
    from dynsim.backend.report import evaluate_run, print_evaluation

    result = evaluate_run(folder)
    if as_json:
        echo_json(result)
    else:
        print_evaluation(result)


@app.command()
def reproduce(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Such as table2, fig7 or s-table1; an unknown one lists all.")
    ],
    seeds: Annotated[int, typer.Option(help="Runs of every experiment, each with its own seed.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes instead of hours; only shows that it runs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/reproduced. What is done is kept.")] = None,
    jobs: Jobs = None,
    dask: Dask = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a table or figure of the papers again, ours beside it."""
    from dynsim.reproduce import command

    folder = out or Path("runs", "reproduced-quick" if quick else "reproduced")
    tables = command.reproduce(name, folder, seeds, quick, jobs, quiet, dask)
    if as_json:
        echo_json([t.plain() for t in tables])
        return
    for table in tables:
        table.show()
    typer.echo(f"In {folder}: {', '.join(f'{t.name}.md' for t in tables)}, .json, pictures, and raw/ with every run.")


app.command()(info)
app.command()(repair)
app.command()(convert)
app.command()(export)
app.command()(report)
app.command()(merge)
app.command()(batch)
app.command()(compare)
app.command()(bench)
app.command()(sweep)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, and check every kernel.

    Exit code 1 where one computes wrong.
    """
    from dynsim.doctor import examine, healthy, text

    found = examine()
    if as_json:
        echo_json(found)
    else:
        typer.echo("\n".join(text(found)))
    if not healthy(found):
        raise typer.Exit(1)


@app.command()
def cite(folder: Folder) -> None:
    """BibTeX of what a run built on."""
    from dynsim.references import BIBTEX, used_by
    from dynsim.runfolder import RunFolder

    s = RunFolder.open(folder).scenario
    keys = used_by(s.field.dataset, s.dynamics.integrator, s.system.metric, s.run.twin is not None)
    typer.echo("\n\n".join(BIBTEX[k] for k in keys))
