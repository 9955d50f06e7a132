"""What each layer does to signals, and the exact chain rule back: forward and backward of every `dynsim.system.layers`.

Values are (B, ...) with channels last, (B, height, width, channels) for images. Backward takes the feedback
-dLoss/d(value) of what a layer gave, and returns it for what it took, with the forces on its own groups; signs are
those of forces everywhere, so that nothing is negated on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynsim.fields.vectors import VECTOR_OPERATIONS
from dynsim.forces import Stress
from dynsim.kernels import reference
from dynsim.signals import Weights, activation
from dynsim.system.graph import Groups
from dynsim.system.layers import Layers, Network, Node
from dynsim.system.layout import kernel_of, phi_of


@dataclass(frozen=True)
class Place:
    """Where a layer works: its node, the weights of its links, the groups, and the device's kernels.

    `training` chooses the statistics of the batch over the running ones; `wanted` is False where nobody needs the
    feedback of what came in, as for the data.
    """

    node: Node
    weights: Mapping[str, Weights]
    x: Groups
    kernels: Any = reference
    training: bool = False
    wanted: bool = True

    def group(self, kind: str) -> np.ndarray:
        """(N,) of the node's own group of a kind."""
        return self.x[f"{kind}:{self.node.key}"][:, 0]

    @property
    def learns(self) -> bool:
        """Whether it has weights or groups of its own."""
        return bool(self.node.links) or any(map(self.has, ("scale", "bias", "weight")))

    def has(self, kind: str) -> bool:
        return f"{kind}:{self.node.key}" in self.x


@dataclass
class Pushed:
    """What a backward pass gathers: stress by link, force by group; those of several nodes add up."""

    stress: dict[str, Stress] = field(default_factory=dict)
    groups: Groups = field(default_factory=dict)

    def add_stress(self, link: str, emitted: np.ndarray, feedback: np.ndarray) -> None:
        """F = emitted.T @ feedback on the weights of a link; another node of it adds a block to the product."""
        before = self.stress.get(link)
        if before is not None:
            emitted = np.concatenate([before.emitted, emitted])
            feedback = np.concatenate([before.feedback, feedback])
        self.stress[link] = Stress(emitted=emitted, feedback=feedback)

    def add_force(self, group: str, force: np.ndarray) -> None:
        """A force on a group."""
        self.groups[group] = self.groups[group] + force if group in self.groups else force


def dense(place: Place, *inputs: np.ndarray):
    """Eq. (4): R = sum over links of E W, + b, over the last axis."""
    flat = [x.reshape(-1, x.shape[-1]) for x in inputs]
    # Eq. (4), line 1
    r, *others = (place.weights[k].receive(e) for k, e in zip(place.node.links, flat))
    for other in (*others, *([place.group("bias")] if place.has("bias") else [])):
        r += other
    return r.reshape(*inputs[0].shape[:-1], -1), [x.shape for x in inputs], flat


def dense_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    shapes, flat = kept
    d = feedback.reshape(-1, feedback.shape[-1])
    if place.has("bias"):
        pushed.add_force(f"bias:{place.node.key}", d.sum(axis=0)[:, None])
    for link, emitted in zip(place.node.links, flat):
        pushed.add_stress(link, emitted, d)
    if not place.wanted:
        return tuple(None for _ in shapes)
    return tuple(place.weights[k].feed_back(d).reshape(s) for k, s in zip(place.node.links, shapes))


def conv(place: Place, x: np.ndarray):
    """A convolution with the kernel that the links' path integrals make."""
    layer: Any = place.node.layer
    kernel = kernel_of(layer, [place.weights[k].matrix() for k in place.node.links])
    r = place.kernels.convolve(x, kernel, layer.stride, layer.padding)
    if place.has("bias"):
        np.add(rows_of(r), wide(place.group("bias"), r), out=rows_of(r))
    return r, x, kernel


def conv_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    layer: Any = place.node.layer
    if place.has("bias"):
        pushed.groups[f"bias:{place.node.key}"] = narrow(place.kernels.sums(rows_of(feedback)), feedback)[:, None]
    on_x, on_kernel = place.kernels.convolve_back(feedback, *kept, layer.stride, layer.padding, place.wanted)
    for link, force in zip(place.node.links, phi_of(layer, on_kernel)):
        pushed.stress[link] = Stress(matrix=force)
    return (on_x,)


