"""What a window remembers from one day to the next: layout, camera, colours, selection, place in time."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QByteArray

if TYPE_CHECKING:
    from dynsim_gui.window import Window

VERSION = 1


def memory_file() -> Path:
    """Where it is kept: $DYNSIM_GUI_MEMORY, or window.json in the user's configuration."""
    given = os.environ.get("DYNSIM_GUI_MEMORY")
    if given:
        return Path(given)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return home / "dynsim" / "window.json"


def collect(window: Window) -> dict[str, Any]:
    """The window as plain data."""
    viewer = window.viewer
    return {
        "version": VERSION,
        "geometry": _text(window.saveGeometry()),
        "layout": _text(window.saveState(VERSION)),
        "appearance": viewer.appearance.saved(),
        "camera": window.particles.scene.camera_state(),
        "speed": viewer.playback.speed,
        "rate": viewer.playback.rate,
        "loop": viewer.playback.loop,
        "selected": list(viewer.selected),
        "run": str(viewer.run.folder) if viewer.run is not None and viewer.run.folder is not None else None,
        "step": viewer.shown.step if viewer.shown is not None and not viewer.playback.follow else None,
    }


def restore_look(window: Window, saved: dict[str, Any]) -> None:
    """Layout and choices; what does not fit is left as it is."""
    if saved.get("version") != VERSION:
        return
    viewer = window.viewer
    window.restoreGeometry(_bytes(saved.get("geometry")))
    window.restoreState(_bytes(saved.get("layout")), VERSION)
    viewer.appearance.restore(saved.get("appearance"))
    for name in ("speed", "rate"):
        value = saved.get(name)
        if isinstance(value, int | float) and value > 0:
            setattr(viewer.playback, name, float(value))
    viewer.playback.speed = None if saved.get("speed", 0) is None else viewer.playback.speed
    viewer.playback.loop = saved.get("loop") is True


def restore_place(window: Window, saved: dict[str, Any]) -> None:
    """Camera, selection and place in time of the run that is open."""
    viewer = window.viewer
    if viewer.run is None:
        return
    window.particles.place_camera(saved.get("camera"))
    n = viewer.run.cast.n
    selected = saved.get("selected")
    for particle in selected if isinstance(selected, list) else ():
        if isinstance(particle, int) and 0 <= particle < n:
            viewer.select(particle, add=True)
    if isinstance(saved.get("step"), int):
        viewer.seek_step(saved["step"])


def write(window: Window, path: Path | None = None) -> None:
    """Remember; a home that cannot be written to is not worth an error on closing a window."""
    path = path or memory_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(collect(window), indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        return


def read(path: Path | None = None) -> dict[str, Any]:
    """What was remembered; {} for nothing, or something unreadable."""
    try:
        saved = json.loads((path or memory_file()).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _text(data: QByteArray) -> str:
    return base64.b64encode(bytes(data)).decode()


def _bytes(text: Any) -> QByteArray:
    try:
        return QByteArray(base64.b64decode(text)) if isinstance(text, str) else QByteArray()
    except ValueError:
        return QByteArray()
