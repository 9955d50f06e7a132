"""Figures of reproduced tables (matplotlib, without a display)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from dynsim.checkpoint import write_atomically
from dynsim.errors import DeviceError
from dynsim.reproduce.study import Sample

# Okabe-Ito: told apart by colour-blind readers too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000")
MARKS = "osD^vPX"


def figure(width: float, height: float):
    """(figure, axes) that never ask for a window. Raises DeviceError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DeviceError("figures need matplotlib", hint="pip install 'dynsim[figures]'") from None
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots()


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
