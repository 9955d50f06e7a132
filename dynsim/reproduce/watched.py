"""Networks of weights that are watched while they learn: their weights, accuracies and errors at some of the steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dynsim import datasets
from dynsim.backend.discrepancy import discrepancies, total
from dynsim.backend.twin import twin_scenario
from dynsim.errors import DataError
from dynsim.fields.data import LearningData, Part
from dynsim.fields.losses import softmax
from dynsim.reproduce import lenet
from dynsim.reproduce.study import load_arrays, raw_file, save_arrays
from dynsim.scenario import Scenario
from dynsim.signals import all_weights
from dynsim.simulation import Simulation
from dynsim.start import learning_data
from dynsim.system.graph import Groups, System

RATE = 0.003  # of Adam
DECAY = 0.3  # decoupled weight decay: W <- (1 - DECAY rate) W
SEEN = 5000  # samples of the training part on which errors are taken


def watched(name: str, seed: int, epochs: int, settings: dict[str, Any], how: str = "plain") -> Simulation:
    """A shipped scenario as a network of weights moved by Adam, before its first step.

    how : "plain", "decay" for weight decay, "random" for labels in a random order.
    """
    base = Scenario.load(name).changed(**{"run.seed": seed, "recipe.name": "direct"} | settings)
    data = learning_data(base, None)
    assert data is not None
    if how == "random":
        data = replace(data, train=Part(data.train.x, shuffled(data.train.y, seed)))
    batches = max(1, len(data.train) // min(base.field.batch, len(data.train)))
    return Simulation(twin_scenario(base, RATE, epochs * batches), data=data)


def shuffled(y: np.ndarray, seed: int) -> np.ndarray:
    """Labels in a random order."""
    return np.random.default_rng(seed).permutation(y)


def trained(
    folder: Path, name: str, seed: int, epochs: int, looks: int, settings: dict[str, Any], how: str = "plain"
) -> dict[str, Any]:
    """Train, and store the weights at the start and at about evenly spaced log(step); what they reach at each."""
    simulation = watched(name, seed, epochs, settings, how)
    rows: list[dict[str, float]] = []
    arrays: Groups = {}
    for state in states(simulation, looks, decay=how == "decay"):
        rows.append({"step": state.step} | reached(simulation))
        arrays |= {f"{len(rows) - 1}/{k}": w for k, w in weights_of(simulation).items()}
    save_arrays(folder, watched_name(name, how, seed), arrays)
    return {"checkpoints": rows, "links": [k.name for k in simulation.graph.links]}


def watched_name(name: str, how: str, seed: int) -> str:
    """Of the unit."""
    return f"watched-{name}-{how}-{seed}"


def states(simulation: Simulation, looks: int, decay: bool = False) -> Iterator[System]:
    """The states at some steps from the first to the last."""
    last = simulation.total_steps
    wanted = {0, last, *np.geomspace(1, last, looks - 1).round().astype(int).tolist()}
    while True:
        if simulation.system.step in wanted:
            yield simulation.system
        if simulation.done:
            return
        simulation.step()
        simulation.pending.clear()
        if decay:
            simulation.system = decayed(simulation)


def decayed(simulation: Simulation) -> System:
    """The weights after a step of decoupled decay (Loshchilov & Hutter 2019), annealed with the rate."""
    system, limit = simulation.system, simulation.limit
    kept = np.float32(1 - DECAY * limit.eta * limit.envelope(system))
    return system.replace(x={k: kept * a if k.startswith("weight:") else a for k, a in system.x.items()})


def weights_of(simulation: Simulation) -> dict[str, np.ndarray]:
    """Link -> W (M, N), from bottom to top."""
    return {k: w.matrix() for k, w in all_weights(simulation.kernels, simulation.system).items()}


def reached(simulation: Simulation) -> dict[str, float]:
    """Accuracies, and (S13)'s log error ratio ln(|Y - Y'|_train / |Y - Y'|_test), root mean squares over samples."""
    data = simulation.data
    assert data is not None
    parts = {
        "train": Part(data.train.x[:SEEN], data.train.y[:SEEN]),
        "validation": data.validation,
        "test": data.test,
    }
    accuracy, error = {}, {}
    for name, part in parts.items():
        p = softmax(simulation.logits(part.x).astype(np.float64))
        accuracy[f"{name}_accuracy"] = float((p.argmax(axis=1) == part.y).mean())
        error[name] = float(np.sqrt(np.square(p - np.eye(p.shape[1])[part.y]).sum(axis=1).mean()))
    return accuracy | {"log_error_ratio": float(np.log(error["train"] / error["test"]))}


def measured(folder: Path, source: str, fit: dict[str, Any]) -> dict[str, Any]:
    """D, its controls and its values for shuffled weights, per layer and in total, at every stored state of a unit."""
    arrays = load_arrays(folder, source)
    links = json.loads(raw_file(folder, source).read_text(encoding="utf-8"))["links"]
    count = len(arrays) // len(links)
    return {"rows": [row({link: arrays[f"{k}/{link}"] for link in links}, fit) for k in range(count)]}


def row(weights: Groups, fit: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Layer, and "all" -> its measures, with those of shuffled weights beside them."""
    plain, control = (discrepancies(weights, shuffled=shuffled, **fit) for shuffled in (False, True))
    pairs = {name: (plain[name], control[name]) for name in weights} | {"all": (total(plain), total(control))}
    return {
        name: asdict(one) | {"shuffled": null.discrepancy, "shuffled_shape": null.shape}
        for name, (one, null) in pairs.items()
    }


def fashion() -> datasets.Dataset | None:
    """Fashion-MNIST, None where it cannot be had."""
    try:
        return datasets.load("fashion-mnist")
    except DataError:
        return None


def another_task(data: LearningData, task: str, seed: int) -> LearningData:
    """The data of a fine-tuning: "digits 0-4", "fashion-mnist", "random labels", or the same for any other."""
    if task == "random labels":
        return replace(data, train=Part(data.train.x, shuffled(data.train.y, seed)))
    if task == "digits 0-4":
        return replace(data, train=_few(data.train), validation=_few(data.validation), test=_few(data.test))
    if task == "fashion-mnist":
        clothes = datasets.load("fashion-mnist")
        return LearningData.of(clothes, validation=0.1, centre=True, seed=seed, dtype="float32", per_feature=False)
    return data


def _few(part: Part) -> Part:
    kept = part.y < 5
    return Part(part.x[kept], part.y[kept])


def tuned(folder: Path, seed: int, task: str, epochs: int, settings: dict[str, Any], fit: dict[str, Any]):
    """A trained LeNet-5 moved on by Adam on another task; its measures before and after."""
    base = lenet.scenario((2, 3), seed, settings | {"recipe.name": "direct", "field.validation": 0.0})
    whole = learning_data(base, None)
    assert whole is not None
    data = another_task(whole, task, seed)
    steps = epochs * max(1, len(data.train) // base.field.batch)
    start = load_arrays(folder, f"baseline-{seed}")
    simulation = Simulation(twin_scenario(base, lenet.KEPT, steps), data=data, given=start)
    before = row(weights_of(simulation), fit)
    while not simulation.done:
        simulation.step()
        simulation.pending.clear()
        if task == "weight decay":
            simulation.system = decayed(simulation)
    after = row(weights_of(simulation), fit)
    links = [k.name for k in simulation.graph.links]
    accuracy = simulation.evaluate("test").accuracy
    return {"links": links, "before": before, "after": after, "test_accuracy": accuracy}
