"""The strongest links: which few of all the pairs of sub-models are worth drawing."""

from __future__ import annotations

import numpy as np

from dynsim.commands import LinkBundle
from dynsim.forces import Response
from dynsim.kernels import reference
from dynsim.signals import link_weights
from dynsim.system.graph import Graph, Link, System
from dynsim.system.interaction import pairs


def strongest_links(kernels, system: System, response: Response, count: int) -> tuple[LinkBundle, ...]:
    """Of every link with particles the `count` pairs (i, j) with the largest |phi_ij|, strongest first.

    A pair is drawn between the copies h with the largest |g mu_h f(v_ijh)|, Eq. (5). The numbers of the particles
    follow the order subsystem, copy, index of `dynsim.frame.Cast`. In a field without signals, such as a target
    matrix, `emitted` is 0.

    Parameters
    ----------
    response : the field's to this system: the stress on every weight and the signals.
    """
    here = system.carried(kernels.to_host)
    return tuple(
        _bundle(_carried(kernels, system, response, link), here, link, count)
        for link in system.graph.links
        if link.kind.particles
    )


def _carried(kernels, system: System, response: Response, link: Link) -> list[np.ndarray]:
    """W and F (M, N) of a link, and what its source emits (M,), on the host."""
    weights = link_weights(kernels, system, link).matrix()
    emitted = response.emitted.get(link.source, np.zeros_like(weights[:, 0]))
    return kernels.to_host([weights, _stress(kernels, response, link, weights), emitted])


def _bundle(carried: list[np.ndarray], system: System, link: Link, count: int) -> LinkBundle:
    graph, (weights, stress, emitted) = system.graph, carried
    i, j = _largest(np.abs(weights), count)
    parts = copy_parts(system, link, i, j)
    h = np.abs(parts).argmax(axis=0)
    every = np.arange(graph.copies_of(link.source))
    copies_a, copies_b = pairs(len(every)) if link.interactive else (every, every)
    return LinkBundle(
        link=link.name,
        source=_numbers(graph, link.source, copies_a[h], i),
        target=_numbers(graph, link.target, copies_b[h], j),
        phi=parts[h, np.arange(len(h))],
        weight=weights[i, j],
        stress=stress[i, j],
        emitted=emitted[i],
    )


def _stress(kernels, response: Response, link: Link, weights: np.ndarray) -> np.ndarray:
    """F (M, N); of a sequence, whose path integrals change from tick to tick, 0."""
    stress = response.stress.get(link.name)
    return np.zeros_like(weights) if stress is None else stress.dense(kernels)


def copy_parts(system: System, link: Link, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(H, k) terms g mu_h f(v_ijh) of the path integrals of pairs i, j (k,): Eq. (5) before its sum, in empty space.

    Of an interactive link the terms of its pairs of copies, Eq. (61).
    """
    name, q_a, q_b, mu, gain, eps, p = system.link_arguments(link)
    return gain * mu[:, None] * reference.metric_value(name, q_a[:, i], q_b[:, j], eps, p)


def _largest(size: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `count` largest entries, largest first."""
    flat = size.ravel()
    count = min(count, flat.size)
    chosen = np.argpartition(flat, flat.size - count)[flat.size - count :]
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")]
    return chosen // size.shape[1], chosen % size.shape[1]


def _numbers(graph: Graph, name: str, copy: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(k,) int32 positions in the cast of sub-models' copies."""
    before = 0
    for s in graph.particle_subsystems:
        if s.name == name:
            break
        before += graph.copies_of(s.name) * s.size
    return (before + copy * graph.by_name[name].size + index).astype(np.int32)
