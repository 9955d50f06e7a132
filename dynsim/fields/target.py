"""A known target matrix, Eq. (6): E = 1/2 sum (phi - T)^2, stress force F = T - phi."""

from __future__ import annotations

import numpy as np

from dynsim.errors import ShapeError
from dynsim.forces import Response, Stress
from dynsim.signals import Weights
from dynsim.system.graph import Graph, System


class TargetField:
    """One link is pulled towards a target (M, N)."""

    steps_per_epoch = 1

    def __init__(self, graph: Graph, target: np.ndarray, dtype: str = "float64") -> None:
        self.link = graph.links[0]
        if len(graph.links) != 1 or target.shape != graph.shape(self.link):
            raise ShapeError(
                "a target field needs one link and a matrix of its shape",
                given=f"{len(graph.links)} links, target {target.shape}",
                allowed=f"1 link, target {graph.shape(self.link)}",
            )
        self.target = np.ascontiguousarray(target, dtype)

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
