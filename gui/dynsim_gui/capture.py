"""What a window leaves behind: a picture of itself, and a movie made by a process of its own."""

from __future__ import annotations

import json
import re
import sys
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from qtpy.QtCore import QBuffer, QIODevice, QProcess, Qt
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QDialog, QLabel, QProgressBar, QPushButton, QVBoxLayout

from dynsim_gui.models.caption import SCORES, Caption, caption, changes_until
from dynsim_gui.models.history import table_of
from dynsim_gui.models.viewer import Viewer
from dynsim_gui.stamp import save_png, with_line

if TYPE_CHECKING:
    from dynsim_gui.window import Window

PROGRESS = re.compile(r"picture (\d+) of (\d+)")
# Milliseconds that a movie which is called off has to remove what it has begun.
GRACE = 3000


def save_window(window: Window, path: str | Path) -> None:
    """Save a PNG of the window with its canvases and one line that says what is shown. Raises OSError."""
    pixmap = window.grab()
    said = caption_of(window.viewer)
    picture = _array(pixmap)
    if said is not None:
        picture = with_line(picture, said, pixmap.devicePixelRatio())
    save_png(picture, path, dict(said.metadata) if said is not None else {})


def caption_of(viewer: Viewer) -> Caption | None:
    """What is said about the frame that a viewer shows; None where it shows none."""
    run, frame = viewer.run, viewer.shown
    if run is None or frame is None:
        return None
    known = {name: _value(viewer, name, frame.step) for name in SCORES}
    changes = changes_until(viewer.logged, frame.step)
    return caption(run.title, run.cast, run.scenario, frame, changes, known)


def _value(viewer: Viewer, name: str, step: int) -> float:
    """A scalar of just this step; NaN where it has none."""
    table = table_of(name, viewer.history, viewer.recorded)
    return table.value_at(name, step) if step in table.steps else float("nan")


def _array(pixmap: QPixmap) -> np.ndarray:
    """(h, w, 3) uint8."""
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    pixmap.save(buffer, "PNG")
    with Image.open(BytesIO(bytes(buffer.data()))) as image:
        return np.asarray(image.convert("RGB"))


class MovieDialog(QDialog):
    """Makes a movie of the recorded frames as the window shows them, while the window goes on.

    Attributes
    ----------
    bar, said : progress, and what there is to say: in the end where the movie is, or why there is none.
    button : Cancel, in the end Close.
    """

    def __init__(self, window: Window, path: str | Path) -> None:
        super().__init__(window)
        self._path, self._heard = Path(path), ""
        self.setWindowTitle("Movie")
        self.setMinimumWidth(440)
        self.said, self.bar = QLabel(f"Making {self._path.name} …"), QProgressBar()
        self.said.setWordWrap(True)
        self.said.setTextFormat(Qt.TextFormat.PlainText)
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.bar.setRange(0, 0)
        self.button = QPushButton("Cancel")
        self.button.clicked.connect(self.reject)
        column = QVBoxLayout(self)
        column.setSpacing(10)
        column.addWidget(self.said)
        column.addWidget(self.bar)
        column.addWidget(self.button, alignment=Qt.AlignmentFlag.AlignRight)
        self._look = TemporaryDirectory(prefix="dynsim-")
        self._process = QProcess(self)
        self._process.readyReadStandardError.connect(self._hear)
        self._process.finished.connect(self._finished)
        self._start(window)

    def _start(self, window: Window) -> None:
        run = window.viewer.run
        if run is None or run.path is None:
            self._end("There is nothing recorded to make a movie of.")
            return
        look = Path(self._look.name) / "look.json"
        look.write_text(json.dumps(look_of(window)), encoding="utf-8")
        arguments = ["-m", "dynsim_gui", "movie", str(run.path), str(self._path.absolute()), "--look", str(look)]
        self._process.start(sys.executable, arguments)

    def _hear(self) -> None:
        self._heard += bytes(self._process.readAllStandardError()).decode(errors="replace")
        if told := PROGRESS.findall(self._heard):
            done, total = map(int, told[-1])
            self.bar.setRange(0, total)
            self.bar.setValue(done)

    def _finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._hear()
        if code == 0 and status == QProcess.ExitStatus.NormalExit:
            self._end(f"Saved: {self._path.absolute()} ({self._path.stat().st_size / 1e6:.1f} MB)")
        else:
            _, _, error = self._heard.rpartition("error: ")
            self._end(error.strip() or f"The movie was not made (exit code {code}).")

    def _end(self, text: str) -> None:
        self.said.setText(text)
        self.bar.hide()
        self.button.setText("Close")
        self._look.cleanup()

    def done(self, result: int) -> None:
        """Closing calls the movie off, if it is still being made; nothing half-written stays."""
        self._process.finished.disconnect(self._finished)
        if self._process.state() != QProcess.ProcessState.NotRunning:
            self._process.terminate()
            if not self._process.waitForFinished(GRACE):
                self._process.kill()
                self._process.waitForFinished(GRACE)
        self._look.cleanup()
        super().done(result)


def look_of(window: Window) -> dict:
    """What a movie must know to look as the window does; see `dynsim_gui.movie.read_look`."""
    return {
        "appearance": window.viewer.appearance.saved(),
        "camera": window.particles.scene.camera_state(),
        "selected": list(window.viewer.selected),
    }
