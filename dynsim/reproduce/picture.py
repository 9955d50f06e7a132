"""Figures of reproduced tables (matplotlib, without a display)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dynsim.errors import DeviceError
from dynsim.files import write_atomically
from dynsim.reproduce.study import Sample

# Okabe-Ito: told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
MARKS = "osD^vPX"


def figure(width: float, height: float):
    """(figure, axes) that never ask for a window. Raises DeviceError without matplotlib."""
    made, axes = figures(width, height, 1, 1)
    return made, axes[0, 0]


def figures(width: float, height: float, rows: int, columns: int):
    """(figure, axes (rows, columns)): pictures beside and below one another."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DeviceError("figures need matplotlib", hint="pip install 'dynsim[figures]'") from None
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def save(made, path: Path) -> Path:
    """Write a PNG, atomically."""
    buffer = io.BytesIO()
    made.savefig(buffer, dpi=130, format="png")
    write_atomically(path, buffer.getvalue())
    return path


def series(
    path: Path,
    x: Sequence[float] | Sequence[str],
    curves: Mapping[str, Sequence[Sample | float | None]],
    labels: tuple[str, str],
    title: str,
    logarithmic: bool = False,
    dashed: tuple[str, ...] = (),
    lowest: float | None = None,
) -> Path:
    """Curves with deviations over seeds; those in `dashed` are drawn so. "form, how" has the colour of its form.

    Parameters
    ----------
    lowest : of the shown values; None for all of them.
    """
    made, axes = figure(7.2, 4.6)
    named = isinstance(x[0], str)
    places = list(range(len(x))) if named else list(x)
    forms = list(dict.fromkeys(map(_form, curves)))
    for name, values in curves.items():
        k = forms.index(_form(name))
        known = [(p, v) for p, v in zip(places, values) if v is not None]
        means = [v.mean if isinstance(v, Sample) else v for _, v in known]
        spread = [v.deviation if isinstance(v, Sample) else 0.0 for _, v in known]
        style = {"linestyle": "--" if name in dashed else "-", "marker": MARKS[k % 7], "color": COLOURS[k % 7]}
        axes.errorbar([p for p, _ in known], means, spread, label=name, capsize=2, markersize=4, linewidth=1.2, **style)
    if named:
        axes.set_xticks(places, x)
    if logarithmic:
        axes.set_xscale("log")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(title, fontsize=10)
    axes.set_ylim(bottom=lowest)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return save(made, path)


def _form(name: str) -> str:
    return name.rpartition(", ")[0] or name


def expectation(x: np.ndarray, y: np.ndarray, bins: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Mean x and mean y of the points in so many bins, each with as many points, by rising x."""
    parts = [p for p in np.array_split(np.argsort(x, kind="stable"), bins) if len(p)]
    return np.array([x[p].mean() for p in parts]), np.array([y[p].mean() for p in parts])


def scatters(
    path: Path,
    clouds: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    labels: tuple[str, str, str],
    title: str,
    near_zero: float = 1e-2,
) -> Path:
    """Points with their expectation, one picture beside the other: title -> x, y and what colours them (n,) each.

    x is logarithmic above `near_zero`, linear below; colours are logarithmic; labels are of x, y, colour.
    """
    from matplotlib.colors import LogNorm

    made, (row,) = figures(4.2 * len(clouds) + 1, 4.4, 1, len(clouds))
    low, high = (f(f(c) for _, _, c in clouds.values()) for f in (min, max))
    for axes, (name, (x, y, colour)) in zip(row, clouds.items(), strict=True):
        drawn = axes.scatter(x, y, c=colour, s=9, alpha=0.7, cmap="viridis", norm=LogNorm(low, high), linewidths=0)
        axes.plot(*expectation(x, y), "D-", color=COLOURS[3], markersize=5, linewidth=1.4, label="expectation")
        axes.set_xscale("symlog", linthresh=near_zero)
        axes.set(xlabel=labels[0], ylim=(min(y.min() for _, y, _ in clouds.values()) - 2, None))
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8, loc="lower left")
    row[0].set_ylabel(labels[1])
    made.colorbar(drawn, ax=row, label=labels[2])
    made.suptitle(title, fontsize=11)
    return save(made, path)


def named_points(
    path: Path, clouds: Mapping[str, Mapping[str, tuple[Sample, Sample]]], labels: tuple[str, str], title: str
) -> Path:
    """Title -> name -> (x, y) with deviations, one picture beside the other, names in one legend."""
    made, (row,) = figures(4.0 * len(clouds) + 2.2, 4.2, 1, len(clouds))
    for axes, (head, points) in zip(row, clouds.items(), strict=True):
        for k, (name, (x, y)) in enumerate(points.items()):
            style = {"marker": MARKS[k // 7 % 7], "color": COLOURS[k % 7], "linestyle": "", "capsize": 2}
            axes.errorbar(x.mean, y.mean, y.deviation, x.deviation, label=name, markersize=6, **style)
        axes.set(xlabel=labels[0])
        axes.set_title(head, fontsize=10)
        axes.grid(alpha=0.25)
    row[0].set_ylabel(labels[1])
    made.legend(*row[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    made.suptitle(title, fontsize=11)
    return save(made, path)


def maps(
    path: Path,
    rows: Mapping[str, Sequence[tuple[str, np.ndarray, np.ndarray]]],
    side: float,
    title: str,
    arrows: int = 90,
) -> Path:
    """Cells of the plane coloured by -log Pr(cell), and arrows from where particles are to where they go.

    Parameters
    ----------
    rows : title of a row -> (title, points (n, 2), the same points later (n, 2)) of each of its pictures.
    side : of a cell. arrows : so many particles, evenly drawn, have one.
    """
    columns = len(next(iter(rows.values())))
    made, table = figures(3.5 * columns + 0.9, 3.5 * len(rows), len(rows), columns)
    places = np.concatenate([q for pictures in rows.values() for _, *both in pictures for q in both])
    reach = np.quantile(np.abs(places), 0.998)
    edges = np.arange(np.floor(-reach / side), np.ceil(reach / side) + 1) * side
    meshes = []
    for line, (head, pictures) in zip(table, rows.items(), strict=True):
        for axes, (name, q, later) in zip(line, pictures, strict=True):
            meshes.append(axes.pcolormesh(edges, edges, _local_entropy(q, edges), cmap="viridis_r"))
            some = np.linspace(0, len(q) - 1, min(arrows, len(q))).astype(int)
            move = (later - q)[some]
            axes.quiver(*q[some].T, *move.T, angles="xy", scale_units="xy", scale=1, width=0.004, color=COLOURS[3])
            axes.set(xlim=edges[[0, -1]], ylim=edges[[0, -1]], aspect="equal")
            axes.set_title(name, fontsize=9)
            axes.tick_params(labelsize=7)
        line[0].set_ylabel(head, fontsize=10)
    lowest = min(m.get_array().min() for m in meshes)
    for m in meshes:
        m.set_clim(lowest, np.log(len(q)))
    made.colorbar(meshes[0], ax=table, label="local entropy -log Pr(cell), nats; white: empty", shrink=0.7)
    made.suptitle(title, fontsize=11)
    return save(made, path)


def _local_entropy(q: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """-log Pr (y, x) of square cells; NaN where nobody is."""
    counts = np.histogram2d(q[:, 0], q[:, 1], [edges, edges])[0].T
    return np.log(len(q)) - np.log(np.where(counts, counts, np.nan))
