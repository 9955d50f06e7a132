"""A network that others published, for the studies that need one: looked for in the folder DYNSIM_MODELS."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.system.graph import Groups
from dynsim.system.layers import Conv
from dynsim.system.layout import phi_of

VARIABLE = "DYNSIM_MODELS"
MNIST_CNN = "ccexam_mnist.npz"  # the tensors of weights/mnist.pth of PyPI's ccexam 1.0.0 (MIT), as an .npz
MINILM = "minilm_layer0.npz"  # the first layer of all-MiniLM-L6-v2 (Apache 2.0), tensors by their names within it
# The tensor of every link, and the bias of every node, of `mnist_cnn`.
TENSORS = {"conv1": "features.0", "conv2": "features.3", "fc1": "classifier.0", "output": "classifier.2"}


def published(name: str) -> Path | None:
    """The file, or None where it is not."""
    folder = os.environ.get(VARIABLE)
    path = Path(folder) / name if folder else None
    return path if path is not None and path.is_file() else None


def absent(name: str) -> str:
    """What to say where it is not."""
    return f"Not done: {name} is not ours to ship; put it into a folder and name this in {VARIABLE}."


def mnist_cnn() -> Simulation:
    """conv 3x3 1-32, ReLU, pool, conv 3x3 32-64, ReLU, pool, 3136-128, ReLU, 128-10, with its published weights."""
    path = published(MNIST_CNN)
    assert path is not None
    conv = {"op": "conv", "kernel": 3, "padding": 1}
    pool = [{"op": "relu"}, {"op": "maxpool", "size": 2}]
    layers = [
        {"op": "reshape", "shape": [28, 28, 1]},
        {**conv, "name": "conv1", "channels": 32},
        *pool,
        {**conv, "name": "conv2", "channels": 64},
        *pool,
        {"op": "flatten"},
        {"op": "dense", "name": "fc1", "size": 128},
        {"op": "relu"},
        {"op": "dense", "name": "output", "size": "auto"},
    ]
    scenario = Scenario.from_dict(
        {
            "system": {"network": layers, "metric": "weights"},
            "field": {"dataset": "mnist", "per_feature": False},
            "dynamics": {"integrator": "adam"},
            "run": {"steps": 1},
            "record": {"observables": []},
        }
    )
    with np.load(path, allow_pickle=False) as tensors:
        return Simulation(scenario, given=_groups({k: tensors[k] for k in tensors.files}))


def _groups(tensors: Groups) -> Groups:
    """The tensors as dynsim lays them out: channels last, inputs by outputs."""
    groups: Groups = {f"bias:{name}": tensors[f"{key}.bias"] for name, key in TENSORS.items()}
    for name in ("conv1", "conv2"):
        kernel = tensors[f"{TENSORS[name]}.weight"].transpose(2, 3, 1, 0)
        layer = Conv("conv", channels=kernel.shape[3], kernel=3)
        groups[f"weight:{name}.in>{name}.out"] = phi_of(layer, kernel)[0]
    planes = tensors["classifier.0.weight"].reshape(-1, 64, 7, 7).transpose(2, 3, 1, 0)
    groups["weight:fc1.in>fc1"] = planes.reshape(-1, planes.shape[-1])
    groups["weight:fc1>output"] = tensors["classifier.2.weight"].T
    return groups
