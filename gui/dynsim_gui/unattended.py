"""A screenshot without a person: wait for a step, for what answers to it, take the picture, leave."""

from __future__ import annotations

import argparse
import sys
from time import monotonic
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication

from dynsim import commands as c
from dynsim.errors import DynsimError
from dynsim_gui.capture import save_window
from dynsim_gui.models.viewer import attempt

if TYPE_CHECKING:
    from dynsim_gui.window import Window

STEP = 200
# Seconds for the panels to catch up, and for the whole at most.
SETTLE, PATIENCE = 2.5, 600.0


class Unattended(QObject):
    """Drives a window to a step and saves its picture.

    `exit_code` is 0 once the picture is there.
    """

    def __init__(self, window: Window, given: argparse.Namespace) -> None:
        super().__init__(window)
        self._window, self._given = window, given
        self._begun, self._settled = monotonic(), 0.0
        self._asked = self._touched = False
        self.exit_code = 1
        self._timer = QTimer(self)
        self._timer.setInterval(50)
        self._timer.timeout.connect(self._look)
        window.viewer.failed.connect(self._fail)
        window.viewer.refused.connect(self._refused)

    def start(self) -> None:
        self._timer.start()

    def _look(self) -> None:
        if monotonic() - self._begun > PATIENCE:
            self._fail(f"gave up after {PATIENCE:.0f} s")
        elif not self._there():
            self._settled = 0.0
        elif not self._touched:
            self._touch()
        elif not self._settled:
            self._settled = monotonic()
        elif monotonic() - self._settled > SETTLE:
            self._save()

    def _there(self) -> bool:
        """Whether the step is on the screen."""
        viewer, at = self._window.viewer, self._given.at
        if viewer.run is None or viewer.shown is None:
            return False
        if not viewer.run.live:
            if at is not None and not self._asked:
                self._asked = True
                viewer.seek_step(at)
            return viewer.engine is None or bool(viewer.run.links)
        at = STEP if at is None else at
        if not self._asked:
            self._asked = True
            viewer.playback.speed = None
            if at:
                viewer.engine.send(c.Step(at))
        if viewer.status.phase == "done" and viewer.shown.step < at:
            sys.stderr.write(f"the run ended at step {viewer.shown.step}, before step {at}\n")
            return True
        return viewer.shown.step >= at

    def _touch(self) -> None:
        """What else the command line asks to be shown."""
        self._touched = True
        window, given = self._window, self._given
        if given.select is not None:
            attempt(lambda: window.viewer.select(given.select), self._refused)
        if given.tab is not None:
            window.bring("classifier")
            window.classifier.choose_tab(given.tab)
        if given.sample is not None:
            window.bring("classifier")
            window.classify.take_sample(given.sample)

    def _save(self) -> None:
        try:
            save_window(self._window, self._given.screenshot)
            self.exit_code = 0
        except (DynsimError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
        self._leave()

    def _refused(self, message: str) -> None:
        """What was asked for cannot be done."""
        self.exit_code = 2
        self._fail(message)

    def _fail(self, message: str) -> None:
        sys.stderr.write(f"error: {message}\n")
        self._leave()

    def _leave(self) -> None:
        self._timer.stop()
        self._window.close()
        QApplication.exit(self.exit_code)
