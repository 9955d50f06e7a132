"""The first reading of a file from outside, by a child of little memory and little time: what no rule of `gate`
foresees may crash there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dynsim.errors import DynsimError, FileFormatError, RunFolderError
from dynsim.trajectory.gate import naming, refuse
from dynsim.trajectory.reader import Trajectory
from dynsim.trajectory.schema import MissingTrajectoryError

# Of the child: seconds of its processor and of the clock, bytes of address space.
CPU_SECONDS, WALL_SECONDS, MEMORY = 0.6, 60.0, 2**31


def admit(path: str | Path) -> None:
    """Let a file from outside be read for the first time by a child; raises FileFormatError for what does it no good.

    Also raises whatever of ours `Trajectory` raises. About 0.4 s, once for each content of a file.
    """
    path = Path(path)
    state = _state(path)
    if state in _admitted:
        return
    _raise_verdict(path, _child(path))
    _admitted.add(state)


_admitted: set[tuple[int, ...] | None] = set()
# Only what this process would import itself is found there, nothing of the folder or the user.
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from dynsim.trajectory.admission import judge; judge()"
)


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        s = path.stat()
    except OSError:
        return None
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns


def _child(path: Path) -> subprocess.CompletedProcess | None:
    """What came of the child; None where it took too long."""
    search = json.dumps([p for p in sys.path if p])
    command = [sys.executable, "-I", "-c", _CHILD, search, str(path)]
    quiet = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(command, env=quiet, capture_output=True, timeout=WALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None


def _raise_verdict(path: Path, child: subprocess.CompletedProcess | None) -> None:
    """Raises what the child raised, or says that it did not survive."""
    try:
        verdict = json.loads(child.stdout) if child is not None and child.returncode == 0 else None
    except ValueError:
        verdict = None
    if verdict is None:
        slow = child is None or child.returncode == -getattr(signal, "SIGPROF", 0)
        raise FileFormatError(
            "takes too long to read" if slow else "cannot be read without harm",
            where=str(path),
            given="" if child is None else f"the process that tried ended with code {child.returncode}",
            allowed=f"to be opened in {CPU_SECONDS} s and {MEMORY >> 20} MiB",
            hint="it is damaged, or was made to do harm: take another copy",
        )
    if verdict:
        kinds = {kind.__name__: kind for kind in (MissingTrajectoryError, RunFolderError)}
        raise kinds.get(verdict.pop("kind"), FileFormatError)(**verdict)


def judge() -> None:
    """The child: opens the file named by the last argument, prints {} or the error of ours that came of it."""
    _limit()
    verdict: dict[str, Any] = {}
    try:
        with Trajectory(sys.argv[-1]) as trajectory:
            for i in {0, len(trajectory) - 1} if len(trajectory) else ():
                trajectory.frame(i)
            _check_texts(trajectory.path, trajectory.parameters)
    except DynsimError as error:
        given = None if error.given is None else str(error.given)
        verdict = {"what": error.what, "where": error.where, "given": given, "allowed": error.allowed}
        verdict |= {"hint": error.hint, "kind": type(error).__name__}
    print(json.dumps(verdict))  # noqa: T201  the parent reads it


def _limit() -> None:
    """Bound the memory and the time of this process, where the system can."""
    if sys.platform == "win32":  # there the clock of the parent has to do
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = MEMORY if hard == resource.RLIM_INFINITY else min(hard, MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # nobody handles it: it ends the process wherever it is


def _check_texts(path: Path, texts: Mapping[str, str]) -> None:
    """Raises FileFormatError unless the texts of a trajectory are in the languages that whoever shows them takes."""
    languages: dict[str, Callable[[str], Any]] = {"scenario": tomllib.loads, "versions": json.loads, "seed": int}
    for name, parse in languages.items():
        try:
            parse(texts.get(name, "0" if parse is not tomllib.loads else ""))
        except (ValueError, RecursionError) as error:
            with naming(path):
                refuse(f"/parameters/{name}", "cannot be read", error)
