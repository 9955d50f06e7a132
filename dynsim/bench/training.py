"""A whole step of training, Alg. 1, of shipped scenarios against torch's step of the network with the same layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.datasets import Dataset
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

SAMPLES, BATCH, SHAPE = 8192, 128, (28, 28)
MLPS = {"l2": 0.5, "squared": 1 / 1.2}
LENETS = {"direct": "on coordinates", "finetune": "on weights"}  # what the first phase of the recipe moves


@benchmark("training")
def training(context: Context) -> Iterator[Case]:
    """Forward, backward, forces and motion for one batch of images as large as MNIST's."""
    shape = f"batch {BATCH}"
    for metric, goal in MLPS.items():
        ours = _step("mnist_mlp", **{"system.metric": metric, "system.copies": 8})
        yield Case(f"mnist_mlp, {metric}, H 8", shape, ours, (Rival("torch, dense twin", _torch(mlp), goal, "torch"),))
    for recipe, what in LENETS.items():
        rivals = tuple(
            Rival(f"torch, LeNet-5, {order}", _torch(lenet, last), 1 / 1.5, "torch")
            for order, last in (("channels first", False), ("channels last", True))
        )
        yield Case(f"lenet {what}", shape, _step("lenet", **{"recipe.name": recipe}), rivals)


def _step(name: str, **settings: Any) -> Callable[[], Work]:
    """A step of a shipped scenario, with all that belongs to it: batch, augmentation and observables too."""
    return lambda: Simulation(Scenario.load(name).changed(**settings), dataset=images()).step


def images() -> Dataset:
    """Sparse noise with labels, in the shape of MNIST."""
    rng = np.random.default_rng()
    x = rng.random((SAMPLES, SHAPE[0] * SHAPE[1]), np.float32)
    x *= rng.random(x.shape) < 0.2
    y = rng.integers(10, size=SAMPLES)
    return Dataset("noise", x, y, x[:BATCH], y[:BATCH], tuple(range(10)), SHAPE, "drawn", "none")


def _torch(network: Callable[[Any], Any], last: bool = False) -> Callable[[], Work]:
    """SGD with momentum, the quickest optimiser, on batches drawn at random, without augmentation.

    last : channels last in memory, which suits some networks better.
    """

    def prepare() -> Work:
        import torch

        data = images()
        order = torch.channels_last if last else torch.contiguous_format
        x = torch.from_numpy(data.X_train).reshape(-1, 1, *SHAPE).contiguous(memory_format=order)
        y = torch.from_numpy(data.y_train)
        model, loss = network(torch.nn).to(memory_format=order), torch.nn.CrossEntropyLoss()
        optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)

        def work() -> float:
            chosen = torch.randint(SAMPLES, (BATCH,))
            optimiser.zero_grad()
            error = loss(model(x[chosen]), y[chosen])
            error.backward()
            optimiser.step()
            return error.item()

        return work

    return prepare


def mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))


def lenet(nn: Any) -> Any:
    """The layers of scenarios/lenet.toml."""
    first = nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)
    dense = nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
    return nn.Sequential(*first, *second, nn.Flatten(), *dense)
