"""What every form of every link takes, timed on the signals that the links really carry.

For reports: `dynsim.backend.choice` says which form should be the quickest without timing any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from dynsim.backend.choice import FORMS, forms_of, weights_in
from dynsim.backend.inference import Model
from dynsim.errors import ShapeError
from dynsim.fields.network import forward, predict_logits
from dynsim.kernels.load import load_host
from dynsim.system.layers import Dense

BUDGET = 0.05  # seconds of repetitions for one timing
REPETITIONS = 5, 200  # at least, at most


@dataclass(frozen=True)
class Timings:
    """What every form takes on one machine, for one batch size.

    Attributes
    ----------
    batch : samples at a time.
    us : link of a dense layer -> form -> microseconds a sample, with the form's preparation done.
    chosen : link -> the quickest form.
    us_per_sample : of the whole network with the chosen forms. dense_us_per_sample : with W of every link.
    logits : form -> (batch, outputs), every link in that form where it has it, else dense.
    """

    batch: int
    us: dict[str, dict[str, float]]
    chosen: dict[str, str]
    us_per_sample: float
    dense_us_per_sample: float
    logits: dict[str, np.ndarray]

    def report(self) -> dict[str, Any]:
        """For JSON: forms, batch, inference_us_per_sample, dense_us_per_sample."""
        links = {
            name: {"form": form, "us": self.us[name][form], "dense_us": self.us[name]["dense"], "all_us": self.us[name]}
            for name, form in self.chosen.items()
        }
        return {
            "forms": links,
            "batch": self.batch,
            "inference_us_per_sample": self.us_per_sample,
            "dense_us_per_sample": self.dense_us_per_sample,
        }


def measure(model: Model, X: np.ndarray, device: str = "cpu") -> Timings:
    """Time every form of every link on a batch of raw inputs (n, features), n > 0.

    Raises ShapeError for an empty batch or another number of features.
    """
    inputs, kernels = _scaled(model, X), load_host(device)
    links = {k.name: k for k in model.graph.links}
    options = {name: forms_of(model, link) for name, link in links.items()}
    weights = {
        form: weights_in(model, {n: form if form in has else "dense" for n, has in options.items()}, device)
        for form in FORMS
    }
    carried = _carried(model, weights["dense"], inputs)
    us = {
        name: {form: microseconds(_receiver(weights[form][name], signal), len(inputs)) for form in options[name]}
        for name, signal in carried.items()
    }
    chosen = {name: min(of, key=of.__getitem__) for name, of in us.items()}
    mixed = {name: weights[chosen.get(name, "dense")][name] for name in links}

    def logits(of: Mapping[str, Any]) -> np.ndarray:
        return predict_logits(model.network, of, model.x, inputs, kernels)

    used = [form for form in FORMS if any(form in has for has in options.values())]
    return Timings(
        batch=len(inputs),
        us=us,
        chosen=chosen,
        us_per_sample=microseconds(lambda: logits(mixed), len(inputs)),
        dense_us_per_sample=microseconds(lambda: logits(weights["dense"]), len(inputs)),
        logits={form: logits(weights[form]) for form in used},
    )


def _scaled(model: Model, X: np.ndarray) -> np.ndarray:
    X = np.asarray(X)
    if len(X) == 0 or X.size // len(X) != model.features:
        raise ShapeError("not a batch for this model", given=X.shape, allowed=f"(n, {model.features}), n > 0")
    return model.scaling(X.reshape(len(X), -1).astype(model.scaling.centre.dtype))


def _carried(model: Model, weights: Mapping[str, Any], inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What each link of a dense layer carries, (n, M); of sequences every token."""
    values = forward(model.network, weights, model.x, inputs)
    signals = {}
    for node in model.network.nodes:
        if isinstance(node.layer, Dense):
            for link, source in zip(node.links, node.inputs):
                signals[link] = values[source].reshape(-1, values[source].shape[-1])
    return signals


def _receiver(weights: Any, emitted: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: weights.receive(emitted)


def microseconds(work: Callable[[], Any], samples: int) -> float:
    """Of the quickest repetition, a sample; the first, which compiles and sorts, does not count."""
    work()
    least, most = REPETITIONS
    times: list[float] = []
    while len(times) < least or (sum(times) < BUDGET and len(times) < most):
        started = perf_counter()
        work()
        times.append(perf_counter() - started)
    return 1e6 * min(times) / samples
