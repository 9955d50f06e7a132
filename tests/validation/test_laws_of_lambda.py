"""The laws for Lambda: Eq. (11) integrated exactly over a step, and braking only while a particle climbs."""

import numpy as np
import pytest
from worlds import constant_motion, coordinates, march, moving, network_world, pair_graph

from dynsim.dynamics.damping import Friction, LagrangianDamping, SignalDamping
from dynsim.dynamics.integrators import Eq10Literal

DT = 0.1


def prescribed(law, steps=60):
    """Yield (system, sum_k L_ik of each group) while `law` damps free particles under prescribed force and signal."""
    system = moving(pair_graph(), seed=3)
    system = system.replace(memory=law.start(system, 7))
    rng = np.random.default_rng(4)
    swing = {k: rng.standard_normal((3, *a.shape)) for k, a in system.v.items()}
    signal = {"a": np.linspace(0.5, 1.5, 5), "b": np.linspace(1.5, 0.5, 4)}
    world = constant_motion({}, law)
    for n in range(steps):
        force = {k: s[0] + s[1] * np.sin(0.3 * n) + s[2] * np.cos(0.17 * n) for k, s in swing.items()}
        received = {k: r * (1 + 0.5 * np.sin(0.1 * n)) for k, r in signal.items()}
        system = world.damp(system.replace(force=force), received, DT)
        # Eq. (11) summed over k, with N = 9 sub-models
        yield (
            system,
            {
                k: 0.5 * (9 - 1) * f - system.memory[f"potential:{k[2:]}"] * received[k[2:]][None, :, None]
                for k, f in force.items()
            },
        )


@pytest.mark.parametrize("order", [0.5, 1])
def test_signal_law_has_an_invariant_through_zero_crossings(order):
    """v^2 (L^2 + eps^2)^order; for order 1/2 that is v^2 sqrt(L^2 + eps^2)."""
    states = list(prescribed(SignalDamping(order=order, clip=None)))
    eps = {k: 0.01 * np.abs(L).mean() for k, L in states[0][1].items()}
    crossings = 0
    for (before, L_before), (after, L_after) in zip(states, states[1:]):
        for k, L in L_after.items():
            crossings += np.count_nonzero(L * L_before[k] < 0)
            was, now = (s.v[k] ** 2 * (x**2 + eps[k] ** 2) ** order for s, x in ((before, L_before[k]), (after, L)))
            first = states[0][0].v[k] ** 2 * (states[0][1][k] ** 2 + eps[k] ** 2) ** order
            np.testing.assert_allclose(now, was, rtol=1e-12)
            np.testing.assert_allclose(now, first, rtol=1e-12)
    assert crossings > 100


@pytest.mark.parametrize("order", [0.5, 1])
def test_clipped_signal_law_only_brakes_and_never_hard(order):
    states = [s for s, _ in prescribed(SignalDamping(order=order))]
    ratios = np.concatenate([(b.v[k] / a.v[k]).ravel() for a, b in zip(states, states[1:]) for k in b.v])
    assert ratios.max() == 1
    assert ratios.min() == pytest.approx(np.exp(-0.35 * order), rel=1e-12)
    free = [s for s, _ in prescribed(SignalDamping(order=order, clip=None))]
    assert max((b.v[k] / a.v[k]).max() for a, b in zip(free, free[1:]) for k in b.v) > 2


def test_signal_law_turns_groups_without_signals_by_the_mean_of_their_owners():
    system, _ = network_world(speed=0.3)
    law = SignalDamping(clip=None)
    system = system.replace(memory=law.start(system, 0))
    rng = np.random.default_rng(0)
    received = {s.name: np.ones(s.size) for s in system.graph.subsystems}
    for _ in range(2):
        system = system.replace(force={k: rng.standard_normal(a.shape) for k, a in system.v.items()})
        exponents, memory = law.exponents(system, received, DT)
        system = system.replace(memory=system.memory | memory)
    owners = [exponents["q:in"].mean(), exponents["q:hid"].mean()]
    assert exponents["mu:in>hid"] == pytest.approx(np.mean(owners), rel=1e-12)
    assert exponents["bias:hid"] == pytest.approx(owners[1], rel=1e-12)


def test_lagrangian_law_brakes_only_what_climbs():
    """Lambda_i = 2 max(0, -F_i.v_i) / T_i."""
    system = moving(pair_graph(m=200, n=100), seed=5)
    rng = np.random.default_rng(6)
    system = system.replace(force={k: rng.standard_normal(a.shape) for k, a in system.v.items()})
    law = LagrangianDamping()
    exponents, _ = law.exponents(system, {}, DT)
    slower = constant_motion({}, law).damp(system, {}, DT)
    for k, v in system.v.items():
        power = (system.force[k] * v).sum(-1)
        kinetic = 0.5 * system.mass[k].item() * (v**2).sum(-1)
        expected = np.minimum(DT * 2 * np.maximum(0, -power) / kinetic, 50)
        assert (expected < 50).mean() > 0.5
        np.testing.assert_allclose(exponents[k][..., 0] / law.order, expected, rtol=1e-12)
        np.testing.assert_array_equal(slower.v[k][power >= 0], v[power >= 0])
        assert (np.linalg.norm(slower.v[k], axis=-1) < np.linalg.norm(v, axis=-1))[power < 0].all()
        np.testing.assert_allclose(slower.memory[f"lambda:{k[2:]}"] * DT, expected, rtol=1e-12)


def test_lagrangian_law_is_bounded_for_particles_almost_at_rest():
    system = moving(pair_graph(), seed=5, speed=1e-200)
    system = system.replace(force={k: -a * 1e200 for k, a in system.v.items()})
    exponents, _ = LagrangianDamping().exponents(system, {}, DT)
    assert all((e == 25).all() for e in exponents.values())


@pytest.mark.parametrize(
    "law",
    [Friction(rate=0.4), Friction(rate=0.4, order=0.5), LagrangianDamping()],
    ids=lambda x: f"{x.name}-{x.order}",
)
def test_eq10_literal_moves_every_particle_by_the_same_decaying_length(law):
    """eta exp(-Lambda tau) whatever the force; under `lagrangian` each particle has a Lambda of its own."""
    system = moving(pair_graph(), seed=1)
    rng = np.random.default_rng(2)
    force = {k: rng.standard_normal(a.shape) * np.exp(3 * rng.standard_normal(a.shape)) for k, a in system.v.items()}
    world = constant_motion(force, law, dt=DT)
    for age, (after, _) in enumerate(march(system, Eq10Literal(), world, 20)):
        for k, x in coordinates(after.x).items():
            turn = law.order * after.memory[f"lambda:{k[2:]}"] * DT
            moved = x - system.x[k]
            np.testing.assert_allclose(np.linalg.norm(moved, axis=-1), world.limit.eta * np.exp(-turn * age), rtol=1e-9)
            cosine = (moved * force[k]).sum(-1) / np.linalg.norm(moved, axis=-1) / np.linalg.norm(force[k], axis=-1)
            np.testing.assert_allclose(cosine, 1, rtol=1e-9)
        system = after
