"""Seeded initial states. They decide whether anything trains (all distances are positive,
so that a common mode would shift every weight together; a zero-sum mu and points on a sphere prevent it)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dynsim.kernels import reference
from dynsim.system.crossing import strength_curvatures, weights_through
from dynsim.system.graph import Graph, Groups, Link, System
from dynsim.system.interaction import copies_of, on_coefficients

# Streams of the counter-based generator, so that no two uses ever share numbers.
# The datasets of `dynsim.datasets` use streams 1 and 2.
_STREAMS = "initial batch potential target velocity validation kick augment weights rule"
STREAM = {name: 16 + k for k, name in enumerate(_STREAMS.split())}


def random(seed: int, stream: str, counter: int = 0) -> np.random.Generator:
    """The generator of a stream at a counter: Philox(key = seed), nothing global."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, counter, STREAM[stream]]))


def default_copies(sizes: list[tuple[int, int]], dim: int) -> int:
    """H = max(2, max over links of ceil(M N / (d (M + N)))): Lemma C.2, Eq. (19).

    However, Eq. (19) gives 1 for small layers, where no mu with zero sum and unit norm exists; hence the 2.
    """
    return max(2, *(math.ceil(m * n / (dim * (m + n))) for m, n in sizes))


def sphere_points(rng: np.random.Generator, copies: int, n: int, dim: int) -> np.ndarray:
    """(H, N, d) Gaussian points, minus the subsystem's mean, projected onto the unit sphere."""
    q = rng.standard_normal((copies, n, dim))
    if n > 1:
        q -= q.mean(axis=1, keepdims=True)
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def zero_sum_coefficients(rng: np.random.Generator, copies: int) -> np.ndarray:
    """(H,) mu: normal, zero sum, unit norm; 1 for H = 1."""
    if copies == 1:
        return np.ones(1)
    mu = rng.standard_normal(copies)
    mu -= mu.mean()
    return mu / np.linalg.norm(mu)


def initial_positions(
    graph: Graph,
    kernels,
    seed: int,
    dtype: str,
    std: Mapping[str, float],
    given: Groups | None = None,
    plain: Groups | None = None,
) -> Groups:
    """Positions of every group.

    Parameters
    ----------
    std : link name -> the standard deviation its path integrals start with; sets the gain.
    given : groups that are prescribed instead of drawn.
    plain : groups without particles; by default the biases of the graph's subsystems, at 0.
    """
    rng = random(seed, "initial")
    given = given or {}
    x: Groups = {}
    for s in graph.particle_subsystems:
        x[f"q:{s.name}"] = sphere_points(rng, graph.copies_of(s.name), s.size, graph.dim)
    x |= {f"bias:{s.name}": np.zeros((s.size, 1)) for s in graph.subsystems if s.bias} if plain is None else plain
    media = [k.medium for k in graph.links if k.kind.particles and k.medium is not None]
    if media:
        x |= {f"medium:{s.name}": np.full((1, 1), media[0].strength) for s in graph.particle_subsystems}
    for link in graph.links:
        x.update(_link_positions(graph, link, rng, std[link.name]))
    x = {k: np.ascontiguousarray(given.get(k, a), dtype=dtype) for k, a in x.items()}
    for link in graph.links:
        if link.kind.particles and f"gain:{link.name}" not in given:
            x[f"gain:{link.name}"] *= std[link.name] / _spread(kernels, System(graph, x, {}, {}, {}), link)
    return x


def _link_positions(graph: Graph, link: Link, rng: np.random.Generator, std: float) -> Groups:
    if not link.kind.particles:
        return {f"weight:{link.name}": std * rng.standard_normal((*graph.shape(link), 1))}
    groups = {
        f"mu:{link.name}": zero_sum_coefficients(rng, graph.copies_of(link.source))[:, None],
        f"gain:{link.name}": np.ones((1, 1)),
    }
    if link.kind.trained_eps:
        groups[f"eps:{link.name}"] = np.full((1, 1), link.eps)
    return groups


