"""What is said about a frame in pictures and movies: where it comes from, and how it was made."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynsim.frame import Cast, Frame

SCORES = ("loss", "accuracy")


@dataclass(frozen=True)
class Caption:
    """The texts of a stamp; parts are to be set apart by the one who draws.

    Attributes
    ----------
    title : of the run.
    place : step and simulated time, with loss and accuracy where they are known there.
    parameters : what the step was taken with.
    metadata : for the file: title, software, version, scenario, seed, step, time.
    """

    title: str
    place: tuple[str, ...]
    parameters: tuple[str, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


def caption(
    title: str,
    cast: Cast,
    scenario: str,
    frame: Frame,
    changes: Mapping[str, Any] | None = None,
    scalars: Mapping[str, float] | None = None,
) -> Caption:
    """Of a frame.

    Parameters
    ----------
    scenario : resolved, as TOML text; "" where unknown.
    changes : live parameters that are no longer as in the scenario, as "dynamics.dt"; see `changes_until`.
    scalars : more observables of that step, as "loss".
    """
    table = tomllib.loads(scenario)
    name = str(table.get("name") or title)
    numbers = {**frame.scalars, **(scalars or {})}
    return Caption(
        title=title if title.startswith(name) else f"{name} ({title})",
        place=(f"step {frame.step}", f"time {frame.time:.4g}", *_scores(numbers)),
        parameters=_parameters(table, cast, changes or {}),
        metadata=_metadata(title, table, frame),
    )


def changes_until(events: Iterable[tuple[int, str, str]], step: int) -> dict[str, Any]:
    """Settings changed on the way to a step, by key; one made at `step` itself acts on the next."""
    changes = {}
    for at, kind, detail in events:
        if kind == "set" and at < step:
            change = json.loads(detail)
            changes[change["key"]] = change["value"]
    return changes


def _scores(scalars: Mapping[str, float]) -> tuple[str, ...]:
    known = {name: scalars[name] for name in SCORES if math.isfinite(scalars.get(name, math.nan))}
    return tuple(
        f"{name} {value:.1%}" if name == "accuracy" else f"{name} {value:.3g}" for name, value in known.items()
    )


def _parameters(table: Mapping[str, Any], cast: Cast, changes: Mapping[str, Any]) -> tuple[str, ...]:
    dynamics = {key: changes.get(f"dynamics.{key}", value) for key, value in table.get("dynamics", {}).items()}
    said = (
        ("law", dynamics.get("law")),
        ("dt", dynamics.get("dt")),
        ("η", dynamics.get("eta")),
        ("metric", table.get("system", {}).get("metric")),
        ("d", cast.dim),
        ("H", int(cast.copy.max(initial=0)) + 1),
    )
    return tuple(f"{name} {_short(value)}" for name, value in said if value is not None)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metadata(title: str, table: Mapping[str, Any], frame: Frame) -> dict[str, str]:
    from dynsim import __version__

    known = {
        "Title": title,
        "Software": f"dynsim {__version__}",
        "version": __version__,
        "scenario": table.get("name"),
        "seed": table.get("run", {}).get("seed"),
        "step": frame.step,
        "time": repr(frame.time),
    }
    return {key: str(value) for key, value in known.items() if value is not None}
