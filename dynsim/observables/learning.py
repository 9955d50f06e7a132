"""How well it learns: loss and accuracy of the batch, stress against the path integrals, dead sub-models."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from dynsim.observables.base import Observable, Snapshot, observable
from dynsim.panels import Curve, Panel
from dynsim.signals import link_weights


@observable
class Loss(Observable):
    """Energy of the field at this step's batch."""

    name, kind, every = "loss", "scalar", "step"
    brief: ClassVar = {"loss": "loss"}
    panels = (Panel("Loss", "energy of the batch", "loss", (Curve("loss", "loss", smooth=True),), log=True),)

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        return {"loss": snapshot.response.loss if snapshot.response else float("nan")}


@observable
class Accuracy(Observable):
    """Fraction of this step's batch that is classified rightly."""

    name, kind, every = "accuracy", "scalar", "step"
    needs_classes = True
    brief: ClassVar = {"accuracy": "acc", "validation_accuracy": "val"}
    panels = (
        Panel(
            "Accuracy",
            "fraction right",
            "accuracy",
            (Curve("accuracy", "batch", smooth=True), Curve("validation_accuracy", "validation", "second")),
        ),
    )

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        accuracy = snapshot.response.accuracy if snapshot.response else None
        return {"accuracy": float("nan") if accuracy is None else accuracy}


def relative_stress(snapshot: Snapshot) -> float:
    """Largest over links of mean |F_ij| / mean |phi_ij|: Sec. 4.1's stress against the normalised distances."""
    system, response, kernels = snapshot.system, snapshot.response, snapshot.kernels
    if response is None or not response.stress:
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
    panels = (Panel("Stress", "mean |F| / mean |φ|", "stress", (Curve("stress", "stress", "good"),), log=True),)

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        return {"stress": relative_stress(snapshot)}


@observable
class Dead(Observable):
    """Fraction of the hidden sub-models that emitted nothing in this batch (only ReLU can be so dead); nothing where
    there are none."""

    name, kind, every = "dead", "scalar", "frame"
    panels = (Panel("Dead", "fraction of hidden sub-models", "dead", (Curve("dead", "dead", "bad"),)),)

    def compute(self, snapshot: Snapshot) -> dict[str, float]:
        graph, response = snapshot.system.graph, snapshot.response
        hidden = [s.name for s in graph.subsystems if graph.incoming[s.name] and graph.outgoing[s.name]]
        if response is None or not response.emitted or not hidden:
            return {}
        silent = np.concatenate([response.emitted[n] == 0 for n in hidden])
        return {"dead": float(silent.mean())}