def mix(place: Place, x: np.ndarray):
    """softmax(Q K^T / sqrt(d_k)) V, head by head; x (B, T, 2 d_k + d_v)."""
    layer: Any = place.node.layer
    q, k, v = (_heads(part, layer.heads) for part in np.split(x, [layer.key, 2 * layer.key], axis=-1))
    scale = x.dtype.type((layer.key // layer.heads) ** -0.5)
    scores = scale * (q @ k.swapaxes(-1, -2))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attention = scores / scores.sum(axis=-1, keepdims=True)
    return _unheads(attention @ v), q, k, v, attention, scale


def mix_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    q, k, v, attention, scale = kept
    d = _heads(feedback, place.node.layer.heads)  # type: ignore[union-attr]
    on_attention = d @ v.swapaxes(-1, -2)
    on_scores = scale * attention * (on_attention - (on_attention * attention).sum(axis=-1, keepdims=True))
    parts = on_scores @ k, on_scores.swapaxes(-1, -2) @ q, attention.swapaxes(-1, -2) @ d
    return (np.concatenate([_unheads(p) for p in parts], axis=-1),)


def _heads(x: np.ndarray, heads: int) -> np.ndarray:
    """(B, T, n) -> (B, heads, T, n / heads)."""
    return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)


def _unheads(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3), like=x).reshape(x.shape[0], x.shape[2], -1)


def pooling(place: Place, x: np.ndarray):
    """Largest or mean value of each window."""
    layer: Any = place.node.layer
    y, cell = place.kernels.pool(x, layer.size, layer.op == "maxpool")
    return y, cell, x.shape


def pooling_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    return (place.kernels.pool_back(feedback, *kept, place.node.layer.size),)  # type: ignore[union-attr]


