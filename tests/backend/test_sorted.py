"""Eq. (9) is Eq. (8): sorted inference gives what the path integrals give, without building them."""

import numpy as np
import pytest

from dynsim.backend.sorted import SortedLink
from dynsim.errors import OptionError
from dynsim.kernels import reference, sorted_l1
from dynsim.system.graph import Graph, Link, Subsystem, System

BATCHES = (1, 3, sorted_l1.LANES, 2 * sorted_l1.LANES + sorted_l1.WORTH_A_BLOCK, 70)


def world(M, N, copies, dim, metric="l1", dtype=np.float64):
    rng = np.random.default_rng(M + N)
    graph = Graph((Subsystem("a", M), Subsystem("b", N)), (Link("a", "b", metric),), copies, dim)
    q_a, q_b = rng.standard_normal((copies, M, dim)), rng.standard_normal((copies, N, dim))
    q_b[:, : min(M, N) // 2] = q_a[:, : min(M, N) // 2]  # equal coordinates: neither before nor behind
    x = {"q:a": q_a, "q:b": q_b, "mu:a>b": rng.standard_normal((copies, 1)), "gain:a>b": np.full((1, 1), -0.3)}
    return System(graph, {k: a.astype(dtype) for k, a in x.items()}, {}, {}, {})


def dense(system):
    """W (M, N) of Eq. (5) in float64."""
    _, q_a, q_b, mu, gain, *_ = (
        a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in system.link_arguments(system.graph.links[0])
    )
    return reference.path_integral("l1", q_a, q_b, mu, gain, 0.0, 2.0)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("M", "N", "copies", "dim"), [(1, 1, 1, 1), (7, 40, 2, 3), (130, 20, 3, 2), (50, 60, 1, 9)])
def test_equals_the_path_integrals(M, N, copies, dim, batch):
    system = world(M, N, copies, dim)
    link = SortedLink.of(reference, system, system.graph.links[0])
    emitted = np.random.default_rng(1).standard_normal((batch, M))
    exact = emitted @ dense(system)
    assert link.receive(emitted) == pytest.approx(exact, abs=1e-12 * np.abs(exact).max(), rel=1e-12)


@pytest.mark.parametrize("batch", [2, 40])
def test_single_precision_in_and_out_sums_in_double(batch):
    system = world(300, 200, 2, 4, dtype=np.float32)
    link = SortedLink.of(reference, system, system.graph.links[0])
    emitted = np.random.default_rng(1).standard_normal((batch, 300)).astype(np.float32)
    received, exact = link.receive(emitted), emitted.astype(np.float64) @ dense(system)
    assert received.dtype == np.float32
    assert np.abs(received - exact).max() < 2 * np.finfo(np.float32).eps * np.abs(exact).max()


def test_nothing_emitted_by_nobody():
    link = SortedLink.of(reference, world(5, 4, 1, 2), Link("a", "b", "l1"))
    assert link.receive(np.empty((0, 5))).shape == (0, 4)
    assert not link.receive(np.zeros((3, 5))).any()


def test_views_of_any_layout():
    system = world(30, 20, 1, 3)
    link = SortedLink.of(reference, system, system.graph.links[0])
    wide = np.random.default_rng(2).standard_normal((30, 80))
    assert np.array_equal(link.receive(wide.T[::2]), link.receive(np.ascontiguousarray(wide.T[::2])))


def test_other_metrics_have_no_order():
    system = world(3, 3, 1, 2, metric="l2")
    with pytest.raises(OptionError, match="a>b"):
        SortedLink.of(reference, system, system.graph.links[0])
