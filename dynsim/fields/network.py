"""A network with data, Eq. (7): signals run through the links, and the exact chain rule brings the feedback back.

However, Eq. (7) as printed is a proportionality with the factors sigma'(R) dropped (Eq. 44 argues that they are
constant near equilibrium); here is the whole chain rule, with Phi_out = T - softmax(R) or T - R.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.errors import ShapeError, unknown
from dynsim.forces import Response, Stress
from dynsim.signals import Weights, activation
from dynsim.system.graph import Graph, System
from dynsim.system.initialise import random

LOSSES = ("cross-entropy", "squared")


def forward(graph: Graph, weights: dict[str, Weights], bias: dict[str, np.ndarray], x: np.ndarray):
    """Signals through the graph, Eq. (3)-(4).

    Parameters
    ----------
    x : (B, N_in) emitted by the input subsystem.
    bias : subsystem name -> (N,).

    Returns
    -------
    received, emitted : subsystem name -> (B, N); the output's received signals are the logits.
    """
    received: dict[str, np.ndarray] = {}
    emitted: dict[str, np.ndarray] = {}
    for name in graph.order:
        links = graph.incoming[name]
        if not links:
            received[name] = emitted[name] = x
            continue
        # Eq. (4), line 1
        r: Any = sum(weights[k.name].receive(emitted[k.source]) for k in links)
        received[name] = r = r + bias[name] if name in bias else r
        # Eq. (4), line 2
        emitted[name] = activation(graph.by_name[name].activation).emit(r)
    return received, emitted


def biases(system: System) -> dict[str, np.ndarray]:
    """Subsystem name -> (N,)."""
    return {k.split(":", 1)[1]: a[:, 0] for k, a in system.x.items() if k.startswith("bias:")}


def loss_and_feedback(kind: str, r: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean loss of a batch and -dLoss/dR of the output, (B, classes): (T - softmax(R)) / B or (T - R) / B."""
    rows = np.arange(len(y))
    if kind == "squared":
        error = -r
        error[rows, y] += 1
        return 0.5 * float((error.astype(np.float64) ** 2).sum()) / len(y), error / r.dtype.type(len(y))
    probability = softmax(r)
    picked = probability[rows, y].astype(np.float64)
    # NaN must survive so that a blow-up is seen; only an underflow to 0 is lifted.
    loss = -float(np.log(np.where(picked == 0, np.finfo(r.dtype).tiny, picked)).mean())
    feedback = -probability
    feedback[rows, y] += 1
    return loss, feedback / r.dtype.type(len(y))


def softmax(r: np.ndarray) -> np.ndarray:
    """(B, classes) probabilities."""
    e = np.exp(r - r.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


class NetworkField:
    """Minibatches of a labelled dataset push a network.

    Parameters
    ----------
    x, y : training inputs (n, N_in), already scaled, and labels (n,) in 0 ... classes-1.
    batch : samples per step; n or more means the full batch.
    loss : "cross-entropy" or "squared".
    """

    def __init__(
        self,
        graph: Graph,
        x: np.ndarray,
        y: np.ndarray,
        *,
        batch: int = 128,
        loss: str = "cross-entropy",
        seed: int = 0,
    ) -> None:
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        _check_flow(graph)
        if x.shape[1] != graph.input.size:
            raise ShapeError(
                f"the data do not fit subsystem {graph.input.name!r}",
                given=f"{x.shape[1]} features, {graph.input.size} sub-models",
                allowed="as many sub-models as features",
                hint='write "auto" as the first entry of system.layers',
            )
        self.graph, self.x, self.y, self.loss, self.seed = graph, x, y, loss, seed
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
        received, emitted = forward(self.graph, weights, biases(system), x)
        out = self.graph.output.name
        loss, feedback = loss_and_feedback(self.loss, received[out], y)
        stress, on_received = self._feed_back(weights, received, emitted, feedback)
        return Response(
            loss=loss,
            stress=stress,
            on_bias={n: on_received[n].sum(0) for n in biases(system)},
            received={n: _rms(r) for n, r in received.items()},
            emitted={n: _rms(e) for n, e in emitted.items()},
            accuracy=float((received[out].argmax(1) == y).mean()),
        )

    def _feed_back(self, weights, received, emitted, feedback):
        """F = -dLoss/dW of every link, and -dLoss/dR of every subsystem that receives: Eq. (7)."""
        graph = self.graph
        on_received = {graph.output.name: feedback}
        stress = {}
        for name in reversed(graph.order):
            if not graph.incoming[name]:
                continue
            if name not in on_received:
                back = sum(weights[k.name].feed_back(on_received[k.target]) for k in graph.outgoing[name])
                slope = activation(graph.by_name[name].activation).slope(received[name], emitted[name])
                on_received[name] = (back * slope).astype(back.dtype, copy=False)
            for link in graph.incoming[name]:
                stress[link.name] = Stress(emitted=emitted[link.source], feedback=on_received[name])
        return stress, on_received


def _rms(signal: np.ndarray) -> np.ndarray:
    """(B, N) -> (N,)."""
    return np.sqrt(np.einsum("bi,bi->i", signal, signal) / len(signal))


def _check_flow(graph: Graph) -> None:
    """One subsystem takes the data, one gives the answer, and every other both receives and emits."""
    sources = [s.name for s in graph.subsystems if not graph.incoming[s.name]]
    sinks = [s.name for s in graph.subsystems if not graph.outgoing[s.name]]
    if len(sources) != 1 or len(sinks) != 1:
        raise ShapeError(
            "signals must run from one input to one output",
            where="system.links",
            given=f"without incoming links: {', '.join(sources)}; without outgoing: {', '.join(sinks)}",
            hint="let every subsystem in between receive and emit",
        )


def predict_logits(system: System, weights: dict[str, Weights], x: np.ndarray, chunk: int = 4096) -> np.ndarray:
    """(n, classes) received signals of the output for scaled inputs (n, N_in), in bounded memory."""
    out, bias = system.graph.output.name, biases(system)
    parts = [forward(system.graph, weights, bias, x[i : i + chunk])[0][out] for i in range(0, len(x), chunk)]
    return np.concatenate(parts) if parts else np.empty((0, system.graph.output.size), x.dtype)
