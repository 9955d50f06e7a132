"""Fig. 8: how much of a network is DyN, and whether interactive links (Eq. 61) do better than isolated ones (Eq. 6)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.backend.twin import twin_scenario
from dynsim.recipes import path_integrals
from dynsim.reproduce import lenet, picture
from dynsim.reproduce.quantised import coarse
from dynsim.reproduce.resolution import NETS, QUICK, ROUNDINGS, half_width, sign_of, spearman, trained
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, percent
from dynsim.reproduce.table import Table, paired
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups

SOURCE = "Pei & Wang, ICML 2023, Fig. 8"
# (a): which layers of LeNet-5 are particles -> how many of its weights these replace
LAYERS: dict[str, tuple[str, ...]] = {
    "none": (),
    "fc3": ("output",),
    "fc2, fc3": ("fc2", "output"),
    "all dense": ("fc1", "fc2", "output"),
    "all dense, conv2": ("conv2", "fc1", "fc2", "output"),
}
REPLACED = {"output": 84 * 10, "fc2": 120 * 84, "fc1": 400 * 120, "conv2": 25 * 6 * 16}
ROW = (3, 6)
STRESSES = (1.0, 0.75)  # relative, below which a fit ends
PARTLY = (0.0, 1e-2, 5e-2)
# (b)
FORMS = ("weights", "isolated", "interactive")
DELTAS = (1e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 0.2)
BOTH = {"MNIST": NETS["MNIST, 3 layers"], "digits": ("quickstart", {"system.copies": 4, "field.validation": 0.0})}


def fig8(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Both parts."""
    return [partly_dyn(study, seeds, quick), mechanisms(study, seeds, quick)]


# (a) ---------------------------------------------------------------------------------------------------------


def partly_dyn(study: Study, seeds: int, quick: bool) -> Table:
    """Fig. 8a: LeNet-5 of which more and more is DyN."""
    found = study.run("LeNet-5, partly DyN", _partly_units(seeds, quick))
    columns = [(d, r) for d in PARTLY for r in (ROUNDINGS if d else ROUNDINGS[:1])]
    table = Table(
        "fig8a",
        f"LeNet-5 of which more and more is DyN {ROW}, {seeds} seeds, test accuracy in %",
        f"{SOURCE}a",
        "Print has ImageNet. From the same trained weights: the layers named are fitted until the relative stress of "
        "every one is below the threshold or for as long as in Table 2, then all moves on, particles by the physics "
        "and weights by Adam. 'None', the weights trained on for as many epochs, is the original form; the other rows "
        "show points minus it, seed by seed, at the same delta and rounding.",
        ("DyN layers", "weights replaced", "stress at most", "fit ended at", *map(_headed, columns)),
    )
    original = {c: _coarse_sample(found, "none", STRESSES[0], seeds, c) for c in columns}
    table.rows.append(("none", 0, None, None, *original.values()))
    gains: dict[tuple[float, tuple[float, str]], list[Sample]] = {}
    names, stresses = _chosen(quick)
    for stress in stresses:
        for layers in names:
            ours = {c: paired(_coarse_sample(found, layers, stress, seeds, c), original[c]) for c in columns}
            for c, sample in ours.items():
                gains.setdefault((stress, c), []).append(sample)
            ended = Sample(tuple(found[_partly_name(layers, stress, s)]["stress"] for s in range(seeds)))
            table.rows.append((layers, replaced(layers), stress, ended, *ours.values()))
    table.verdict = [_more_is_better(names, stress, c, samples, seeds) for (stress, c), samples in gains.items()]
    curves = {f"delta {d:g}, {r}": gains[stresses[-1], (d, r)] for d, r in columns}
    labels = "layers that are DyN", "test accuracy minus the original form, points"
    title = f"LeNet-5, fits until a stress of {stresses[-1]:g}"
    dashed = tuple(name for name in curves if name.endswith("round"))
    picture.series(study.folder / "fig8a.png", names, curves, labels, title, dashed=dashed)
    return table


def _chosen(quick: bool) -> tuple[list[str], tuple[float, ...]]:
    """What is DyN besides "none", and the thresholds; few where it only has to run."""
    names = list(LAYERS)[1:]
    return (names[::2], STRESSES[:1]) if quick else (names, STRESSES)


def replaced(layers: str) -> int:
    """Weights of LeNet-5 in whose place particles are."""
    return sum(REPLACED[name] for name in LAYERS[layers])


