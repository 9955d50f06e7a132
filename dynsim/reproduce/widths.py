"""Theorem 3.1: networks of one hidden layer that fit the same data with more and more sub-models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dynsim import datasets
from dynsim.backend.fitting import learning_data
from dynsim.fields.data import LearningData
from dynsim.reproduce.watched import row, weights_of
from dynsim.scenario import Scenario
from dynsim.sections import IN_MEMORY
from dynsim.simulation import Simulation
from dynsim.system.initialise import random

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
PROBLEMS = {"random": "64 random points of R^16 to random points of R^4", "digits": "256 digits, 8 x 8, one-hot"}
FITTING = 0.05  # relative training error
RATE = 0.01


def fitted(folder: Path, problem: str, hidden: int, seed: int, steps: int, fit: dict[str, Any]) -> dict[str, float]:
    """Train one width, and measure D before and after."""
    data = problem_data(problem, seed)
    layers = [data.train.x.shape[1], hidden, data.outputs]
    scenario = Scenario.from_dict(
        {
            "system": {"layers": layers, "metric": "weights", "activation": "tanh", "trained": ["weight", "bias"]},
            "field": {"dataset": IN_MEMORY, "loss": "squared", "batch": len(data.train)},
            "dynamics": {"integrator": "adam", "eta": RATE},
            "run": {"steps": steps, "seed": seed},
            "record": {"observables": []},
        }
    )
    simulation = Simulation(scenario, data=data)
    before = row(weights_of(simulation), fit)["all"]
    while not simulation.done:
        simulation.step()
        simulation.pending.clear()
    after, y = row(weights_of(simulation), fit)["all"], data.train.y
    error = float(np.linalg.norm(simulation.logits(data.train.x) - y) / np.linalg.norm(y))
    neurons = (layers[0] + 2 * hidden + layers[2]) / 2  # mean over both layers
    return after | {
        "training_error": error,
        "untrained": before["discrepancy"],
        "per_neuron": after["discrepancy"] / neurons,
    }


def problem_data(problem: str, seed: int) -> LearningData:
    """The data that every width is asked to fit."""
    if problem == "random":
        rng = random(seed, "target")
        x, y = rng.uniform(-1, 1, (64, 16)), rng.uniform(-1, 1, (64, 4))
    else:
        digits = datasets.load("digits", seed=seed, samples=256)
        x, y = digits.X_train, np.eye(10)[digits.y_train]
    return learning_data(x, y.astype(np.float32), (), validation=0.0, seed=seed)
