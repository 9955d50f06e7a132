"""Trajectories for OVITO and HOOMD: GSD files, schema hoomd (https://gsd.readthedocs.io).

The 3-D view is the position, subsystems are the types, the copies of a sub-model share its type. What GSD has no name
for stands in the log of a frame: observables as log/observables/NAME, the positions in R^d and every other recorded
per-particle array as log/particles/NAME (n, ...), coefficients of links as log/groups/KIND:LINK.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.errors import DeviceError, OptionError
from dynsim.feed import trajectory_of
from dynsim.files import unwritable
from dynsim.frame import Cast, Frame
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory

SUFFIX = ".gsd"


def export_gsd(path: str | Path, out: str | Path) -> dict[str, Any]:
    """Write a run's or file's trajectory to `out`; returns "file", "frames", "particles" and "file_bytes".

    Raises OptionError for another ending or a trajectory without frames, DeviceError where the package gsd is
    missing, RunFolderError where it cannot be written, and what opening a trajectory raises.
    """
    gsd, out = _package(), Path(out)
    if out.suffix != SUFFIX:
        raise OptionError("not a name for such a file", where="--out", given=str(out), allowed=f"*{SUFFIX}")
    admit(trajectory_of(path))
    temporary = out.with_name(f"{out.name}.tmp{SUFFIX}")
    with Trajectory(trajectory_of(path)) as trajectory:
        if not len(trajectory):
            raise OptionError("no frame is recorded yet", where=str(path))
        box = _box(trajectory)
        try:
            with gsd.open(name=str(temporary), mode="w") as file:
                for i in range(len(trajectory)):
                    file.append(_converted(gsd.Frame(), trajectory.cast, trajectory.frame(i), box))
            os.replace(temporary, out)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise unwritable(out, error) from None
        n, frames = trajectory.cast.n, len(trajectory)
    return {"file": str(out), "frames": frames, "particles": n, "file_bytes": out.stat().st_size}


def _package() -> Any:
    try:
        import gsd.hoomd
    except ImportError:
        raise DeviceError("a GSD file needs the gsd package", hint="pip install 'dynsim[gsd]'") from None
    return gsd.hoomd


def _box(trajectory: Trajectory) -> list[float]:
    """A cube around all frames: particles have no box, but a viewer wants one."""
    farthest = max(float(np.abs(trajectory.frame(i).positions).max()) for i in range(len(trajectory)))
    return [2.1 * (farthest or 1.0)] * 3 + [0.0, 0.0, 0.0]


def _converted(target: Any, cast: Cast, frame: Frame, box: list[float]) -> Any:
    """The frame of a trajectory as one of GSD."""
    target.configuration.step, target.configuration.dimensions, target.configuration.box = frame.step, 3, box
    particles = target.particles
    particles.N = cast.n
    particles.types, particles.typeid = list(cast.subsystems), cast.subsystem.astype(np.uint32)
    particles.position = frame.positions.astype(np.float32)
    particles.mass = cast.mass.astype(np.float32)
    if "velocity" in frame.properties:
        particles.velocity = (frame.properties["velocity"] @ cast.projection.T).astype(np.float32)
    log = {f"observables/{name}": np.array([value]) for name, value in frame.scalars.items()}
    for name, array in frame.properties.items():
        log[f"{'groups' if name in cast.groups else 'particles'}/{name}"] = _table(array)
    target.log = {"time": np.array([frame.time])} | log
    return target


def _table(array: np.ndarray) -> np.ndarray:
    """GSD holds arrays of one or two axes."""
    return array.reshape(len(array), -1) if array.ndim > 2 else array
