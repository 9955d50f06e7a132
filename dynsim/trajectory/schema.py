"""The layout of a trajectory file, H5MD 1.1.

Source: de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185 (2014) 1546. The other modules of this package
ask here for names, types and the open file; `docs/trajectory.md` says the same to users. All objects exist
before the file turns to SWMR (single writer, many readers), since none can be added afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dynsim import panels
from dynsim.errors import FileFormatError, RunFolderError, unknown
from dynsim.frame import Cast
from dynsim.trajectory import flags, gate

SCHEMA = "dynsim-h5/1"
GROUP = "particles/trajectory"
# What viewers of H5MD know, and see in the 3-D view; the numbers are dimensionless, the units for display only.
VIEWED = {"position": "Angstrom", "velocity": "Angstrom ps-1", "force": "kJ mol-1 Angstrom-1"}
KIND_BYTES, DETAIL_BYTES = 32, 1024
# "latest" would leave datasets unreadable to HDF5 1.10; older formats crash or hang readers when damaged.
LIBVER = ("v110", "v110")
# A flush checks and writes the whole last chunk of every array, of which there are dozens.
SMALLEST_CHUNK, LARGEST_CHUNK = 2**13, 2**20
# Bytes that HDF5 keeps of each dataset: the chunk that grows, of small rows; others are written whole. Its own 8 MiB
# would let a long run, and whoever follows it, grow by half its file.
CHUNK_CACHE = 2**15
FILTERS: dict[str, Any] = {"fletcher32": True}


class MissingTrajectoryError(RunFolderError, FileNotFoundError):
    """There is no file at the path given."""


@dataclass(frozen=True)
class Columns:
    """The growing datasets of a file; within each table `step` stands last, because it is flushed last.

    Attributes
    ----------
    frames : (kind, name) -> dataset, kind one of "view" (n, 3), "property", "scalar" and "grid" (time, step).
    history : name -> dataset of one number a step.
    events : "kind", "detail", "step".
    """

    frames: dict[tuple[str, str], h5py.Dataset]
    history: dict[str, h5py.Dataset]
    events: dict[str, h5py.Dataset]

    @property
    def tables(self) -> tuple[dict, ...]:
        """In the order of flushing: whoever sees a frame sees its history and events too."""
        return self.history, self.events, self.frames


def length(table: Mapping[Any, h5py.Dataset]) -> int:
    """Complete rows of a table: a killed or running writer leaves some datasets longer than others."""
    return min(len(dataset) for dataset in table.values())


def chunk(row: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Shape of a chunk of 8 KiB to 1 MiB: several small rows, or an even part of a large one."""
    size = max(1, math.prod(row) * itemsize)
    if size <= LARGEST_CHUNK:
        return (math.ceil(SMALLEST_CHUNK / size), *row)
    parts = math.ceil(size / LARGEST_CHUNK)
    return (1, math.ceil(row[0] / parts), *row[1:])


def create(
    path: str | Path,
    cast: Cast,
    *,
    properties: tuple[str, ...] = ("position",),
    observables: tuple[str, ...] = (),
    step_observables: tuple[str, ...] = (),
    parameters: Mapping[str, str] | None = None,
    law: str = "",
    compression: str | None = None,
) -> h5py.File:
    """A new trajectory file with every object in it, no frame yet, SWMR not yet started.

    Parameters
    ----------
    properties : "position" and names of `cast.widths`.
    observables, step_observables : names of what is measured at each frame and at each step.
    parameters : texts to keep: "scenario" (TOML), "seed", "versions" (JSON), "threads", "commit", ...
    law : the damping law that `dyn_lagrangian` belongs to.
    compression : "gzip" for an archive (with shuffle), None for speed.

    Raises OptionError for an unknown property and RunFolderError where a file exists already.
    """
    for name in properties:
        if name not in ("position", *cast.widths):
            raise unknown("property to record", name, ("position", *cast.widths), where=str(path))
    try:
        file = h5py.File(path, "x", libver=LIBVER, rdcc_nbytes=CHUNK_CACHE)
    except FileExistsError as error:
        raise RunFolderError(
            "there is a trajectory already",
            where=str(path),
            hint="TrajectoryWriter.append_to, or another folder",
        ) from error
    filters = FILTERS | ({"compression": compression, "shuffle": True} if compression else {})
    _head(file)
    _particles(file, cast, properties, law, filters)
    frame_grid = file[f"{GROUP}/position"]
    for name in observables:
        _element(file, f"observables/{encode(name)}", (), "f8", frame_grid, filters)
    _dyn(file, step_observables, filters)
    own = {"dtype": cast.dtype, "panels": panels.to_text(cast.panels), "schema": SCHEMA}
    for name, value in {**(parameters or {}), **own}.items():
        file[f"parameters/{encode(name)}"] = _text(value)
    file.flush()
    return file


