"""Fig. 4 and Fig. 6: what structural entropy says of accuracy and of motion, always beside a control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.observables.curvature import FRACTIONS
from dynsim.reproduce import downhill, lenet, picture
from dynsim.reproduce.resolution import (
    NETS,
    ROUNDINGS,
    TWO_LAYERS,
    delta_unit,
    half_width,
    measured,
    net_units,
    sign_of,
    spearman,
    spearman_given,
    unit_name,
)
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, percent
from dynsim.reproduce.table import Table, paired
from dynsim.simulation import Simulation

SOURCE = "Pei & Wang, ICML 2023, Fig. 4, Eq. (13), (14)"
COARSE = 20  # number of the one delta of Fig. 4b, chosen beforehand: some networks have lost there and some have not
_HIDDEN = NETS["MNIST, 3 layers"]
# name -> what is not as in "MNIST, 3 layers"
VARIANTS: dict[str, dict[str, Any]] = {
    "H 2": {"system.copies": 2},
    "H 4": {},
    "H 8": {"system.copies": 8},
    "d 3": {"system.dim": 3},
    "d 16": {"system.dim": 16},
    "l1": {"system.metric": "l1"},
    "squared": {"system.metric": "squared"},
    "reciprocal": {"system.metric": "reciprocal"},
}
DELTA = f"{FRACTIONS[COARSE]:.3f}"
LENET_ROWS = ((2, 3), (7, 7))
Found = Mapping[str, Mapping[str, Any]]
Points = Mapping[str, Mapping[str, Sample]]


def fig4(study: Study, seeds: int, quick: bool) -> list[Table]:
    """LapCurSE against accuracy: over delta for 2-layer networks, and over networks at one delta."""
    found = study.run("networks at every delta", [*net_units(TWO_LAYERS, seeds, quick), *_other_units(seeds, quick)])
    points = _points(found, seeds, quick)
    _draw_over_delta(study.folder, found, seeds)
    _draw_over_networks(study.folder, points, seeds)
    return [_over_delta(found, seeds), _over_networks(points, seeds)]


def _over_delta(found: Found, seeds: int) -> Table:
    table = Table(
        "fig4a",
        f"Accuracy of the truncated model against LapCurSE(delta), {seeds} seeds",
        SOURCE,
        "Spearman's rank correlations over 40 delta of LapCurSE and test accuracy. Null is LapCurSE of the untrained "
        "coordinates of the same seed, which know nothing of the task; delta alone is the other control, and 'given "
        "delta' the partial correlation that it leaves to the trained. 'Lost' are points of test accuracy, from the "
        "untruncated model, at the delta of least LapCurSE; 'chosen' is that of the best validation accuracy.",
        (
            "network",
            "rounding",
            "trained",
            "null",
            "delta",
            "given delta",
            "lost, argmin",
            "lost, null",
            "lost, chosen",
        ),
    )
    for net in TWO_LAYERS:
        runs = [found[unit_name(net, s)] for s in range(seeds)]
        for rounding in ROUNDINGS:
            key = f"{rounding} test"
            rho = {k: _sample(spearman(r[k], r[key]) for r in runs) for k in ("lapcurse", "lapcurse_null", "deltas")}
            rho["given"] = _sample(spearman_given(r["lapcurse"], r[key], r["deltas"]) for r in runs)
            lost = {
                k: _sample(_lost(r, rounding, np.argmin(r[k])) for r in runs) for k in ("lapcurse", "lapcurse_null")
            }
            lost["chosen"] = _sample(_lost(r, rounding, np.argmax(r[f"{rounding} validation"])) for r in runs)
            table.rows.append((net, rounding, *rho.values(), *lost.values()))
            table.verdict.append(_judged(net, rounding, rho, lost))
    return table


def _lost(run: Mapping[str, Any], rounding: str, k: np.integer) -> float:
    """Points of test accuracy that the k-th delta costs."""
    return 100 * (run["test_accuracy"] - run[f"{rounding} test"][k])


def _judged(net: str, rounding: str, rho: Mapping[str, Sample], lost: Mapping[str, Sample]) -> str:
    negative = "clearly negative" if sign_of(rho["lapcurse"]) < 0 else "not clearly negative"
    more = {-1: "more than the control does: it holds", 0: "no more than the control does", 1: "less than the control"}
    better = {-1: "better than", 0: "not to be told from", 1: "worse than"}
    return (
        f"{net}, {rounding}: the correlation is {negative} ({rho['lapcurse']}) and says "
        f"{more[sign_of(paired(rho['lapcurse'], rho['lapcurse_null']))]} ({rho['lapcurse_null']} from untrained "
        f"coordinates, {rho['deltas']} from delta itself, {rho['given']} left at given delta). The delta of least "
        f"LapCurSE loses {lost['lapcurse']} points, that of the untrained {lost['lapcurse_null']}: "
        f"{better[sign_of(paired(lost['lapcurse'], lost['chosen']))]} the delta chosen on validation data "
        f"({lost['chosen']})."
    )


def _sample(values) -> Sample:
    return Sample(tuple(values))


def _draw_over_delta(folder: Path, found: Found, seeds: int) -> None:
    for net in TWO_LAYERS:
        runs = [found[unit_name(net, s)] for s in range(seeds)]
        deltas, accuracy = (np.concatenate([r[k] for r in runs]) for k in ("deltas", "floor test"))
        clouds = {
            "trained coordinates": (np.concatenate([r["lapcurse"] for r in runs]), 100 * accuracy, deltas),
            "null control: untrained coordinates": (
                np.concatenate([r["lapcurse_null"] for r in runs]),
                100 * accuracy,
                deltas,
            ),
        }
        name = net.split(",")[0].lower()
        labels = ("LapCurSE(delta), Eq. (14)", "test accuracy at delta (floor), %", "delta")
        picture.scatters(folder / f"fig4a-{name}.png", clouds, labels, f"{net}: every delta of {seeds} seeds")
        curves = {
            label: [_sample(r[k][n] / np.log(r["particles"]) for r in runs) for n in range(len(runs[0]["deltas"]))]
            for label, k in (("trained", "psi"), ("untrained", "psi_null"))
        }
        axes = "delta, fraction of the range of the coordinates", "psi / log N, Eq. (13)"
        path, title = folder / f"fig4-psi-{name}.png", f"{net}: structural entropy of the truncated coordinates"
        picture.series(path, runs[0]["deltas"], curves, axes, title, logarithmic=True)


def _other_units(seeds: int, quick: bool) -> list[Unit]:
    units, p = lenet.baseline_units(seeds, lenet.plan(quick)), lenet.plan(quick)
    scenario, settings = _HIDDEN
    variants, rows = _others(quick)
    for name in variants:
        changed = settings | VARIANTS[name]
        units += [delta_unit(f"variant {name} {s}", scenario, changed, s, quick) for s in range(seeds)]
    for seed in range(seeds):
        for row in rows:
            fit = lenet.form_units(seed, p, row, movers=())[0]
            said = {"row": list(row), "seed": seed, "settings": p["settings"]}
            units += [fit, Unit(f"variant {_lenet_name(row)} {seed}", fitted_lenet, said, (fit.name,))]
    return units


def _others(quick: bool) -> tuple[list[str], list[tuple[int, int]]]:
    """The variants and the rows of LeNet-5; few where it only has to run."""
    few = 2 if quick else None
    return list(VARIANTS)[:few], list(LENET_ROWS)[: few and 1]


def fitted_lenet(folder: Path, row: Sequence[int], seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """A LeNet-5 of Table 2, FIXED, at the one delta; its untrained coordinates are those that the fit began with."""
    scenario = lenet.scenario(row, seed, settings | {"recipe.name": "direct"})
    untrained = Simulation(scenario).system
    simulation = Simulation(scenario, given=load_arrays(folder, lenet.fixed_name(row, seed)))
    return measured(simulation, untrained, [COARSE])


def _lenet_name(row: Sequence[int]) -> str:
    return f"LeNet-5 {tuple(row)}"


def _at_coarse(run: Mapping[str, Any]) -> float:
    """Test accuracy at the delta of this figure, or the nearest one that was measured."""
    return run["floor test"][int(np.argmin(np.abs(np.array(run["deltas"]) - FRACTIONS[COARSE])))]


def _points(found: Found, seeds: int, quick: bool) -> dict[str, dict[str, Sample]]:
    """Network -> expected LapCurSE, trained and null, accuracies and particles, with deviations over seeds."""
    variants, rows = _others(quick)
    result = {}
    for name in [*variants, *map(_lenet_name, rows)]:
        runs = [found[f"variant {name} {s}"] for s in range(seeds)]
        result[name] = {
            "trained": _sample(r["expected"] for r in runs),
            "null": _sample(r["expected_null"] for r in runs),
            "ideal": percent(runs),
            "coarse": _sample(100 * _at_coarse(r) for r in runs),
            "particles": _sample(r["particles"] for r in runs),
        }
    return result


def _over_networks(points: Points, seeds: int) -> Table:
    table = Table(
        "fig4b",
        f"Networks of several kinds at delta {DELTA}, {seeds} seeds",
        SOURCE,
        "Print has networks for ImageNet, which cannot be had here: these are 784-64-10 on MNIST (H 4, d 9, l2, unless "
        "said) and LeNet-5 with fitted particles. LapCurSE is its mean over 40 delta; clouds of more than 4,096 "
        "particles are seen through a choice of so many.",
        ("network", "particles", "LapCurSE trained", "untrained", "accuracy, %", f"at delta {DELTA}, floor"),
    )
    for name, p in points.items():
        table.rows.append((name, int(p["particles"].mean), p["trained"], p["null"], p["ideal"], p["coarse"]))
    for goal, label in (("ideal", "accuracy"), ("coarse", f"accuracy at delta {DELTA}")):
        rho = {
            k: _sample(
                spearman([p[k].values[s] for p in points.values()], [p[goal].values[s] for p in points.values()])
                for s in range(seeds)
            )
            for k in ("trained", "null", "particles")
        }
        holds = sign_of(rho["trained"]) < 0 and sign_of(paired(rho["trained"], rho["null"])) < 0
        table.verdict.append(
            f"Over networks, rank correlation of LapCurSE with {label}: {rho['trained']} trained, {rho['null']} "
            f"untrained, {rho['particles']} of the mere number of particles. 'Better networks have a lower LapCurSE, "
            f"because they learned it' {'holds' if holds else 'does not hold'} here."
        )
    higher = [name for name, p in points.items() if sign_of(paired(p["trained"], p["null"])) > 0]
    table.verdict.append(f"Training raised LapCurSE clearly in {len(higher)} of {len(points)} networks.")
    return table


def _draw_over_networks(folder: Path, points: Points, seeds: int) -> None:
    clouds = {
        head: {name: (p[k], p["coarse"]) for name, p in points.items()}
        for head, k in (("trained coordinates", "trained"), ("null control: untrained coordinates", "null"))
    }
    labels = "mean LapCurSE over delta", f"test accuracy at delta {DELTA} (floor), %"
    picture.named_points(folder / "fig4b.png", clouds, labels, f"Networks on MNIST, {seeds} seeds")


def fig6(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Maps of local entropy, and whether particles move downhill."""
    found = study.run("particles and where they go", downhill.units(seeds, quick))
    table = Table(
        "fig6",
        f"Do particles move to where local entropy is low? {seeds} seeds",
        "Pei & Wang, ICML 2023, Fig. 6, Eq. (56)",
        "Displacements over 80 windows. Denser: of those that change cell, the fraction in % whose new cell holds "
        "more others; a tie counts one half. Gradient: mean cosine with the gradient of log density. Both minus their "
        "control, steps of the same lengths in random directions. The 3-D view in cells of 1/4 standard deviation, R^d "
        "in cells of one. 'Early' is the first tenth of the run.",
        ("scenario", "space", "when", "denser", "control", "denser - control", "gradient - control", "psi / log N"),
    )
    for name in downhill.RUNS:
        runs = [found[downhill.unit_name(name, s)] for s in range(seeds)]
        for space in downhill.SPACES:
            for when in downhill.PERIODS:
                table.rows.append((name, space, when, *_moved(runs, space, when), _entropies(runs, space)))
        table.verdict.append(_where(name, runs))
    for name in dict.fromkeys(n.partition(",")[0] for n in downhill.RUNS):
        _draw_maps(study.folder, name)
    return [table]