def initial_weights(graph: Graph, seed: int, dtype: str, std: Mapping[str, float]) -> Groups:
    """Normal weights for the links that have particles, to be trained as such before these follow."""
    rng = random(seed, "weights")
    links = [link for link in graph.links if link.kind.particles]
    drawn = {f"weight:{k.name}": std[k.name] * rng.standard_normal((*graph.shape(k), 1)) for k in links}
    return {key: a.astype(dtype) for key, a in drawn.items()}


def _spread(kernels, system: System, link: Link) -> float:
    """Standard deviation of a link's path integrals; their size where there is but one."""
    if link.medium is not None:
        w = weights_through(kernels, system, link)
    else:
        w = kernels.path_integral(*system.link_arguments(link))
    spread = float(w[~np.eye(len(w), dtype=bool)].std() if link.to_itself else w.std())
    return spread if spread > 0 else float(np.abs(w).mean()) or 1.0


def masses(graph: Graph, kernels, x: Groups) -> Groups:
    """Mass of every group, fixed at the start: the curvature of a unit well under every weight.

    m_q = sum over links of N_partner mean(mu^2) g^2 mean|u|^2 / d, m_mu = M N mean(f^2) g^2, likewise gain and eps;
    biases and plain weights have mass 1. With it dt near 0.5 suits every problem.
    """
    system = System(graph, x, {}, {}, {})
    m = {key: np.ones((1,) * a.ndim, a.dtype) for key, a in x.items()}
    summed = {f"q:{s.name}": 0.0 for s in graph.particle_subsystems}
    for link in graph.links:
        if not link.kind.particles:
            continue
        rows, columns = graph.shape(link)
        curvature = _mean_squares(kernels, system, link)
        summed[f"q:{link.source}"] += columns * curvature["q_a"] / graph.dim
        summed[f"q:{link.target}"] += rows * curvature["q_b"] / graph.dim
        for kind in ("mu", "gain", "eps"):
            key = f"{kind}:{link.name}"
            if key in m:
                m[key] *= max(rows * columns * curvature[kind], np.finfo(np.float32).tiny)
        if link.medium is not None:
            for key, curvature_of in strength_curvatures(kernels, system, link).items():
                summed[key] = summed.get(key, 0.0) + rows * columns * curvature_of
    for key, value in summed.items():
        m[key] *= value
    return m


def _mean_squares(kernels, system: System, link: Link) -> dict[str, float]:
    """Mean squares of d phi / d(coordinate vector, mu, gain, eps) over a seeded sample of the pairs of a link."""
    name, q_a, q_b, mu, gain, eps, p = system.link_arguments(link)
    meetings = copies_of(len(mu)) - 1 if link.interactive else 1  # terms of which a particle is part
    rng = random(0, "initial", 1)
    count = max(64, min(4096, 2**23 // (len(mu) * q_a.shape[2])))  # a pair of very many copies is a mean itself
    i, j = rng.integers(q_a.shape[1], size=count), rng.integers(q_b.shape[1], size=count)
    if link.to_itself:
        i, j = i[i != j], j[i != j]
    a, b = q_a[:, i].astype(float), q_b[:, j].astype(float)
    f = reference.metric_value(name, a, b, eps, p)
    u_a, u_b, u_eps = reference.metric_gradient(name, a, b, eps, p)
    mu2 = meetings * float((mu.astype(float) ** 2).mean()) * gain**2
    on_mu = on_coefficients(f) if link.interactive else f
    phi = np.einsum("h,hi->i", mu.astype(float), f)
    d_eps = np.einsum("h,hi->i", mu.astype(float), u_eps) * gain
    return {
        "q_a": mu2 * float((u_a**2).sum(-1).mean()),
        "q_b": mu2 * float((u_b**2).sum(-1).mean()),
        "mu": float((on_mu**2).mean()) * gain**2,
        "gain": float((phi**2).mean()),
        "eps": float((d_eps**2).mean()),
    }