def _headed(column: tuple[float, str]) -> str:
    return f"δ {column[0]:g} {column[1]}" if column[0] else "ideal"


def _more_is_better(
    names: Sequence[str], stress: float, column: tuple[float, str], samples: Sequence[Sample], seeds: int
) -> str:
    weights = [replaced(layers) for layers in names]
    rho = Sample(tuple(spearman(weights, [s.values[k] for s in samples]) for k in range(seeds)))
    all_dyn = samples[-1]
    holds = sign_of(rho) > 0 and sign_of(all_dyn) > 0
    return (
        f"Stress {stress:g}, {_headed(column)}: rank correlation of gain and weights replaced {rho}; all as DyN "
        f"gains {all_dyn} points (± {half_width(all_dyn):.2f}, 95 %): 'the more, the better' "
        f"{'holds' if holds else 'does not hold'}."
    )


def _coarse_sample(found, layers: str, stress: float, seeds: int, column: tuple[float, str]) -> Sample:
    delta, rounding = column
    return percent((found[_partly_name(layers, stress, s)] for s in range(seeds)), f"{rounding} {delta:g}")


def _partly_name(layers: str, stress: float, seed: int) -> str:
    return f"partly {layers} {seed}" if layers == "none" else f"partly {layers} {stress:g} {seed}"


def _partly_units(seeds: int, quick: bool) -> list[Unit]:
    p = lenet.plan(quick)
    units = lenet.baseline_units(seeds, p)
    for seed in range(seeds):
        names, stresses = _chosen(quick)
        for layers, stress in [("none", STRESSES[0]), *product(names, stresses)]:
            said = {"layers": list(LAYERS[layers]), "stress": stress, "seed": seed, "fit": p["fit"]}
            said |= {"epochs": 1 if quick else 2, "settings": p["settings"]}
            units.append(Unit(_partly_name(layers, stress, seed), partly, said, (f"baseline-{seed}",)))
    return units


