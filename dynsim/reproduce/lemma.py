"""Lemma C.2 measured: the error of the best fit against H, up to the bound of Eq. (19) and beyond.

The bound H* = ceil(m n / (d (m + n))) counts coordinates against entries. However, a common translation and rotation of
both clouds changes no distance, so that a copy has d (d + 1) / 2 fewer free numbers (the proof divides by these states,
Eq. 20-21, and loses them in the limit of Eq. 23): `counted` is the bound with them.

A fit is a descent (Adam with mu solved for, float32) and then Levenberg-Marquardt in float64, from several starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.coordinates import SIDES, PathIntegrals
from dynsim.backend.conversion.descent import RATE, Target, descend, random_start
from dynsim.kernels import reference
from dynsim.kernels.load import load
from dynsim.reproduce import lenet
from dynsim.reproduce.picture import series
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays
from dynsim.reproduce.table import Table
from dynsim.system.initialise import random

METRICS = ("l2", "l1", "reciprocal", "squared")
SIDE, DIMS, BEYOND = 18, (2, 3, 4), 2  # of the square matrices; H goes on beyond the bound
VANISHED = 1e-8  # relative error that counts as none, in float64
HIDDEN, LAST = "weight:fc1>fc2", "weight:fc2>output"


def bound(shape: tuple[int, int], dim: int) -> int:
    """H* of Eq. (19)."""
    return math.ceil(math.prod(shape) / (dim * sum(shape)))


def counted(shape: tuple[int, int], dim: int) -> int:
    """The least H with as many free numbers as entries: rotations and translations counted; mu_h pays for the scale."""
    return math.ceil(math.prod(shape) / (dim * sum(shape) - dim * (dim + 1) // 2))


# One fit ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Polish:
    """Levenberg-Marquardt steps at most, and the damping that it begins with."""

    steps: int
    damping: float = 1e-2


def best_error(
    matrix: np.ndarray, metric: str, copies: int, dim: int, starts: int, descent: int, polish: Polish
) -> float:
    """Least |W - phi| / |W| over several starts, float64."""
    values = np.asarray(matrix, float) / np.sqrt(np.mean(np.square(matrix)))
    target = Target(values.astype(np.float32), None, load("cpu"))
    errors = []
    for start in range(starts):
        first = random_start(target, metric, copies, dim, seed=start)
        phi = descend(target, first, steps=descent, rate=RATE["random"], bits=None, seed=start, told=None)[0]
        errors.append(polished(values, phi, polish))
    return min(errors)


def polished(values: np.ndarray, phi: PathIntegrals, polish: Polish) -> float:
    """|W - phi| / |W| after Levenberg-Marquardt on coordinates and mu together."""
    x, shape = _packed(phi), (*phi.q["a"].shape, phi.q["b"].shape[1])
    damping, total = polish.damping, float(np.linalg.norm(values))
    residual, jacobian = linearised(x, shape, phi, values)
    for _ in range(polish.steps):
        error = np.linalg.norm(residual)
        if error < 0.1 * VANISHED * total or damping > 1e12:
            break
        step = _step(jacobian, residual, damping)
        tried = linearised(x + step, shape, phi, values)
        if np.linalg.norm(tried[0]) < error:
            x, (residual, jacobian), damping = x + step, tried, damping / 3
        else:
            damping *= 4
    return float(np.linalg.norm(residual)) / total


def _step(jacobian: np.ndarray, residual: np.ndarray, damping: float) -> np.ndarray:
    """The smaller of the two forms of (J^T J + damping)^-1 J^T r."""
    if len(residual) < jacobian.shape[1]:
        inner = jacobian @ jacobian.T
        inner[np.diag_indices_from(inner)] += damping
        return jacobian.T @ np.linalg.solve(inner, residual)
    inner = jacobian.T @ jacobian
    inner[np.diag_indices_from(inner)] += damping
    return np.linalg.solve(inner, jacobian.T @ residual)


def _packed(phi: PathIntegrals) -> np.ndarray:
    return np.concatenate([phi.q[side].astype(float).ravel() for side in SIDES] + [np.asarray(phi.mu, float)])


def linearised(x: np.ndarray, shape: Sequence[int], phi: PathIntegrals, values: np.ndarray):
    """W - phi (M N,), and the Jacobian of phi (M N, unknowns): Eq. (5) and its gradient factors."""
    copies, m, dim, n = shape
    a, rest = x[: copies * m * dim].reshape(copies, m, dim), x[copies * m * dim :]
    b, mu = rest[: copies * n * dim].reshape(copies, n, dim), rest[copies * n * dim :]
    f = reference.metric_value(phi.metric, a[:, :, None], b[:, None], phi.eps, 2.0)
    u_a, u_b, _ = reference.metric_gradient(phi.metric, a[:, :, None], b[:, None], phi.eps, 2.0)
    on_a, on_b = np.zeros((m, n, copies, m, dim)), np.zeros((m, n, copies, n, dim))
    rows, columns = np.arange(m), np.arange(n)
    on_a[rows, :, :, rows] = (mu[:, None, None, None] * u_a).transpose(1, 2, 0, 3)
    on_b[:, columns, :, columns] = (mu[:, None, None, None] * u_b).transpose(2, 1, 0, 3)
    jacobian = np.concatenate([p.reshape(m * n, -1) for p in (on_a, on_b, f.transpose(1, 2, 0))], axis=1)
    return (values - np.einsum("h,hij->ij", mu, f)).ravel(), jacobian


def truncated(matrix: np.ndarray, copies: int, dim: int) -> float:
    """The control: the relative error of the truncated SVD of rank H d, which has as many numbers."""
    s = np.linalg.svd(np.asarray(matrix, float), compute_uv=False)
    return float(np.linalg.norm(s[copies * dim :]) / np.linalg.norm(s))


# The study -------------------------------------------------------------------------------------------------------


def measured(
    folder: Path, kind: str, metric: str, dim: int, seed: int, copies: list[int], starts: int, descent: int, steps: int
) -> dict[str, Any]:
    """Errors of the best fits of one matrix, and of its SVD, by H."""
    matrix = matrix_of(folder, kind, seed)
    fits = [best_error(matrix, metric, h, dim, starts, descent, Polish(steps)) for h in copies]
    return {"copies": copies, "error": fits, "svd": [truncated(matrix, h, dim) for h in copies]}


def matrix_of(folder: Path, kind: str, seed: int) -> np.ndarray:
    """random: normal (18, 18). trained: as much of the LeNet-5 layer 120 x 84. last: its whole layer 84 x 10."""
    if kind == "random":
        return random(seed, "target").standard_normal((SIDE, SIDE))
    arrays = load_arrays(folder, f"baseline-{seed}")
    return arrays[LAST][..., 0] if kind == "last" else arrays[HIDDEN][:SIDE, :SIDE, 0]


def lemma_c2(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Error against H for random and trained matrices, and whether it vanishes at the bound."""
    units = lenet.baseline_units(seeds, lenet.plan(quick)) + lemma_units(seeds, quick)
    found = study.run("Lemma C.2: best fits", units)
    table = Table(
        "lemma-c2",
        f"Lemma C.2: relative error of the best fit, {seeds} matrices each",
        "Pei & Wang, ICML 2023, Lemma C.2 and Eq. (19)",
        f"Matrices of {SIDE} x {SIDE} (random: normal; trained: from LeNet-5's layer 120 x 84) and LeNet-5's whole "
        "last layer 84 x 10 (last). Best of several starts, Adam and then Levenberg-Marquardt in float64. H* is "
        "Eq. (19), 'counted' the least H with as many free numbers, without rotations and translations, as entries. "
        "Errors are medians.",
        ("matrix", "metric", "d", "H*", "counted", "at H*", "H* + 1", "H* + 2", "SVD at H*", "vanishes at H"),
    )
    groups = _groups(found)
    for (kind, metric, dim), numbers in groups.items():
        table.rows.append(_row(kind, metric, dim, numbers))
    table.verdict = verdict(groups)
    for dim in DIMS:
        _figure(study.folder / f"lemma-c2-d{dim}.png", groups, dim)
    return [table]


