"""Many runs by one command: a list of scenarios and seeds, each a run folder, and what became of them in batch.json."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from dynsim import plain, runs
from dynsim.batchfile import Planned, read
from dynsim.errors import DeviceError, DynsimError, FileFormatError, RunFolderError
from dynsim.files import TEMPORARY, write_atomically
from dynsim.lock import NAME as LOCK
from dynsim.lock import Lock
from dynsim.progress import Progress
from dynsim.runfolder import SCENARIO, RunFolder
from dynsim.scenario import Scenario
from dynsim.stopping import Interrupted, Stop
from dynsim.wanted import WhileWanted, wanted
from dynsim.workers import Workers, workers

LOG = logging.getLogger("dynsim")
SUMMARY = "batch.json"
STATES = ("waiting", "running", "done", "failed", "interrupted")
# Of a run's summary.
_NUMBERS = ("steps", "stopped", "wall_s", "parameters", "bytes", "macs", "final")


@dataclass
class Member:
    """A run of a batch, as batch.json tells of it.

    Attributes
    ----------
    folder : beneath that of the batch. state : one of `STATES`. kept : it was finished before this call.
    fingerprint : of everything that decides the result of what is in the folder.
    reason : why it failed. summary : its final numbers, {} before its end.
    """

    folder: str
    scenario: str
    seed: int
    fingerprint: str
    state: str = "waiting"
    kept: bool = False
    reason: str = ""
    summary: dict[str, Any] = field(default_factory=dict)


class Batch:
    """The runs of a batch file and their folder.

    Raises ScenarioError for a bad file, RunFolderError where another process is at the folder, FileFormatError for a
    damaged batch.json.
    """

    def __init__(self, file: str | Path, out: str | Path | None = None) -> None:
        self.file, planned = Path(file), read(file)
        self.folder = Path(out) if out is not None else Path("runs") / self.file.stem
        self.planned: dict[str, Planned] = {p.name: p for p in planned}
        self.others: dict[str, str] = {}  # folder -> fingerprint of what earlier calls began and this file has not
        self._next_save, self._stale = 0.0, False
        self.members = {p.name: Member(p.name, p.scenario.name, p.scenario.run.seed, p.fingerprint) for p in planned}

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        found = Counter(m.state for m in self.members.values())
        return {state: found[state] for state in STATES}

    @property
    def failed(self) -> list[Member]:
        return [m for m in self.members.values() if m.state == "failed"]

    def plain(self) -> dict[str, Any]:
        """What batch.json holds."""
        told = [asdict(m) for m in self.members.values()]
        plain = {"schema": "dynsim-batch/1", "file": str(self.file), **self.counts, "runs": told}
        return plain | {"others": self.others}

    def run(self, jobs: int | None = None, dask: str | None = None, progress: Progress | None = None) -> None:
        """Run what is not finished yet, jobs and dask as `dynsim.workers.workers` takes them.

        Raises Interrupted, after which the same call goes on, and what `workers` raises.
        """
        _make(self.folder)
        with Lock(self.folder / LOCK, create=True, what="this batch"), Stop() as stop:
            before = _fingerprints(self.folder / SUMMARY)
            self.others = {name: begun for name, begun in before.items() if name not in self.members}
            for member in self.members.values():
                self._look(member, before)
            self._save()
            if self.counts["waiting"]:
                with (
                    _told(self),
                    stop.at_once(),
                    wanted(self.folder) as token,
                    workers(jobs, dask, self.folder) as pool,
                ):
                    self._work(pool, token, progress or Progress(quiet=True))

    def _look(self, member: Member, before: dict[str, str]) -> None:
        """Whether a run is finished already, or cannot be made where it should go."""
        path = self.folder / member.folder
        if not (path / SCENARIO).is_file():
            return
        begun = before.get(member.folder, "")
        try:
            if begun != member.fingerprint:
                member.fingerprint = begun  # that of what is in the folder, for the next call too
                raise _another(path)
            summary = RunFolder.open(path).summary
        except DynsimError as error:
            member.state, member.reason = "failed", str(error)
            return
        if summary is not None:
            member.state, member.kept, member.summary = "done", True, _numbers(summary)

    def _work(self, pool: Workers, token: Path, progress: Progress) -> None:
        """Everything that waits; batch.json says at each moment what has become of it."""
        waiting = [m for m in self.members.values() if m.state == "waiting"]
        progress.phase("running", len(self.members), len(self.members) - len(waiting), unit="runs")
        at_work: dict[Future, Member] = {}
        while waiting or at_work:
            while waiting and len(at_work) < pool.slots:
                member = waiting.pop(0)
                path, text = (self.folder / member.folder).resolve(), self.planned[member.folder].scenario.to_toml()
                at_work[pool.submit(perform, path, text, token)] = member
                member.state = "running"
            self._save(soon=True)
            patience = max(self._next_save - monotonic(), 0.0) if self._stale else None
            for future in wait(at_work, patience, FIRST_COMPLETED).done:
                self._take(at_work.pop(future), future, progress)
        self._save()

    def _take(self, member: Member, future: Future, progress: Progress) -> None:
        try:
            summary, member.reason = future.result()
        except DeviceError:  # nobody is there any more to do what is left
            raise
        except DynsimError as error:  # of the worker, not of the run
            summary, member.reason = {}, str(error)
        member.summary, member.state = _numbers(summary), "failed" if member.reason else "done"
        if member.reason:
            progress.note(f"{member.folder} failed: {member.reason.splitlines()[0]}")
        LOG.info("%s: %s", member.folder, member.state)
        done = self.counts["done"] + self.counts["failed"]
        progress.update(done, len(self.members), {"failed": len(self.failed)})

    def _save(self, soon: bool = False) -> None:
        """Write batch.json; where it is `soon` enough, only if that takes a hundredth of the time."""
        started = monotonic()
        self._stale = soon and started < self._next_save
        if self._stale:
            return
        write_atomically(self.folder / SUMMARY, plain.text(self.plain()).encode())
        self._next_save = monotonic() + 100 * (monotonic() - started)


def perform(path: Path, text: str, token: Path) -> tuple[dict[str, Any], str]:
    """Make a run in a worker, or go on with it: its summary, and why it failed, "" where it did not."""
    try:
        told = WhileWanted(token)
        if (path / SCENARIO).is_file():
            RunFolder(path).wait_for_writer()
            return runs.resume(path, progress=told)[0].summary or {}, ""
        _clear(path)
        return runs.run(Scenario.from_text(text), path, told).summary or {}, ""
    except DynsimError as error:
        return {}, str(error)
    except Exception as error:  # of one run: the others go on
        return {}, f"{type(error).__name__}: {error}"


def _clear(path: Path) -> None:
    """Remove what a run leaves that was killed before it began: empty folders, its lock, and half a file."""
    if path.is_dir() and all(p.is_dir() or p.name == LOCK or p.suffix == TEMPORARY for p in path.rglob("*")):
        shutil.rmtree(path)


@contextmanager
def _told(batch: Batch) -> Iterator[None]:
    """What is broken off is written down as such, and the way to go on told."""
    try:
        yield
    except BaseException as error:
        for member in batch.members.values():
            member.state = "interrupted" if member.state == "running" else member.state
        batch._save()
        if isinstance(error, Interrupted):
            error.hint = "the same command again: what is finished is kept"
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError("cannot be created", where=str(folder), given=error.strerror) from None


def _fingerprints(path: Path) -> dict[str, str]:
    """Of the runs that an earlier call began, by their folders."""
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_bytes())
        return known.get("others", {}) | {told["folder"]: told["fingerprint"] for told in known["runs"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = "another --out: nothing else tells what the runs in this folder were made from"
        raise FileFormatError("not a batch's summary", where=str(path), given=str(error), hint=hint) from None


def _another(path: Path) -> RunFolderError:
    return RunFolderError(
        "holds another run than this file asks for now",
        where=str(path),
        hint="another --out, another name in its [[run]], or remove the folder",
    )


def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary[name] for name in _NUMBERS if name in summary}
