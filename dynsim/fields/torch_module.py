"""A torch module as a potential field: F = -dLoss/dW of every layer whose weights are path integrals.

Alg. 1 for any module: its weights are recovered from the particles, torch computes the loss and what it does to them,
and Eq. (6) turns that into forces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dynsim.errors import DeviceError, ShapeError
from dynsim.forces import Response, Stress
from dynsim.signals import Weights
from dynsim.system.graph import System
from dynsim.system.initialise import random

try:
    import torch
    from torch import Tensor
except ImportError:
    raise DeviceError("torch is not installed", hint="pip install dynsim[torch]") from None


class HeldWeight(Protocol):
    """A layer's weight that can be given from outside: `dynsim.backend.torch_integral.PathIntegral`."""

    given: Tensor | None

    def arranged(self, phi: Tensor) -> Tensor:
        """The weight that phi (M, N) stands for."""
        ...


@dataclass
class TorchField:
    """The loss of a module pushes the particles behind its weights.

    Attributes
    ----------
    loss : step -> the loss of that step's batch (scalar tensor), computed with the module.
    layers : link name -> the weight that the link's path integrals are given to.
    device : of the module.
    optimiser : of the module's other parameters (biases, norms); it gets their gradients, and who steps, steps it.
    seed : of torch's random numbers (dropout), which start anew at every step, so that any step can be computed again.
    """

    loss: Callable[[int], Tensor]
    layers: Mapping[str, HeldWeight]
    device: torch.device | str = "cpu"
    optimiser: torch.optim.Optimizer | None = None
    seed: int = 0
    steps_per_epoch: int = 1

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        """Energy and stress; raises ShapeError for a loss that is no scalar."""
        phi = {name: weights[name].matrix() for name in self.layers}
        leaves = {n: torch.tensor(w, device=self.device, requires_grad=True) for n, w in phi.items()}
        # Within both: a layer that torch computes again on the way back must meet the same weights and numbers.
        with torch.enable_grad(), self._given(leaves), self._random(step):
            loss = self.loss(step)
            if loss.ndim:
                raise ShapeError("the loss is no scalar", given=tuple(loss.shape), hint=".mean()")
            slopes = self._slopes(loss, list(leaves.values()))
        return Response(
            loss=float(loss.detach()),
            stress={n: Stress(matrix=-s.cpu().numpy()) for n, s in zip(leaves, slopes)},
            received=self._received(system, phi),
        )

    def _slopes(self, loss: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
        """dLoss/dW, zero where the loss does not see W; the other parameters' only for the optimiser."""
        if not loss.requires_grad:
            return tuple(torch.zeros_like(w) for w in leaves)
        if self.optimiser is None:
            return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        self.optimiser.zero_grad()
        loss.backward()
        return tuple(torch.zeros_like(w) if w.grad is None else w.grad for w in leaves)

    @contextmanager
    def _given(self, phi: Mapping[str, Tensor]) -> Iterator[None]:
        try:
            for name, layer in self.layers.items():
                layer.given = layer.arranged(phi[name])
            yield
        finally:
            for layer in self.layers.values():
                layer.given = None

    @contextmanager
    def _random(self, step: int) -> Iterator[None]:
        device = torch.device(self.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1, np.uint64)[0]))
            yield

    def _received(self, system: System, phi: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Root mean squares of rows and columns: what signals of size 1 would bring, as for a target matrix."""
        received: dict[str, np.ndarray] = {}
        for link in system.graph.links:
            received[link.source] = np.sqrt(np.mean(phi[link.name] ** 2, axis=1))
            received[link.target] = np.sqrt(np.mean(phi[link.name] ** 2, axis=0))
        return received


@dataclass
class BatchLoss:
    """The loss of a module on the batch of a step: a seeded permutation an epoch, as in `NetworkField`.

    Attributes
    ----------
    module : called with a batch of x. criterion : (output, batch of y) -> scalar tensor.
    x, y : (n, ...) tensors on the module's device.
    batch : samples per step; n or more means all of them in their order.
    """

    module: Callable[[Tensor], Any]
    criterion: Callable[[Any, Tensor], Tensor]
    x: Tensor
    y: Tensor
    batch: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ShapeError("as many inputs as targets are needed", given=f"{len(self.x)} and {len(self.y)}")
        self.batch = min(self.batch, len(self.x))
        self.steps_per_epoch = max(1, len(self.x) // max(1, self.batch))

    def __call__(self, step: int) -> Tensor:
        if self.batch == len(self.x):
            return self.criterion(self.module(self.x), self.y)
        epoch, k = divmod(step, self.steps_per_epoch)
        order = random(self.seed, "batch", epoch).permutation(len(self.x))
        chosen = torch.from_numpy(order[k * self.batch : (k + 1) * self.batch]).to(self.x.device)
        return self.criterion(self.module(self.x[chosen]), self.y[chosen])