def encode(name: str) -> str:
    """A name as one component of an HDF5 path."""
    return name.replace("%", "%25").replace("/", "%2F")


def decode(name: str) -> str:
    """What `encode` was given."""
    return name.replace("%2F", "/").replace("%25", "%")


def clip(text: str, size: int) -> bytes:
    """UTF-8 in at most `size` bytes; what is longer ends in an ellipsis."""
    data = text.encode()
    if len(data) <= size:
        return data
    return data[: size - 3].decode(errors="ignore").encode() + "…".encode()


def open_file(path: str | Path, mode: str) -> h5py.File:
    """An existing trajectory: mode "r" (finished, running or killed) or "r+".

    Raises MissingTrajectoryError, RunFolderError when a writer holds the file, FileFormatError when it is
    damaged or something else.
    """
    refuse_missing(path)
    gate.check_superblock(path)
    try:
        return _checked(_open_patiently(path, mode))
    except (PermissionError, FileFormatError):
        raise
    except BlockingIOError as error:
        raise RunFolderError(
            "another program has this file open", where=str(path), hint="close it there, and try again"
        ) from error
    except (OSError, RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise FileFormatError(
            "not a readable HDF5 file (something else, truncated or damaged)",
            where=str(path),
            given=str(error),
            hint="a file that a killed run left is mended by dynsim repair, or by resuming the run",
        ) from error


def refuse_missing(path: str | Path) -> None:
    """Raises MissingTrajectoryError where there is no file."""
    if not Path(path).is_file():
        missing = not Path(path).suffix and not Path(path).exists()
        raise MissingTrajectoryError(
            "no such folder" if missing else "no trajectory here",
            where=str(path),
            hint="the file of a run is FOLDER/trajectory.h5",
        )


def columns(file: h5py.File) -> Columns:
    """The growing datasets of a trajectory. Raises FileFormatError naming what is missing."""
    group = need(file, GROUP)
    frames: dict[tuple[str, str], h5py.Dataset] = {}
    for name in VIEWED:
        if name in group:
            frames["view", name] = need(file, f"{GROUP}/{name}/value")
    for name, dataset in (*_properties(file), *_groups(file)):
        frames["property", name] = dataset
    for name, dataset in _values(file, "observables"):
        frames["scalar", name] = dataset
    for name in ("time", "step"):
        frames["grid", name] = need(file, f"{GROUP}/position/{name}")
    history = dict(_values(file, "dyn/observables"))
    history |= {name: need(file, f"dyn/{name}") for name in ("time", "step")}
    events = {name: need(file, f"dyn/events/{name}") for name in ("kind", "detail", "step")}
    return Columns(frames, history, events)


def read_cast(file: h5py.File) -> Cast:
    """The Cast that `create` was given. Raises FileFormatError naming what is missing."""
    static = {name: need(file, f"{GROUP}/dyn_{name}") for name in ("subsystem", "index", "copy", "projection")}
    names = static["subsystem"].attrs.get("names", ())
    return Cast(
        subsystems=tuple(name.decode() for name in names),
        **{name: dataset[()] for name, dataset in static.items()},
        mass=need(file, f"{GROUP}/mass")[()],
        groups={name: dataset.shape[1:] for name, dataset in _groups(file)},
        dtype=need(file, "parameters/dtype")[()].decode(),
        widths={name: dataset.shape[2:] for name, dataset in _properties(file) if name != "position"},
        panels=panels.from_text(file["parameters/panels"][()].decode()) if "panels" in file["parameters"] else (),
    )


def need(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """The object at `path` of a file or group, or a FileFormatError that names it."""
    try:
        return group[path]
    except KeyError as error:
        raise FileFormatError(
            f"{group.name.rstrip('/')}/{path} is missing",
            where=group.file.filename,
            allowed=f"a trajectory of schema {SCHEMA}",
        ) from error


def _open_patiently(path: str | Path, mode: str) -> h5py.File:
    for _ in range(20):
        try:
            return _open(path, mode)
        except BlockingIOError:  # a writer holds the lock for the moment between creation and SWMR
            time.sleep(0.05)
    return _open(path, mode)


def _open(path: str | Path, mode: str) -> h5py.File:
    # A plain open notices a truncated file; an SWMR open does not, but opens running and killed ones.
    running = mode == "r" and flags.is_open(path)
    options = {"libver": LIBVER, "rdcc_nbytes": CHUNK_CACHE, "swmr": running}
    if running and not flags.read(path).is_followable:
        return h5py.File(path, mode, **options)
    # A follower's lock would keep the run from being resumed after a kill. However, all handles that a process has of a
    # file must be alike: those of a writer and of other libraries lock it, those of a follower do not.
    first, second = (False, None) if running else (None, False)
    try:
        return h5py.File(path, mode, locking=first, **options)
    except BlockingIOError:
        raise
    except OSError:
        return h5py.File(path, mode, locking=second if mode == "r" else None, **options)


def _checked(file: h5py.File) -> h5py.File:
    try:
        gate.inspect(file)
        for path in ("h5md", GROUP, "parameters/schema"):
            need(file, path)
        given = file["parameters/schema"][()].decode()
        if given != SCHEMA:
            raise FileFormatError("another schema", where=file.filename, given=given, allowed=SCHEMA)
    except BaseException:
        file.close()
        raise
    return file


def _values(file: h5py.File, path: str) -> Iterator[tuple[str, h5py.Dataset]]:
    for name in file.get(path, ()):
        yield decode(name), need(file, f"{path}/{name}/value")


def _properties(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """What every particle has a number or a vector of, by name."""
    for name, group in _moving(file):
        if _is_element(group):
            yield name, need(group, "value")


def _groups(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """The groups of a cast by name, as "mu:LINK"."""
    for kind, group in _moving(file):
        if not _is_element(group):
            for name in group:
                yield f"{kind}:{decode(name)}", need(group, f"{name}/value")


def _moving(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    """All of ours that changes from frame to frame: one element, or the elements of one kind of group."""
    for name, group in need(file, GROUP).items():
        if name.startswith("dyn_") and isinstance(group, h5py.Group):
            yield decode(name.removeprefix("dyn_")), group


def _is_element(group: h5py.Group) -> bool:
    """Whether it has steps of its own; the elements of a kind of group are one level further down."""
    return isinstance(group.get("step"), h5py.Dataset)


def _text(value: str) -> np.ndarray:
    # H5MD asks for fixed-length strings (the units apart, which readers want with variable length)
    data = str(value).encode()
    return np.array(data, h5py.string_dtype("utf-8", max(1, len(data))))


def _head(file: h5py.File) -> None:
    file.create_group("h5md").attrs["version"] = np.array([1, 1], "i4")
    file.create_group("h5md/author").attrs["name"] = _text("dynsim user")
    creator = file.create_group("h5md/creator").attrs
    creator["name"] = _text("dynsim")
    try:
        creator["version"] = _text(version("dynsim"))
    except PackageNotFoundError:
        creator["version"] = _text("unknown")
    units = file.create_group("h5md/modules/units").attrs
    units["version"] = np.array([1, 0], "i4")
    units["system"] = _text("SI")


def _particles(file: h5py.File, cast: Cast, properties: tuple[str, ...], law: str, filters: dict) -> None:
    group = file.create_group(GROUP)
    box = group.create_group("box").attrs
    box["dimension"] = np.int32(3)
    box["boundary"] = np.array([b"none"] * 3)
    grid = _element(group, "position", (cast.n, 3), "f4", None, filters, VIEWED["position"])
    grid["time"].attrs["unit"] = "ps"
    for name in properties:
        if name in VIEWED and name != "position":
            _element(group, name, (cast.n, 3), "f4", grid, filters, VIEWED[name])
        # never a d-dimensional element named `position`: VMD's library collects every one in the file
        _element(group, f"dyn_{encode(name)}", *cast.form(name), grid, filters)
    if "lagrangian" in properties:
        group["dyn_lagrangian"].attrs["law"] = _text(law)
    for key, shape in cast.groups.items():
        kind, name = key.split(":", 1)
        _element(group, f"dyn_{kind}/{encode(name)}", shape, cast.dtype, grid, filters)
    _static(group, cast)


def _static(group: h5py.Group, cast: Cast) -> None:
    arrays = {
        "id": np.arange(cast.n, dtype="i4"),
        "species": cast.subsystem.astype("i4"),
        "mass": cast.mass.astype("f4"),
        "dyn_subsystem": cast.subsystem.astype("i4"),
        "dyn_index": cast.index.astype("i4"),
        "dyn_copy": cast.copy.astype("i4"),
        "dyn_projection": cast.projection.astype("f4"),
    }
    for name, array in arrays.items():
        chunks = tuple(min(a, LARGEST_CHUNK // array.itemsize) for a in array.shape)
        group.create_dataset(name, data=array, chunks=chunks, fletcher32=True)
    group["dyn_subsystem"].attrs["names"] = np.array([name.encode() for name in cast.subsystems])


def _dyn(file: h5py.File, step_observables: tuple[str, ...], filters: dict) -> None:
    dyn = file.create_group("dyn")
    _grid(dyn, filters)
    for name in step_observables:
        _element(dyn, f"observables/{encode(name)}", (), "f8", dyn, filters)
    events = dyn.create_group("events")
    types = {"kind": f"S{KIND_BYTES}", "detail": f"S{DETAIL_BYTES}", "step": "i8"}
    for name, dtype in types.items():
        _series(events, name, (), dtype, filters)


def _element(
    group: h5py.Group,
    name: str,
    row: tuple[int, ...],
    dtype: str,
    grid: h5py.Group | None,
    filters: dict,
    unit: str | None = None,
) -> h5py.Group:
    """An H5MD element; its step and time are hard links to those of `grid`, or its own where that is None."""
    element = group.create_group(name)
    if grid is None:
        _grid(element, filters)
    else:
        element["step"], element["time"] = grid["step"], grid["time"]
    value = _series(element, "value", row, dtype, filters)
    if unit:
        value.attrs["unit"] = unit
    return element


def _grid(group: h5py.Group, filters: dict) -> None:
    _series(group, "step", (), "i8", filters)
    _series(group, "time", (), "f8", filters)


def _series(group: h5py.Group, name: str, row: tuple[int, ...], dtype: str, filters: dict) -> h5py.Dataset:
    return group.create_dataset(
        name,
        (0, *row),
        maxshape=(None, *row),
        dtype=dtype,
        chunks=chunk(row, np.dtype(dtype).itemsize),
        fillvalue=np.nan if np.dtype(dtype).kind == "f" else None,
        **filters,
    )
