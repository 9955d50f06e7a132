"""One process on a run folder: a lock of the operating system, which dies with whoever holds it.

The file `lock` stays where it is; what counts is who has locked it (flock(2); on Windows a byte far beyond its text).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from dynsim.errors import RunFolderError

NAME = "lock"
# Who looks whether a lock is held takes it for an instant.
_TRIES, _PAUSE = 10, 0.02

_take: Callable[[int], None]
if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, 2**30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def share(descriptor: int) -> None:
        """Windows itself keeps a file that is open from a second writer."""

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def share(descriptor: int) -> None:
        """Lock an open file so that nobody can `Lock` it, but others can do the same; not where no lock can be had."""
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(_PAUSE)
            except OSError:  # a file system without locks
                return


class Lock:
    """A file locked for this process, until `release` or its end; a context manager.

    Parameters
    ----------
    path : of the file. create : make it, and write into it who holds it.
    what : is locked, as an error names it.

    Raises RunFolderError where another process (or another `Lock` of this one) holds it, and says which; and where
    the file cannot be made.
    """

    def __init__(self, path: Path, *, create: bool, what: str) -> None:
        self._path, self._create = path, create
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT if create else os.O_RDONLY, 0o644)
        except OSError as error:
            raise RunFolderError(
                "cannot be written", where=str(path.parent), given=error.strerror, hint="another folder, or --out"
            ) from None
        try:
            self._acquire(what)
        except BaseException:
            os.close(self._descriptor)
            raise
        if create:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S}\n".encode())

    def release(self) -> None:
        """Let it go; safe to call twice."""
        if self._descriptor >= 0:
            if self._create:
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _acquire(self, what: str) -> None:
        for k in range(_TRIES):
            try:
                _take(self._descriptor)
                return
            except (BlockingIOError, PermissionError):
                if k + 1 < _TRIES:
                    time.sleep(_PAUSE)
            except OSError:  # a file system without locks: as safe as it was before there were any
                return
        raise RunFolderError(
            f"{what} is in use",
            where=str(self._path.parent if self._create else self._path),
            given=holder(self._path) if self._create else "another process has it open",
            hint="wait until it ends, or stop it; looking is possible meanwhile: dynsim info --follow",
        )


def folder_lock(folder: Path) -> Lock:
    """The lock of a run folder, held from here on."""
    return Lock(folder / NAME, create=True, what="this run folder")


def holder(path: Path) -> str:
    """Who wrote into a lock that it holds it."""
    try:
        return path.read_text(encoding="utf-8").strip() or "another process holds it"
    except OSError:
        return "another process holds it"


def is_held(path: Path) -> bool | None:
    """Whether somebody holds a lock now; None where that cannot be known."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        _take(descriptor)
        return False
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
