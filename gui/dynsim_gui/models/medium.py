"""Signals on their way through a medium, for the window: where they run, and what is left of them (Fig. 1b, Fig. 2)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from dynsim import optics
from dynsim.commands import LinkBundle
from dynsim.frame import Cast, Frame
from dynsim.system.crossing import GlobalField
from dynsim_gui.models.inspector import name_of

# Corners of a way, where it is drawn among others and where it is a curve of its own; iterations of a frame.
CORNERS, FINE, ITERATIONS = 13, 65, 25


@lru_cache(maxsize=8)
def _system(scenario: str) -> dict[str, Any]:
    try:
        return tomllib.loads(scenario).get("system", {})
    except tomllib.TOMLDecodeError:
        return {}


def interactive_of(scenario: str) -> bool:
    """Whether the links of a scenario's TOML text are interactive, Eq. (61)."""
    return bool(_system(scenario).get("interactive", False))


def medium_of(scenario: str) -> tuple[str, float] | None:
    """(law, width) of the medium of a scenario's TOML text, None for empty space."""
    medium = _system(scenario).get("medium", {})
    law = medium.get("law", "none")
    return None if law == "none" else (law, float(medium.get("width", 0.5)))


def field_of(cast: Cast, frame: Frame, width: float) -> GlobalField | None:
    """The global field of a frame, Eq. (31); None where the frame lacks its strengths W_l."""
    counts = np.bincount(cast.subsystem, minlength=len(cast.subsystems))
    strengths = [frame.properties.get(f"medium:{name}") for name in cast.subsystems]
    if any(w is None for w in strengths) or "position" not in frame.properties:
        return None
    each = [float(np.ravel(w)[0]) / n for w, n in zip(strengths, counts)]
    return GlobalField(np.asarray(frame.properties["position"], float), np.array(each)[cast.subsystem], width)


@dataclass(frozen=True)
class Way:
    """Links of a bundle as polylines: corners (c, k, d), and what is left there of a signal of strength 1, (k, c)."""

    corners: np.ndarray
    signal: np.ndarray


class Ways:
    """The ways of all bundles at a frame; each frame begins where the last one ended."""

    def __init__(self) -> None:
        self._bent: dict[str, tuple[bytes, np.ndarray]] = {}
        self._known: tuple = ()
        self._ways: tuple[Way, ...] = ()

    def of(self, bundles: tuple[LinkBundle, ...], cast: Cast, frame: Frame, medium: tuple[str, float] | None):
        """One `Way` a bundle, () in empty space; computed once for a frame."""
        if medium is None or not bundles:
            return ()
        known = (id(bundles), frame.revision, frame.step, medium)
        if known != self._known:
            field = field_of(cast, frame, medium[1])
            self._ways = () if field is None else tuple(self._way(b, field, medium[0]) for b in bundles)
            self._known = known
        return self._ways

    def _way(self, bundle: LinkBundle, field: GlobalField, law: str) -> Way:
        start, end = field.sources[bundle.source], field.sources[bundle.target]
        corners = np.stack([optics.straight_path(a, b, CORNERS) for a, b in zip(start, end)], axis=1)
        if law == "length":
            pairs = np.concatenate([bundle.source, bundle.target]).tobytes()
            before, inner = self._bent.get(bundle.link, (b"", None))
            corners = optics.bent_paths(field, start, end, CORNERS, inner if before == pairs else None, ITERATIONS)
            self._bent[bundle.link] = pairs, corners[1:-1]
        signal = optics.profile_through(field, law, np.ones(len(start)), corners, steps=1)
        # A signal that is an optical length is used up along it, as the example beside Fig. 2 is.
        return Way(corners, 1 - signal / signal[:, -1:] if law == "length" else signal)


def on_the_way(way: Way, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (k, d) and signals (k,) of one packet a link, at parts `along` (k,) in [0, 1] of the ways."""
    pieces, links = len(way.corners) - 1, np.arange(len(along))
    at = np.clip(along, 0, 1) * pieces
    k = np.minimum(at.astype(int), pieces - 1)
    rest = at - k
    place = (1 - rest)[:, None] * way.corners[k, links] + rest[:, None] * way.corners[k + 1, links]
    return place, (1 - rest) * way.signal[links, k] + rest * way.signal[links, k + 1]


@dataclass(frozen=True)
class Profile:
    """A signal of strength 1 from one particle to another.

    way : (c,) 0 ... 1, part of the way done. signal, density : (c,) S and n along the straight path.
    bent : (c,) S along the path of least optical length, None where signals do not bend (law damping).
    told : what the numbers at the end are.
    """

    title: str
    law: str
    way: np.ndarray
    signal: np.ndarray
    density: np.ndarray
    bent: np.ndarray | None
    told: str


def profile(cast: Cast, frame: Frame, medium: tuple[str, float] | None, ends: tuple[int, ...]) -> Profile | None:
    """The signal from the particle selected before to the one selected last; None without a medium or two particles."""
    field = None if medium is None or len(ends) < 2 else field_of(cast, frame, medium[1])
    if field is None or medium is None:
        return None
    a, b = ends[-2:]
    start, end = field.sources[a], field.sources[b]
    straight = optics.straight_path(start, end, FINE)
    signal = optics.profile_through(field, medium[0], np.ones(1), straight[:, None])[0]
    bent, told = None, f"arrives as {signal[-1]:.3g} of 1"
    if medium[0] == "length":
        path = optics.bent_path(field, start, end, FINE)
        bent = optics.profile_through(field, "length", np.ones(1), path[:, None])[0]
        aside = float(np.linalg.norm(path - straight, axis=1).max())
        told = f"optical length {signal[-1]:.3g}, bent {bent[-1]:.3g}, up to {aside:.2g} aside"
    title = f"{name_of(cast, a)} → {name_of(cast, b)}"
    return Profile(title, medium[0], np.linspace(0, 1, FINE), signal, field.at(straight), bent, told)
