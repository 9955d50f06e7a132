"""Forces, Eq. (6) and (7): from a stress force on every weight to a force on every particle.

However, Eq. (6) as printed climbs: with F = T - phi all three signs are reversed, its two sum indices are swapped,
and v/|v|_p is the gradient of |v|_p only for p = 2. This is the corrected form; `tests/validation` keeps the
printed one and shows the ascent (docs/deviations.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynsim.kernels.factored import factored_forces
from dynsim.system.graph import Groups, Link, System


@dataclass(frozen=True)
class Stress:
    """The stress force F = -dE/dW (M, N) of one link; a batch gives it as a product F = emitted.T @ feedback."""

    emitted: Any = None
    feedback: Any = None
    matrix: Any = None

    def dense(self, kernels) -> np.ndarray:
        """F (M, N)."""
        if self.matrix is not None:
            return self.matrix
        return kernels.matmul(self.emitted.T, self.feedback)


@dataclass(frozen=True)
class Response:
    """What a field answers at one step: the energy and what it does to weights and biases.

    Attributes
    ----------
    loss : the energy E (dimensionless).
    stress : link name -> F = -dE/dW.
    on_groups : group -> -dE/d(group), of biases and normalisations.
    statistics : group -> its new value: running means and variances.
    received : subsystem name -> (N,), root mean square of the received signal (of its input for an input).
    emitted : subsystem name -> (N,), root mean square of the emitted signal.
    accuracy : fraction of the batch classified rightly, None where nothing is classified.
    """

    loss: float
    stress: dict[str, Stress]
    on_groups: Groups = field(default_factory=dict)
    statistics: Groups = field(default_factory=dict)
    received: dict[str, np.ndarray] = field(default_factory=dict)
    emitted: dict[str, np.ndarray] = field(default_factory=dict)
    accuracy: float | None = None


def link_forces(kernels, system: System, link: Link, stress: Stress) -> Groups:
    """What one link does to its groups."""
    if f"weight:{link.name}" in system.x:
        return {f"weight:{link.name}": stress.dense(kernels)[..., None]}
    arguments = system.link_arguments(link)
    if link.kind.low_rank and stress.matrix is None:
        name, q_a, q_b, mu, gain, _, _ = arguments
        gain = q_a.dtype.type(gain)
        parts = factored_forces(name, q_a, q_b, mu, gain, stress.emitted, stress.feedback, kernels.matmul)
    else:
        parts = kernels.path_integral_forces(*arguments, stress.dense(kernels))
    on_a, on_b, on_mu, on_gain, on_eps = parts
    dtype = on_a.dtype
    return {
        f"q:{link.source}": on_a,
        f"q:{link.target}": on_b,
        f"mu:{link.name}": on_mu[:, None],
        f"gain:{link.name}": np.full((1, 1), on_gain, dtype),
        f"eps:{link.name}": np.full((1, 1), on_eps, dtype),
    }


def forces(kernels, system: System, response: Response, confinement: float = 0.0) -> Groups:
    """Force on every group that moves; shared sub-models add the terms of all their links.

    Parameters
    ----------
    response : the field's, for the current positions.
    confinement : k of the optional well k |q|^2 / 2 (dimensionless).
    """
    total: Groups = {}
    for link in system.graph.links:
        if link.name not in response.stress:
            continue
        for key, part in link_forces(kernels, system, link, response.stress[link.name]).items():
            if key in system.v:
                total[key] = total[key] + part if key in total else part
    total |= {key: part for key, part in response.on_groups.items() if key in system.v}
    if confinement:
        for key in total:
            if key.startswith("q:"):
                total[key] = total[key] - confinement * system.x[key]
    return total
