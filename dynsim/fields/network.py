"""A network with data, Eq. (7) and Alg. 1: signals run through the layers, and the exact chain rule brings the
feedback back to every weight, from where Eq. (6) takes it to the particles.

However, Eq. (7) as printed is a proportionality with the factors sigma'(R) dropped (Eq. 44 argues that they are
constant near equilibrium); here is the whole chain rule, with Phi_out = T - softmax(R) or T - R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dynsim.errors import ShapeError, unknown
from dynsim.fields.losses import LOSSES, loss_and_feedback
from dynsim.fields.operations import Place, run_back, run_through, statistics
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.signals import Weights
from dynsim.system.graph import Graph, Groups, System
from dynsim.system.initialise import random
from dynsim.system.layers import Conv, Dense, Network, Node, network_of

# Numbers in the largest array of a forward pass, at most.
MOST_NUMBERS = 1 << 24


class NetworkField:
    """Minibatches of a labelled dataset push a network.

    Parameters
    ----------
    x : training inputs (n, N_in), already scaled.
    y : labels (n,) in 0 ... classes - 1, or real targets (n, N_out).
    network : layers in the order of evaluation; by default dense ones along the links of the graph.
    batch : samples per step; n or more means the full batch.
    loss : "cross-entropy" or "squared".
    augment : (batch, generator) -> batch, for training inputs.
    kernels : of the device, for images and norms.
    """

    def __init__(
        self,
        graph: Graph,
        x: np.ndarray,
        y: np.ndarray,
        *,
        network: Network | None = None,
        batch: int = 128,
        loss: str = "cross-entropy",
        seed: int = 0,
        augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
        kernels: Any = reference,
    ) -> None:
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        network = network_of(graph) if network is None else network
        if x.shape[1] != math.prod(network.input_shape):
            raise ShapeError(
                f"the data do not fit {network.input_name!r}",
                given=f"{x.shape[1]} features, {math.prod(network.input_shape)} sub-models",
                allowed="as many sub-models as features",
                hint='write "auto" as the first entry of system.layers',
            )
        self.graph, self.network, self.x, self.y, self.loss, self.seed = graph, network, x, y, loss, seed
        self.augment, self.kernels = augment, kernels
        self.batch = min(batch, len(x))
        self.steps_per_epoch = max(1, len(x) // self.batch)
        self._epoch, self._order = -1, np.arange(len(x))

    def batch_indices(self, step: int) -> np.ndarray:
        """Which samples step `step` sees: a seeded permutation an epoch, so that any step can be recomputed."""
        epoch, k = divmod(step, self.steps_per_epoch)
        if self.batch == len(self.x):
            return self._order
        if epoch != self._epoch:
            self._epoch, self._order = epoch, random(self.seed, "batch", epoch).permutation(len(self.x))
        return self._order[k * self.batch : (k + 1) * self.batch]

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        chosen = self.batch_indices(step)
        x, y = (self.x, self.y) if self.batch == len(self.x) else (self.x[chosen], self.y[chosen])
        if self.augment is not None:
            x = self.augment(x, random(self.seed, "augment", step))
        places = places_of(self.network, weights, system.x, self.kernels, training=True)
        values, kept = run_through(self.network, places, x)
        answer = values[self.network.output_name]
        loss, feedback = loss_and_feedback(self.loss, answer, y)
        pushed = run_back(self.network, places, kept, feedback)
        received, emitted = signals(self.network, self.graph, values)
        return Response(
            loss=loss,
            stress=pushed.stress,
            on_groups=pushed.groups,
            statistics=self._statistics(places, kept),
            received={n: rms(r) for n, r in received.items()},
            emitted={n: rms(e) for n, e in emitted.items()},
            accuracy=float((answer.argmax(1) == y).mean()) if y.ndim == 1 else None,
        )

    def _statistics(self, places: Mapping[str, Place], kept: Mapping) -> Groups:
        new: Groups = {}
        for node in self.network.nodes:
            if node.layer.op == "batchnorm":
                new |= statistics(places[node.name], kept[node.name])
        return new


def places_of(
    network: Network, weights: Mapping[str, Weights], x: Groups, kernels: Any, training: bool
) -> dict[str, Place]:
    """Where every node works."""
    learning: set[str] = set()
    places: dict[str, Place] = {}
    for node in network.nodes:  # nobody needs the feedback of what does not depend on anything that moves
        wanted = not learning.isdisjoint(node.inputs)
        places[node.name] = place = Place(node, weights, x, kernels, training, wanted)
        if wanted or place.learns:
            learning.add(node.name)
    return places


def signals(
    network: Network, graph: Graph, values: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Received and emitted signals of every subsystem, (B, N) each, from the values of all nodes (B, ...).

    Of images and sequences it is the root mean square over pixels or tokens; a channel's is that of each of its
    sub-models. What a subsystem receives over several links is their sum.
    """
    received: dict[str, np.ndarray] = {}
    emitted: dict[str, np.ndarray] = {}
    by_name = {link.name: link for link in graph.links}
    for node in network.nodes:
        if not isinstance(node.layer, Dense | Conv):
            continue
        inputs = node.inputs if isinstance(node.layer, Dense) else node.inputs * len(node.links)
        for link, source in zip(node.links, inputs):
            ends = by_name[link].source, by_name[link].target
            emitted[ends[0]] = _of_sub_models(values[source], graph.by_name[ends[0]].size)
            received[ends[1]] = _of_sub_models(values[node.name], graph.by_name[ends[1]].size)
    for name in graph.order:
        if name not in emitted:
            emitted[name] = received[name]
        if name not in received:
            received[name] = emitted[name]
    return {n: received[n] for n in graph.order}, {n: emitted[n] for n in graph.order}


def _of_sub_models(value: np.ndarray, size: int) -> np.ndarray:
    if value.ndim > 2:
        flat = value.reshape(len(value), -1, value.shape[-1])
        value = np.sqrt(np.einsum("bpn,bpn->bn", flat, flat) / value.dtype.type(flat.shape[1]))
    return np.tile(value, (1, size // value.shape[1])) if value.shape[1] < size else value


def rms(signal: np.ndarray) -> np.ndarray:
    """(B, N) -> (N,)."""
    return np.sqrt(np.einsum("bi,bi->i", signal, signal) / len(signal))


def forward(
    network: Network, weights: Mapping[str, Weights], x: Groups, inputs: np.ndarray, kernels: Any = reference
) -> dict[str, np.ndarray]:
    """Values (B, ...) of every node for scaled inputs (B, N_in), with running statistics; the last are the logits."""
    return run_through(network, places_of(network, weights, x, kernels, training=False), inputs)[0]


def predict_logits(
    network: Network, weights: Mapping[str, Weights], x: Groups, inputs: np.ndarray, kernels: Any = reference
) -> np.ndarray:
    """(n, classes) received signals of the output for scaled inputs (n, N_in), in bounded memory."""
    chunk = max(1, min(4096, MOST_NUMBERS // max(largest_value(network, n) for n in network.nodes)))
    starts = range(0, len(inputs), chunk)
    parts = [forward(network, weights, x, inputs[i : i + chunk], kernels)[network.output_name] for i in starts]
    return np.concatenate(parts) if parts else np.empty((0, *network.nodes[-1].shape), inputs.dtype)


def largest_value(network: Network, node: Node) -> int:
    """Numbers that a node makes for one sample, with the patches of a convolution."""
    size = math.prod(node.shape)
    if isinstance(node.layer, Conv):
        size = size // node.shape[-1] * node.layer.kernel**2 * network.shape_of(node.inputs[0])[-1]
    return max(size, math.prod(node.shape))
