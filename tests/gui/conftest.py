"""What the tests of the window share: a display of their own, and watchers for what a test leaves behind.

Each worker gets its own Xvfb and window manager, so that focus and shortcuts belong to the tests alone, whether or not
somebody sits before a real desktop. Ask for `qapp` or `qtbot` (the display is up before the application is made), or
for `surfaceless` to draw with EGL in a process that has no display at all.
"""

import gc
import logging
import os
import subprocess
import sys
import textwrap
import time
from multiprocessing import resource_tracker

import psutil
import pytest

# Before Qt is loaded: Qt's own X11 platform with Mesa's software renderer, the same pictures on every machine.
os.environ.update(QT_API="pyqt6", QT_QPA_PLATFORM="xcb", LIBGL_ALWAYS_SOFTWARE="1")

from debian import missing, must_be_there
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QMenu, QWidget


@pytest.fixture(scope="session")
def windows_possible():
    """Fails (in CI or as root) or skips, with the packages that are missing, where no window can be opened."""
    if packages := missing():
        (pytest.fail if must_be_there() else pytest.skip)(f"no window without the packages: {' '.join(packages)}")


def _x_server():
    """Xvfb on the next free display: (process, ":number")."""
    readable, writable = os.pipe()
    screen = ["-screen", "0", "1920x1200x24", "+extension", "GLX", "-noreset", "-nolisten", "tcp"]
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writable), *screen], pass_fds=[writable], stderr=subprocess.DEVNULL
    )
    os.close(writable)
    with os.fdopen(readable) as answer:
        number = answer.readline().strip()
    assert number, f"Xvfb ended with {server.wait()} before it had a display"
    return server, f":{number}"


def _window_manager(folder):
    """Openbox with its own defaults (not the user's); returns once it manages windows."""
    ready = folder / "ready"
    environ = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    start = ["openbox", "--sm-disable", "--startup", f"touch {ready}"]
    manager = subprocess.Popen(start, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while not ready.exists():
        assert manager.poll() is None, f"openbox ended with {manager.returncode}"
        assert time.monotonic() < until, "openbox is not ready after 20 s"
        time.sleep(0.02)
    return manager


_running = []


@pytest.fixture(scope="session")
def display(windows_possible, tmp_path_factory):
    """DISPLAY of this worker's own X server, with openbox running on it."""
    server, name = _x_server()
    _running.append(server)
    os.environ["DISPLAY"] = name
    _running.insert(0, _window_manager(tmp_path_factory.mktemp("openbox")))
    return name


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    """Not sooner: pytest-qt's application lives on, and handles events after the last fixture is gone."""
    for process in _running:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def qapp_args(display):
    """Ties pytest-qt's application to our display."""
    return ["dynsim-gui"]


@pytest.fixture
def surfaceless(windows_possible):
    """`surfaceless(script, *arguments)` runs a script with VisPy on EGL, no display, warnings as errors: its stdout."""
    environ = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "QT_QPA_PLATFORM")}
    environ["EGL_PLATFORM"] = "surfaceless"

    def run(script, *arguments):
        script = "import vispy\nvispy.use('egl')\n" + textwrap.dedent(script)
        start = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
        done = subprocess.run(start, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "Error drawing visual" not in done.stderr, done.stderr
        return done.stdout

    return run


class _Errors(logging.Handler):
    """VisPy only logs what goes wrong while it draws."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        line = record.getMessage()
        if record.levelno >= logging.ERROR or "Error drawing visual" in line:
            self.lines.append(line)


@pytest.fixture(autouse=True)
def drawing_errors():
    """Fails a test in which VisPy logged an error; the list of its lines so far (clear it if they were meant)."""
    errors, logger = _Errors(), logging.getLogger("vispy")
    logger.addHandler(errors)
    yield errors.lines
    logger.removeHandler(errors)
    assert not errors.lines, "\n".join(errors.lines)


def _widgets():
    """Top-level widgets that nobody owns, without what pyqtgraph keeps of every plot: a menu and an emptied form."""
    if QApplication.instance() is None:
        return []
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    widgets = [w for w in QApplication.topLevelWidgets() if w.parent() is None]
    return [w for w in widgets if w.isVisible() or not (isinstance(w, QMenu) or _emptied(w))]


def _emptied(widget):
    return type(widget) is QWidget and not widget.children()


def _children():
    """Child processes; multiprocessing's tracker of shared memory is meant to stay."""
    tracker = resource_tracker._resource_tracker._pid
    return [child for child in psutil.Process().children() if child.pid != tracker]


@pytest.fixture(autouse=True)
def nothing_left(request):
    """Fails a test that leaves top-level widgets or child processes behind."""
    if "qapp" in request.fixturenames:
        request.getfixturevalue("qapp")
    widgets, children = _widgets(), _children()
    yield
    if any(w not in widgets for w in _widgets()):
        gc.collect()
    left = [w for w in _widgets() if w not in widgets]
    assert not left, f"widgets left: {left}"
    _, running = psutil.wait_procs([c for c in _children() if c not in children], timeout=5)
    for child in running:
        child.kill()  # it would keep the tests from ending
    assert not running, f"processes left: {running}"
