"""The second paper's coordinates of given weights: accuracy against their dimension (its Table 1), (S6)-(S8) by
`following`, and Algorithm 1 with and without its constraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion.graph_learning import Dependencies, Fitted, learn_coordinates
from dynsim.backend.twin import twin_scenario
from dynsim.reproduce import following, lenet, published
from dynsim.reproduce.study import Sample, Study, Unit, load_arrays, percent
from dynsim.reproduce.table import Table, paired
from dynsim.reproduce.watched import weights_of
from dynsim.simulation import Simulation

SOURCE = "Understanding Deep Neural Networks as Dynamical Systems"
DIM = 4  # d of a copy; a particle has q_dim = H d numbers
DIMENSIONS = (8, 16, 32, 64)
CLOSE = 0.1  # points of accuracy: about one binomial deviation of 10,000 images at 99 %
# network -> (what it is, its bottom links, its top links)
PARTS = {
    "lenet": (
        "LeNet-5",
        ("conv1.in>conv1.out", "conv2.in>conv2.out"),
        ("fc1.in>fc1", "fc1>fc2", "fc2>output"),
    ),
    "cnn": (
        "CNN of others (ccexam)",
        ("conv1.in>conv1.out", "conv2.in>conv2.out"),
        ("fc1.in>fc1", "fc1>output"),
    ),
}
# Which neurons of LeNet-5 receive from which, with the channels that they share.
LENET: Dependencies = {
    "conv2.in>conv2.out": {"conv1.in>conv1.out": 6},
    "fc1.in>fc1": {"conv2.in>conv2.out": 16},
    "fc1>fc2": {"fc1.in>fc1": 120},
    "fc2>output": {"fc1>fc2": 84},
}
STRENGTHS = (0.0, 0.01, 0.1, 1.0)


def trained_lenet(folder: Path, seed: int, settings: dict[str, Any]) -> Simulation:
    """LeNet-5 with the weights of the unit baseline-SEED."""
    scenario = twin_scenario(lenet.scenario((2, 3), seed, settings | {"recipe.name": "direct"}), lenet.KEPT, 1)
    return Simulation(scenario, given=load_arrays(folder, f"baseline-{seed}"))


def accuracy_with(simulation: Simulation, fitted: Mapping[str, Fitted]) -> float:
    """Test accuracy where some links have path integrals instead of their weights."""
    x = simulation.system.x | {f"weight:{k}": f.matrix()[..., None] for k, f in fitted.items()}
    return simulation.evaluate("test", simulation.system.replace(x=x)).accuracy


def replaced(
    folder: Path, network: str, part: str, q_dim: int, steps: int, seed: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Test accuracy with the bottom or the top layers as path integrals of particles with q_dim numbers."""
    simulation = published.mnist_cnn() if network == "cnn" else trained_lenet(folder, seed, settings)
    links = PARTS[network][1 if part == "bottom" else 2]
    weights = {k: w for k, w in weights_of(simulation).items() if k in links}
    fitted = learn_coordinates(weights, copies=q_dim // DIM, dim=DIM, steps=steps, seed=seed)
    return {
        "original": simulation.evaluate("test").accuracy,
        "test_accuracy": accuracy_with(simulation, fitted),
        "stored": sum(f.numbers for f in fitted.values()),
        "weights": sum(w.size for w in weights.values()),
        "error": max(f.error for f in fitted.values()),
    }


def s_table1(study: Study, seeds: int, quick: bool) -> list[Table]:
    """Accuracy against the dimension of the particles, at the bottom and at the top."""
    p, dimensions = lenet.plan(quick), DIMENSIONS[:1] if quick else DIMENSIONS
    here = published.published(published.MNIST_CNN) is not None
    networks = {"lenet": seeds} | ({"cnn": 1} if here and not quick else {})
    units = [*lenet.baseline_units(seeds, p)]
    for network, count in networks.items():
        for seed in range(count):
            at = {"network": network, "seed": seed, "settings": p["settings"], "steps": 20 if quick else 400}
            for part in ("bottom", "top"):
                for q in dimensions:
                    needs = (f"baseline-{seed}",) if network == "lenet" else ()
                    units.append(Unit(_name(network, part, q, seed), replaced, at | {"part": part, "q_dim": q}, needs))
    found = study.run("layers replaced", units)
    table = Table(
        "s-table1",
        f"Accuracy on MNIST with layers as particles, LeNet-5 of {seeds} seeds",
        f"{SOURCE}, Table 1",
        f"Particles of q_dim = H d numbers, d = {DIM}, distance of Sec. 4.2 with fixed signs, fitted without data; "
        "test accuracy in %. Print has ResNet-50 and ViT-B on ImageNet with q_dim 400 and 800. Relative error: of the "
        "layer that is fitted worst. " + ("" if here else published.absent(published.MNIST_CNN)),
        ("network", "layers", "q_dim", "accuracy", "original", "numbers stored", "weights", "relative error"),
    )
    for network, count in networks.items():
        for part in ("bottom", "top"):
            for q in dimensions:
                rows = [found[_name(network, part, q, s)] for s in range(count)]
                cells = percent(rows), percent(rows, "original"), rows[0]["stored"], rows[0]["weights"]
                table.rows.append((PARTS[network][0], part, q, *cells, Sample(tuple(r["error"] for r in rows))))
    table.verdict = _dimension_verdict(table, networks)
    return [table]


def _name(network: str, part: str, q: int, seed: int) -> str:
    return f"replaced-{network}-{part}-{q}-{seed}"


def _dimension_verdict(table: Table, networks: Sequence[str] | Mapping[str, int]) -> list[str]:
    said, rows = [], [dict(zip(table.columns, row)) for row in table.rows]
    for network in networks:
        for part in ("bottom", "top"):
            mine = [r for r in rows if (r["network"], r["layers"]) == (PARTS[network][0], part)]
            near = [r for r in mine if paired(r["accuracy"], r["original"]).mean > -CLOSE]
            if not near:
                said.append(f"{mine[0]['network']}, {part}: no dimension comes within {CLOSE} points.")
                continue
            share = near[0]["numbers stored"] / near[0]["weights"]
            said.append(
                f"{near[0]['network']}, {part}: within {CLOSE} points of the original from q_dim {near[0]['q_dim']} "
                f"on, with {share:.2f} of the numbers of the weights."
            )
        low = [dict(zip(table.columns, r)) for r in table.rows if r[0] == PARTS[network][0]]
        bottom, top = (
            paired(r["accuracy"], r["original"]).mean
            for r in (next(r for r in low if r["layers"] == part) for part in ("bottom", "top"))
        )
        word = "holds" if top > bottom else "does not hold"
        said.append(
            f"{PARTS[network][0]}: at the lowest dimension the top layers lose less than the bottom ones (print, "
            f"ViT-B): {word} ({top:.2f} and {bottom:.2f} points)."
        )
    return said


def by_graph(folder: Path, strength: float, steps: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Algorithm 1 on a whole LeNet-5: both errors, and what is left of its accuracy."""
    simulation = trained_lenet(folder, seed, settings)
    weights = weights_of(simulation)
    fitted = learn_coordinates(
        weights, dependencies=LENET, strength=strength, copies=8, dim=DIM, steps=steps, seed=seed
    )
    constraints = [c for f in fitted.values() for c in f.constraints.values()]
    return {
        "test_accuracy": accuracy_with(simulation, fitted),
        "error": float(np.mean([f.error for f in fitted.values()])),
        "constraint": float(np.mean(constraints)),
    }


def s_field(study: Study, seeds: int, quick: bool) -> list[Table]:
    """(S6)-(S8): how well particles follow a moving W; Algorithm 1 and its constraint."""
    return [following.table(study, seeds, quick), _algorithm_1(study, seeds, quick)]


def _algorithm_1(study: Study, seeds: int, quick: bool) -> Table:
    p, strengths = lenet.plan(quick), STRENGTHS[::3] if quick else STRENGTHS
    common = {"settings": p["settings"], "steps": 20 if quick else 600}
    units = [
        Unit(f"graph-{w}-{s}", by_graph, common | {"seed": s, "strength": w}, (f"baseline-{s}",))
        for s in range(seeds)
        for w in strengths
    ]
    found = study.run("Algorithm 1", [*lenet.baseline_units(seeds, p), *units])
    table = Table(
        "s-field-algorithm1",
        f"Algorithm 1 on LeNet-5, {seeds} seeds",
        f"{SOURCE}, Algorithm 1",
        f"All layers as particles of q_dim 32 (H 8, d {DIM}), layer by layer along the dependency graph; the second "
        "term ties the receiving particles of a layer to the emitting ones of the layer before. Mean relative errors "
        "over layers, test accuracy in %.",
        ("strength of the constraint", "error of W", "error of the constraint", "accuracy"),
    )
    cells = {}
    for w in strengths:
        rows = [found[f"graph-{w}-{s}"] for s in range(seeds)]
        errors = (Sample(tuple(r[key] for r in rows)) for key in ("error", "constraint"))
        cells[w] = percent(rows)
        table.rows.append((w, *errors, cells[w]))
    cost = {w: paired(cells[w], cells[0.0]) for w in strengths if w}
    table.verdict = [
        f"What the constraint changes, seed by seed: {', '.join(f'{c} points at {w}' for w, c in cost.items())}: "
        f"{'it costs accuracy' if cost[strengths[-1]].mean < 0 else 'it costs no accuracy'}.",
        "An error of the constraint of 1 is what path integrals of 0 would have: "
        f"{'never reached' if all(row[2].mean > 1 for row in table.rows) else 'undercut'} here.",
    ]
    return table
