"""What is known of one particle: who it is, its numbers, where it is in R^d, and who is near."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dynsim.frame import Cast, Frame
from dynsim_gui.models.colours import Quantity, Scene, quantities

NEIGHBOURS = 8


@dataclass(frozen=True)
class Number:
    """One quantity of the particle; `label` carries its unit."""

    name: str
    label: str
    value: float


@dataclass(frozen=True)
class Neighbour:
    """Another particle, `distance` away (l2) in the space of its Inspection."""

    particle: int
    who: str
    subsystem: int
    distance: float


@dataclass(frozen=True)
class Inspection:
    """One particle at one step.

    Attributes
    ----------
    who : its name; subsystem : its number, for the colour. identity : (label, text) pairs.
    numbers : as far as the frame has them.
    q : (d,) coordinates in `space`, "R^d", or "the 3-D view" where a frame carries nothing else.
    neighbours : the nearest first.
    """

    particle: int
    step: int
    who: str
    subsystem: int
    identity: tuple[tuple[str, str], ...]
    numbers: tuple[Number, ...]
    q: np.ndarray
    space: str
    neighbours: tuple[Neighbour, ...]


def name_of(cast: Cast, particle: int) -> str:
    """A particle in words: subsystem, number of the sub-model, and the copy if there are several."""
    copy = f" h{cast.copy[particle]}" if _copies(cast, particle) > 1 else ""
    return f"{cast.subsystems[cast.subsystem[particle]]} #{cast.index[particle]}{copy}"


def _copies(cast: Cast, particle: int) -> int:
    """H of its subsystem."""
    return int(cast.copy[cast.subsystem == cast.subsystem[particle]].max()) + 1


def describe(cast: Cast, frame: Frame, particle: int) -> Inspection:
    """Everything about a particle that a frame tells; raises IndexError for a particle that there is not."""
    if not 0 <= particle < cast.n:
        raise IndexError(f"particle {particle} of {cast.n}")
    points = frame.properties.get("position")
    space = f"R^{cast.dim}" if points is not None else "the 3-D view"
    points = frame.positions if points is None else points
    return Inspection(
        particle=particle,
        step=frame.step,
        who=name_of(cast, particle),
        subsystem=int(cast.subsystem[particle]),
        identity=_identity(cast, particle),
        numbers=_numbers(Scene(cast, frame), particle, numbers_of(cast)),
        q=np.array(points[particle], float),
        space=space,
        neighbours=tuple(
            Neighbour(k, name_of(cast, k), int(cast.subsystem[k]), d) for k, d in nearest(points, particle, NEIGHBOURS)
        ),
    )


def numbers_of(cast: Cast) -> tuple[Quantity, ...]:
    """What a frame itself may tell of one particle."""
    return tuple(q for q in quantities(cast).values() if q.needs)


def _identity(cast: Cast, particle: int) -> tuple[tuple[str, str], ...]:
    return (
        ("subsystem", cast.subsystems[cast.subsystem[particle]]),
        ("sub-model", str(cast.index[particle])),
        ("copy h", f"{cast.copy[particle]} of {_copies(cast, particle)}"),
        ("mass", f"{cast.mass[particle]:g}"),
    )


def _numbers(scene: Scene, particle: int, quantities: Iterable[Quantity]) -> tuple[Number, ...]:
    """Those that the frame has; without a limit a speed is no fraction of one."""
    found = []
    for quantity in quantities:
        if quantity.kind == "category" or quantity.missing(scene.frame):
            continue
        limited = quantity.name != "speed" or scene.frame.scalars.get("speed_limit", 0) > 0
        label = quantity.label if limited else "speed |v|"
        found.append(Number(quantity.name, label, float(quantity.of(scene)[particle])))
    return tuple(found)


def nearest(points: np.ndarray, particle: int, count: int) -> list[tuple[int, float]]:
    """(particle, l2 distance) of the `count` points (n, d) nearest to one of them, itself left out."""
    offsets = np.asarray(points, float) - points[particle]
    distances = np.sqrt(np.einsum("ij,ij->i", offsets, offsets))
    distances[particle] = np.inf
    count = min(count, len(points) - 1)
    if count < 1:
        return []
    near = np.argpartition(distances, count - 1)[:count]
    near = near[np.argsort(distances[near], kind="stable")]
    return [(int(k), float(distances[k])) for k in near]
