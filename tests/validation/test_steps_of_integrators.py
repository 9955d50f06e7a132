"""What one step does: flow is gradient descent, kick-drift the heavy ball, Adam is Adam, and Eq. (10) limits speed."""

import numpy as np
import pytest
from worlds import coordinates, march, motion, network_world, target_world

from dynsim.dynamics.damping import Friction, friction_rate
from dynsim.dynamics.integrators import Adam, Eq10Literal, Flow, KickDrift, Leapfrog
from dynsim.dynamics.speed_limit import SpeedLimit

DT = 0.3


def trace(system, integrator, world, steps):
    """Positions of every moving group at every step, the start included."""
    states = [system, *(s for s, _ in march(system, integrator, world, steps))]
    return [{k: s.x[k] for k in system.v} for s in states]


def by_hand(system, world, rule, steps):
    """As `trace`, for a rule (x, force, group, step) -> x written down below."""
    positions = [{k: system.x[k] for k in system.v}]
    for n in range(steps):
        force, _ = world.push(system.replace(x=system.x | positions[-1]), n)
        positions.append({k: rule(x, force[k], k, n) for k, x in positions[-1].items()})
    return positions


def assert_same_path(got, expected):
    for a, b in zip(got, expected, strict=True):
        for key in b:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-11, atol=1e-12)
    assert any(np.abs(got[-1][k] - got[0][k]).max() > 0.05 for k in got[0])


def test_flow_is_gradient_descent_at_rate_dt2_over_m(kernels):
    system, field = network_world(speed=1.0)  # the velocity that flow must forget
    world = motion(kernels, field, dt=DT)
    expected = by_hand(system, world, lambda x, f, k, n: x + DT**2 / system.mass[k] * f, 12)
    assert_same_path(trace(system, Flow(), world, 12), expected)


def test_kick_drift_is_the_heavy_ball_at_rate_dt2_over_m(kernels):
    """x_{n+1} = x_n + 0.8 (x_n - x_{n-1}) + dt^2 / m F."""
    system, field = network_world()
    world = motion(kernels, field, Friction(rate=friction_rate(0.8, 1, DT)), dt=DT)
    last_move = {}

    def heavy_ball(x, force, key, n):
        last_move[key] = 0.8 * last_move.get(key, 0) + DT**2 / system.mass[key] * force
        return x + last_move[key]

    assert_same_path(trace(system, KickDrift(), world, 12), by_hand(system, world, heavy_ball, 12))


def test_adam_is_the_one_of_the_textbook(kernels):
    """Kingma and Ba, Algorithm 1, with a rate that follows the envelope of Eq. (10)."""
    system, field = network_world()
    system = system.replace(event_span=20)
    world = motion(kernels, field, limit=SpeedLimit(eta=0.05, rate=0.1, warmup=0.25), dt=DT)
    m, v = {}, {}

    def adam(x, force, key, n):
        gradient, t = -force, n + 1
        m[key] = 0.9 * m.get(key, 0) + 0.1 * gradient
        v[key] = 0.999 * v.get(key, 0) + 0.001 * gradient**2
        rate = 0.05 * np.exp(-0.1 * n) * min(1, t / 5)
        return x - rate * (m[key] / (1 - 0.9**t)) / (np.sqrt(v[key] / (1 - 0.999**t)) + 1e-8)

    assert_same_path(trace(system, Adam(), world, 12), by_hand(system, world, adam, 12))


def test_adam_starts_afresh_at_a_learning_event(kernels):
    system, field = network_world()
    world = motion(kernels, field, limit=SpeedLimit(rate=0.0, warmup=0), dt=DT)
    *_, (late, _) = march(system, Adam(), world, 5)
    fresh = late.replace(memory={}, step=0)
    reopened = late.replace(event_step=late.step)
    (after_event, _), (from_start, _) = (next(march(s, Adam(), world, 1)) for s in (reopened, fresh))
    (no_event, _) = next(march(late, Adam(), world, 1))
    for key in system.v:
        np.testing.assert_array_equal(after_event.x[key], from_start.x[key])
    assert any(np.abs(no_event.x[k] - from_start.x[k]).max() > 1e-3 for k in system.v)


def moves(system, integrator, world, steps):
    """Yield (system before, system after, {q group: length of each particle's move})."""
    for after, _ in march(system, integrator, world, steps):
        yield (
            system,
            after,
            {k: np.linalg.norm(x - system.x[k], axis=-1) for k, x in coordinates(after.x).items()},
        )
        system = after


ETA, SPAN = 0.03, 40


@pytest.mark.parametrize("integrator", [KickDrift(), Flow(), Leapfrog()], ids=lambda i: i.name)
@pytest.mark.parametrize(
    ("rate", "warmup"),
    [(0.05, 0.0), (None, 0.0), (None, 0.25)],
    ids=["rate", "annealed", "warm-up and annealed"],
)
def test_no_particle_outruns_the_limit(kernels, integrator, rate, warmup):
    """|v_i| dt <= eta exp(-Lambda_env tau); mu, gain and eps by their own relative limit."""
    system, field = network_world("plummer", speed=1.0)
    limit = SpeedLimit(ETA, rate, warmup, coefficients=0.02)
    world = motion(kernels, field, limit=limit, dt=2.0)
    at_limit = 0
    for before, after, moved in moves(system.replace(event_span=SPAN), integrator, world, SPAN):
        decay = np.log(100) / SPAN if rate is None else rate
        warm = min(1, (before.step + 1) / (warmup * SPAN)) if warmup else 1
        envelope = np.exp(-decay * before.step) * warm
        at_limit += sum(np.isclose(n, ETA * envelope, rtol=1e-9).sum() for n in moved.values())
        assert max(n.max() for n in moved.values()) <= ETA * envelope * (1 + 1e-9)
        for key in (k for k in before.v if k.startswith(("mu", "gain", "eps"))):
            rms = np.sqrt(np.mean(before.x[key] ** 2))
            assert np.abs(after.x[key] - before.x[key]).max() <= 0.02 * envelope * rms * (1 + 1e-9)
    assert at_limit > SPAN


def test_annealed_limit_ends_at_one_percent(kernels):
    system, _ = target_world()
    limit = SpeedLimit(warmup=0.0)
    assert limit.envelope(system.replace(event_span=SPAN, step=0)) == 1
    assert limit.envelope(system.replace(event_span=SPAN, step=SPAN)) == pytest.approx(0.01, rel=1e-12)


@pytest.mark.parametrize("integrator", [KickDrift(), Adam(), Eq10Literal()], ids=lambda i: i.name)
def test_learning_event_reopens_the_limit(kernels, integrator):
    """tau starts anew: particles move far again."""
    system, field = network_world()
    world = motion(kernels, field, Friction(rate=0.2), SpeedLimit(ETA, 0.2, warmup=0.0), dt=1.0)

    def longest(system):
        return max(n.max() for n in next(moves(system, integrator, world, 1))[2].values())

    *_, (_, late, _) = moves(system, integrator, world, 30)
    assert longest(late) < 0.01 * longest(system)
    assert longest(late.replace(event_step=late.step)) > 0.3 * longest(system)
