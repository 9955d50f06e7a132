"""Whether what a job does is still wanted: a file that is there as long as the command lives which asked for it.

with wanted(folder) as token:
    pool.submit(runs.run, scenario, path, WhileWanted(token))

Workers of this machine are ended by their parent; those of a cluster learn of its end in no other way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from uuid import uuid4

from dynsim.errors import RunFolderError

PREFIX = ".session-"  # of the file's name
LOOK = 1.0  # s between two looks


@contextmanager
def wanted(folder: Path) -> Iterator[Path]:
    """The file; those of earlier commands in the same folder, which were killed, are removed."""
    for old in folder.glob(f"{PREFIX}*"):
        old.unlink()
    token = folder.resolve() / f"{PREFIX}{uuid4().hex}"
    token.touch()
    try:
        yield token
    finally:
        token.unlink(missing_ok=True)


@dataclass
class WhileWanted:
    """Hears how far a run is, and breaks it off a second after its file has gone.

    Raises RunFolderError at once where the file is not seen from here.
    """

    token: Path
    _looked: float = 0.0

    def __post_init__(self) -> None:
        if not self.token.is_file():
            raise RunFolderError("the folder of these runs is not seen from here", where=str(self.token.parent))

    def phase(self, name: str, total: int = 0, done: int = 0) -> None:
        """Of no interest."""

    def update(self, step: int, total: int, numbers: Mapping[str, float]) -> None:
        """Look whether the file is there."""
        now = monotonic()
        if now - self._looked > LOOK:
            self._looked = now
            if not self.token.is_file():
                raise RunFolderError("the command that wanted this run has ended", where=str(self.token.parent))
