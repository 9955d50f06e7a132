"""Path integrals in earnest, Eq. (29)-(31): signals that cross the global field of all subsystems (Fig. 1b, Fig. 2).

A signal on its way from q_i to q_j changes by dS = Psi(S, v) |dv|. The field of Eq. (31) is a sum over subsystems,
n(v) = sum_l W_l rho_l(v), of their densities (see `dynsim.system.medium.Medium`), and with it

    length    Psi = E_i mu_h (1 + n(v)),  S(q_i) = 0:   phi_ij = g sum_h mu_h int (1 + n) |dv|, an optical length
    damping   Psi = -n(v) S,  S(q_i) = E_i phi_ij(empty): phi_ij = g sum_h mu_h f(v_ijh) exp(-int n |dv|_2)

Where n is 0 both are Eq. (5), and where it is a constant n0 they are (1 + n0) and exp(-n0 |v|_2) times its terms.

However, Eq. (30) as printed has no S(q_i) to start from, so that a signal on a path of length 0 would arrive as 0: it
is kept here where Psi acts on it. W_l is a number, not a matrix, since a signal is one; weights take the straight
path, `dynsim.optics.bent_path` says where the shortest optical one runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dynsim.errors import OptionError
from dynsim.kernels import medium as formulas
from dynsim.system.graph import Groups, Link, System
from dynsim.system.medium import POINTS


@dataclass(frozen=True)
class GlobalField:
    """n(v) of Eq. (31): Gaussians of a width at all particles (K, d), with the amplitudes (K,) W_l / (H N_l)."""

    sources: np.ndarray
    amplitudes: np.ndarray
    width: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """n (m,) at points (m, d), dimensionless."""
        return formulas.field_at(points, self.sources, self.amplitudes, self.width)[0]


def global_field(system: System, width: float) -> GlobalField:
    """The field of a system whose links have a medium."""
    blocks = [(s.name, system.x[f"q:{s.name}"]) for s in system.graph.particle_subsystems]
    sources = np.concatenate([q.reshape(-1, q.shape[-1]) for _, q in blocks])
    counts = [q.shape[0] * q.shape[1] for _, q in blocks]
    # Eq. (31)
    strengths = [float(system.x[f"medium:{name}"][0, 0]) / n for (name, _), n in zip(blocks, counts)]
    amplitudes = np.asarray(np.repeat(strengths, counts), sources.dtype, like=sources)
    return GlobalField(sources, amplitudes, width)


def quadrature(nodes: int, dtype: np.dtype | type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """(ways, weights), each (nodes,), on [0, 1]: Gauss-Legendre with 4 points a panel, exact up to degree 7 in each."""
    if nodes < POINTS or nodes % POINTS:
        raise OptionError("not a number of nodes", given=nodes, allowed=f"multiples of {POINTS}")
    at, weight = np.polynomial.legendre.leggauss(POINTS)
    panels = nodes // POINTS
    ways = (np.arange(panels)[:, None] + (1 + at) / 2).ravel() / panels
    return ways.astype(dtype), np.tile(weight / (2 * panels), panels).astype(dtype)


@dataclass(frozen=True)
class Crossing:
    """What the paths of one link meet, each (P, M, N): f of the metric, the mean field, and the Euclidean length."""

    f: np.ndarray
    field: np.ndarray
    length: np.ndarray
    law: str

    @property
    def factor(self) -> np.ndarray:
        """What the medium makes of a term of Eq. (5): 1 where it is empty."""
        return 1 + self.field if self.law == "length" else np.exp(-self.length * self.field)


def crossing(kernels, system: System, link: Link) -> Crossing:
    """The paths of a link with a medium, at the system's positions."""
    assert link.medium is not None
    name, q_a, q_b, _, _, eps, p = system.link_arguments(link)
    field = kernels.mean_field(q_a, q_b, *_integrand(system, link))
    length = _terms(kernels, "l2", q_a, q_b, 0.0, p) if link.medium.law == "damping" else field
    return Crossing(_terms(kernels, name, q_a, q_b, eps, p), field, length, link.medium.law)


def weights_through(kernels, system: System, link: Link) -> np.ndarray:
    """W (M, N) of a link with a medium."""
    _, q_a, _, mu, gain, _, _ = system.link_arguments(link)
    met = crossing(kernels, system, link)
    return q_a.dtype.type(gain) * np.einsum("h,hij->ij", mu, met.f * met.factor)


