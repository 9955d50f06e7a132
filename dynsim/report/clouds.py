"""Pictures of the particles before and after: where they are, how densely, how structured."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from dynsim.frame import Frame
from dynsim.kernels import reference
from dynsim.observables.density import density2d
from dynsim.report.pictures import SUBSYSTEMS, Look, Picture
from dynsim.report.record import Record
from dynsim.report.structure import Structures

Limits = tuple[tuple[float, float], tuple[float, float]]
SQUARE = (4.6, 4.0)
APART = 4.0  # how many times wider one cloud may be than the other and still share its axes


def clouds(record: Record) -> list[Picture]:
    """Particles and their density in the recorded view, of the first and the last frame, side by side."""
    pictures = []
    for kind, unit, paint in (
        ("Particles", "coloured by subsystem", _points),
        ("Density", "particles per cell, logarithmic", _density),
    ):
        for frame, word, limits in zip((record.first, record.last), ("before", "after"), limits_of(record)):
            spread = frame.positions[:, :2].std()
            alt = (
                f"{kind} {word}, at step {frame.step:,}: {record.cast.n:,} particles in the recorded view of "
                f"R^{record.cast.dim}, standard deviation in the plane {spread:.3g}."
            )
            title = f"{kind} {word}: step {frame.step:,}"
            of_frame = partial(paint, record, frame, limits)
            pictures.append(Picture(f"{kind.lower()}-{word}", title, unit, alt, of_frame, SQUARE))
    return pictures


def limits_of(record: Record) -> tuple[Limits, Limits]:
    """The square of each frame: the same for both, unless one cloud would be a dot in it."""
    before, after = (_square(f.positions[:, :2]) for f in (record.first, record.last))
    sides = [high - low for (low, high), _ in (before, after)]
    if max(sides) > APART * min(sides):
        return before, after
    both = _square(np.concatenate([record.first.positions[:, :2], record.last.positions[:, :2]]))
    return both, both


def _square(xy: np.ndarray) -> Limits:
    xy = xy[np.isfinite(xy).all(axis=1)].astype(np.float64)
    middle, extent = (xy.min(axis=0) + xy.max(axis=0)) / 2, np.ptp(xy, axis=0)
    reach = 0.53 * float(extent.max()) or 1.0
    return tuple((float(m - reach), float(m + reach)) for m in middle)  # type: ignore[return-value]


def _axes(figure: Any, limits: Limits) -> Any:
    axes = figure.subplots()
    axes.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    return axes


def _points(record: Record, frame: Frame, limits: Limits, figure: Any, look: Look) -> None:
    cast, axes = record.cast, _axes(figure, limits)
    size = float(np.clip(3000 / cast.n, 2, 30))
    for k, name in enumerate(cast.subsystems):
        xy = frame.positions[cast.subsystem == k, :2]
        axes.scatter(*xy.T, s=size, color=SUBSYSTEMS[k % len(SUBSYSTEMS)], label=name, linewidths=0, alpha=0.8)
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)))
    for handle in legend.legend_handles:
        handle.set_sizes([24])


def _density(record: Record, frame: Frame, limits: Limits, figure: Any, look: Look) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm

    cells = int(np.clip(2 * np.sqrt(record.cast.n), 16, 64))
    side = (limits[0][1] - limits[0][0]) / cells
    m = density2d(reference, frame.positions[:, :2].astype(np.float64), side, bounds=limits)
    axes, counts = _axes(figure, limits), np.ma.masked_equal(m.counts.T, 0)
    colours = colormaps["viridis"].with_extremes(bad=look.ground)
    image = axes.pcolormesh(m.x_edges, m.y_edges, counts, cmap=colours, norm=LogNorm(1, max(2, int(m.counts.max()))))
    axes.grid(False)
    bar = figure.colorbar(image, label="particles per cell", format="%d", shrink=0.85)
    bar.minorformatter = bar.formatter
    bar.outline.set_visible(False)


def structure_pictures(s: Structures) -> list[Picture]:
    """psi and LapCurSE over delta: before, after, and all clouds of the control."""
    (low, high), before, after = s.range("lapcurse"), s.before, s.after
    psi = f"at the finest δ of the view {before.psi:.3g} before, {after.psi:.3g} after"
    mean = f"mean {before.lapcurse:.3g} before, {after.lapcurse:.3g} after, untrained {low:.3g} to {high:.3g}"
    return [
        _over_delta(s, "curve", "Structural entropy over δ", "ψ(δ) / log N", psi),
        _over_delta(s, "curvature", "LapCurSE over δ", "dimensionless", mean),
    ]


def _over_delta(s: Structures, name: str, title: str, unit: str, said: str) -> Picture:
    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for k, c in enumerate(s.control):
            label = f"{len(s.control)} untrained" if k == 0 else None
            axes.plot(c.delta, getattr(c, name), color=look.roles["control"], alpha=0.35, linewidth=0.8, label=label)
        for cloud, role, word in ((s.before, "second", "before"), (s.after, "main", "after")):
            axes.plot(cloud.delta, getattr(cloud, name), color=look.roles[role], label=word)
        axes.set(xscale="log", xlabel="δ, units of q")
        axes.legend()

    alt = f"{title}, before and after among {len(s.control)} untrained clouds: {said}."
    return Picture(f"structure-{name}", title, unit, alt, paint, (4.6, 2.9))


def confusion_picture(record: Record) -> Picture:
    """Rows true, columns predicted, coloured by the fraction of the row."""
    counts, classes = record.confusion, record.classes
    assert counts is not None
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(0.46 * len(classes) + 1.4, 3.2, 9.0))

    def paint(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        image = axes.imshow(fractions, cmap="viridis", vmin=0, vmax=1)
        places = range(len(classes))
        many = len(classes) > 20
        axes.set_xticks(places if not many else [], classes if not many else [])
        axes.set_yticks(places if not many else [], classes if not many else [])
        axes.set(xlabel="predicted", ylabel="true")
        axes.grid(False)
        for i, j in np.ndindex(*counts.shape) if len(classes) <= 12 else ():
            if counts[i, j]:
                ink = "#101418" if fractions[i, j] > 0.6 else "#ffffff"
                axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", fontsize=7, color=ink)
        figure.colorbar(image, label="fraction of the true class", shrink=0.8).outline.set_visible(False)

    right = int(np.trace(counts))
    alt = f"Confusion matrix of {len(classes)} classes: {right:,} of {int(counts.sum()):,} on the diagonal."
    return Picture("confusion", "Confusion matrix", "test part, samples", alt, paint, (side + 0.9, side))
