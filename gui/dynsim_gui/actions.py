"""The one table of what a person can do: menus, buttons, shortcuts, their help and their tests come from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import qtawesome
from qtpy.QtGui import QAction, QKeySequence

from dynsim_gui.models.palette import TEXT
from dynsim_gui.models.viewer import Viewer

if TYPE_CHECKING:
    from dynsim_gui.window import Window


def _always(viewer: Viewer) -> bool:
    return True


def _open(viewer: Viewer) -> bool:
    return viewer.run is not None


def _live(viewer: Viewer) -> bool:
    return viewer.live


def _recorded(viewer: Viewer) -> bool:
    return viewer.feed is not None and len(viewer.feed.steps) > 0


def _moves(viewer: Viewer) -> bool:
    return viewer.live or _recorded(viewer)


def _in_folder(viewer: Viewer) -> bool:
    return viewer.run is not None and viewer.run.folder is not None


@dataclass(frozen=True)
class Action:
    """Something a person can do.

    Attributes
    ----------
    id : unique. menu : the menu it stands in. text, tip : shown. short : on a button, the text if "".
    keys : shortcuts, the first one is shown.
    icon : of the Material Design set, "" for none.
    run : what it does.
    enabled : when it can be done. checked : state of a switch, None for no switch.
    """

    id: str
    menu: str
    text: str
    keys: tuple[str, ...]
    icon: str
    run: Callable[[Window], None]
    enabled: Callable[[Viewer], bool] = _always
    checked: Callable[[Viewer], bool] | None = None
    tip: str = ""
    short: str = ""


def _switch(name: str) -> Callable[[Window], None]:
    """Turns a choice of the appearance over."""

    def turn(window: Window) -> None:
        appearance = window.viewer.appearance
        setattr(appearance, name, not getattr(appearance, name))

    return turn


def _is_on(name: str) -> Callable[[Viewer], bool]:
    return lambda viewer: bool(getattr(viewer.appearance, name))


ACTIONS: tuple[Action, ...] = (
    Action("new", "File", "New from scenario…", ("Ctrl+N",), "file-plus-outline", lambda w: w.new_scenario()),
    Action("data", "File", "Own data…", ("Ctrl+D",), "table-arrow-right", lambda w: w.open_data()),
    Action(
        "open",
        "File",
        "Open run folder…",
        ("Ctrl+O",),
        "folder-open-outline",
        lambda w: w.open_run(),
        tip="Replay a finished run, or watch one that is still being written",
    ),
    Action(
        "open_file",
        "File",
        "Open file…",
        ("Ctrl+Shift+O",),
        "file-outline",
        lambda w: w.open_file(),
        tip="A trajectory (.h5) or a scenario (.toml)",
    ),
    Action(
        "compare",
        "File",
        "Compare runs…",
        ("Ctrl+Shift+C",),
        "scale-balance",
        lambda w: w.dialogs.compare(),
        tip="Means over seeds, differences, and two runs side by side",
    ),
    Action("save", "File", "Write checkpoint", ("Ctrl+S",), "content-save-outline", lambda w: w.viewer.save(), _live),
    Action("screenshot", "File", "Screenshot…", ("F12",), "camera-outline", lambda w: w.ask_screenshot(), _open),
    Action("movie", "File", "Movie…", ("Ctrl+M",), "movie-open-outline", lambda w: w.ask_movie(), _recorded),
    Action("export", "File", "Export curves…", ("Ctrl+E",), "file-delimited-outline", lambda w: w.ask_export(), _open),
    Action("quit", "File", "Quit", ("Ctrl+Q",), "power", lambda w: w.close()),
    Action("play", "Run", "Play / pause", ("Space",), "play", lambda w: w.viewer.toggle(), _moves, lambda v: v.playing),
    Action(
        "forward",
        "Run",
        "Step forward",
        ("Right", "."),
        "skip-next",
        lambda w: w.viewer.step(1),
        _moves,
        tip="One step of the engine, or one recorded frame",
    ),
    Action(
        "back",
        "Run",
        "Step back",
        ("Left", ","),
        "skip-previous",
        lambda w: w.viewer.step(-1),
        _recorded,
        tip="One recorded frame back; the engine goes on",
    ),
    Action("forward10", "Run", "Ten forward", ("Shift+Right",), "", lambda w: w.viewer.step(10), _moves),
    Action("back10", "Run", "Ten back", ("Shift+Left",), "", lambda w: w.viewer.step(-10), _recorded),
    Action("first", "Run", "First frame", ("Home",), "", lambda w: w.viewer.seek(0), _recorded),
    Action(
        "last",
        "Run",
        "Newest frame",
        ("End", "L"),
        "record-circle-outline",
        lambda w: w.viewer.go_live(),
        _open,
        lambda v: v.playback.follow,
        tip="Follow the engine, or the file that is being written",
    ),
    Action("loop", "Run", "Loop", ("O",), "repeat", lambda w: w.toggle_loop(), _recorded, lambda v: v.playback.loop),
    Action("faster", "Run", "Faster", ("+", "="), "", lambda w: w.change_speed(2.0), _moves),
    Action("slower", "Run", "Slower", ("-",), "", lambda w: w.change_speed(0.5), _moves),
    Action("free", "Run", "As fast as it goes", ("0",), "fast-forward", lambda w: w.change_speed(None), _live),
    Action(
        "reset",
        "Run",
        "Reset",
        ("Ctrl+R",),
        "restart",
        lambda w: w.viewer.reset(),
        _open,
        tip="From the beginning, paused; the run so far stays in its folder",
    ),
    Action(
        "branch",
        "Run",
        "Continue from here",
        ("B",),
        "source-branch",
        lambda w: w.viewer.branch(),
        lambda v: _in_folder(v) and _recorded(v),
        tip="A new run that starts at the step shown",
    ),
    Action(
        "recover",
        "Run",
        "Continue from last checkpoint",
        ("Ctrl+Shift+R",),
        "backup-restore",
        lambda w: w.viewer.recover(),
        lambda v: _in_folder(v) and not v.live,
    ),
    Action(
        "break",
        "Run",
        "Stop when…",
        ("Ctrl+B",),
        "hand-back-right-outline",
        lambda w: w.ask_breakpoint(),
        _live,
        tip="Pause when a condition such as accuracy > 0.97 comes true",
    ),
    Action(
        "kick",
        "Touch",
        "Kick",
        ("K",),
        "flash",
        lambda w: w.kick(),
        _live,
        tip="A learning event: the Eq. 10 limit opens again",
    ),
    Action("undo", "Touch", "Undo drag", ("Ctrl+Z",), "undo", lambda w: w.undo(), _live),
    Action("deselect", "Touch", "Select nothing", ("Esc",), "", lambda w: w.viewer.select(None)),
    Action("fit", "View", "Fit", ("F",), "fit-to-screen-outline", lambda w: w.fit(), _open),
    Action("spin", "View", "Turn slowly", ("R",), "rotate-orbit", _switch("spin"), _open, _is_on("spin"), short="Turn"),
    Action("colour", "View", "Colour by next", ("C",), "", lambda w: w.next_colour(1), _open),
    Action("colour_back", "View", "Colour by previous", ("Shift+C",), "", lambda w: w.next_colour(-1), _open),
    Action(
        "pca",
        "View",
        "Principal axes",
        ("P",),
        "axis-arrow",
        lambda w: w.toggle_pca(),
        _open,
        lambda v: v.appearance.projection == "pca",
    ),
    Action("axes", "View", "Next three axes", ("X",), "", lambda w: w.next_axes(), _open),
    Action("links", "View", "Links", ("1",), "", _switch("links"), _always, _is_on("links"), short="Links"),
    Action(
        "packets", "View", "Signal packets", ("2",), "", _switch("packets"), _always, _is_on("packets"), short="Packets"
    ),
    Action(
        "trails",
        "View",
        "Trails of the selected",
        ("3",),
        "",
        _switch("trails"),
        _always,
        _is_on("trails"),
        short="Trails",
    ),
    Action(
        "shapes",
        "View",
        "Marker by subsystem",
        ("4",),
        "",
        _switch("shapes"),
        _always,
        _is_on("shapes"),
        short="Markers",
    ),
    Action("full", "View", "Full screen", ("F11",), "fullscreen", lambda w: w.toggle_full_screen(), _always, None),
    Action("shortcuts", "Help", "Shortcuts", ("F1",), "keyboard-outline", lambda w: w.show_shortcuts()),
)

MENUS = tuple(dict.fromkeys(a.menu for a in ACTIONS))


def build(window: Window) -> dict[str, QAction]:
    """Qt's actions of the table, owned by the window."""
    made = {}
    for action in ACTIONS:
        q = QAction(action.text, window)
        q.setObjectName(action.id)
        q.setShortcuts([QKeySequence(key) for key in action.keys])
        q.setToolTip(f"{action.tip or action.text}  ({action.keys[0]})")
        q.setIconText(action.short or action.text)
        q.setCheckable(action.checked is not None)
        if action.icon:
            q.setIcon(qtawesome.icon(f"mdi6.{action.icon}", color=TEXT))
        q.triggered.connect(lambda _=False, a=action: window.perform(a))
        window.addAction(q)
        made[action.id] = q
    return made


def update(actions: dict[str, QAction], viewer: Viewer) -> None:
    """What can be done now, and which switches are on."""
    for action in ACTIONS:
        q = actions[action.id]
        q.setEnabled(action.enabled(viewer))
        if action.checked is not None:
            q.setChecked(action.checked(viewer))


def shortcut_table() -> list[tuple[str, str, str]]:
    """(menu, what, keys) of every action."""
    return [(a.menu, a.text.rstrip("…"), " or ".join(a.keys)) for a in ACTIONS]
