"""A classifier as plain weights: W of every link under the name of its layer, and the model that such arrays make.

LAYER.weight           (inputs, outputs); of a convolution (k, k, channels in, channels out)
LAYER.weight.SOURCE    the same of each source, where a layer has several
LAYER.bias             (outputs,)
LAYER.scale, .shift, .mean, .variance   (channels,) of a normalisation
scaling.centre, .scale  x -> (x - centre) / scale of the raw inputs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dynsim.backend.inference import Model
from dynsim.system.graph import Groups
from dynsim.system.layers import Conv, Node
from dynsim.system.layout import kernel_of, phi_of
from dynsim.system.vectors import Positions

PLAIN = ("bias", "scale", "shift", "mean", "variance", "weight")


def dense_arrays(model: Model) -> dict[str, np.ndarray]:
    """Every array that a dense prediction needs, by its plain name."""
    centre = model.scaling.centre
    arrays = {"scaling.centre": centre, "scaling.scale": np.array(model.scaling.scale, centre.dtype)}
    matrices = {name: np.ascontiguousarray(w.matrix()) for name, w in model.weights().items()}
    for node in model.network.nodes:
        if isinstance(node.layer, Conv):
            kernel = kernel_of(node.layer, [matrices[k] for k in node.links])
            arrays[f"{node.key}.weight"] = np.ascontiguousarray(kernel)
        else:
            arrays |= {name: matrices[link] for name, link in _names(node).items()}
        for kind in PLAIN:
            if f"{kind}:{node.key}" in model.x:
                arrays[f"{node.key}.{kind}"] = _plain(node, model.x[f"{kind}:{node.key}"]).copy()
    return arrays


def from_dense_arrays(model: Model, arrays: Mapping[str, np.ndarray]) -> Model:
    """The same classifier with these weights, and no particles; raises KeyError where one is missing."""
    x: Groups = {}
    for node in model.network.nodes:
        if isinstance(node.layer, Conv):
            phi = phi_of(node.layer, arrays[f"{node.key}.weight"])
            x |= {f"weight:{link}": w[..., None] for link, w in zip(node.links, phi)}
        else:
            x |= {f"weight:{link}": arrays[name][..., None] for name, link in _names(node).items()}
        for kind in PLAIN:
            if f"{kind}:{node.key}" in model.x:
                x[f"{kind}:{node.key}"] = arrays[f"{node.key}.{kind}"].reshape(model.x[f"{kind}:{node.key}"].shape)
    scaling = replace(model.scaling, centre=arrays["scaling.centre"], scale=float(arrays["scaling.scale"]))
    links = tuple(replace(k, metric="weights") for k in model.graph.links)
    return replace(model, graph=replace(model.graph, links=links), x=x, scaling=scaling)


def _plain(node: Node, group: np.ndarray) -> np.ndarray:
    """A group as an array: features of positions as they are, all else without the axis of its one coordinate."""
    return group if isinstance(node.layer, Positions) else group[..., 0]


def _names(node: Node) -> dict[str, str]:
    """Name of an array -> link."""
    if len(node.links) == 1:
        return {f"{node.key}.weight": node.links[0]}
    return {f"{node.key}.weight.{source}": link for source, link in zip(node.inputs, node.links)}
