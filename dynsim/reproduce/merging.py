"""Merging: accuracy against the particles that are spared and the bytes that are left, with rivals and controls.

Three networks: the scenario quickstart (digits), the 3-layer network and LeNet-5 (2, 3) of Table 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynsim.backend.cost import cost
from dynsim.backend.inference import Model
from dynsim.backend.merging import score
from dynsim.dynamics.merging import clusters_of
from dynsim.reproduce import lenet, merging_told, mlp
from dynsim.reproduce.merging_rivals import codebook, largest_linked, polished, rounded, shuffled, sparing
from dynsim.reproduce.study import Study, Unit, load_arrays, save_arrays
from dynsim.reproduce.table import Table
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

FRACTIONS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
BITS = (1, 2, 3, 4, 6, 8)
ROW = (2, 3)
SETTINGS: dict[str, Any] = {"record.observables": []}
# Network -> radii of merging while it learns, none for the control, in units of q.
RADII = {
    "3-layer": (None, 1.0, 1.5, 2.0),
    "LeNet-5": (None, 0.4, 0.5, 0.6),
    "digits": (None, 0.5, 1.0, 1.5),
}
# Digits merge while they learn from scratch; the others go on from what was trained, at a lower speed limit.
MOVED_ON: dict[str, dict[str, Any]] = {"3-layer": {"dynamics.eta": 0.02}, "LeNet-5": {"recipe.name": "direct"}}


@dataclass(frozen=True)
class Trained:
    """A trained network: the file with its coordinates, and the units that make it."""

    arrays: str
    units: tuple[Unit, ...]


def trained(net: str, seed: int, quick: bool) -> Trained:
    """The trained network of a seed."""
    if net == "digits":
        unit = Unit(f"digits-{seed}", learned, {"seed": seed, "settings": _settings(net, quick)})
        return Trained(unit.name, (unit,))
    if net == "3-layer":
        return Trained(f"mlp-dyn-{seed}", (mlp.mlp_units(seed + 1, quick)[seed],))
    p = lenet.plan(quick)
    forms = lenet.form_units(seed, p, ROW)
    return Trained(forms[-1].name, (lenet.baseline_units(seed + 1, p)[seed], *forms))


def scenario(net: str, seed: int, settings: Mapping[str, Any]) -> Scenario:
    """The scenario of a network and seed, in the phase in which coordinates move."""
    if net == "digits":
        return Scenario.load("quickstart").changed(**SETTINGS | {"run.seed": seed} | dict(settings))
    if net == "3-layer":
        return mlp.scenario(seed, dict(settings))
    return lenet.scenario(ROW, seed, {"recipe.name": "direct"} | dict(settings))


def _settings(net: str, quick: bool) -> dict[str, Any]:
    if net == "digits":
        return {"run.epochs": 4} if quick else {}
    return mlp.settings(quick) if net == "3-layer" else lenet.plan(quick)["settings"]


def learned(folder: Path, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Digits from scratch."""
    simulation = _to_the_end(Simulation(scenario("digits", seed, settings)))
    save_arrays(folder, f"digits-{seed}", Model.of(simulation).x)
    return {"test_accuracy": simulation.evaluate("test").accuracy}


def _to_the_end(simulation: Simulation) -> Simulation:
    while not simulation.done:
        simulation.step()
    return simulation


# After training ----------------------------------------------------------------------------------------------------


def after(folder: Path, net: str, seed: int, arrays: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The trained network, merged to spare every one of FRACTIONS, and its rivals; test accuracy and bytes of each."""
    simulation = Simulation(scenario(net, seed, settings), given=load_arrays(folder, arrays))
    model, test = Model.of(simulation), simulation.data.test  # type: ignore[union-attr]
    numbers: dict[str, Any] = {"test_accuracy": score(model, test), "bytes": cost(model).bytes}
    for fraction in FRACTIONS:
        made, radius = sparing(model, fraction)
        forms = {"after": made, "random": shuffled(made, model, seed), "k-means": polished(made, model)}
        scores = {name: score(m.model, test) for name, m in forms.items()}
        largest = float(made.clusters.sizes.max() / len(made.clusters.leader))
        found = {"radius": radius, "spared": made.fraction, "bytes": cost(made.model).bytes, "largest": largest}
        numbers[f"spared {fraction:g}"] = scores | found | {"linked": largest_linked(model, radius)}
    for bits in BITS:
        for name, coarse in (("rounded", rounded), ("codebook", codebook)):
            other, size = coarse(model, bits)
            numbers[f"{name} {bits}"] = {"accuracy": score(other, test), "bytes": size}
    return numbers


# During training ---------------------------------------------------------------------------------------------------


def during(
    folder: Path, net: str, seed: int, radius: float | None, epochs: int, arrays: str | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Merging while particles learn: from scratch, or on from what was trained."""
    changes = {"merge.radius": radius} | ({"run.epochs": epochs} if arrays else {})
    given = load_arrays(folder, arrays) if arrays else None
    simulation = _to_the_end(Simulation(scenario(net, seed, settings | changes), given=given))
    clusters = clusters_of(simulation.system)
    return {
        "test_accuracy": simulation.evaluate("test").accuracy,
        "spared": 1 - clusters.distinct / len(clusters.leader),
        "largest": float(clusters.sizes.max() / len(clusters.leader)),
        "bytes": cost(Model.of(simulation)).bytes,
    }


# The study ---------------------------------------------------------------------------------------------------------


def units(nets: Sequence[str], seeds: int, quick: bool) -> list[Unit]:
    """Everything for these networks."""
    made: list[Unit] = []
    for net in nets:
        for seed in range(seeds):
            start, settings = trained(net, seed, quick), _settings(net, quick)
            common = {"net": net, "seed": seed}
            needs = (start.units[-1].name,)
            made += start.units
            made.append(
                Unit(f"merged {net} {seed}", after, common | {"arrays": start.arrays, "settings": settings}, needs)
            )
            moved_on = net in MOVED_ON
            for radius in RADII[net]:
                said = common | {
                    "radius": radius,
                    "epochs": 1 if quick else 2,
                    "arrays": start.arrays if moved_on else None,
                }
                said["settings"] = settings | MOVED_ON.get(net, {})
                made.append(Unit(f"merging {net} {radius} {seed}", during, said, needs if moved_on else ()))
    return made


def merging(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Accuracy against the fraction of particles merged, after and during training."""
    nets = ("digits",) if quick else tuple(RADII)
    found = study.run("merging", units(nets, seeds, quick))
    after_training, while_training, clusters = merging_told.tables(seeds)
    for net in nets:
        runs = [found[f"merged {net} {s}"] for s in range(seeds)]
        moved = {r: [found[f"merging {net} {r} {s}"] for s in range(seeds)] for r in RADII[net]}
        merging_told.tell_after(after_training, net, runs)
        merging_told.tell_clusters(clusters, net, runs)
        merging_told.tell_during(while_training, net, moved, runs)
        merging_told.draw(study.folder / f"merging-{net}.png", net, runs, moved)
    return [after_training, while_training, clusters]
