"""Table 3 and Fig. 5: networks whose trainable arrays keep few values, Eq. (12), by floor as printed and by round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynsim.backend.conversion.quantise import quantise
from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.backend.twin import twin_scenario
from dynsim.reproduce import lenet, mlp, picture
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, percent
from dynsim.reproduce.table import Table
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups, group_kind

DELTAS = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
ROUNDINGS = ("floor", "round")
QUANTISED = ("q", "weight")
ROWS = ((2, 3), (7, 7))


def _forms(seed: int) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Form -> (file of its arrays, units that make it)."""
    forms: dict[str, tuple[str, tuple[str, ...]]] = {
        "mlp weights": (f"mlp-twin-{seed}", (f"mlp-{seed}",)),
        "mlp DyN": (f"mlp-dyn-{seed}", (f"mlp-{seed}",)),
        "lenet weights": (f"baseline-{seed}", (f"baseline-{seed}",)),
    }
    for row in ROWS:
        name = f"un{lenet.fixed_name(row, seed)}-physics"
        forms[f"lenet DyN {row}"] = (name, (name,))
    return forms


def robustness(folder: Path, form: str, seed: int, arrays: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Test accuracy as it is, and with all weights or coordinates on the levels of Eq. (12); what it costs."""
    simulation = Simulation(_scenario(form, seed, settings), given=load_arrays(folder, arrays))
    model = Model.of(simulation)
    numbers = asdict(cost(model)) | {"test_accuracy": simulation.evaluate("test").accuracy}
    for rounding in ROUNDINGS:
        for delta in DELTAS:
            system = simulation.system.replace(x=coarse(simulation.system.x, delta, rounding))
            numbers[f"{rounding} {delta:g}"] = simulation.evaluate("test", system).accuracy
    return numbers


def _scenario(form: str, seed: int, settings: dict[str, Any]) -> Scenario:
    if form.startswith("lenet DyN"):
        row = next(r for r in ROWS if form.endswith(str(r)))
        return lenet.scenario(row, seed, settings | {"recipe.name": "direct"})
    if form.startswith("lenet"):
        return twin_scenario(lenet.scenario(ROWS[0], seed, settings), rate=1.0, steps=1)
    scenario = mlp.scenario(seed, settings)
    return twin_scenario(scenario, rate=1.0, steps=1) if form == "mlp weights" else scenario


def coarse(x: Groups, delta: float, rounding: str) -> Groups:
    """Every array of weights, and the coordinates of every subsystem, on the levels of Eq. (12)."""
    return {k: quantise(a, delta, rounding).astype(a.dtype) if group_kind(k) in QUANTISED else a for k, a in x.items()}


def units(seeds: int, quick: bool) -> tuple[list[Unit], list[str]]:
    """Everything that the two need, and the forms."""
    p = lenet.plan(quick)
    made = lenet.baseline_units(seeds, p) + mlp.mlp_units(seeds, quick)
    for seed in range(seeds):
        for row in ROWS:
            made += lenet.form_units(seed, p, row)
        for form, (arrays, needs) in _forms(seed).items():
            settings = mlp.settings(quick) if form.startswith("mlp") else p["settings"]
            said = {"form": form, "seed": seed, "arrays": arrays, "settings": settings}
            made.append(Unit(f"coarse {form} {seed}", robustness, said, needs))
    return made, list(_forms(0))


def _measured(study: Study, seeds: int, quick: bool) -> tuple[Mapping[str, list[dict[str, Any]]], list[str]]:
    made, forms = units(seeds, quick)
    found = study.run("networks of few values", made)
    return {form: [found[f"coarse {form} {s}"] for s in range(seeds)] for form in forms}, forms


def table3(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Cost and robustness of the networks that can be had here."""
    measured, forms = _measured(study, seeds, quick)
    table = Table(
        "table3",
        f"Networks as weights and as DyN, {seeds} seeds, test accuracy in %",
        "Pei & Wang, ICML 2023, Table 3",
        "Print has DenseNet, ResNet, ViT and Swin on ImageNet, which cannot be had here: these are MNIST's 3-layer "
        "network and LeNet-5. In brackets the 'physical' MACs, in which products with path integrals are free.",
        ("network", "numbers", "bytes", "MACs", "ideal", "δ 1e-3 floor", "δ 1e-3 round"),
    )
    for form in forms:
        runs = measured[form]
        macs = f"{runs[0]['macs']:,}" + (f" ({runs[0]['physical_macs']:,})" if "DyN" in form else "")
        accuracy = [percent(runs), *(percent(runs, f"{r} 0.001") for r in ROUNDINGS)]
        table.rows.append((form, runs[0]["parameters"], runs[0]["bytes"], macs, *accuracy))
    return [table]


def fig5(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Accuracy against delta, with the control that print does not have."""
    measured, forms = _measured(study, seeds, quick)
    table = Table(
        "fig5",
        f"Accuracy against the resolution delta of Eq. (12), {seeds} seeds, %",
        "Pei & Wang, ICML 2023, Fig. 5",
        "Every weight matrix, or the coordinates of every subsystem, on floor(1/delta) + 1 levels; nothing is trained "
        "afterwards. Rounding to the nearest level is the control.",
        ("network", "rounding", "ideal", *(f"{d:g}" for d in DELTAS)),
    )
    curves: dict[str, list[Sample]] = {}
    for form in forms:
        for rounding in ROUNDINGS:
            samples = [percent(measured[form], f"{rounding} {d:g}") for d in DELTAS]
            table.rows.append((form, rounding, percent(measured[form]), *samples))
            curves[f"{form}, {rounding}"] = samples
    for net in ("mlp", "lenet"):
        table.verdict.append(_verdict(net, curves))
        picture.series(
            study.folder / f"fig5-{net}.png",
            DELTAS,
            {k: v for k, v in curves.items() if k.startswith(net)},
            ("delta of Eq. (12)", "test accuracy, %"),
            f"{net}: solid floor (as printed), dashed round (control)",
            logarithmic=True,
            dashed=tuple(k for k in curves if k.endswith("round")),
        )
    return [table]


def _verdict(net: str, curves: Mapping[str, list[Sample]]) -> str:
    """How far DyN is ahead of weights where floor hurts most, and what rounding leaves of it."""
    dyn = [name for name in curves if name.startswith(f"{net} DyN")][-1].rpartition(",")[0]
    ahead = {
        r: [a.mean - b.mean for a, b in zip(curves[f"{dyn}, {r}"], curves[f"{net} weights, {r}"])] for r in ROUNDINGS
    }
    k = max(range(len(DELTAS)), key=lambda n: ahead["floor"][n])
    return (
        f"{dyn} minus {net} weights at delta {DELTAS[k]:g}: {ahead['floor'][k]:+.2f} points by floor, "
        f"{ahead['round'][k]:+.2f} by round."
    )
