"""LeNet-5 on MNIST in all the forms of Tables 2 and 4: trained weights, fitted (FIXED), moved on (UNFIXED), direct."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.cost import cost, table_2_counts
from dynsim.backend.inference import Model
from dynsim.recipes import path_integrals
from dynsim.reproduce.study import Unit, load_arrays, save_arrays
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups

# (copies of dense layers, copies of conv2): the rows of Table 2.
ROWS = ((2, 3), (2, 5), (3, 6), (5, 8), (7, 7))
MANY_COPIES_ETA = 0.005  # rows that fit well have less far to go
KEPT = 0.001  # rate of Adam for what is no particle, and for the rivals of the fine-tuning
SCENARIO, KERNEL = "lenet", 5


def scenario(row: Sequence[int], seed: int, settings: dict[str, Any], policy: str = "2k") -> Scenario:
    """LeNet-5 with the copies of a row, conv2 by a policy."""
    base = Scenario.load(SCENARIO)
    network = [dict(k) for k in base.model_dump(mode="json", exclude_none=True)["system"]["network"]]
    for layer in network:
        if layer["op"] == "conv" and "metric" not in layer:
            layer |= {"copies": row[1], "policy": policy}
    changed = {"system.network": network, "system.copies": row[0], "run.seed": seed}
    return base.changed(**changed | {"record.observables": []} | settings)


def baseline(folder: Path, seed: int, epochs: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Weights trained as such by Adam, and stored for the others."""
    simulation = Simulation(scenario((2, 3), seed, settings | {"recipe.epochs": epochs}))
    weights_phase = simulation.phase
    while simulation.system.step < weights_phase.steps - 1:
        simulation.step()
    # The step that ends the phase enters the next, in which the weights are the targets.
    simulation.step()
    targets = {f"weight:{k[7:]}": a[..., None] for k, a in simulation.system.memory.items() if k.startswith("target:")}
    plain = {k: a for k, a in simulation.system.x.items() if not k.startswith(("q:", "mu:", "gain:", "eps:"))}
    save_arrays(folder, f"baseline-{seed}", targets | plain)
    whole = simulation.system.replace(x=simulation.system.x | targets)
    return {"test_accuracy": simulation.evaluate("test", whole).accuracy}


def fixed(
    folder: Path, row: Sequence[int], seed: int, steps: int, settings: dict[str, Any], policy: str = "2k"
) -> dict[str, Any]:
    """Coordinates fitted to the trained weights, Eq. (6), without any data."""
    changes = {"recipe.epochs": 0, "recipe.fit_steps": steps}
    weights = for_policy(load_arrays(folder, f"baseline-{seed}"), policy)
    simulation = Simulation(scenario(row, seed, settings | changes, policy), given=weights)
    while simulation.phase.kind == "fit":
        simulation.step()
    save_arrays(folder, fixed_name(row, seed, policy), Model.of(simulation).x)
    return _reached(simulation) | {"relative_error": _errors(simulation, weights)}


def fixed_name(row: Sequence[int], seed: int, policy: str = "2k") -> str:
    """Of the unit that fitted a row."""
    return f"fixed-{'' if policy == '2k' else policy + '-'}{row[0]}-{row[1]}-{seed}"


def for_policy(weights: Groups, policy: str) -> Groups:
    """Trained weights for the links of conv2 by another policy."""
    if policy == "2k":
        return weights
    conv2 = _folded_kernel(weights["weight:conv2.in>conv2.out"][..., 0])
    cells = {
        f"weight:conv2.in{i}.{j}>conv2.out{i}.{j}": conv2[i, j][..., None] for i in range(KERNEL) for j in range(KERNEL)
    }
    return {k: a for k, a in weights.items() if k != "weight:conv2.in>conv2.out"} | cells


def _reached(simulation: Simulation) -> dict[str, Any]:
    model = Model.of(simulation)
    memory, disk = table_2_counts(model.graph, model.x)
    price = cost(model)
    return {
        "test_accuracy": simulation.evaluate("test").accuracy,
        "memory": memory,
        "disk": disk,
        "parameters": price.parameters,
        "bytes": price.bytes,
    }


def _errors(simulation: Simulation, weights: Groups) -> dict[str, float]:
    phi = path_integrals(simulation.system, simulation.kernels)
    return {k[7:]: float(np.linalg.norm(phi[k] - weights[k]) / np.linalg.norm(weights[k])) for k in phi}


