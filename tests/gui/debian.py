"""What a real window under a virtual display needs beside Python's packages; as a script it installs what is missing.

Only the standard library is used: Qt cannot even be imported where these libraries are missing.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
# Mesa's drawing in software is loaded by name when a context is made.
FILES = {
    "libgl1-mesa-dri": "/usr/lib/*/dri/swrast_dri.so",
    "fonts-dejavu-core": "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
}


def missing() -> list[str]:
    """Debian packages that a window needs and this machine lacks."""
    packages = [package for package, program in PROGRAMS.items() if shutil.which(program) is None]
    packages += [package for package, library in LIBRARIES.items() if not _loads(library)]
    return packages + [package for package, file in FILES.items() if not any(Path("/").glob(file[1:]))]


def must_be_there() -> bool:
    """Whether tests of the window may not be left out: in CI, and where everything can be installed."""
    return bool(os.environ.get("CI")) or os.geteuid() == 0


def install(packages: list[str]) -> None:
    """Ask Debian for them, twice since a mirror may fail; what went wrong is printed."""
    command = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {' '.join(packages)}"
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for _ in range(2):
        done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    sys.stderr.write(done.stdout + done.stderr)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def main() -> int:
    """0: windows can be opened; 1: they cannot, and their tests are left out; 2: they cannot, and should."""
    packages = missing()
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        sys.stderr.write(f"installing for the tests of the window: {' '.join(packages)}\n")
        install(packages)
        packages = missing()
    if not packages:
        return 0
    sys.stderr.write(
        f"No window can be opened here. Missing (names of Debian packages): {' '.join(packages)}\n"
        f"try: sudo apt-get install --no-install-recommends {' '.join(packages)}\n"
        + ("" if must_be_there() else "The tests of the window are left out.\n")
    )
    return 2 if must_be_there() else 1


if __name__ == "__main__":
    sys.exit(main())
