"""Appendix H: how the workload W of Eq. (60) grows with the number of sub-models, and what Fig. 7a may show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.twin import dense_twin
from dynsim.reproduce import picture
from dynsim.reproduce.study import Sample, Study, Unit, percent
from dynsim.reproduce.table import Table
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

SCENARIO = "quickstart"
WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)
STEPS = 200
GOAL = 0.97
# The network whose particles have the scenario's eta where the sum of eta is kept, C_eta of Eq. (57).
KEPT_AT = 64
FORMS = ("eta kept", "sum of eta kept", "weights by Adam")
# |slope| of ln W against ln N below which W counts as approaching a value.
FLAT = 0.1

CHAIN_WIDTHS = (8, 32, 128, 512)
DEPTHS = (1, 2, 4, 8)
CHAIN_STEPS = 300
# Activation of the chains -> the eta at which the deep ones learn.
CHAINS = {"relu": 0.01, "tanh": 0.03}


def worked(folder: Path, width: int, form: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Path of all that moves, on the full batch of digits: to the goal, and in all."""
    given = {"system.layers": ["auto", width, "auto"], "field.batch": 10**6, "run.seed": seed, "record.observables": []}
    simulation = Simulation(Scenario.load(SCENARIO).changed(**(given | settings)))
    movers = simulation.graph.particles
    if form == "sum of eta kept":
        reference = movers + (KEPT_AT - width) * simulation.graph.copies
        simulation.adopt({"dynamics.eta": simulation.scenario.dynamics.eta * reference / movers})
    if form == "weights by Adam":
        simulation.system = simulation.system.replace(step=simulation.total_steps)
        simulation, movers = dense_twin(simulation), simulation.graph.size - simulation.graph.input.size
    return {"movers": movers} | _course(simulation) | {"test_accuracy": simulation.evaluate("test").accuracy}


def _course(simulation: Simulation) -> dict[str, Any]:
    """Steps and path to the goal, None where it was not reached, and the whole path."""
    path = 0.0
    reached: dict[str, float | None] = {"steps_to_goal": None, "work_to_goal": None}
    while not simulation.done:
        before = simulation.system.x
        simulation.step()
        path += sum(_moved(before[k], a) for k, a in simulation.system.x.items() if k.startswith(("q:", "weight:")))
        response = simulation.response
        if reached["steps_to_goal"] is None and response is not None and (response.accuracy or 0) >= GOAL:
            reached = {"steps_to_goal": simulation.system.step, "work_to_goal": path}
    return {"work": path} | reached


def _moved(before: np.ndarray, after: np.ndarray) -> float:
    """Path of the particles of a group; of weights (M, N, 1) that of every sub-model's incoming vector."""
    change = (after - before).astype(np.float64)
    return float(np.sqrt((change**2).sum(axis=0 if change.shape[-1] == 1 else -1)).sum())


def workload_against_width(study: Study, seeds: int, quick: bool) -> Table:
    """W of training at widths over two decades, as eta_i and as their sum is kept, beside weights.

    Eq. (60): "the total workload and computational complexity do not increase accordingly but gradually approach a
    specific value". Also draws `workload-width.png`.
    """
    widths = (8, 32) if quick else WIDTHS
    settings: dict[str, Any] = {"run.steps": 20, "field.samples": 256} if quick else {"run.steps": STEPS}
    units = [
        Unit(f"work {f} {w} {s}", worked, {"width": w, "form": f, "seed": s, "settings": settings})
        for f in FORMS
        for w in widths
        for s in range(seeds)
    ]
    found = study.run("workload against width", units)
    table = Table(
        "fig7-workload",
        f"Workload of training against the width, {seeds} seeds",
        "Pei & Wang, ICML 2023, Eq. (57)-(60)",
        f"UCI digits, one hidden subsystem, full batch, {settings['run.steps']} steps. W is the path of all that "
        f"moves, in units of q (of weights: of every sub-model's incoming vector), to {GOAL:.0%} of the training part "
        f"and in all. With the sum of eta kept, every particle's eta falls as 1/N, as line 1 of Eq. (57) asks.",
        ("form", "width", "movers", "steps to goal", "W to goal", "W", "W of each", "test accuracy, %"),
    )
    curves: dict[str, list[Sample | float | None]] = {}
    for form in FORMS:
        runs = {w: [found[f"work {form} {w} {s}"] for s in range(seeds)] for w in widths}
        for width, of_width in runs.items():
            table.rows.append(_row(form, width, of_width))
        curves[form] = [Sample(tuple(r["work"] for r in of_width)) for of_width in runs.values()]
        table.verdict.append(_judged(form, runs))
    picture.series(
        study.folder / "workload-width.png",
        widths,
        curves,
        ("sub-models in the hidden subsystem", "W of the whole training, units of q"),
        "Workload of training against the width (Eq. 60)",
        logarithmic=True,
    )
    return table


def _row(form: str, width: int, runs: list[dict[str, Any]]) -> tuple[Any, ...]:
    movers = runs[0]["movers"]
    to_goal = [_sample(r[key] for r in runs) for key in ("steps_to_goal", "work_to_goal")]
    work = Sample(tuple(r["work"] for r in runs))
    return form, width, movers, *to_goal, work, work.mean / movers, percent(runs)


def _sample(values: Iterable[float | None]) -> Sample | None:
    """None where a seed did not get there."""
    known = list(values)
    return Sample(tuple(v for v in known if v is not None)) if None not in known else None


