"""What else computes the same: torch on the card, in its best form, and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from dynsim.bench import training
from dynsim.bench.case import Rival, Work
from dynsim.datasets import Dataset

TWINS = {"mnist_mlp": training.mlp, "lenet": training.lenet}  # scenario -> torch's network of the same layers


@cache
def images() -> Dataset:
    """The same for ours and for rivals."""
    return training.images()


@cache
def without() -> str | None:
    """What torch lacks to compute on the card; None where it can."""
    if find_spec("torch") is None:
        return "torch"
    import torch

    return None if torch.cuda.is_available() else "torch for CUDA"


def _torch(name: str, prepare: Callable[[Any], Work]) -> Rival:
    """A rival from (torch) -> its work, in float32 as ours: cuDNN would take numbers of 10 bits (TF32) by itself."""

    def waited() -> Work:
        import torch

        torch.backends.cudnn.allow_tf32 = False
        work = prepare(torch)

        def until_done() -> Any:
            result = work()
            torch.cuda.synchronize()
            return result

        return until_done

    return Rival(f"torch, {name}", waited, requires=without())


def numpy_kernel(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> Rival:
    """The reference on the host."""
    return Rival("NumPy", lambda: partial(kernel, *arguments))


def torch_path_integral(metric: str, eps: float, *link: np.ndarray) -> Rival:
    """cdist for all copies at once, the softening as one more coordinate, and one product with mu."""

    def prepare(torch: Any) -> Work:
        arrays = [torch.from_numpy(a).cuda() for a in link]
        return lambda: _integral(torch, metric, eps, *arrays)

    return _torch("cdist + product", prepare)


def torch_forces(metric: str, eps: float, stress: np.ndarray, *link: np.ndarray) -> Rival:
    """The same with autograd; its time is that of path integral and forces. Compared are forces on both ends and mu."""

    def prepare(torch: Any) -> Work:
        leaves = [torch.from_numpy(a).cuda().requires_grad_() for a in link]
        pull = torch.from_numpy(stress).cuda()

        def work() -> tuple[Any, ...]:
            return torch.autograd.grad(_integral(torch, metric, eps, *leaves), leaves, pull)

        return work

    return _torch("cdist and autograd", prepare)


def _integral(torch: Any, metric: str, eps: float, a: Any, b: Any, mu: Any) -> Any:
    if metric in ("l2", "plummer", "reciprocal"):  # |v|^2 + eps^2 is the distance of clouds eps apart
        a, b = torch.nn.functional.pad(a, (0, 1), value=eps), torch.nn.functional.pad(b, (0, 1))
    distance = torch.cdist(a, b, p=1.0 if metric == "l1" else 2.0)
    if metric == "reciprocal":
        distance = distance.reciprocal()
    return (mu @ distance.flatten(1)).view(distance.shape[1:])


def torch_convolution(x: np.ndarray, kernel: np.ndarray) -> Rival:
    """conv2d with channels last, as cuDNN likes them best."""

    def prepare(torch: Any) -> Work:
        images = torch.from_numpy(x).cuda().permute(0, 3, 1, 2)
        weights = torch.from_numpy(kernel).cuda().permute(3, 2, 0, 1).contiguous()
        padding = len(kernel) // 2
        return lambda: torch.nn.functional.conv2d(images, weights, padding=padding).permute(0, 2, 3, 1)

    return _torch("conv2d", prepare)


def torch_step(name: str) -> Rival:
    """A step of SGD of the network with the same layers; it learns other numbers, so that nothing is compared."""

    def prepare(torch: Any) -> Work:
        given = images()
        x = torch.from_numpy(given.X_train).cuda().reshape(-1, 1, *training.SHAPE)
        y = torch.from_numpy(given.y_train).cuda()
        model, loss = TWINS[name](torch.nn).cuda(), torch.nn.CrossEntropyLoss()
        optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)

        def work() -> None:
            chosen = torch.randint(len(x), (training.BATCH,), device="cuda")
            optimiser.zero_grad()
            loss(model(x[chosen]), y[chosen]).backward()
            optimiser.step()

        return work

    return _torch("twin of weights", prepare)
