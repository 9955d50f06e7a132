"""How well it learns: loss and accuracy of the batch, stress against the path integrals, dead sub-models."""

from __future__ import annotations

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.signals import link_weights


@observable
class Loss(Observable):
    """Energy of the field at this step's batch."""

    name, kind, every = "loss", "scalar", "step"

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        return {"loss": snapshot.response.loss if snapshot.response else float("nan")}


@observable
class Accuracy(Observable):
    """Fraction of this step's batch that is classified rightly; NaN without classes."""

    name, kind, every = "accuracy", "scalar", "step"

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        accuracy = snapshot.response.accuracy if snapshot.response else None
        return {"accuracy": float("nan") if accuracy is None else accuracy}


def relative_stress(snapshot: Snapshot) -> float:
    """Largest over links of mean |F_ij| / mean |phi_ij|: Sec. 4.1's stress against the normalised distances."""
    system, response, kernels = snapshot.system, snapshot.response, snapshot.kernels
    if response is None:
        return float("nan")
    ratios = []
    for link in (k for k in system.graph.links if k.name in response.stress):
        force = np.abs(response.stress[link.name].dense(kernels)).mean(dtype=np.float64)
        size = np.abs(link_weights(kernels, system, link).matrix()).mean(dtype=np.float64)
        ratios.append(force / max(size, np.finfo(float).tiny))
    return float(max(ratios))


@observable
class RelativeStress(Observable):
    """Mean stress against the path integrals, the paper's sign of equilibrium."""

    name, kind, every = "stress", "scalar", "frame"

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        return {"stress": relative_stress(snapshot)}


@observable
class Dead(Observable):
    """Fraction of the hidden sub-models that emitted nothing in this batch (only ReLU can be so dead)."""

    name, kind, every = "dead", "scalar", "frame"

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        graph, response = snapshot.system.graph, snapshot.response
        hidden = [s.name for s in graph.subsystems if graph.incoming[s.name] and graph.outgoing[s.name]]
        if response is None or not response.emitted or not hidden:
            return {"dead": 0.0}
        silent = np.concatenate([response.emitted[n] == 0 for n in hidden])
        return {"dead": float(silent.mean())}
