"""Files that are there whole or not at all, and what is said where a disk is full."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from dynsim.errors import RunFolderError

# Of errors that are the disk's.
OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
# What a disk keeps free, so that everything that is open can still be closed in order.
RESERVE = 2**26
TEMPORARY = ".tmp"  # ends the name of a file that is being written


def refuse_full(folder: Path, size: int = 0) -> None:
    """Raises RunFolderError where a disk has not room for twice `size` bytes and 64 MiB more."""
    free, needed = shutil.disk_usage(folder).free, 2 * size + RESERVE
    if free < needed:
        error = RunFolderError(
            "the disk is nearly full",
            where=str(folder),
            given=f"{free / 2**20:.1f} MiB free",
            allowed=f"{needed / 2**20:.1f} MiB or more",
            hint=f"make room on the disk of {folder}",
        )
        error.errno = errno.ENOSPC
        raise error


def write_atomically(path: Path, content: bytes, keep: bool = False) -> None:
    """Temporary file, fsync, rename: a reader sees the old file or the new one. `keep` leaves the old as `.prev`.

    The name of another file stands for that one; devices and pipes are written as they are.

    Raises RunFolderError; the old file stays then, and no temporary one.
    """
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        if path.exists() and not path.is_file():  # a device, a pipe, or a folder, which cannot be opened
            path.write_bytes(content)
            return
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        if keep and path.exists():
            name_too(path, path.with_name(path.name + ".prev"))  # at no moment there is no checkpoint
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(path, error, len(content)) from None


def unwritable(path: Path, error: OSError, size: int = 0) -> RunFolderError:
    """The error for a file of `size` bytes (0: unknown) that a full disk or missing rights keep from being written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    needed = f", {size / 2**20:.1f} MiB are needed" if size and full else ""
    result = RunFolderError(
        "cannot be written",
        where=str(path),
        given=f"{error.strerror or error}{needed}",
        hint=f"{'make room' if full else 'look for permissions'} in {path.parent}"
        if path.parent.is_dir()
        else f"there is no folder {path.parent}",
    )
    result.errno, result.strerror = error.errno, error.strerror
    return result


def name_too(path: Path, other: Path) -> None:
    """Give a file a second name, in place of whatever has it; a copy where the file system knows no second names."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
