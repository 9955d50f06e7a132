"""Forces, Eq. (6) and (7): from a stress force on every weight to a force on every particle.

However, Eq. (6) as printed climbs: with F = T - phi all three signs are reversed, its two sum indices are swapped,
and v/|v|_p is the gradient of |v|_p only for p = 2. This is the corrected form; `tests/validation` keeps the
printed one and shows the ascent (docs/deviations.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dynsim.kernels.factored import factored_forces
from dynsim.system.crossing import forces_through
from dynsim.system.graph import Groups, Link, System, without_own
from dynsim.system.interaction import folded


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
    r2 : R^2 of the answer to a sequence, None where there is none.
    carried : what the field will look for in the state's memory at its next step.
    """

    loss: float
    stress: dict[str, Stress]
    on_groups: Groups = field(default_factory=dict)
    statistics: Groups = field(default_factory=dict)
    received: dict[str, np.ndarray] = field(default_factory=dict)
    emitted: dict[str, np.ndarray] = field(default_factory=dict)
    accuracy: float | None = None
    r2: float | None = None
    carried: Groups = field(default_factory=dict)


def link_forces(kernels, system: System, link: Link, stress: Stress) -> Groups:
    """What one link does to its groups."""
    if link.to_itself:
        stress = Stress(matrix=without_own(link, stress.dense(kernels)))
    if f"weight:{link.name}" in system.x:
        return {f"weight:{link.name}": stress.dense(kernels)[..., None]}
    arguments = system.link_arguments(link)
    on_medium: Groups = {}
    if link.medium is not None:
        parts, on_medium = forces_through(kernels, system, link, stress.dense(kernels))
    elif link.low_rank and stress.matrix is None:
        name, q_a, q_b, mu, gain, _, _ = arguments
        gain = q_a.dtype.type(gain)
        parts = factored_forces(name, q_a, q_b, mu, gain, stress.emitted, stress.feedback, kernels.matmul)
    else:
        parts = kernels.path_integral_forces(*arguments, stress.dense(kernels))
    on_a, on_b, on_mu, on_gain, on_eps = parts
    if link.interactive:
        on_a, on_b, on_mu = folded(on_a, on_b, on_mu)
    on_link = {
        f"mu:{link.name}": on_mu[:, None],
        f"gain:{link.name}": np.asarray(on_gain, on_a.dtype, like=on_a).reshape(1, 1),
        f"eps:{link.name}": np.asarray(on_eps, on_a.dtype, like=on_a).reshape(1, 1),
    }
    return added([on_medium, {f"q:{link.source}": on_a}, {f"q:{link.target}": on_b}, on_link])


def added(parts: Iterable[Groups]) -> Groups:
    """Forces on every group, summed over the parts."""
    total: Groups = {}
    for part in parts:
        for key, force in part.items():
            total[key] = total[key] + force if key in total else force
    return total


def forces(kernels, system: System, response: Response, confinement: float = 0.0) -> Groups:
    """Force on every group that moves; shared sub-models add the terms of all their links.

    Parameters
    ----------
    response : the field's, for the current positions.
    confinement : k of the optional well k |q|^2 / 2 (dimensionless).
    """
    stress = response.stress
    on_groups = added(link_forces(kernels, system, k, stress[k.name]) for k in system.graph.links if k.name in stress)
    total = {key: part for key, part in on_groups.items() if key in system.v}
    total |= {key: part for key, part in response.on_groups.items() if key in system.v}
    if confinement:
        for key in total:
            if key.startswith("q:"):
                total[key] = total[key] - confinement * system.x[key]
    return total