def norm(place: Place, x: np.ndarray):
    """(x - mean) / sqrt(variance + eps) scale + shift, over the batch or over the last axis."""
    layer: Any = place.node.layer
    if layer.op == "layernorm":
        return _layer_norm(place, x)
    rows, n, moments = rows_of(x), x.dtype.type(x.size // x.shape[-1]), None
    if place.training:
        centre = narrow(place.kernels.sums(rows), x) / n
        variance = narrow(place.kernels.squares(rows, wide(centre, x)), x) / n
        moments = centre, variance * (n / max(n - 1, 1))
    else:
        centre, variance = place.group("mean"), place.group("variance")
    inverse = 1 / np.sqrt(variance + x.dtype.type(layer.eps))
    factor = wide(inverse * place.group("scale"), x)
    y = place.kernels.scaled(rows, wide(centre, x), factor, wide(place.group("shift"), x))
    return y.reshape(x.shape), rows, centre, inverse, moments


def norm_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    if place.node.layer.op == "layernorm":
        return _layer_norm_back(place, feedback, kept, pushed)
    rows, centre, inverse, _ = kept
    d, centre = rows_of(feedback), wide(centre, feedback)
    on_shift, along = (narrow(a, feedback) for a in place.kernels.products(d, rows, centre))
    on_scale = along * inverse
    _push_norm(place, on_scale, on_shift, pushed)
    factor = inverse * place.group("scale")
    share = factor / d.dtype.type(feedback.size // feedback.shape[-1] if place.training else np.inf)
    parts = (wide(a, feedback) for a in (factor, share * on_shift, share * inverse * on_scale))
    return (place.kernels.norm_back(d, rows, centre, *parts).reshape(feedback.shape),)


def _push_norm(place: Place, on_scale: np.ndarray, on_shift: np.ndarray, pushed: Pushed) -> None:
    pushed.groups[f"scale:{place.node.key}"] = on_scale[:, None]
    pushed.groups[f"shift:{place.node.key}"] = on_shift[:, None]


def _layer_norm(place: Place, x: np.ndarray):
    layer: Any = place.node.layer
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + x.dtype.type(layer.eps))
    z = centred * inverse
    return z * place.group("scale") + place.group("shift"), z, inverse


def _layer_norm_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    z, inverse = kept
    flat = feedback.reshape(-1, feedback.shape[-1])
    _push_norm(place, (flat * z.reshape(flat.shape)).sum(axis=0), flat.sum(axis=0), pushed)
    inner = feedback * place.group("scale")
    along = (inner * z).mean(axis=-1, keepdims=True)
    return (inverse * (inner - inner.mean(axis=-1, keepdims=True) - z * along),)


def rows_of(x: np.ndarray) -> np.ndarray:
    """(B, ..., N) -> (B, ... N): long rows, because operations along a short last axis are slow."""
    return x.reshape(len(x), -1)


def wide(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(N,) repeated along the rows of x (B, ..., N)."""
    return np.tile(a, x[0].size // len(a))


def narrow(columns: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Sums (N,) over all that belongs to the same place of the last axis of x, of numbers for its long rows."""
    return columns.reshape(-1, x.shape[-1]).sum(axis=0)


def statistics(place: Place, kept: Any) -> Groups:
    """Running mean and variance after a batch: (1 - momentum) old + momentum new, the variance unbiased."""
    layer: Any = place.node.layer
    moments = kept[-1]
    rate = moments[0].dtype.type(layer.momentum)
    pairs = zip(("mean", "variance"), moments)
    return {f"{k}:{place.node.key}": ((1 - rate) * place.group(k) + rate * new)[:, None] for k, new in pairs}


def activate(place: Place, x: np.ndarray):
    """Eq. (4), line 2: E = sigma(R)."""
    e = activation(place.node.layer.op).emit(x, place.kernels)
    return e, x, e


def activate_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    slope = activation(place.node.layer.op).slope(*kept, place.kernels)
    return (np.multiply(feedback, slope, out=np.empty_like(feedback), casting="same_kind"),)


def reshape(place: Place, x: np.ndarray):
    return x.reshape(len(x), *place.node.shape), x.shape


def reshape_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    return (feedback.reshape(kept[0]),)


def mean(place: Place, x: np.ndarray):
    return x.reshape(len(x), -1, x.shape[-1]).mean(axis=1), x.shape


def mean_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    (shape,) = kept
    spread = feedback[:, None] / feedback.dtype.type(np.prod(shape[1:-1]))
    return (np.broadcast_to(spread, (shape[0], int(np.prod(shape[1:-1])), shape[-1])).reshape(shape),)


def add(place: Place, x: np.ndarray, other: np.ndarray):
    return (x + other,)


def add_back(place: Place, feedback: np.ndarray, kept: Any, pushed: Pushed):
    return feedback, feedback


Operation = tuple[Callable, Callable]
OPERATIONS: dict[str, Operation] = {
    "Dense": (dense, dense_back),
    "Conv": (conv, conv_back),
    "Mix": (mix, mix_back),
    "Pool": (pooling, pooling_back),
    "Norm": (norm, norm_back),
    "Activate": (activate, activate_back),
    "Reshape": (reshape, reshape_back),
    "Mean": (mean, mean_back),
    "Add": (add, add_back),
    **VECTOR_OPERATIONS,
}


def operation(layer: Layers) -> Operation:
    """(forward, backward) of a layer."""
    return OPERATIONS[type(layer).__name__]


def run_through(network: Network, places: Mapping[str, Place], x: np.ndarray):
    """Values of all nodes by name, "input" or the input subsystem among them, and what each keeps for the way back."""
    values = {network.input_name: x.reshape(len(x), *network.input_shape)}
    kept = {}
    for node in network.nodes:
        forward, _ = operation(node.layer)
        values[node.name], *kept[node.name] = forward(places[node.name], *(values[n] for n in node.inputs))
    return values, kept


def run_back(network: Network, places: Mapping[str, Place], kept: Mapping[str, Any], feedback: np.ndarray) -> Pushed:
    """The chain rule from the answer's feedback to stress and forces: Eq. (7)."""
    pushed = Pushed()
    on: dict[str, Any] = {network.output_name: feedback}
    for node in reversed(network.nodes):
        place = places[node.name]
        if node.name not in on or not (place.wanted or place.learns):  # nobody listens to it, or it does not care
            continue
        _, backward = operation(node.layer)
        for name, part in zip(node.inputs, backward(place, on[node.name], kept[node.name], pushed)):
            if part is not None:
                on[name] = on[name] + part if name in on else part
    return pushed
