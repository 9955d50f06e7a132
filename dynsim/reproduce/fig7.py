"""Fig. 7: signals against depth, workload against width, accuracy against parameters over resolution (LRPR)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.reproduce import picture
from dynsim.reproduce.resolution import NETS, PARTS, ROUNDINGS, half_width, net_units, sign_of, unit_name
from dynsim.reproduce.study import Sample, Study, percent
from dynsim.reproduce.table import Table
from dynsim.reproduce.workload import variation_against_depth, workload_against_width

LOWEST, HIGHEST = -4.0, 1.5  # points of the figure, where a peak would be


def fig7(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Both parts."""
    chains = variation_against_depth(study, seeds, quick)
    return [workload_against_width(study, seeds, quick), chains, accuracy_against_lrpr(study, seeds, quick)]


def accuracy_against_lrpr(study: Study, seeds: int, quick: bool) -> Table:
    """Fig. 7b: whether some delta makes a truncated model better than the untruncated one."""
    found = study.run("networks at every delta", net_units(NETS, seeds, quick))
    table = Table(
        "fig7b",
        f"Is there a delta at which truncation helps? {seeds} seeds, accuracy in %",
        "Pei & Wang, ICML 2023, Fig. 7b, Sec. 4.3",
        "LRPR is log(parameters / delta). For every seed the delta of the best validation accuracy is taken, its gain "
        "over the untruncated model measured on test data; the gain on the validation data themselves, and the best "
        "of 40 on test data, are above 0 even if truncation only stirs a few images. '± 95 %' is the interval of the "
        "mean.",
        ("network", "rounding", "untruncated", "LRPR chosen", "validation gain", "test gain", "± 95 %", "best on test"),
    )
    for net in NETS:
        runs = [found[unit_name(net, s)] for s in range(seeds)]
        for rounding in ROUNDINGS:
            chosen = [int(np.argmax(r[f"{rounding} validation"])) for r in runs]
            lrpr = Sample(tuple(lrprs(r)[k] for r, k in zip(runs, chosen)))
            gains = {p: Sample(tuple(_gains(r, rounding, p)[k] for r, k in zip(runs, chosen))) for p in PARTS}
            best = Sample(tuple(max(_gains(r, rounding, "test")) for r in runs))
            width = half_width(gains["test"])
            table.rows.append((net, rounding, percent(runs), lrpr, gains["validation"], gains["test"], width, best))
            table.verdict.append(_judged(net, rounding, gains["test"], width))
    _draw(study.folder / "fig7b.png", found, seeds)
    return table


def lrprs(run: Mapping[str, Any]) -> list[float]:
    """log(parameters / delta) of every delta of a run."""
    return [float(np.log(run["parameters"] / d)) for d in run["deltas"]]


def _gains(run: Mapping[str, Any], rounding: str, part: str) -> list[float]:
    """Points of accuracy above the untruncated model, at every delta."""
    return [100 * (a - run[f"{part}_accuracy"]) for a in run[f"{rounding} {part}"]]


def _judged(net: str, rounding: str, gain: Sample, width: float) -> str:
    words = {1: "a peak: truncation helps", 0: "no peak that can be told from none", -1: "truncation costs"}
    return f"{net}, {rounding}: {words[sign_of(gain)]} (test gain {gain.mean:+.2f} ± {width:.2f} points, 95 %)."


def _draw(path: Path, found: Mapping[str, Mapping[str, Any]], seeds: int) -> None:
    made, table = picture.figures(11, 6.4, 2, 3)
    for net, axes in zip(NETS, table.ravel()):
        runs = [found[unit_name(net, s)] for s in range(seeds)]
        for k, rounding in enumerate(ROUNDINGS):
            gains = np.array([_gains(r, rounding, "test") for r in runs])
            spread = gains.std(axis=0, ddof=1) if seeds > 1 else np.zeros(gains.shape[1])
            style = {"color": picture.COLOURS[k], "marker": picture.MARKS[k], "linestyle": ("-", "--")[k]}
            axes.errorbar(lrprs(runs[0]), gains.mean(axis=0), spread, label=rounding, markersize=3, capsize=2, **style)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(ylim=(LOWEST, HIGHEST))
        axes.set_title(net, fontsize=9)
        axes.grid(alpha=0.25)
    for axes in table[:, 0]:
        axes.set_ylabel("test accuracy, points from untruncated", fontsize=8)
    for axes in table.ravel()[len(NETS) :]:
        axes.set_axis_off()
        axes.legend(*table[0, 0].get_legend_handles_labels(), loc="center", title="Eq. (12) by")
    made.supxlabel("LRPR = log(parameters / delta): fine resolution to the right", fontsize=9)
    made.suptitle(f"Truncated models, {seeds} seeds", fontsize=11)
    picture.save(made, path)
