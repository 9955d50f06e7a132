"""Stress falls along the forces; along Eq. (6) with the signs as printed it climbs."""

import numpy as np
import pytest
from worlds import METRICS, march, motion, network_world, target_world

from dynsim.dynamics.integrators import Flow, Motion
from dynsim.kernels import reference
from dynsim.signals import all_weights

SEEDS = range(5)


@pytest.mark.parametrize(
    ("build", "metric"),
    [(target_world, m) for m in METRICS] + [(network_world, m) for m in (*METRICS, "weights")],
)
def test_energy_never_rises_in_a_small_step_of_flow(kernels, build, metric):
    for seed in SEEDS:
        system, field = build(metric, seed=seed, speed=0.0)
        world = motion(kernels, field, dt=0.02)
        losses = [response.loss for _, response in march(system, Flow(), world, 25)]
        assert (np.diff(losses) < 0).all()


def printed_eq6_forces(q_i, q_j, mu, stress, p):
    """Eq. (6) with the signs as printed, for F = T - phi: (dq_i/dt, dq_j/dt, dmu/dt).

    The sums run over the partners, the only reading in which the printed indices make sense.
    """
    v = q_i[:, :, None] - q_j[:, None]
    norm = reference.metric_value("lp", q_i[:, :, None], q_j[:, None], 0.0, p)
    pull = mu[:, None, None, None] * v / norm[..., None] * stress[None, :, :, None]
    return -pull.sum(2), pull.sum(1), -np.einsum("hij,ij->h", norm, stress)


def printed_motion(kernels, field, p, dt):
    """As `motion`, but pushed by the printed equation."""

    def push(system, step):
        response = field.respond(system, all_weights(kernels, system), step)
        mu = system.x["mu:a>b"][:, 0]
        on_i, on_j, on_mu = printed_eq6_forces(system.x["q:a"], system.x["q:b"], mu, response.stress["a>b"].matrix, p)
        return {"q:a": on_i, "q:b": on_j, "mu:a>b": on_mu[:, None]}, response

    corrected = motion(kernels, field, dt=dt)
    return Motion(kernels, push, corrected.law, corrected.limit, dt)


@pytest.mark.parametrize(("metric", "p"), [("l1", 1), ("l2", 2)])
def test_printed_eq6_climbs_where_the_corrected_form_descends(kernels, metric, p):
    for seed in SEEDS:
        system, field = target_world(metric, seed, ("q", "mu"), speed=0.0, eps=0.0)
        system = system.replace(x=system.x | {"gain:a>b": np.ones((1, 1))})
        corrected, printed = motion(kernels, field, dt=0.02), printed_motion(kernels, field, p, 0.02)
        for world, sign in ((corrected, -1), (printed, 1)):
            losses = [response.loss for _, response in march(system, Flow(), world, 25)]
            assert (sign * np.diff(losses) > 0).all()


def test_printed_eq6_is_the_corrected_form_with_every_sign_reversed(kernels):
    """For p = 2, where v / |v|_p is the gradient of the norm."""
    system, field = target_world("l2", 0, ("q", "mu"), eps=0.0)
    system = system.replace(x=system.x | {"gain:a>b": np.ones((1, 1))})
    right, _ = motion(kernels, field).push(system, 0)
    printed, _ = printed_motion(kernels, field, 2, 0.1).push(system, 0)
    for key in ("q:a", "q:b", "mu:a>b"):
        np.testing.assert_allclose(printed[key], -right[key], rtol=1e-12, atol=1e-12)


def test_v_over_its_p_norm_is_no_gradient_for_p_1():
    """The direction of Eq. (6) at p = 1 differs from that of the steepest change of |v|_1."""
    q_i, q_j = (np.random.default_rng(s).standard_normal((1, 1, 3)) for s in (0, 1))
    printed, _, _ = printed_eq6_forces(q_i, q_j, np.ones(1), -np.ones((1, 1)), 1)
    gradient, _, _ = reference.metric_gradient("l1", q_i, q_j, 0.0, 1)
    cosine = (printed * gradient).sum() / np.linalg.norm(printed) / np.linalg.norm(gradient)
    assert 0 < cosine < 0.95
