"""What the tests of the window share: a display of their own, and watchers for what a test leaves behind.

Each worker gets its own Xvfb and window manager, so that focus and shortcuts belong to the tests alone, whether or not
somebody sits before a real desktop. Ask for `qapp` or `qtbot` (the display is up before the application is made), or
for `surfaceless` to draw with EGL in a process that has no display at all.
"""

import ctypes
import fcntl
import gc
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import time
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
import pytest

# Before Qt is loaded: Qt's own X11 platform with Mesa's software renderer, the same pictures on every machine.
os.environ.update(QT_API="pyqt6", QT_QPA_PLATFORM="xcb", LIBGL_ALWAYS_SOFTWARE="1")

from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QMenu

LIBRARIES = {  # Debian package: the file that it must bring
    "libgl1": "libGL.so.1",
    "libegl1": "libEGL.so.1",
    "libglx-mesa0": "libGLX_mesa.so.0",
    "libegl-mesa0": "libEGL_mesa.so.0",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libdbus-1-3": "libdbus-1.so.3",
    "libfontconfig1": "libfontconfig.so.1",
    "libxkbcommon-x11-0": "libxkbcommon-x11.so.0",
    "libx11-xcb1": "libX11-xcb.so.1",
    "libxcb-cursor0": "libxcb-cursor.so.0",
    "libxcb-icccm4": "libxcb-icccm.so.4",
    "libxcb-keysyms1": "libxcb-keysyms.so.1",
    "libxcb-image0": "libxcb-image.so.0",
    "libxcb-render-util0": "libxcb-render-util.so.0",
    "libxcb-shape0": "libxcb-shape.so.0",
    "libxcb-xkb1": "libxcb-xkb.so.1",
    "libxcb-randr0": "libxcb-randr.so.0",
    "libxcb-sync1": "libxcb-sync.so.1",
    "libxcb-xfixes0": "libxcb-xfixes.so.0",
    "libxcb-glx0": "libxcb-glx.so.0",
}
PROGRAMS = {"xvfb": "Xvfb", "openbox": "openbox"}


def _loads(library):
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _missing():
    """Debian packages that a window needs and this machine lacks."""
    packages = [package for package, program in PROGRAMS.items() if shutil.which(program) is None]
    packages += [package for package, library in LIBRARIES.items() if not _loads(library)]
    if not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").exists():
        packages.append("fonts-dejavu-core")
    return packages


def _install(shared):
    """As root, install what is missing, once for all workers; the log lies in the folder that they share."""
    log = shared / "apt.log"
    with open(shared / "apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = _missing()
        if packages and not log.exists():
            install = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"
            with open(log, "w") as output:
                subprocess.run(install, shell=True, stdout=output, stderr=output, check=False)


@pytest.fixture(scope="session")
def windows_possible(tmp_path_factory):
    """Fails (in CI or as root) or skips, with the packages that are missing, where no window can be opened."""
    folder = tmp_path_factory.getbasetemp()
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _install(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    if packages := _missing():
        strict = os.environ.get("CI") or os.geteuid() == 0
        (pytest.fail if strict else pytest.skip)(f"no window without the packages: {' '.join(packages)}")


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
    """Top-level widgets that nobody owns. Closed menus are left out: pyqtgraph keeps one per curve view."""
    if QApplication.instance() is None:
        return []
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    widgets = [w for w in QApplication.topLevelWidgets() if w.parent() is None]
    return [w for w in widgets if w.isVisible() or not isinstance(w, QMenu)]


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
