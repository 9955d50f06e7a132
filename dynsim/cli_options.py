"""Options that all commands share, and how their results are printed as JSON."""

from __future__ import annotations

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

QUIET = "No progress: only results and errors."
VERBOSE = "Say on stderr all that is logged, with times, and where an error came from."
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output: stdout holds one JSON value.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help=QUIET)]
Jobs = Annotated[int | None, typer.Option(min=1, help="Worker processes of one kernel thread; default one a core.")]
Dask = Annotated[
    str | None,
    typer.Option(metavar="tcp://HOST:PORT", help="A Dask scheduler whose workers do it; they must see the folder."),
]

LOG = logging.getLogger("dynsim")


def _tell_version(asked: bool) -> None:
    """Says it and ends."""
    if asked:
        from dynsim.versions import version_of

        typer.echo(f"dynsim {version_of('dynsim')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Say which version this is, and leave.")
]


def _speak(value: bool) -> None:
    """Turns the log on stderr on, or off again."""
    for handler in LOG.handlers[:]:
        LOG.removeHandler(handler)
    LOG.setLevel(logging.DEBUG if value else logging.NOTSET)
    if value:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        LOG.addHandler(handler)


def verbose() -> bool:
    """Whether -v was given."""
    return bool(LOG.handlers)


class Commands(TyperGroup):
    """Commands that all know -q and -v, those that have nothing to be quiet about too."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            known = {name for option in command.params for name in option.opts}
            command.params += [option for option in _levels() if not known & set(option.opts)]
        return command


def _levels() -> list[Any]:
    """The options of a command that does nothing else: typer makes them as it makes all."""
    bare = typer.Typer(add_completion=False)

    @bare.command(add_help_option=False)
    def levels(
        quiet: Annotated[bool, typer.Option("--quiet", "-q", help=QUIET, expose_value=False)] = False,
        verbose: Annotated[
            bool, typer.Option("--verbose", "-v", help=VERBOSE, expose_value=False, callback=_speak)
        ] = False,
    ) -> None: ...

    return typer.main.get_command(bare).params


def wide_console() -> Any:
    """For a table with as many columns as there are keys: of a terminal's width there, elsewhere of 200 letters."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=200)


def echo_json(value: Any) -> None:
    """Print a result as JSON has it: null for what is no finite number."""
    from dynsim import plain

    typer.echo(plain.text(value))
