"""dynsim-gui movie: the recorded frames of a run as a film, without a display.

Only what was recorded is shown: a frame stands until the next one comes, nothing is interpolated. The camera may turn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from dynsim.errors import DynsimError, FileFormatError, OptionError
from dynsim_gui.film import check_target, write_film
from dynsim_gui.models.appearance import Appearance

SIZES = {".mp4": (1280, 800), ".gif": (640, 400)}
RATES = {".mp4": 30.0, ".gif": 20.0}
# Seconds that a movie takes, unless asked otherwise: every frame once, within these.
SHORTEST, LONGEST = 5.0, {".mp4": 60.0, ".gif": 12.0}


@dataclass(frozen=True)
class Shot:
    """One picture of the film: which recorded frame, and how far the camera has turned (degrees)."""

    frame: int
    angle: float


def shots(frames: Sequence[int], fps: float, seconds: float, spin: float = 0.0) -> list[Shot]:
    """`fps * seconds` pictures, spread evenly over recorded frames in their order; `spin` in degrees a second."""
    count = max(1, round(fps * seconds))
    return [Shot(frames[k * len(frames) // count], spin * k / fps) for k in range(count)]


def parser() -> argparse.ArgumentParser:
    """What can be said on the command line."""
    p = argparse.ArgumentParser(
        prog="dynsim-gui movie",
        description="The recorded frames of a run as a film; needs no display. Nothing is interpolated.",
    )
    p.add_argument("run", type=Path, metavar="RUN", help="run folder or trajectory, finished or still being written")
    p.add_argument("out", type=Path, metavar="OUT.mp4|.gif")
    p.add_argument("--fps", type=_positive, metavar="N", help="pictures a second; default 30, for gif 20")
    p.add_argument("--seconds", type=_positive, metavar="S", help="length; default: every frame once, 5 to 60 s")
    p.add_argument("--size", type=_size, metavar="WxH", help="in pixels; default 1280x800, for gif 640x400")
    p.add_argument("--every", type=_count, default=1, metavar="K", help="show every K-th recorded frame")
    p.add_argument("--from", type=int, dest="first", metavar="STEP", help="first step; default the beginning")
    p.add_argument("--to", type=int, dest="last", metavar="STEP", help="last step; default the end")
    p.add_argument("--colour-by", metavar="NAME", help="quantity that colours the particles")
    p.add_argument("--pca", action="store_true", help="along the principal components of the last frame shown")
    p.add_argument("--spin", type=float, default=None, metavar="DEGREES", help="turn the camera so much a second")
    p.add_argument("--look", type=Path, metavar="FILE.json", help="appearance, camera and selection of a window")
    p.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return p


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and all(160 <= int(k) <= 8192 for k in (width, height))):
        raise argparse.ArgumentTypeError(f"not a size: {text!r}; such as 1280x800, each side 160 ... 8192")
    return int(width), int(height)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"not a number above 0: {text!r}")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a whole number above 0: {text!r}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Make a movie; our own errors become one message and exit code 2, Ctrl-C becomes 130."""
    given = parser().parse_args(argv)
    try:
        with _interruptible() as stopped:
            make(given, stopped)
    except (DynsimError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped: no movie was written\n")
        return 130
    return 0


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """A list that Ctrl-C and SIGTERM fill: an exception in the midst of drawing would be swallowed by VisPy."""
    received: list[int] = []
    before = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def make(given: argparse.Namespace, stopped: Sequence[int] = ()) -> None:
    """The movie that the arguments describe, until `stopped` is filled.

    Raises OptionError, FileFormatError, DeviceError, KeyboardInterrupt where it was stopped, and what opening the run
    raises; then nothing is left behind.
    """
    check_target(given.out)
    ending = given.out.suffix.lower()
    look = read_look(given.look)
    appearance = _appearance(given, look)

    from dynsim_gui.picture import Studio
    from dynsim_gui.recorded import Recorded
    from dynsim_gui.visuals.stage import SPIN

    with Recorded(given.run) as recorded:
        recorded.choose_colour(appearance, asked=given.colour_by is not None or "appearance" in look)
        frames = _frames(given, recorded.steps)
        fps = given.fps or RATES[ending]
        seconds = given.seconds or float(np.clip(len(frames) / fps, SHORTEST, LONGEST[ending]))
        spin = given.spin if given.spin is not None else (SPIN if appearance.spin else 0.0)
        plan = shots(frames, fps, seconds, spin)
        say = _Progress(given.quiet, len(plan), frames, {shot.frame for shot in plan})
        selected = tuple(p for p in look.get("selected", ()) if isinstance(p, int) and p >= 0)
        width, height = given.size or SIZES[ending]
        with Studio(appearance, (width - width % 2, height - height % 2), camera=look.get("camera")) as studio:
            # Wherever particles go on the way, they are in view.
            studio.prepare([recorded.scene(frames[k * (len(frames) - 1) // 4]) for k in range(5)])
            pictures = _pictures(studio, recorded, plan, selected, say, stopped)
            write_film(given.out, pictures, fps)
    say.done(given.out)


def read_look(path: Path | None) -> dict[str, Any]:
    """What a window has handed over: "appearance", "camera", "selected"; {} without a file.

    Raises FileFormatError for anything else, OSError where it cannot be read.
    """
    if path is None:
        return {}
    try:
        look = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileFormatError("not JSON", where=str(path), given=str(error)) from None
    kinds = {"appearance": dict, "camera": dict, "selected": list}
    if not isinstance(look, dict) or not all(isinstance(look.get(key, kind()), kind) for key, kind in kinds.items()):
        raise FileFormatError("not the look of a window", where=str(path), allowed='{"appearance": {}, "camera": {}}')
    return look


def _appearance(given: argparse.Namespace, look: dict[str, Any]) -> Appearance:
    appearance = Appearance()
    appearance.restore(look.get("appearance", {}))
    appearance.colour_by = given.colour_by or appearance.colour_by
    if given.pca:
        appearance.projection = "pca"
    return appearance


def _frames(given: argparse.Namespace, steps: np.ndarray) -> list[int]:
    """Numbers of the recorded frames to be shown, in order."""
    first = steps[0] if given.first is None else given.first
    last = steps[-1] if given.last is None else given.last
    chosen = np.flatnonzero((steps >= first) & (steps <= last))[:: given.every]
    if not len(chosen):
        raise OptionError(
            "no frame was recorded there",
            where="--from, --to",
            given=f"steps {first} ... {last}",
            allowed=f"{steps[0]} ... {steps[-1]}",
        )
    return [int(k) for k in chosen]


def _pictures(studio, recorded, plan: list[Shot], selected: tuple[int, ...], say: Callable[[int], None], stopped):
    """The pictures of a plan; one that would be as the last is not taken again."""
    last, picture, angle = None, None, 0.0
    for k, shot in enumerate(plan):
        if picture is None or shot.frame != last.frame or shot.angle != last.angle:
            studio.turn(shot.angle - angle)
            angle = shot.angle
            scene = recorded.scene(shot.frame)
            picture = studio.take(scene, recorded.caption(scene), selected)
        last = shot
        yield picture
        say(k + 1)
        if stopped:
            raise KeyboardInterrupt


class _Progress:
    """Lines on stderr, twice a second at most, which a window reads too: "picture 12 of 240"."""

    def __init__(self, quiet: bool, total: int, frames: list[int], shown: set[int]) -> None:
        self._quiet, self._total, self._due = quiet, total, 0.0
        left_out = len(frames) - len(shown)
        note = f" (a longer one, by --seconds, shows the other {left_out} too)" if left_out else ""
        self._write(f"{len(shown)} of {len(frames)} recorded frames in {total} pictures{note}\n")

    def __call__(self, done: int) -> None:
        now = monotonic()
        if now >= self._due or done == self._total:
            self._due = now + 0.5
            line = f"picture {done} of {self._total}"
            self._write(f"\r{line}" if sys.stderr.isatty() and done < self._total else f"{line}\n")

    def done(self, path: Path) -> None:
        """Where it is, and how large."""
        self._write(f"{path}: {os.path.getsize(path) / 1e6:.1f} MB\n")

    def _write(self, text: str) -> None:
        if not self._quiet:
            sys.stderr.write(text)
            sys.stderr.flush()
