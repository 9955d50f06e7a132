"""Starts the window: the engine's process first, since it needs as long as Qt does."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dynsim import commands as c
from dynsim.errors import DeviceError
from dynsim_gui.__main__ import DEMO
from dynsim_gui.models.colours import refuse_unknown
from dynsim_gui.models.viewer import Viewer

if TYPE_CHECKING:
    from qtpy.QtWidgets import QApplication

    from dynsim_gui.window import Window

SCREENSHOT_STEP = 200


def run(given: argparse.Namespace) -> int:
    """The window until it is closed, or until its picture is taken; the exit code."""
    if given.colour_by is not None:
        refuse_unknown(given.colour_by, "--colour-by")
    with _Scratch() as scratch:
        viewer = Viewer()
        if given.speed is not None:
            viewer.playback.speed = None if given.speed == float("inf") else given.speed
        plan = _plan(given, scratch)
        automatic = given.screenshot is not None
        if plan is not None and not isinstance(plan, c.Look):
            viewer.open(plan, play=not (given.paused or automatic))
        try:
            return _show(given, viewer, plan)
        finally:
            viewer.close()


class _Scratch:
    """A folder for runs that nobody asked to keep; made only when it is needed."""

    def __enter__(self) -> _Scratch:
        self.path: Path | None = None
        return self

    def folder(self, name: str) -> Path:
        if self.path is None:
            self.path = Path(tempfile.mkdtemp(prefix="dynsim-"))
        return self.path / name

    def __exit__(self, *error: object) -> None:
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


def _plan(given: argparse.Namespace, scratch: _Scratch) -> c.Plan | None:
    """What the command line asks for; None is the welcome page."""
    looked_at = given.open or given.attach
    if looked_at is not None:
        return c.Look(looked_at)
    if given.resume is not None:
        return c.Resume(given.resume)
    if given.demo or given.scenario is not None:
        name = given.scenario or DEMO
        forgotten = given.out is None and (given.demo or given.screenshot is not None)
        return c.New(name, tuple(given.set), scratch.folder(Path(name).stem) if forgotten else given.out)
    return None


def application() -> QApplication:
    """Qt's application with our looks; raises DeviceError where there is no display to show it on."""
    if sys.platform.startswith("linux") and not any(os.environ.get(k) for k in ("DISPLAY", "WAYLAND_DISPLAY")):
        raise DeviceError(
            "no display",
            where="dynsim-gui",
            hint="xvfb-run dynsim-gui ..., or --screenshot OUT.png --canvas, or dynsim-gui movie RUN OUT.mp4",
        )
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QSurfaceFormat
    from qtpy.QtWidgets import QApplication

    from dynsim_gui import theme

    existing = QApplication.instance()
    if existing is not None:
        return existing
    # Canvases in docks share their textures and survive being moved between windows.
    QApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    surface = QSurfaceFormat()
    surface.setDepthBufferSize(24)
    surface.setSwapInterval(0)
    QSurfaceFormat.setDefaultFormat(surface)
    made = QApplication(["dynsim-gui"])
    made.setApplicationName("dynsim")
    theme.apply(made)
    return made


def _show(given: argparse.Namespace, viewer: Viewer, plan: c.Plan | None) -> int:
    qt = application()
    from dynsim_gui import memory
    from dynsim_gui.window import Window

    window = Window(viewer)
    saved = {} if given.fresh or given.screenshot is not None else memory.read()
    memory.restore_look(window, saved)
    if given.colour_by is not None:
        viewer.appearance.colour_by = given.colour_by
    if given.size is not None:
        window.resize(*given.size)
    if isinstance(plan, c.Look):
        viewer.look(plan.path)  # an error is one of the command line
    window.show()
    if plan is None and (plan := _last_time(window, saved)) is not None:
        window.open(plan)
    if isinstance(plan, c.Look):
        if saved.get("run") == str(plan.path):
            memory.restore_place(window, saved)
    elif plan is None:
        window.show_welcome()
    for name in given.panel:
        window.bring(name)
    if given.screenshot is not None:
        from dynsim_gui.unattended import Unattended

        job = Unattended(window, given)
        job.start()
        qt.exec()
        return job.exit_code
    _until_interrupted(qt.quit)
    return int(qt.exec())


def _last_time(window: Window, saved: dict) -> c.Plan | None:
    """The run that was open when the window was closed, if it is still there."""
    folder = saved.get("run")
    if isinstance(folder, str) and (Path(folder) / "trajectory.h5").is_file():
        return c.Look(Path(folder))
    return None


def _until_interrupted(leave: Callable[[], None]) -> None:
    """Ctrl-C in the terminal closes the window; Python sees it at the next tick of the window's timer."""
    signal.signal(signal.SIGINT, lambda *_: leave())
    signal.signal(signal.SIGTERM, lambda *_: leave())