def forces_through(kernels, system: System, link: Link, stress: np.ndarray) -> tuple[tuple, Groups]:
    """Forces on what makes W, for the stress force F (M, N): those of `path_integral_forces`, and those on the medium.

    The second are on all particles, since each is a part of the medium, and on W_l.
    """
    name, q_a, q_b, mu, gain, eps, p = system.link_arguments(link)
    met = crossing(kernels, system, link)
    pull = q_a.dtype.type(gain) * mu[:, None, None] * stress
    on_a, on_b, on_term, on_eps = _term_forces(kernels, name, q_a, q_b, eps, p, pull * met.factor)
    on_field = pull * met.f
    if met.law == "damping":
        on_way = -met.factor * on_field
        on_field = met.length * on_way
        more = _term_forces(kernels, "l2", q_a, q_b, 0.0, p, met.field * on_way)
        on_a, on_b = on_a + more[0], on_b + more[1]
    integrand = _integrand(system, link)
    ahead, behind, on_sources, on_amplitudes = kernels.mean_field_forces(q_a, q_b, *integrand, on_field)
    on_mu = gain * np.einsum("ij,hij->h", stress, met.f * met.factor)
    ends = on_a + ahead, on_b + behind, on_mu.astype(q_a.dtype), float(on_term / gain) if gain else 0.0, on_eps
    return ends, _on_medium(system, on_sources, on_amplitudes)


def _integrand(system: System, link: Link) -> tuple:
    """sources, amplitudes, width, ways, weights: what the kernels take."""
    assert link.medium is not None
    field = global_field(system, link.medium.width)
    nodes = (np.asarray(a, like=field.sources) for a in quadrature(link.medium.nodes, field.sources.dtype))
    return field.sources, field.amplitudes, field.width, *nodes


def _terms(kernels, metric: str, q_a, q_b, eps: float, p: float) -> np.ndarray:
    """f (P, M, N) of every pair of copies."""
    one = np.asarray([1], q_a.dtype, like=q_a)
    return np.stack([kernels.path_integral(metric, a[None], b[None], one, 1.0, eps, p) for a, b in zip(q_a, q_b)])


def _term_forces(kernels, metric: str, q_a, q_b, eps: float, p: float, stress) -> tuple:
    """(on q_a, on q_b, sum of stress f, on eps) for stress (P, M, N) on the terms f."""
    one = np.asarray([1], q_a.dtype, like=q_a)
    parts = [
        kernels.path_integral_forces(metric, a[None], b[None], one, 1.0, eps, p, np.ascontiguousarray(f, like=f))
        for a, b, f in zip(q_a, q_b, stress)
    ]
    on_a, on_b = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return on_a, on_b, sum(float(part[3]) for part in parts), sum(float(part[4]) for part in parts)


def _on_medium(system: System, on_sources: np.ndarray, on_amplitudes: np.ndarray) -> Groups:
    """Forces on the particles and strengths of the medium, by their groups."""
    forces: Groups = {}
    for name, part in _parts(system).items():
        q = system.x[f"q:{name}"]
        forces[f"q:{name}"] = on_sources[part].reshape(q.shape)
        forces[f"medium:{name}"] = on_amplitudes[part].mean().astype(q.dtype).reshape(1, 1)
    return forces


def _parts(system: System) -> dict[str, slice]:
    """Which particles of the medium are those of a subsystem."""
    parts, first = {}, 0
    for s in system.graph.particle_subsystems:
        count = system.graph.copies_of(s.name) * s.size
        parts[s.name] = slice(first, first + count)
        first += count
    return parts


def strength_curvatures(kernels, system: System, link: Link) -> dict[str, float]:
    """Mean of (d phi_ij / d W_l)^2 over the pairs of a link, by the groups "medium:l"."""
    _, q_a, q_b, mu, gain, _, _ = system.link_arguments(link)
    met = crossing(kernels, system, link)
    slope = met.f if met.law == "length" else -met.f * met.factor * met.length
    sources, amplitudes, *rest = _integrand(system, link)
    curvatures = {}
    for name, part in _parts(system).items():
        alone = np.zeros_like(amplitudes)
        alone[part] = 1 / (part.stop - part.start)
        density = kernels.mean_field(q_a, q_b, sources, alone, *rest)
        change = gain * np.einsum("h,hij->ij", mu, slope * density)
        curvatures[f"medium:{name}"] = float((change * change).mean(dtype=np.float64))
    return curvatures