def partly(
    folder: Path, layers: Sequence[str], stress: float, seed: int, fit: int, epochs: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Trained weights, of which some layers become particles, are fitted and moved on with the rest."""
    scenario = partly_scenario(layers, seed, settings)
    given: Groups = load_arrays(folder, f"baseline-{seed}")
    reached, steps = 0.0, 0
    if layers:
        simulation = Simulation(scenario.changed(**{"recipe.epochs": 0, "recipe.fit_steps": fit}), given=given)
        reached, steps = _fit(simulation, stress)
        given = Model.of(simulation).x
    simulation = Simulation(scenario.changed(**{"recipe.name": "direct", "run.epochs": epochs}), given=given)
    while not simulation.done:
        simulation.step()
    numbers = {"stress": reached, "steps": steps, "parameters": cost(Model.of(simulation)).parameters}
    return numbers | _coarse_accuracies(simulation, PARTLY)


def _fit(simulation: Simulation, stress: float) -> tuple[float, int]:
    """Fit until the stress is low enough or the phase ends; (stress when last looked at, every 10 steps; steps)."""
    reached = math.inf
    while simulation.phase.kind == "fit":
        if simulation.system.step % 10 == 0:
            reached = relative_stress(simulation)
            if reached < stress:
                break
        simulation.step()
    return reached, simulation.system.step


def relative_stress(simulation: Simulation) -> float:
    """Largest over links of mean |W - phi| / mean |phi|, Sec. 4.1; the plain differences, which a fit scales."""
    wanted, phi = simulation.system.memory, path_integrals(simulation.system, simulation.kernels)
    pairs = [(wanted[f"target:{k[7:]}"], a[..., 0]) for k, a in phi.items()]
    return max(float(np.abs(w - a).mean() / np.abs(a).mean()) for w, a in pairs)


def partly_scenario(layers: Sequence[str], seed: int, settings: dict[str, Any]) -> Scenario:
    """LeNet-5 with particles in the named layers and weights in the others."""
    scenario = lenet.scenario(ROW, seed, settings)
    network = [dict(k) for k in scenario.model_dump(mode="json", exclude_none=True)["system"]["network"]]
    for layer in network:
        if layer["op"] in ("conv", "dense") and layer["name"] not in layers:
            layer |= {"metric": "weights"}
    return scenario.changed(**{"system.network": network})


def _coarse_accuracies(simulation: Simulation, deltas: Iterable[float]) -> dict[str, float]:
    """Test accuracy with all weights and coordinates at every delta, by floor and by round."""
    x = simulation.system.x
    return {
        f"{r} {d:g}": simulation.evaluate("test", simulation.system.replace(x=coarse(x, d, r))).accuracy
        for d in deltas
        for r in ROUNDINGS
    }


# (b) ---------------------------------------------------------------------------------------------------------


def mechanisms(study: Study, seeds: int, quick: bool) -> Table:
    """Fig. 8b: weights, isolated and interactive DyN against delta."""
    units = [u for name in BOTH for form in FORMS for u in _form_units(name, form, seeds, quick)]
    found = study.run("isolated and interactive links", units)
    table = Table(
        "fig8b",
        f"Isolated (Eq. 6) and interactive (Eq. 61) links, {seeds} seeds, test accuracy in %",
        f"{SOURCE}b",
        "Print has SwinT on ImageNet; here 784-64-10 on MNIST and 64-64-10 on digits, H 4, from scratch, equal steps. "
        "Both kinds of links have the same numbers to train; the weights, of equal widths, are moved by Adam. Every "
        "array on the levels of Eq. (12), nothing trained afterwards; round is the control.",
        ("data", "form", "numbers", "rounding", "ideal", *(f"{d:g}" for d in DELTAS)),
    )
    for name in BOTH:
        curves: dict[str, list[Sample]] = {}
        for form in FORMS:
            runs = [found[_form_name(name, form, s)] for s in range(seeds)]
            for rounding in ROUNDINGS:
                samples = [percent(runs, f"{rounding} {d:g}") for d in (0.0, *DELTAS)]
                table.rows.append((name, form, runs[0]["parameters"], rounding, *samples))
                curves[f"{form}, {rounding}"] = samples
        table.verdict += _verdict(name, curves)
        picture.series(
            study.folder / f"fig8b-{name.lower()}.png",
            DELTAS,
            {k: samples[1:] for k, samples in curves.items()},
            ("delta of Eq. (12)", "test accuracy, %"),
            f"{name}: solid floor (as printed), dashed round (control)",
            logarithmic=True,
            dashed=tuple(k for k in curves if k.endswith("round")),
        )
    return table


def _verdict(name: str, curves: Mapping[str, list[Sample]]) -> list[str]:
    said = []
    for rounding in ROUNDINGS:
        weights, isolated, interactive = (curves[f"{form}, {rounding}"] for form in FORMS)
        gains = [paired(a, b) for a, b in zip(interactive, isolated)]
        clear = {
            word: [f"{d:g}" for d, gain in zip((0.0, *DELTAS), gains) if sign_of(gain) == sign]
            for word, sign in (("ahead", 1), ("behind", -1))
        }
        where = " and ".join(f"clearly {word} at delta {', '.join(at)}" for word, at in clear.items() if at)
        said.append(
            f"{name}, {rounding}: interactive minus isolated {gains[0]} points untruncated (delta 0); "
            f"{where or 'no clear difference'}. At delta {DELTAS[4]:g} weights keep {weights[5]}, isolated "
            f"{isolated[5]}, interactive {interactive[5]}."
        )
    return said


def _form_name(name: str, form: str, seed: int) -> str:
    return f"links {name} {form} {seed}"


def _form_units(name: str, form: str, seeds: int, quick: bool) -> list[Unit]:
    scenario, settings = BOTH[name]
    settings = settings | {"run.twin": 0.003 if name == "MNIST" else 0.01} | (QUICK if quick else {})
    said = {"scenario": scenario, "settings": settings, "form": form}
    return [Unit(_form_name(name, form, s), linked, said | {"seed": s}) for s in range(seeds)]


def linked(folder: Path, scenario: str, form: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """A form trained from scratch, and its accuracies at every delta."""
    if form == "weights":
        asked: dict[str, Any] = {"run.seed": seed, "record.observables": []} | settings
        plan = Simulation(Scenario.load(scenario).changed(**asked))
        simulation = Simulation(twin_scenario(plan.scenario, asked["run.twin"], plan.total_steps), data=plan.data)
        while not simulation.done:
            simulation.step()
    else:
        simulation, _ = trained(scenario, seed, settings | {"system.interactive": form == "interactive"})
    numbers = {"parameters": cost(Model.of(simulation)).parameters}
    return numbers | _coarse_accuracies(simulation, (0.0, *DELTAS))