def _judged(form: str, runs: Mapping[int, list[dict[str, Any]]]) -> str:
    """Slopes of ln W against ln N over the upper half of the widths, seed by seed."""
    upper = list(runs)[len(runs) // 2 - 1 :]
    said = []
    for key, what in (("work", "W"), ("work_to_goal", "W to the goal")):
        slope = slope_of([runs[w] for w in upper], key)
        if slope is None:
            said.append(f"{what} is not known at every width")
            continue
        word = "approaches a value" if abs(slope.mean) < FLAT else "grows" if slope.mean > 0 else "falls"
        said.append(f"{what} {word}, as N^({slope})")
    return f"{form}, width {upper[0]} to {upper[-1]}: {'; '.join(said)}."


def slope_of(runs: list[list[dict[str, Any]]], key: str) -> Sample | None:
    """d ln(key) / d ln(movers) over widths, seed by seed; None where a number is missing."""
    slopes = []
    for of_seed in zip(*runs):
        if len(of_seed) < 2 or any(not r[key] for r in of_seed):
            return None
        n, value = (np.log([r[k] for r in of_seed]) for k in ("movers", key))
        slopes.append(np.polyfit(n, value, 1)[0])
    return Sample(tuple(map(float, slopes)))


def varied(
    folder: Path, activation: str, width: int, depth: int, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """C_v of what the last hidden subsystem emits over that of the input, untrained and trained."""
    given = {
        "system.layers": ["auto", *[width] * depth, "auto"],
        "system.activation": activation,
        "dynamics.eta": CHAINS[activation],
        "field.per_feature": False,
        "field.batch": 10**6,
        "run.seed": seed,
        "record.observables": [],
    }
    simulation = Simulation(Scenario.load(SCENARIO).changed(**(given | settings)))
    untrained = _ratio(simulation)
    while not simulation.done:
        simulation.step()
    return {"random": untrained, "trained": _ratio(simulation), "test_accuracy": simulation.evaluate("test").accuracy}


def _ratio(simulation: Simulation) -> float:
    _, response = simulation.push(simulation.system, simulation.system.step)
    names = simulation.graph.order
    return variation(response.emitted[names[-2]]) / variation(response.emitted[names[0]])


def variation(signals: np.ndarray) -> float:
    """C_v, the coefficient of variation: deviation over mean of signals (N,) of sub-models; 0 where all are silent."""
    mean = float(np.mean(signals, dtype=np.float64))
    return float(np.std(signals, dtype=np.float64)) / mean if mean else 0.0


def variation_against_depth(study: Study, seeds: int, quick: bool) -> Table:
    """Fig. 7a as we read it: C_v of a chain's output over C_v of its input; with `fig7a-*.png`."""
    widths, depths = ((8, 32), (1, 2)) if quick else (CHAIN_WIDTHS, DEPTHS)
    settings: dict[str, Any] = {"run.steps": 5 if quick else CHAIN_STEPS, "field.samples": 256 if quick else 600}
    units = [
        Unit(_chain(a, w, d, s), varied, {"activation": a, "width": w, "depth": d, "seed": s, "settings": settings})
        for a in CHAINS
        for w in widths
        for d in depths
        for s in range(seeds)
    ]
    found = study.run("signals through chains", units)
    table = Table(
        "fig7a",
        f"Ratio of output C_v to input C_v against the number of layers, {seeds} seeds",
        "Pei & Wang, ICML 2023, Fig. 7a",
        "Print does not say what C_v is. Read as the coefficient of variation (deviation over mean) over the "
        "sub-models of a subsystem of the RMS of what they emit: the last hidden subsystem's over the input's. UCI "
        f"digits, inputs centred by one mean for all, {settings['run.steps']} steps of full batch on "
        f"{settings['field.samples']} samples.",
        ("chain", "width", *(f"{d} hidden" for d in depths), "test accuracy of the deepest, %"),
    )
    for activation in CHAINS:
        for kind in ("random", "trained"):
            curves: dict[str, list[Sample | float | None]] = {}
            for width in widths:
                runs = [[found[_chain(activation, width, d, s)] for s in range(seeds)] for d in depths]
                curves[f"width {width}"] = [Sample(tuple(r[kind] for r in of_depth)) for of_depth in runs]
                accuracy = percent(runs[-1]) if kind == "trained" else None
                table.rows.append((f"{activation}, {kind}", width, *curves[f"width {width}"], accuracy))
            picture.series(
                study.folder / f"fig7a-{activation}-{kind}.png",
                depths,
                curves,
                ("hidden subsystems", "C_v of the last hidden over C_v of the input"),
                f"Chains of {activation}, {kind} (Fig. 7a)",
            )
            table.verdict.append(_trend(f"{activation}, {kind}", depths, curves))
    return table


def _chain(activation: str, width: int, depth: int, seed: int) -> str:
    return f"chain {activation} {width} {depth} {seed}"


def _trend(kind: str, depths: tuple[int, ...], curves: Mapping[str, list[Any]]) -> str:
    """How the ratio of every width changes from the shallowest to the deepest chain."""
    changes = [f"{name} {values[0].mean:.2f} to {values[-1].mean:.2f}" for name, values in curves.items()]
    return f"{kind}, {depths[0]} to {depths[-1]} hidden subsystems: {', '.join(changes)}."
