"""Known target matrices, Eq. (6): E = 1/2 sum (phi - T)^2, stress force F = T - phi."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynsim.errors import ShapeError
from dynsim.forces import Response, Stress
from dynsim.kernels import reference
from dynsim.signals import Weights
from dynsim.system.graph import Graph, System


class TargetField:
    """One link is pulled towards a target (M, N)."""

    steps_per_epoch = 1

    def __init__(self, graph: Graph, target: np.ndarray, dtype: str = "float64", kernels: Any = reference) -> None:
        self.link = graph.links[0]
        if len(graph.links) != 1 or target.shape != graph.shape(self.link):
            raise ShapeError(
                "a target field needs one link and a matrix of its shape",
                given=f"{len(graph.links)} links, target {target.shape}",
                allowed=f"1 link, target {graph.shape(self.link)}",
            )
        (self.target,) = kernels.to_device([np.ascontiguousarray(target, dtype)])

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        phi = weights[self.link.name].matrix()
        stress = self.target - phi
        return Response(
            loss=0.5 * float(np.sum(stress.astype(np.float64) ** 2)),
            stress={self.link.name: Stress(matrix=stress)},
            received={
                self.link.source: np.sqrt(np.mean(phi**2, axis=1)),
                self.link.target: np.sqrt(np.mean(phi**2, axis=0)),
            },
        )

    def relative_error(self, phi: np.ndarray) -> float:
        """|phi - T|_F / |T|_F; |phi|_F for a target of zeros."""
        size = float(np.linalg.norm(self.target))
        return float(np.linalg.norm(phi - self.target)) / (size or 1.0)


class TrainedWeightsField:
    """The links of a network are pulled towards weights that were trained as such: FIXED of Table 2.

    E = 1/2 sum over links of |phi - W|^2 / |W|^2, so that every layer counts alike; W is "target:LINK" of the state's
    memory. The links of shared sub-models are fitted together.
    """

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        energy, stress = 0.0, {}
        for name, target, size in targets(system):
            difference = target - weights[name].matrix()
            energy += 0.5 * float(np.vdot(difference, difference)) / size
            stress[name] = Stress(matrix=difference * target.dtype.type(1 / size))
        return Response(loss=energy, stress=stress, received=self._received(system, weights))

    def _received(self, system: System, weights: dict[str, Weights]) -> dict[str, np.ndarray]:
        """RMS of the path integrals of every sub-model, over the last link that it has."""
        like = next(iter(system.x.values()))
        received = {s.name: np.zeros(s.size, like=like) for s in system.graph.particle_subsystems}
        for link in system.graph.links:
            if link.kind.particles:
                phi = weights[link.name].matrix()
                received[link.source] = np.sqrt(np.mean(phi**2, axis=1))
                received[link.target] = np.sqrt(np.mean(phi**2, axis=0))
        return received


def targets(system: System) -> list[tuple[str, np.ndarray, float]]:
    """(link, W (M, N), |W|^2) of the weights that a system is pulled to, in the order of its links."""
    named = {k.name: system.memory.get(f"target:{k.name}") for k in system.graph.links}
    return [(name, w, float(np.vdot(w, w)) or 1.0) for name, w in named.items() if w is not None]


def relative_errors(system: System, weights: dict[str, Weights]) -> dict[str, float]:
    """Link -> |phi - W|_F / |W|_F."""
    return {name: float(np.linalg.norm(w - weights[name].matrix())) / size**0.5 for name, w, size in targets(system)}
