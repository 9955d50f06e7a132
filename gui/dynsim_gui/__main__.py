"""dynsim-gui: the command line of the window. Nothing heavy is imported here: an engine's process imports this too."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

DEMO = "quickstart"


def parser() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    p = argparse.ArgumentParser(
        prog="dynsim-gui",
        description="Watch a network learn as a cloud of interacting particles, touch it, replay it.",
        epilog="dynsim-gui movie RUN OUT.mp4|.gif makes a movie of a run; see dynsim-gui movie --help.",
    )
    p.add_argument("scenario", nargs="?", metavar="SCENARIO", help="run this: a TOML file or the name of a shipped one")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--demo", action="store_true", help="watch handwritten digits being learned, at once")
    what.add_argument("--open", type=Path, metavar="RUN|FILE", help="replay a run folder or a trajectory")
    what.add_argument("--attach", type=Path, metavar="RUN", help="watch a run that is still being written")
    what.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run from its last checkpoint")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the scenario")
    p.add_argument("--out", type=Path, metavar="DIR", help="new folder of the run; default runs/NAME")
    p.add_argument("--paused", action="store_true", help="do not start at once")
    p.add_argument("--speed", type=_speed, default=None, metavar="N|max", help="steps per second; default 30")
    p.add_argument("--colour-by", metavar="NAME", help="quantity that colours the particles")
    p.add_argument("--select", type=int, metavar="PARTICLE", help="select this particle")
    p.add_argument("--tab", choices=("draw", "confusion", "boundary", "gallery"), help="of the classifier view")
    p.add_argument("--sample", type=int, metavar="N", help="show how sample N of the gallery is classified")
    p.add_argument("--panel", action="append", default=[], metavar="NAME", help="bring a panel to the front")
    p.add_argument("--screenshot", type=Path, metavar="OUT.png", help="save a picture and leave")
    p.add_argument("--at", type=int, metavar="STEP", help="of the screenshot; default 200, or the last recorded step")
    p.add_argument("--size", type=_size, default=None, metavar="WxH", help="of the window; default 1280x800")
    p.add_argument("--canvas", action="store_true", help="screenshot of the particles alone; needs no display")
    p.add_argument("--fresh", action="store_true", help="forget the layout and choices of the last time")
    return p


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a size: {text!r}; such as 1280x800") from None
    if not all(200 <= k <= 8192 for k in size):
        raise argparse.ArgumentTypeError(f"not a size of a window: {text!r}; each side 200 ... 8192")
    return size


def _speed(text: str) -> float:
    try:
        speed = float("inf") if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"not a speed: {text!r}; steps per second, or max")
    return speed


def _check(given: argparse.Namespace) -> None:
    """Options that say nothing together end the program."""
    looked_at = next((name for name in ("open", "attach", "resume") if getattr(given, name) is not None), None)
    if given.scenario is not None and (given.demo or looked_at):
        parser().error(f"SCENARIO does not go with --{looked_at or 'demo'}")
    if given.screenshot is None and (given.canvas or given.at is not None):
        parser().error(f"{'--canvas' if given.canvas else '--at'} goes with --screenshot OUT.png")
    if given.screenshot is not None and given.screenshot.suffix.lower() != ".png":
        parser().error(f"--screenshot writes a PNG: {given.screenshot} does not end in .png")
    if given.set and looked_at:
        parser().error(f"--set does not go with --{looked_at}: what was run stays as it was")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; our own errors become one message and an exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    from dynsim.errors import DynsimError

    try:
        if arguments[:1] == ["movie"]:
            from dynsim_gui.movie import main as movie

            return movie(arguments[1:])
        given = parser().parse_args(arguments)
        _check(given)
        if given.canvas:
            from dynsim_gui.still import canvas_main

            source = given.open or given.attach or given.scenario or DEMO
            canvas_main(source, given.screenshot, given.at, given.size, given.colour_by, tuple(given.set))
            return 0
        from dynsim_gui.app import run

        return run(given)
    except (DynsimError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, ValueError | OSError) else 1


if __name__ == "__main__":
    sys.exit(main())
