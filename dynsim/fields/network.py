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
from dynsim.fields.operations import Place, narrow, rows_of, run_back, run_through, statistics
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
    kernels : of the device, where the data wait too, unless they are augmented on the host.
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
        self.graph, self.network, self.loss, self.seed = graph, network, loss, seed
        self.augment, self.kernels = augment, kernels
        self.x, self.y = (x, y) if augment is not None else tuple(kernels.to_device([x, y]))
        self.batch = min(batch, len(x))
        self.steps_per_epoch = max(1, len(x) // self.batch)
        self._epoch, self._order = -1, np.arange(len(x))
        self._received, self._emitted = ends(network, graph)

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
        x, y = self.x, self.y
        if self.batch < len(x):
            chosen = np.asarray(chosen, like=x)
            x, y = x[chosen], y[chosen]
        if self.augment is not None:
            x, y = self.kernels.to_device([self.augment(x, random(self.seed, "augment", step)), y])
        places = places_of(self.network, weights, system.x, self.kernels, training=True)
        values, kept = run_through(self.network, places, x)
        answer = values[self.network.output_name]
        loss, feedback = loss_and_feedback(self.loss, answer, y)
        pushed = run_back(self.network, places, kept, feedback)
        received, emitted = self._loudness(values)
        return Response(
            loss=loss,
            stress=pushed.stress,
            on_groups=pushed.groups,
            statistics=self._statistics(places, kept),
            received=received,
            emitted=emitted,
            accuracy=float((answer.argmax(1) == y).mean()) if y.ndim == 1 else None,
        )

    def _loudness(self, values: Mapping[str, np.ndarray]) -> tuple[Groups, Groups]:
        """What subsystems receive and emit, (N,) each: root mean square over the batch, and over pixels or tokens."""
        heard = self._received, self._emitted
        found = {value: rms(values[value], self.kernels) for value in {v for part in heard for v in part.values()}}
        sizes = {n: s.size for n, s in self.graph.by_name.items()}
        received, emitted = ({n: _repeated(found[v], sizes[n]) for n, v in part.items()} for part in heard)
        return received, emitted

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
    received, emitted = ends(network, graph)

    def of(heard: Mapping[str, str]) -> dict[str, np.ndarray]:
        return {n: _repeated(_of_channels(values[value]), graph.by_name[n].size) for n, value in heard.items()}

    return of(received), of(emitted)


def ends(network: Network, graph: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """Which value each subsystem receives, and which one it emits, in the order of signals."""
    received: dict[str, str] = {}
    emitted: dict[str, str] = {}
    by_name = {link.name: link for link in graph.links}
    for node in network.nodes:
        if not isinstance(node.layer, Dense | Conv):
            continue
        inputs = node.inputs if isinstance(node.layer, Dense) else node.inputs * len(node.links)
        for link, source in zip(node.links, inputs):
            emitted[by_name[link].source] = source
            received[by_name[link].target] = node.name
    received, emitted = emitted | received, received | emitted  # what has no link on one side hears or says the same
    return {n: received[n] for n in graph.order}, {n: emitted[n] for n in graph.order}


def _of_channels(value: np.ndarray) -> np.ndarray:
    """(B, ..., N) -> (B, N), the root mean square over what is between."""
    if value.ndim == 2:
        return value
    flat = value.reshape(len(value), -1, value.shape[-1])
    return np.sqrt(np.einsum("bpn,bpn->bn", flat, flat) / value.dtype.type(flat.shape[1]))


def _repeated(signal: np.ndarray, size: int) -> np.ndarray:
    """(..., N) -> (..., size): a channel's signal is that of each of its sub-models."""
    return np.tile(signal, size // signal.shape[-1]) if signal.shape[-1] < size else signal


def rms(value: np.ndarray, kernels: Any) -> np.ndarray:
    """(B, ..., N) -> (N,)."""
    rows = rows_of(value)
    total = narrow(kernels.squares(rows, np.zeros_like(rows[0])), value)
    return np.sqrt(total / value.dtype.type(value.size // value.shape[-1]))


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
    parts = []
    for i in starts:
        (batch,) = kernels.to_device([inputs[i : i + chunk]])
        parts += kernels.to_host([forward(network, weights, x, batch, kernels)[network.output_name]])
    return np.concatenate(parts) if parts else np.empty((0, *network.nodes[-1].shape), inputs.dtype)


def largest_value(network: Network, node: Node) -> int:
    """Numbers that a node makes for one sample, with the patches of a convolution."""
    size = math.prod(node.shape)
    if isinstance(node.layer, Conv):
        size = size // node.shape[-1] * node.layer.kernel**2 * network.shape_of(node.inputs[0])[-1]
    return max(size, math.prod(node.shape))