def _moved(runs: Sequence[Mapping[str, Any]], space: str, when: str) -> tuple[Sample, ...]:
    values = {k: _sample(r[f"{space} {when} {k}"] for r in runs) for k in downhill.MEASURES}
    denser, control = (Sample(tuple(100 * v for v in values[k].values)) for k in ("denser", "denser_control"))
    return denser, control, paired(denser, control), paired(values["gradient"], values["gradient_control"])


def _entropies(runs: Sequence[Mapping[str, Any]], space: str) -> str:
    start, end = (_sample(r[f"{space} psi {when}"] for r in runs) for when in ("start", "end"))
    return f"{start.mean:.3f} to {end.mean:.3f}"


def _where(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    said = []
    for when in downhill.PERIODS:
        *_, cells, gradient = _moved(runs, downhill.SPACES[0], when)
        words = {1: "downhill", 0: "neither way clearly", -1: "uphill"}
        said.append(
            f"{when} {words[sign_of(cells)]} by cells ({cells} points; ± {half_width(cells):.2f} is 95 %) and "
            f"{words[sign_of(gradient)]} by the gradient ({gradient})"
        )
    return f"{name}, 3-D view: {'; '.join(said)}. Test accuracy {percent(runs)} %."


def _draw_maps(folder: Path, name: str) -> None:
    rows = {}
    for run in (r for r in downhill.RUNS if r.partition(",")[0] == name):
        arrays = load_arrays(folder, downhill.unit_name(run, 0))
        places, steps = arrays["places"], arrays["steps"]
        head = "confined" if "confined" in run else "free"
        rows[head] = [(f"steps {a} to {b}", p, q) for a, b, p, q in zip(steps, steps[1:], places, places[1:])]
    title = f"{name}, seed 0: local entropy in two axes, and where particles go"
    picture.maps(folder / f"fig6-{name}.png", rows, float(arrays["side"][0]), title)
