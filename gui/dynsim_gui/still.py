"""dynsim-gui --screenshot OUT.png --canvas: the particles of a recorded frame, or of a scenario at a step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from dynsim import commands as c
from dynsim.engine import Engine
from dynsim.errors import DynsimError, OptionError
from dynsim.feed import LiveFeed
from dynsim.frame import Frame
from dynsim_gui.models.appearance import Appearance
from dynsim_gui.models.caption import caption
from dynsim_gui.models.colours import Scene, quantity, refuse_unknown
from dynsim_gui.models.medium import interactive_of, medium_of
from dynsim_gui.picture import SIZE, canvas_picture
from dynsim_gui.recorded import Recorded
from dynsim_gui.stamp import save_png

STEP = 200
# Seconds for everything, a cold compile included.
PATIENCE = 600.0


def canvas_main(
    source: str | Path,
    out: Path,
    at: int | None = None,
    size: tuple[int, int] | None = None,
    colour_by: str | None = None,
    settings: tuple[str, ...] = (),
) -> None:
    """Save a picture of particles; needs no display and no Qt.

    Parameters
    ----------
    source : a run folder or trajectory, or a scenario (TOML file or shipped name), which is run as far as `at`.
    at : the step, of a recording the nearest recorded one; None: the last recorded, or 200.
    settings : key=value, of a scenario.

    Raises OptionError, ScenarioError, DeviceError, OSError and what the run raises.
    """
    appearance = Appearance()
    path = Path(source)
    recorded = path.is_dir() or path.suffix == ".h5"
    if colour_by is not None:
        if not recorded:
            refuse_unknown(colour_by, "--colour-by")
        appearance.colour_by = colour_by
    if recorded:
        _recorded(path, Path(out), at, size or SIZE, appearance, asked=colour_by is not None)
    else:
        _simulated(str(source), Path(out), STEP if at is None else at, size or SIZE, appearance, settings)


def _recorded(path: Path, out: Path, at: int | None, size, appearance: Appearance, asked: bool) -> None:
    with Recorded(path) as recorded:
        recorded.choose_colour(appearance, asked)
        scene = recorded.scene(recorded.index(at))
        said = recorded.caption(scene)
        save_png(canvas_picture(scene, said, appearance, size), out, said.metadata)


def _simulated(scenario: str, out: Path, at: int, size, appearance: Appearance, settings: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="dynsim-") as folder:
        at_work = AtWork(c.New(scenario, settings, Path(folder) / "run"))
        try:
            frame, start = at_work.frame_at(at, quantity(appearance.colour_by, at_work.opened.cast).needs)
            bundles = at_work.ask(c.StrongestLinks(appearance.link_count))
            opened, report = at_work.opened, at_work.report
        finally:
            at_work.close()
    options = medium_of(opened.scenario), interactive_of(opened.scenario)
    scene = Scene(opened.cast, frame, opened.classes, opened.links, start, *options)
    name = Path(scenario).stem
    said = caption(name, opened.cast, opened.scenario, frame, scalars={**frame.scalars, **report.scalars})
    save_png(canvas_picture(scene, said, appearance, size, bundles=bundles), out, said.metadata)


class AtWork:
    """An engine that is waited for, as a program without a window can.

    Attributes
    ----------
    opened : what it has open. report : its newest.

    Raises DynsimError with what the engine says where it refuses or fails, or has not answered in `PATIENCE`.
    """

    def __init__(self, plan: c.Plan) -> None:
        self.report = c.Report("starting")
        self._opened: c.Opened | None = None
        self._feed: LiveFeed | None = None
        self._engine = Engine(plan)
        try:
            self._wait(lambda: self._opened is not None)
        except BaseException:
            self.close()
            raise

    @property
    def opened(self) -> c.Opened:
        assert self._opened is not None
        return self._opened

    def frame_at(self, step: int, properties: tuple[str, ...]) -> tuple[Frame, Frame]:
        """The frame at a step, or at the end of a run that is shorter, and the first one."""
        feed = self._feed = LiveFeed(self.opened)
        frames: list[Frame] = []

        def arrived() -> bool:
            frame = feed.poll().frame
            if frame is not None:
                frames[1:] = [frame]
            there = self.report.phase in ("paused", "done") and self.report.step >= step
            return there and bool(frames) and frames[-1].step == self.report.step

        self._engine.send(c.Watch(properties))
        self._engine.send(c.Speed(None))
        if step > 0:
            self.report = c.Report("starting")
            self._engine.send(c.Step(step))
        self._wait(arrived)
        return frames[-1], feed.frame(0) if len(feed.steps) else frames[0]

    def ask(self, question: c.Question) -> Any:
        """The answer to a question about the state now."""
        answers: list[tuple[Any, str]] = []
        self._engine.ask(question, lambda value, error: answers.append((value, error)))
        self._wait(lambda: bool(answers))
        value, error = answers[0]
        if error:
            raise DynsimError(error)
        return value

    def close(self) -> None:
        """End the engine; safe to call twice."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        self._engine.close()

    def _wait(self, there: Callable[[], bool]) -> None:
        end = monotonic() + PATIENCE
        while not there():
            for message in self._engine.poll():
                self._hear(message)
            if self._engine.lost:
                raise DynsimError(f"the engine has ended (exit code {self._engine.exit_code})")
            if monotonic() > end:
                raise DynsimError(f"the engine has not answered in {PATIENCE:.0f} s")
            sleep(0.01)

    def _hear(self, message: Any) -> None:
        if isinstance(message, c.Opened):
            self._opened = message
        elif isinstance(message, c.Report):
            self.report = message
            if self._feed is not None:
                self._feed.take(message)
        elif isinstance(message, c.Refused):
            raise OptionError(message.message)
        elif isinstance(message, c.Failed):
            raise DynsimError(message.message)
