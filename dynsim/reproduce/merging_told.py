"""Tables, verdicts and pictures of the study of merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.reproduce import picture
from dynsim.reproduce.study import Sample, percent
from dynsim.reproduce.table import Table, paired

Numbers = Mapping[str, Any]
HALF_A_POINT = 0.5
FORMS = ("after", "random", "k-means")
RIVALS = ("rounded", "codebook")
SOURCE = "Pei & Wang, ICML 2023, the remark under Eq. (5)"


def tables(seeds: int) -> tuple[Table, Table, Table]:
    """The tables of merging after training, during it, and of the clusters, still empty."""
    after = Table(
        "merging",
        f"Merging after training, {seeds} seeds, test accuracy in %",
        SOURCE,
        "Particles of a trained network merge within a subsystem by leader clustering; the radius is the one that "
        "spares the given part of them, and no data are seen. Random: clusters of the same sizes, of members drawn at "
        "random. k-means: as many places, started from ours. Rounded (Eq. 12) and codebook (Lloyd's): coordinates in "
        "as many bits as fit into the bytes of the merged network.",
        ("network", "spared", "bytes", "merged", "random", "k-means", *RIVALS),
    )
    during = Table(
        "merging-during",
        f"Merging while particles learn, {seeds} seeds, test accuracy in %",
        SOURCE,
        "Digits merge from a random start on; the other networks are trained and move on for 2 epochs, in which they "
        "merge every 50 steps; 'none' moves on without. After: the same network merged after training so that as many "
        "particles are spared, between the rows of the table before.",
        ("network", "radius", "spared %", "bytes", "accuracy", "after", "largest %"),
    )
    clusters = Table(
        "merging-clusters",
        f"Clusters of leaders and by single linkage, {seeds} seeds",
        SOURCE,
        "The largest cluster, % of all particles, at the radius by which leaders spare the given part; - where single "
        "linkage has too many pairs.",
        ("network", "spared", "radius", "of a leader %", "by single linkage %"),
    )
    return after, during, clusters


def tell_after(table: Table, net: str, runs: Sequence[Numbers]) -> None:
    """Rows and verdicts of a network merged after training."""
    whole, keys, ahead = percent(runs), _keys(runs), 0
    table.rows.append((net, "none", runs[0]["bytes"], whole, *[None] * 4))
    for key in keys:
        found = [run[key] for run in runs]
        bought = {n: [affordable(run, n, run[key]["bytes"]) for run in runs] for n in RIVALS}
        rivals = [percent(b, "accuracy") for b in bought.values()]
        accuracy = [percent(found, name) for name in FORMS]
        ahead += accuracy[0].mean > max(r.mean for r in rivals)
        table.rows.append((net, _spared(found), round(_mean(found, "bytes")), *accuracy, *rivals))
    free = {name: most_spared(runs, name) for name in FORMS}
    table.verdict += [
        f"{net}: within half a point of {whole} % up to {free['after']} % of the particles spared; merged at random "
        f"up to {free['random']} %, by k-means up to {free['k-means']} %.",
        f"{net}: at equal bytes merging is ahead of both coordinates in fewer bits and a codebook in {ahead} of "
        f"{len(keys)} rows.",
    ]


def tell_clusters(table: Table, net: str, runs: Sequence[Numbers]) -> None:
    """Rows and a verdict: whether single linkage percolates where leaders do not."""
    worst, gap = "", -np.inf
    for key in _keys(runs):
        found = [run[key] for run in runs]
        radius, largest = Sample(tuple(f["radius"] for f in found)), percent(found, "largest")
        known = all(f["linked"] is not None for f in found)
        by_linkage = percent(found, "linked") if known else None
        table.rows.append((net, _spared(found), radius, largest, by_linkage))
        if by_linkage is not None and by_linkage.mean - largest.mean > gap:
            gap = by_linkage.mean - largest.mean
            worst = (
                f"{net}: where leaders spare {_spared(found)}, single linkage at the same radius joins {by_linkage} % "
                f"of all particles in one cluster, the largest cluster of a leader has {largest} %."
            )
    table.verdict += [worst] if worst else []


def _keys(runs: Sequence[Numbers]) -> list[str]:
    return [k for k in runs[0] if k.startswith("spared")]


def _spared(found: Sequence[Numbers]) -> str:
    return f"{percent(found, 'spared').mean:.0f} %"


def affordable(run: Numbers, rival: str, size: int) -> Numbers:
    """What a rival reaches with the most bits that fit into so many bytes, or with one bit where none fit."""
    forms = [v for k, v in run.items() if k.startswith(rival)]
    return max((f for f in forms if f["bytes"] <= size), key=lambda f: f["bytes"], default=forms[0])


def most_spared(runs: Sequence[Numbers], form: str) -> int:
    """Per cent of the particles up to which the mean accuracy is within half a point."""
    most = 0
    for key in _keys(runs):
        found = [run[key] for run in runs]
        if percent(runs).mean - percent(found, form).mean > HALF_A_POINT:
            break
        most = round(percent(found, "spared").mean)
    return most


def tell_during(
    table: Table, net: str, moved: Mapping[float | None, Sequence[Numbers]], runs: Sequence[Numbers]
) -> None:
    """Rows and verdicts of a network that merges while it learns."""
    control = percent(moved[None])
    for radius, found in moved.items():
        accuracy, later = percent(found), Sample(tuple(_after_at(r, f["spared"]) for r, f in zip(runs, found)))
        size = round(float(np.mean([f["bytes"] for f in found])))
        said = "none" if radius is None else f"{radius:g}"
        after = None if radius is None else later
        table.rows.append((net, said, percent(found, "spared"), size, accuracy, after, percent(found, "largest")))
        if radius is not None:
            table.verdict.append(
                f"{net}, radius {said}: {percent(found, 'spared')} % spared, {paired(accuracy, control)} points to the "
                f"same without merging, {paired(accuracy, later)} to merging as many after training."
            )


def _after_at(run: Numbers, spared: float) -> float:
    """Accuracy in % of a network merged after training, at a fraction between those measured."""
    points = [(v["spared"], v["after"]) for k, v in run.items() if k.startswith("spared")]
    x, y = zip((0.0, run["test_accuracy"]), *sorted(points))
    return 100 * float(np.interp(spared, x, y))


def draw(path: Path, net: str, runs: Sequence[Numbers], moved: Mapping[float | None, Sequence[Numbers]]) -> None:
    """Accuracy against bytes: what merging gives after and during training, its rivals and its control."""
    made, axes = picture.figure(7.2, 5.0)
    from matplotlib.ticker import LogLocator, NullFormatter

    at: dict[str, list[Sequence[Numbers]]] = {
        start: [[run[k] for run in runs] for k in runs[0] if k.startswith(start)] for start in ("spared", *RIVALS)
    }
    curves: dict[str, tuple[list[Sequence[Numbers]], str]] = {
        "merged after training": (at["spared"], "after"),
        "k-means, as many places": (at["spared"], "k-means"),
        "merged at random (control)": (at["spared"], "random"),
        "coordinates rounded": (at["rounded"], "accuracy"),
        "coordinates from a codebook": (at["codebook"], "accuracy"),
        "merged while learning": (list(moved.values()), "test_accuracy"),
    }
    for k, (name, (points, key)) in enumerate(curves.items()):
        points = sorted(points, key=lambda found: _mean(found, "bytes"))
        accuracy = [percent(found, key) for found in points]
        style = {
            "marker": picture.MARKS[k],
            "color": picture.COLOURS[k],
            "linestyle": "--" if "control" in name else "-",
        }
        axes.errorbar(
            [_mean(found, "bytes") / 1000 for found in points],
            [a.mean for a in accuracy],
            [a.deviation for a in accuracy],
            label=name,
            capsize=2,
            markersize=4,
            linewidth=1.2,
            **style,
        )
    axes.axhline(percent(runs).mean, color="#888888", linewidth=0.8, label="as trained")
    axes.set(xlabel="kilobytes stored", ylabel="test accuracy, %", xscale="log")
    axes.set_title(f"{net}: what is left of its particles", fontsize=10)
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    made.legend(loc="outside lower center", ncols=3, fontsize=8)
    picture.save(made, path)


def _mean(found: Sequence[Numbers], key: str) -> float:
    return float(np.mean([f[key] for f in found]))
