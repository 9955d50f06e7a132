"""Between the groups of a System and the arrays of a Frame: stacked over all particles, and split again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dynsim.errors import OptionError, ShapeError
from dynsim.frame import Cast
from dynsim.system.graph import RULE, Graph, Groups, System, group_kind

# What prediction needs beside q.
COEFFICIENTS = ("mu", "gain", "eps", "medium", "bias", "weight", "scale", "shift", "mean", "variance", *RULE)


def stacked(graph: Graph, of: Callable[[str], Any], dtype: Any, width: tuple[int, ...] = ()) -> np.ndarray:
    """Arrays (H, N, *width) of the subsystems as one (n, *width) in the order of `Cast`; zeros where there is none."""
    parts = [np.zeros((0, *width), dtype)]
    for s in graph.particle_subsystems:
        a = of(s.name)
        shape = (graph.copies_of(s.name) * s.size, *width)
        parts.append(np.zeros(shape, dtype) if a is None else np.asarray(a, dtype).reshape(shape))
    return np.concatenate(parts)


def coefficients(system: System) -> dict[str, np.ndarray]:
    """Group -> its numbers (k,), of every group that prediction needs beside q; copies."""
    return {k: system.x[k].flatten() for k in recorded(system) if group_kind(k) in COEFFICIENTS}


def recorded(system: System) -> list[str]:
    """The groups that frames hold: all but the weights of links whose particles wait until these are trained."""
    waiting = {f"weight:{k.name}" for k in system.graph.links if k.kind.particles}
    return [k for k in system.x if k not in waiting]


def cast_of(system: System, projection: np.ndarray, dtype: str) -> Cast:
    """Who the particles of a system are."""
    graph = system.graph
    subsystems = graph.particle_subsystems
    blocks = [np.indices((graph.copies_of(s.name), s.size), dtype=np.int32).reshape(2, -1) for s in subsystems]
    counts = [graph.copies_of(s.name) * s.size for s in subsystems]
    shapes = {s.name: (graph.copies_of(s.name), s.size, 1) for s in subsystems}
    joined = np.concatenate([np.zeros((2, 0), np.int32), *blocks], axis=1)
    return Cast(
        subsystems=tuple(s.name for s in subsystems),
        subsystem=np.repeat(np.arange(len(subsystems), dtype=np.int32), counts),
        index=joined[1],
        copy=joined[0],
        mass=stacked(graph, lambda name: np.broadcast_to(system.mass[f"q:{name}"], shapes[name]), np.float32),
        projection=projection,
        groups={k: a.shape for k, a in coefficients(system).items()},
        dtype=dtype,
    )


def unstacked(properties: Mapping[str, np.ndarray], like: System) -> Groups:
    """Positions of every group, as a frame of such a system holds them; raises ShapeError where one does not fit."""
    parts = {**properties, **_blocks(properties.get("position"), like)}
    missing = [k for k in recorded(like) if k not in parts or np.size(parts[k]) != like.x[k].size]
    if missing:
        raise ShapeError("the frame is not one of this system", given=f"no {', '.join(missing)} of the right size")
    return {k: np.array(parts[k], a.dtype).reshape(a.shape) for k, a in like.x.items() if k in recorded(like)}


def _blocks(q: np.ndarray | None, like: System) -> dict[str, np.ndarray]:
    """(n, d) -> "q:NAME" (H N, d)."""
    keys = [f"q:{s.name}" for s in like.graph.particle_subsystems]
    ends = np.cumsum([like.x[k].shape[0] * like.x[k].shape[1] for k in keys])
    if q is None or len(q) != (ends[-1] if len(ends) else 0):
        return {}
    return dict(zip(keys, np.split(np.asarray(q), ends[:-1])))


def place(graph: Graph, particle: int) -> tuple[str, int, int]:
    """(group, copy, index) of a particle given by its number in the cast; raises OptionError where there is none."""
    known = isinstance(particle, int | np.integer) and particle >= 0
    rest = int(particle) if known else 0
    for s in graph.particle_subsystems if known else ():
        if rest < (size := graph.copies_of(s.name) * s.size):
            return (f"q:{s.name}", *divmod(rest, s.size))
        rest -= size
    raise OptionError("no such particle", given=particle, allowed=f"0 ... {graph.particles - 1}")
