"""Curves and histograms of everything that was recorded, as the observables declare how they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dynsim.panels import Curve, Panel, drawn, particles_of
from dynsim.report.pictures import Look, Picture
from dynsim.report.record import Record

SMOOTHING = 50  # steps
MOST_POINTS = 4000  # of a line; more are drawn as the lowest and highest of their neighbours
OUTSIDE = 4  # curves from which on the legend stands beside the plot


def curves(record: Record, without: Sequence[str] = ()) -> list[Picture]:
    """One picture of each panel with something in it; those of observables in `without` are left out."""
    found = []
    for panel, members in drawn(record.cast.panels, record.names):
        known = tuple(c for c in members if len(record.series(c.name)[1]))
        if known and panel.source not in without:
            found.append(panel_picture(record, panel, known))
    return found


def histograms(record: Record) -> list[Picture]:
    """Per-particle observables of the first and the last frame."""
    recorded = [n for n in record.cast.widths if n in record.last.properties]
    return [_histogram(record, p) for p in particles_of(record.cast.panels, recorded) if p.source in recorded]


def panel_picture(record: Record, panel: Panel, members: Sequence[Curve]) -> Picture:
    """The curves of a panel over the steps."""

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        colours = _colours(members, look)
        for c in members:
            steps, values = record.series(c.name)
            style = "--" if c.role == "control" else "-"
            if c.smooth and len(values) > SMOOTHING:
                axes.plot(*thinned(steps, values), color=colours[c.name], alpha=0.25, linewidth=0.7)
                values = averaged(values)
            marker = "o" if len(values) < 3 else ""
            shown = thinned(steps, values)
            axes.plot(*shown, color=colours[c.name], linestyle=style, marker=marker, markersize=3, label=c.label)
        if panel.log and any((record.series(c.name)[1] > 0).any() for c in members):
            axes.set_yscale("log")
        _level(axes, np.concatenate([record.series(c.name)[1] for c in members]))
        axes.set_xlabel("step")
        axes.margins(x=0.01)
        if len(members) >= OUTSIDE:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        elif len(members) > 1:
            axes.legend(loc="best")

    return Picture(file_name(panel.title), panel.title, panel.unit, _told(record, panel, members), paint)


def _level(axes: Any, values: np.ndarray) -> None:
    """What stays but for rounding is drawn as a level line."""
    size = float(np.abs(values).max())
    if np.ptp(values) <= 1e-9 * size:
        axes.set_ylim((-0.05, 1) if size == 0 else (values[0] - size / 2, values[0] + size / 2))


def _histogram(record: Record, panel: Panel) -> Picture:
    values = [_numbers(f.properties[panel.source]) for f in (record.first, record.last)]

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        finite = np.concatenate([v[np.isfinite(v)] for v in values])
        edges = np.histogram_bin_edges(finite, bins=40) if len(finite) else 10
        for v, role, label in zip(values, ("control", "main"), ("first frame", "last frame")):
            axes.hist(v[np.isfinite(v)], edges, color=look.roles[role], alpha=0.55, label=label)
        axes.set(xlabel=panel.title, ylabel="particles")
        axes.legend()

    said = [f"{np.nanmedian(v):.3g}" if np.isfinite(v).any() else "unknown" for v in values]
    alt = f"Histogram of {panel.title} over the particles: median {said[0]} in the first frame, {said[1]} in the last."
    return Picture(file_name(f"histogram {panel.source}"), panel.title, panel.unit, alt, paint)


def _numbers(values: np.ndarray) -> np.ndarray:
    return np.linalg.norm(values, axis=1) if values.ndim == 2 else np.asarray(values, float)


def _colours(members: Sequence[Curve], look: Look) -> dict[str, Any]:
    from matplotlib import colormaps

    family = [c.name for c in members if c.role == "family"]
    shades = dict(zip(family, colormaps["viridis"](np.linspace(*look.family, max(2, len(family))))))
    return {c.name: shades[c.name] if c.name in shades else look.roles[c.role] for c in members}


def _told(record: Record, panel: Panel, members: Sequence[Curve]) -> str:
    """The first and the last number of each curve in words."""
    said = []
    for c in members:
        values = record.series(c.name)[1]
        said.append(f"{c.label} from {values[0]:.4g} to {values[-1]:.4g}")
    return f"{panel.title} over the steps: {'; '.join(said)}."


def averaged(values: np.ndarray, span: int = SMOOTHING) -> np.ndarray:
    """Moving average over `span` steps around each, over fewer at the ends."""
    window = np.ones(min(span, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def thinned(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a line of (n,) points, every peak kept."""
    rows = -(-len(x) * 2 // most)
    if rows <= 2:
        return x, y
    starts = np.arange(0, len(x), rows)
    ends = np.stack([np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)], axis=1)
    return np.repeat(x[starts], 2), ends.ravel()


def file_name(title: str) -> str:
    """A title as a file's name."""
    plain = title.replace("Λ", "lambda").replace("ψ", "psi").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "panel"
