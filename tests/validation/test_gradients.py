"""The force on every group is minus the gradient of the energy: against central finite differences."""

import numpy as np
import pytest
from worlds import METRICS, motion, moving, network_world, pair_graph, target_world

from dynsim.forces import Stress, link_forces
from dynsim.signals import ACTIVATIONS, link_weights

STEP = 1e-5


def directional_error(world, system, force, key, direction):
    """|F.n + (E(x + s n) - E(x - s n)) / 2s| over the length of F, for a direction n in the space of one group."""
    losses = []
    for step in (STEP, -STEP):
        moved = system.replace(x=system.x | {key: system.x[key] + step * direction})
        losses.append(world.push(moved, 0)[1].loss)
    slope = (losses[0] - losses[1]) / (2 * STEP)
    return abs((force[key] * direction).sum() + slope) / max(np.linalg.norm(force[key]), 1e-3)


def assert_forces_are_gradients(kernels, system, field):
    world = motion(kernels, field)
    force, _ = world.push(system, 0)
    assert set(force) == set(system.v)
    rng = np.random.default_rng(0)
    for key in system.v:
        for _ in range(2):
            n = rng.standard_normal(system.x[key].shape)
            assert directional_error(world, system, force, key, n / np.linalg.norm(n)) < 1e-6, key


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "sigmoid", "identity"])
@pytest.mark.parametrize("metric", [*METRICS, "weights"])
def test_network(kernels, metric, activation, loss):
    """Coordinates shared by two links, mu, gain, learned eps, biases and plain weights."""
    system, field = network_world(metric, activation, loss)
    kinds = {key.split(":")[0] for key in system.v}
    assert kinds >= ({"weight", "bias"} if metric == "weights" else {"q", "mu", "gain", "bias"})
    assert ("eps" in kinds) == (metric in ("reciprocal", "plummer"))
    assert_forces_are_gradients(kernels, system, field)


def test_every_activation_is_tested():
    assert set(ACTIVATIONS) == {"relu", "tanh", "gelu", "sigmoid", "identity"}


@pytest.mark.parametrize("metric", METRICS)
def test_target(kernels, metric):
    system, field = target_world(metric, kinds=("q", "mu", "gain", "eps"))
    assert_forces_are_gradients(kernels, system, field)


def test_confining_well(kernels):
    system, field = target_world("l2")
    with_well, without = (motion(kernels, field, confinement=k).push(system, 0)[0] for k in (0.7, 0.0))
    for key, force in with_well.items():
        np.testing.assert_allclose(force - without[key], -0.7 * system.x[key], atol=1e-12)


@pytest.mark.parametrize("metric", ["squared", "dot"])
def test_factors_are_the_dense_path_integrals(kernels, metric):
    """Eq. (37): W and its forces without ever building W."""
    system = moving(pair_graph(metric, 6, 5, copies=3), seed=0, kinds=("q", "mu", "gain"))
    (link,) = system.graph.links
    rng = np.random.default_rng(1)
    emitted, feedback = rng.standard_normal((8, 6)), rng.standard_normal((8, 5))
    thin, dense = link_weights(kernels, system, link), kernels.path_integral(*system.link_arguments(link))
    assert thin.w is None
    np.testing.assert_allclose(thin.receive(emitted), emitted @ dense, atol=1e-12)
    np.testing.assert_allclose(thin.feed_back(feedback), feedback @ dense.T, atol=1e-12)
    np.testing.assert_allclose(thin.matrix(), dense, atol=1e-12)
    by_factors = link_forces(kernels, system, link, Stress(emitted=emitted, feedback=feedback))
    by_matrix = link_forces(kernels, system, link, Stress(matrix=emitted.T @ feedback))
    for key, force in by_matrix.items():
        np.testing.assert_allclose(by_factors[key], force, atol=1e-11)


def test_shared_sub_models_add_the_forces_of_all_their_links(kernels):
    system, field = network_world("l2")
    total, response = motion(kernels, field).push(system, 0)
    parts = [link_forces(kernels, system, k, response.stress[k.name]) for k in system.graph.links]
    for name in ("in", "hid", "out"):
        terms = [p[f"q:{name}"] for p in parts if f"q:{name}" in p]
        assert len(terms) == 2
        np.testing.assert_allclose(total[f"q:{name}"], terms[0] + terms[1], atol=1e-14)
