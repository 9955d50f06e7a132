"""What a trajectory file may contain, looked at before anything in it is used.

HDF5 can name other files, promise sizes that it does not have, and wind itself into loops; the files of dynsim do
none of this, so whatever does is refused by name: `inspect` looks at the structure only, in this process, at every
opening. Files from outside pass `admission` before that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from dynsim.errors import FileFormatError, RunFolderError
from dynsim.frame import Cast
from dynsim.trajectory import flags

MOST_LINKS, MOST_ATTRIBUTES, DEEPEST = 8192, 64, 8
LARGEST_CHUNK, LARGEST_ATTRIBUTE = 2**24, 2**20
# Noise packs to a fifth at best, a whole file of it never to a 64th; the rest is for chunks of small files.
EXPANSION, ALLOWANCE = 64, 2**26
FILTERS = {h5z.FILTER_FLETCHER32, h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE}
LAYOUTS = {h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED}


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
    with naming(file.filename):
        walk = _Inspection(os.path.getsize(file.filename))
        walk.group(h5g.open(file.id, b"/"), "", 0)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
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
    with naming(path):
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
        refuse("mass", "is no list", cast.mass.shape, "(n,)")
    for name, a in {"subsystem": cast.subsystem, "index": cast.index, "copy": cast.copy}.items():
        if a.shape != (n,) or a.dtype.kind != "i" or (a < 0).any():
            refuse(f"dyn_{name}", "does not fit the particles", f"{a.shape} {a.dtype}", f"({n},) whole numbers")
    if (cast.subsystem >= len(cast.subsystems)).any():
        refuse("dyn_subsystem", "names a subsystem that is not there", allowed=f"0 ... {len(cast.subsystems) - 1}")
    if cast.projection.ndim != 2 or len(cast.projection) != 3:
        refuse("dyn_projection", "is no projection", cast.projection.shape, "(3, d)")
    return n


def _check_row(dataset: h5py.Dataset, row: tuple[int, ...], kinds: str) -> None:
    if dataset.shape[1:] != row or dataset.dtype.kind not in kinds or dataset.chunks is None:
        given = f"{dataset.shape} {dataset.dtype}"
        refuse(dataset.name, "does not fit the particles", given, f"rows of shape {row}, in chunks")


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
            refuse(name, "has too many objects in it", self._links, f"{MOST_LINKS} in a file")
        if depth > DEEPEST:
            refuse(name, "is nested too deeply", allowed=f"{DEEPEST} groups in each other")
        for key in group:
            self._link(group, key, f"{name}/{key.decode(errors='replace')}", depth)

    def _link(self, group: h5g.GroupID, key: bytes, name: str, depth: int) -> None:
        kind = group.links.get_info(key).type
        if kind != h5l.TYPE_HARD:
            kinds = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link into another file"}
            refuse(name, f"is {kinds.get(kind, 'a link of a kind of its own')}", allowed="objects of this file")
        child = h5o.open(group, key)
        info = h5o.get_info(child)
        if info.addr in self._known:
            if self._known[info.addr] != h5o.TYPE_DATASET:
                refuse(name, "is a group that has another name already", allowed="each group once")
            return
        self._known[info.addr] = info.type
        if isinstance(child, h5g.GroupID):
            self.group(child, name, depth + 1)
        elif isinstance(child, h5d.DatasetID):
            self._dataset(child, name)
        else:
            refuse(name, "is neither group nor dataset", type(child).__name__)

    def _dataset(self, dataset: h5d.DatasetID, name: str) -> None:
        self._attributes(dataset, name)
        _check_type(dataset.get_type(), name)
        plan = dataset.get_create_plist()
        if plan.get_layout() not in LAYOUTS:
            refuse(name, "is put together from other datasets (virtual)", allowed="data of its own")
        if plan.get_external_count():
            refuse(name, "keeps its data in another file", allowed="data of its own")
        filters = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())}
        if not filters <= FILTERS or plan.get_nfilters() > len(FILTERS):
            refuse(name, "is packed in an unknown way", sorted(filters), "fletcher32, shuffle, gzip")
        self._check_size(dataset, plan, name)

    def _check_size(self, dataset: h5d.DatasetID, plan: Any, name: str) -> None:
        itemsize = dataset.get_type().get_size()
        if plan.get_layout() == h5d.CHUNKED and itemsize * _product(plan.get_chunk()) > LARGEST_CHUNK:
            refuse(name, "has too large chunks", plan.get_chunk(), f"{LARGEST_CHUNK} bytes each")
        if dataset.get_space().get_simple_extent_type() == h5s.NULL:
            refuse(name, "has no data")
        self._bytes += itemsize * _product(dataset.shape)
        if self._bytes > EXPANSION * self._size + ALLOWANCE:
            most = f"{EXPANSION} times the file's {self._size} bytes, and {ALLOWANCE} more"
            refuse(name, "promises more data than the file can hold", f"{self._bytes} bytes so far", most)

    def _attributes(self, thing: Any, name: str) -> None:
        if h5a.get_num_attrs(thing) > MOST_ATTRIBUTES:
            refuse(name, "has too many attributes", h5a.get_num_attrs(thing), str(MOST_ATTRIBUTES))
        for attribute in _opened(thing):
            label = f"{name}@{attribute.name.decode(errors='replace')}"
            if attribute.get_storage_size() > LARGEST_ATTRIBUTE:
                refuse(label, "is too large", attribute.get_storage_size(), f"{LARGEST_ATTRIBUTE} bytes")
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
    refuse(name, "has a type that has no place here", given, "numbers and strings of fixed length")


def _product(shape: tuple[int, ...]) -> int:
    return int(np.prod([int(k) for k in shape], dtype=object)) if shape else 1


def refuse(name: str, what: str, given: object = None, allowed: str | None = None) -> NoReturn:
    """Raises FileFormatError about an object of a file."""
    raise FileFormatError(
        f"{name or '/'} {what}", given=given, allowed=allowed, hint="no file of dynsim has this: take another copy"
    )