def lemma_units(seeds: int, quick: bool) -> list[Unit]:
    """Every matrix by every metric and d; of the last layer only l2 with d = 3, which is what is expensive."""
    effort = {"starts": 1, "descent": 40, "steps": 10} if quick else {"starts": 3, "descent": 500, "steps": 250}
    asked = [(kind, metric, dim) for kind in ("random", "trained") for metric in METRICS for dim in DIMS]
    if quick:
        asked = [("random", "l2", 3), ("trained", "l2", 3)]
    else:
        asked.append(("last", "l2", 3))
    units = []
    for kind, metric, dim in asked:
        most = bound(shape_of(kind), dim) + BEYOND
        mine = effort | {"starts": 1} if kind == "last" else effort
        copies = [*range(1, most + 1)]
        for seed in range(seeds):
            settings = {"kind": kind, "metric": metric, "dim": dim, "seed": seed, "copies": copies} | mine
            needs = () if kind == "random" else (f"baseline-{seed}",)
            units.append(Unit(f"lemma-{kind}-{metric}-{dim}-{seed}", measured, settings, needs))
    return units


def shape_of(kind: str) -> tuple[int, int]:
    """(m, n) of a kind of matrix."""
    return (84, 10) if kind == "last" else (SIDE, SIDE)


Groups = dict[tuple[str, str, int], list[dict[str, Any]]]