def truncated(folder: Path, row: Sequence[int], seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The rival of `fixed`: truncated SVD of the same layers, with as many numbers in all, best rank for each layer.

    conv2 is taken as (k k N_in, N_out), its better layout. Ranks are chosen greedily by what a number gains of the
    relative error |W - W_r|^2 / |W|^2, the energy that `fixed` minimises too.
    """
    weights = load_arrays(folder, f"baseline-{seed}")
    simulation = Simulation(scenario(row, seed, settings | {"recipe.epochs": 0}), given=weights)
    model = Model.of(simulation)
    budget = sum(a.size for k, a in model.x.items() if k.startswith(("q:", "mu:", "gain:")))
    matrices = {k: weights[k][..., 0] for k in weights if k.startswith("weight:") and k not in model.x}
    convolution = "weight:conv2.in>conv2.out"
    matrices[convolution] = _folded_kernel(matrices[convolution]).reshape(-1, 16)
    parts = {k: np.linalg.svd(w, full_matrices=False) for k, w in matrices.items()}
    ranks, spent = _ranks(parts, budget)
    low = {k: (u[:, : ranks[k]] * s[: ranks[k]]) @ v[: ranks[k]] for k, (u, s, v) in parts.items()}
    kernel = low[convolution].reshape(KERNEL, KERNEL, -1, 16)
    low[convolution] = kernel.transpose(0, 2, 1, 3).reshape(weights[convolution].shape[:2])
    replaced = {k: a[..., None].astype(np.float32) for k, a in low.items()}
    system = simulation.system.replace(x=simulation.system.x | replaced, memory={})
    return {"test_accuracy": simulation.evaluate("test", system).accuracy, "numbers": spent, "ranks": ranks}


def _folded_kernel(phi: np.ndarray) -> np.ndarray:
    """(k, k, N_in, N_out) of a matrix of the 2k policy."""
    return phi.reshape(KERNEL, phi.shape[0] // KERNEL, KERNEL, -1).transpose(0, 2, 1, 3)


def _ranks(parts: dict[str, Any], budget: int) -> tuple[dict[str, int], int]:
    """Ranks of all layers, one singular value after another where a number gains most."""
    gains = []
    for name, (u, s, v) in parts.items():
        price = u.shape[0] + v.shape[1]
        gains += [(float(value**2 / (s**2).sum()) / price, price, name) for value in s]
    ranks, spent = dict.fromkeys(parts, 0), 0
    for _, price, name in sorted(gains, reverse=True):
        if spent + price <= budget:
            ranks[name], spent = ranks[name] + 1, spent + price
    return ranks, spent


def unfixed(
    folder: Path,
    row: Sequence[int],
    seed: int,
    epochs: int,
    mover: str,
    settings: dict[str, Any],
    policy: str = "2k",
) -> dict[str, Any]:
    """The fitted coordinates moved on under the network's feedback, recipe C: by the Eq. (10) physics, or by Adam."""
    changes: dict[str, Any] = {"recipe.name": "direct", "run.epochs": epochs}
    if mover == "physics" and min(row) >= 5:
        changes["dynamics.eta"] = MANY_COPIES_ETA
    if mover == "adam":
        changes |= {"dynamics.integrator": "adam", "dynamics.eta": KEPT, "dynamics.dt": 1.0}
    start = load_arrays(folder, fixed_name(row, seed, policy))
    simulation = Simulation(scenario(row, seed, settings | changes, policy), given=start)
    _to_the_end(simulation)
    save_arrays(folder, f"un{fixed_name(row, seed, policy)}-{mover}", Model.of(simulation).x)
    return _reached(simulation)


def tuned(folder: Path, seed: int, epochs: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The control of `unfixed`: the trained weights themselves, as many epochs further, by Adam at its rate."""
    changes = {"recipe.epochs": epochs, "recipe.rate": KEPT}
    weights = load_arrays(folder, f"baseline-{seed}")
    simulation = Simulation(scenario((2, 3), seed, settings | changes), given=weights)
    steps = simulation.phase.steps
    while simulation.system.step < steps - 1:
        simulation.step()
    return {"test_accuracy": simulation.evaluate("test").accuracy}


def direct(folder: Path, row: Sequence[int], seed: int, epochs: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Coordinates from scratch, recipe A."""
    changes = {"recipe.name": "direct", "run.epochs": epochs} | DIRECT
    simulation = Simulation(scenario(row, seed, settings | changes))
    _to_the_end(simulation)
    return _reached(simulation)


# Chosen on a validation part split off the training part.
DIRECT: dict[str, Any] = {
    "field.augment": 0,
    "dynamics.eta": 0.1,
    "dynamics.dt": 0.5,
    "dynamics.plain_rate": 0.005,
}


def _to_the_end(simulation: Simulation) -> None:
    while not simulation.done:
        simulation.step()


def baseline_units(seeds: int, p: dict[str, Any]) -> list[Unit]:
    """The trained weights of every seed."""
    common = {"epochs": p["epochs"], "settings": p["settings"]}
    return [Unit(f"baseline-{seed}", baseline, common | {"seed": seed}) for seed in range(seeds)]


def plan(quick: bool) -> dict[str, Any]:
    """Lengths of the experiments; a quick one only shows that they run."""
    if quick:
        return {"epochs": 1, "more": 1, "direct": 1, "fit": 60, "settings": {"field.samples": 2048}}
    return {"epochs": 8, "more": 4, "direct": 8, "fit": 2000, "settings": {}}


def form_units(
    seed: int, p: dict[str, Any], row: Sequence[int], policy: str = "2k", movers: Sequence[str] = ("physics",)
):
    """The fit of a row, and the motions on from it."""
    at = {"seed": seed, "settings": p["settings"], "row": list(row), "policy": policy}
    fit = Unit(fixed_name(row, seed, policy), fixed, at | {"steps": p["fit"]}, (f"baseline-{seed}",))
    moved = [
        Unit(f"un{fit.name}-{mover}", unfixed, at | {"epochs": p["more"], "mover": mover}, (fit.name,))
        for mover in movers
    ]
    return [fit, *moved]
