"""What runs along a link: the strongest pairs against all of them, and the profile of a signal on its way."""

import numpy as np
import pytest
import worlds

from dynsim import Scenario, Simulation, errors
from dynsim.kernels import reference
from dynsim.observables.links import strongest_links
from dynsim.signals import all_weights, signal_profile


def answered(kernels, world):
    system, field = world
    return system, field.respond(system, all_weights(kernels, system), 0)


def all_parts(system, link):
    """(H, M, N) terms g mu_h f of Eq. (5), pair by pair."""
    name, q_a, q_b, mu, gain, eps, p = system.link_arguments(link)
    f = reference.metric_value(name, q_a[:, :, None], q_b[:, None], eps, p)
    return gain * mu[:, None, None] * f


@pytest.mark.parametrize("metric", worlds.METRICS)
def test_the_strongest_pairs_of_all(kernels, metric):
    system, response = answered(kernels, worlds.network_world(metric))
    bundles = strongest_links(kernels, system, response, 7)
    assert [b.link for b in bundles] == ["in>hid", "hid>out", "in>out"]
    first = {"in": 0, "hid": 2 * 4, "out": 2 * (4 + 6)}  # particles before a subsystem, of two copies
    for link, bundle in zip(system.graph.links, bundles):
        parts = all_parts(system, link)
        phi = parts.sum(0)
        order = np.argsort(-np.abs(phi), axis=None)[:7]
        np.testing.assert_allclose(np.abs(bundle.weight), np.abs(phi).ravel()[order], rtol=1e-9)
        (h, i), (h_, j) = (
            np.divmod(numbers - first[name], system.graph.by_name[name].size)
            for numbers, name in ((bundle.source, link.source), (bundle.target, link.target))
        )
        np.testing.assert_array_equal(h, h_)
        np.testing.assert_array_equal(h, np.abs(parts).argmax(0)[i, j])
        np.testing.assert_allclose(bundle.weight, phi[i, j], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bundle.phi, parts[h, i, j], rtol=1e-9)
        np.testing.assert_allclose(bundle.stress, response.stress[link.name].dense(reference)[i, j], rtol=1e-9)
        np.testing.assert_allclose(bundle.emitted, response.emitted[link.source][i])


def test_numbers_are_those_of_the_cast():
    simulation = Simulation(Scenario.load("moons", ["run.steps=1"]))
    _, response = simulation.push(simulation.system, 0)
    cast, graph = simulation.cast, simulation.graph
    for link, bundle in zip(graph.links, strongest_links(simulation.kernels, simulation.system, response, 5)):
        assert bundle.source.dtype == bundle.target.dtype == np.int32
        assert {cast.subsystems[k] for k in cast.subsystem[bundle.source]} == {link.source}
        assert {cast.subsystems[k] for k in cast.subsystem[bundle.target]} == {link.target}
        np.testing.assert_array_equal(cast.copy[bundle.source], cast.copy[bundle.target])
        w = all_weights(simulation.kernels, simulation.system)[link.name].matrix()
        np.testing.assert_array_equal(w[cast.index[bundle.source], cast.index[bundle.target]], bundle.weight)


def test_a_target_matrix_emits_nothing_and_no_pair_comes_twice(kernels):
    system, response = answered(kernels, worlds.target_world())
    (bundle,) = strongest_links(kernels, system, response, 1000)
    assert len(bundle.source) == len(set(zip(bundle.source % 5, bundle.target % 4))) == 5 * 4
    assert not bundle.emitted.any()
    assert bundle.stress.any()


E1, Q_I, Q_J = np.array([2.0, -0.5]), np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, -4.0], [1.0, 3.0]])


def along(fractions):
    """(2, m, 2) points at fractions of the way."""
    return Q_I[:, None] + np.asarray(fractions)[:, None] * (Q_J - Q_I)[:, None]


@pytest.mark.parametrize("metric", ["l1", "l2", "lp"])
def test_linear_profile_falls_by_one_on_its_way(metric):
    t = [0, 0.25, 1, 2]
    profile = signal_profile(E1, Q_I, Q_J, along(t), metric, "linear", p=3.0)
    np.testing.assert_allclose(profile, E1[:, None] - t, atol=1e-12)


def test_linear_profile_beside_the_way():
    profile = signal_profile(E1, Q_I, Q_J, np.array([[0.0, 0.0], [1.0, 0.0]]))
    np.testing.assert_allclose(profile, [[2, 2 - 1 / 7], [-0.5 - 2 / 2, -0.5 - 1 / 2]])


def test_reciprocal_profile_is_finite_at_its_source_and_the_posters_far_away():
    distance = 5.0 * np.array([0, 1, 1e6])
    profile = signal_profile(E1, Q_I, Q_J, along([0, 1, 1e6]), "l2", "reciprocal", c=0.3)
    np.testing.assert_allclose(profile[:, 0], E1)
    assert profile[0, 1] == pytest.approx(2 * 0.3 / np.hypot(5, 0.3))
    assert profile[0, 2] == pytest.approx(2 * 0.3 / distance[2], rel=1e-9)


def test_a_link_without_length_carries_what_is_emitted():
    np.testing.assert_array_equal(signal_profile(E1, Q_I, Q_I, Q_I[:, None]), E1[:, None])


def test_unknown_profiles_are_named():
    with pytest.raises(errors.OptionError, match="linear, reciprocal"):
        signal_profile(E1, Q_I, Q_J, Q_I, kind="linaer")
    with pytest.raises(errors.OptionError, match="l1, l2, lp"):
        signal_profile(E1, Q_I, Q_J, Q_I, metric="dot")