def _groups(found: Mapping[str, dict[str, Any]]) -> Groups:
    groups: Groups = {}
    for name, numbers in found.items():
        if name.startswith("lemma-"):
            _, kind, metric, dim, _ = name.split("-")
            groups.setdefault((kind, metric, int(dim)), []).append(numbers)
    return groups


def _row(kind: str, metric: str, dim: int, numbers: list[dict[str, Any]]) -> tuple[Any, ...]:
    shape = shape_of(kind)
    star = bound(shape, dim)
    at = [scientific([n["error"][star - 1 + k] for n in numbers]) for k in range(BEYOND + 1)]
    svd = scientific([n["svd"][star - 1] for n in numbers])
    gone = vanishing(numbers)
    least = str(gone) if gone is not None else f"not up to {star + BEYOND}"
    return kind, metric, dim, star, counted(shape, dim), *at, svd, least


def scientific(values: Sequence[float]) -> str:
    """Median of errors, which lie orders of magnitude apart."""
    return f"{np.median(values):.1e}"


def vanishing(numbers: list[dict[str, Any]]) -> int | None:
    """The least H from which on the error of every matrix is below `VANISHED`."""
    gone = [h for k, h in enumerate(numbers[0]["copies"]) if all(max(n["error"][k:]) < VANISHED for n in numbers)]
    return min(gone, default=None)


def verdict(groups: Groups) -> list[str]:
    """What the numbers say of Eq. (19), metric by metric."""
    sentences = []
    for metric in dict.fromkeys(m for _, m, _ in groups):
        told: dict[str, list[str]] = {"at H* or below": [], "only beyond H*": [], f"not up to H* + {BEYOND}": []}
        for (kind, of, dim), numbers in groups.items():
            if of != metric:
                continue
            star, gone = bound(shape_of(kind), dim), vanishing(numbers)
            place = f"{kind} d = {dim} (H* = {star}, counted {counted(shape_of(kind), dim)})"
            key = list(told)[2 if gone is None else int(gone > star)]
            told[key].append(place if gone is None else f"{place} at {gone}")
        parts = [f"{key}: {', '.join(places)}" for key, places in told.items() if places]
        holds = not told["only beyond H*"] and not told[f"not up to H* + {BEYOND}"]
        word = "holds here" if holds else "does not hold"
        sentences.append(f"{metric}: Eq. (19) {word}. Error below {VANISHED:g} {'; '.join(parts)}.")
    better = [k for k, n in groups.items() if all(_at_bound(x, k, "error") < _at_bound(x, k, "svd") for x in n)]
    won = f"{len(better)} of {len(groups)}"
    return [*sentences, f"At H* the fit has less error than the SVD of equally many numbers in {won} rows, every seed."]


def _at_bound(numbers: Mapping[str, Any], group: tuple[str, str, int], key: str) -> float:
    return numbers[key][bound(shape_of(group[0]), group[2]) - 1]


def _figure(path: Path, groups: Groups, dim: int) -> None:
    """log10 of the error against H for the square matrices of one d."""
    shown = {k: n for k, n in groups.items() if k[2] == dim and k[0] != "last"}
    if not shown:
        return
    copies = next(iter(shown.values()))[0]["copies"]
    curves: dict[str, list[Sample | float | None]] = {}
    for (kind, metric, _), numbers in shown.items():
        curves[f"{metric}, {kind}"] = [_logarithm(numbers, "error", k) for k in range(len(copies))]
        curves[f"SVD of as many numbers, {kind}"] = [_logarithm(numbers, "svd", k) for k in range(len(copies))]
    star = bound((SIDE, SIDE), dim)
    series(
        path,
        [str(h) for h in copies],
        curves,
        (f"H (Eq. 19: {star})", "log10 of the relative error"),
        f"Lemma C.2, {SIDE} x {SIDE}, d = {dim}",
        dashed=tuple(name for name in curves if name.endswith("trained")),
    )


def _logarithm(numbers: list[dict[str, Any]], key: str, k: int) -> Sample:
    return Sample(tuple(math.log10(max(n[key][k], 1e-16)) for n in numbers))
