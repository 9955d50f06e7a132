"""What a trajectory file may contain, looked at before anything in it is used.

HDF5 can name other files, promise sizes that it does not have, and wind itself into loops; the files of dynsim do
none of this, so whatever does is refused by name. `inspect` looks at the structure only, in this process, at every
opening. `admit` does the whole first reading of a file from outside in a child of little memory and little time:
what no rule foresees may crash there.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from dynsim.errors import DynsimError, FileFormatError, RunFolderError
from dynsim.frame import Cast
from dynsim.trajectory import flags

MOST_LINKS, MOST_ATTRIBUTES, DEEPEST = 8192, 64, 8
LARGEST_CHUNK, LARGEST_ATTRIBUTE = 2**24, 2**20
# Noise packs to a fifth at best, a whole file of it never to a 64th; the rest is for chunks of small files.
EXPANSION, ALLOWANCE = 64, 2**26
FILTERS = {h5z.FILTER_FLETCHER32, h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE}
LAYOUTS = {h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED}
# Of the child: seconds of its processor and of the clock, bytes of address space.
CPU_SECONDS, WALL_SECONDS, MEMORY = 0.6, 60.0, 2**31


def check_superblock(path: str | Path) -> None:
    """Raises FileFormatError unless a file begins as `schema.create` lets it: older formats crash if damaged.

    Raises RunFolderError where it cannot be opened.
    """
    try:
        flags.read(path)
    except FileFormatError as error:
        raise FileFormatError(
            "not a readable HDF5 file (something else, truncated or damaged)",
            where=str(path),
            given=error.what,
            allowed="HDF5 with superblock version 3, as dynsim writes it",
            hint="another program's copy: h5repack --low=2 --high=2 COPY NEW",
        ) from None
    except OSError as error:
        raise RunFolderError("cannot be opened", where=str(path), given=error.strerror) from None


def inspect(file: h5py.File) -> None:
    """Raises FileFormatError naming the first object of a file that has no place in a trajectory; reads no data."""
    with _named(file.filename):
        walk = _Inspection(os.path.getsize(file.filename))
        walk.group(h5g.open(file.id, b"/"), "", 0)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """The errors raised inside say in which file."""
    try:
        yield
    except FileFormatError as error:
        error.where = str(path)
        raise


def check_rows(
    path: str | Path, frames: dict[tuple[str, str], h5py.Dataset], others: Iterable[h5py.Dataset], cast: Cast
) -> None:
    """Raises FileFormatError naming the first dataset whose numbers do not fit the particles.

    Parameters
    ----------
    frames : (kind, name) -> dataset, as in `schema.Columns`.
    others : those with one value a row.
    """
    with _named(path):
        n = _particles(cast)
        for (kind, name), dataset in frames.items():
            row = (n, 3) if kind == "view" else cast.form(name)[0] if kind == "property" else ()
            _check_row(dataset, row, "fi")
        for dataset in others:
            _check_row(dataset, (), "fiS")


def _particles(cast: Cast) -> int:
    """How many there are, by what does not change."""
    n = cast.mass.size
    if cast.mass.shape != (n,):
        _refuse("mass", "is no list", cast.mass.shape, "(n,)")
    for name, a in {"subsystem": cast.subsystem, "index": cast.index, "copy": cast.copy}.items():
        if a.shape != (n,) or a.dtype.kind != "i" or (a < 0).any():
            _refuse(f"dyn_{name}", "does not fit the particles", f"{a.shape} {a.dtype}", f"({n},) whole numbers")
    if (cast.subsystem >= len(cast.subsystems)).any():
        _refuse("dyn_subsystem", "names a subsystem that is not there", allowed=f"0 ... {len(cast.subsystems) - 1}")
    if cast.projection.ndim != 2 or len(cast.projection) != 3:
        _refuse("dyn_projection", "is no projection", cast.projection.shape, "(3, d)")
    return n


def _check_row(dataset: h5py.Dataset, row: tuple[int, ...], kinds: str) -> None:
    if dataset.shape[1:] != row or dataset.dtype.kind not in kinds or dataset.chunks is None:
        given = f"{dataset.shape} {dataset.dtype}"
        _refuse(dataset.name, "does not fit the particles", given, f"rows of shape {row}, in chunks")


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
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from dynsim.trajectory import gate; gate.judge()"


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
        from dynsim.trajectory.schema import MissingTrajectoryError

        kinds = {kind.__name__: kind for kind in (MissingTrajectoryError, RunFolderError)}
        raise kinds.get(verdict.pop("kind"), FileFormatError)(**verdict)


def judge() -> None:
    """The child: opens the file named by the last argument, prints {} or the error of ours that came of it."""
    from dynsim.trajectory.reader import Trajectory

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
            with _named(path):
                _refuse(f"/parameters/{name}", "cannot be read", error)


class _Inspection:
    """A walk through a file over every name in it, with what it has met so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: dict[int, int] = {}  # address -> type of object
        self._links = self._bytes = 0

    def group(self, group: h5g.GroupID, name: str, depth: int) -> None:
        self._attributes(group, name)
        self._links += group.get_num_objs()
        if self._links > MOST_LINKS:
            _refuse(name, "has too many objects in it", self._links, f"{MOST_LINKS} in a file")
        if depth > DEEPEST:
            _refuse(name, "is nested too deeply", allowed=f"{DEEPEST} groups in each other")
        for key in group:
            self._link(group, key, f"{name}/{key.decode(errors='replace')}", depth)

    def _link(self, group: h5g.GroupID, key: bytes, name: str, depth: int) -> None:
        kind = group.links.get_info(key).type
        if kind != h5l.TYPE_HARD:
            kinds = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link into another file"}
            _refuse(name, f"is {kinds.get(kind, 'a link of a kind of its own')}", allowed="objects of this file")
        child = h5o.open(group, key)
        info = h5o.get_info(child)
        if info.addr in self._known:
            if self._known[info.addr] != h5o.TYPE_DATASET:
                _refuse(name, "is a group that has another name already", allowed="each group once")
            return
        self._known[info.addr] = info.type
        if isinstance(child, h5g.GroupID):
            self.group(child, name, depth + 1)
        elif isinstance(child, h5d.DatasetID):
            self._dataset(child, name)
        else:
            _refuse(name, "is neither group nor dataset", type(child).__name__)

    def _dataset(self, dataset: h5d.DatasetID, name: str) -> None:
        self._attributes(dataset, name)
        _check_type(dataset.get_type(), name)
        plan = dataset.get_create_plist()
        if plan.get_layout() not in LAYOUTS:
            _refuse(name, "is put together from other datasets (virtual)", allowed="data of its own")
        if plan.get_external_count():
            _refuse(name, "keeps its data in another file", allowed="data of its own")
        filters = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())}
        if not filters <= FILTERS or plan.get_nfilters() > len(FILTERS):
            _refuse(name, "is packed in an unknown way", sorted(filters), "fletcher32, shuffle, gzip")
        self._check_size(dataset, plan, name)

    def _check_size(self, dataset: h5d.DatasetID, plan: Any, name: str) -> None:
        itemsize = dataset.get_type().get_size()
        if plan.get_layout() == h5d.CHUNKED and itemsize * _product(plan.get_chunk()) > LARGEST_CHUNK:
            _refuse(name, "has too large chunks", plan.get_chunk(), f"{LARGEST_CHUNK} bytes each")
        if dataset.get_space().get_simple_extent_type() == h5s.NULL:
            _refuse(name, "has no data")
        self._bytes += itemsize * _product(dataset.shape)
        if self._bytes > EXPANSION * self._size + ALLOWANCE:
            most = f"{EXPANSION} times the file's {self._size} bytes, and {ALLOWANCE} more"
            _refuse(name, "promises more data than the file can hold", f"{self._bytes} bytes so far", most)

    def _attributes(self, thing: Any, name: str) -> None:
        if h5a.get_num_attrs(thing) > MOST_ATTRIBUTES:
            _refuse(name, "has too many attributes", h5a.get_num_attrs(thing), str(MOST_ATTRIBUTES))
        for attribute in _opened(thing):
            label = f"{name}@{attribute.name.decode(errors='replace')}"
            if attribute.get_storage_size() > LARGEST_ATTRIBUTE:
                _refuse(label, "is too large", attribute.get_storage_size(), f"{LARGEST_ATTRIBUTE} bytes")
            # H5MD's units are the one place where readers want strings of any length
            _check_type(attribute.get_type(), label, any_length=attribute.name == b"unit")


def _opened(thing: Any) -> Iterator[h5a.AttrID]:
    for k in range(h5a.get_num_attrs(thing)):
        yield h5a.open(thing, index=k)


def _check_type(kind: h5t.TypeID, name: str, any_length: bool = False) -> None:
    if isinstance(kind, h5t.TypeIntegerID | h5t.TypeFloatID):
        return
    if isinstance(kind, h5t.TypeStringID) and (any_length or not kind.is_variable_str()):
        return
    given = type(kind).__name__.removeprefix("Type").removesuffix("ID").lower()
    _refuse(name, "has a type that has no place here", given, "numbers and strings of fixed length")


def _product(shape: tuple[int, ...]) -> int:
    return int(np.prod([int(k) for k in shape], dtype=object)) if shape else 1


def _refuse(name: str, what: str, given: object = None, allowed: str | None = None) -> NoReturn:
    raise FileFormatError(
        f"{name or '/'} {what}", given=given, allowed=allowed, hint="no file of dynsim has this: take another copy"
    )
