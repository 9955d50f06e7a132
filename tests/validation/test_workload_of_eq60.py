"""Eq. (59)-(60): the workload of particles whose speed decays, and its bound under the Eq. (10) limit."""

from dataclasses import dataclass

import numpy as np
import pytest
from worlds import (
    constant_motion,
    coordinates,
    last,
    march,
    motion,
    moving,
    network_world,
    order_of,
    pair_graph,
)

from dynsim.dynamics.damping import Law
from dynsim.dynamics.integrators import KickDrift, Leapfrog
from dynsim.dynamics.speed_limit import SpeedLimit
from dynsim.observables import find
from dynsim.observables.conservation import path_of_eq59, workload_of_eq60
from dynsim.observables.workload import workload_bound
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation


@dataclass(frozen=True)
class Imposed(Law):
    """A law with a Lambda of its own for every particle: {group: (H, N, 1)}."""

    rates: dict
    order = 1.0

    def exponents(self, system, received, dt):
        return {k: self.order * rate * dt for k, rate in self.rates.items()}, {}


def imposed_world(spread, dt, eta=None):
    """(system, world, rates, speeds): free particles with a Lambda of their own, and a common speed where asked for."""
    start = moving(pair_graph(m=30, n=20), seed=0)
    rng = np.random.default_rng(1)
    rates = {k: np.exp(spread * rng.standard_normal((*a.shape[:2], 1))) for k, a in start.v.items()}
    if eta is not None:
        start = start.replace(v={k: eta * a / np.linalg.norm(a, axis=-1, keepdims=True) for k, a in start.v.items()})
    speeds = {k: np.linalg.norm(a, axis=-1, keepdims=True) for k, a in start.v.items()}
    free = {k: np.zeros_like(a) for k, a in start.v.items()}
    return start, constant_motion(free, Imposed(rates), dt=dt), rates, speeds


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_path_length_for_imposed_lambda_is_eq59_at_every_moment(spread):
    """I(t) = sum_i eta_i exp(-Lambda_i t), in the middle of the step that leapfrog drifts over."""
    start, world, rates, eta = imposed_world(spread, dt=0.05)
    for state, _ in march(start, Leapfrog(), world, 40):
        t = state.time - world.dt / 2
        expected = sum((eta[k] * np.exp(-r * t)).sum() for k, r in rates.items())
        assert state.totals["path"] / world.dt == pytest.approx(expected, rel=1e-12)


def test_one_mean_lambda_for_all_is_exact_for_equal_ones_and_too_little_for_different_ones():
    """(58)-(60) put the mean of Lambda into the exponential; by Jensen the path is longer than that."""
    for spread in (0.0, 1.0):
        start, world, rates, _ = imposed_world(spread, dt=0.01, eta=0.3)
        mean = np.mean(np.concatenate([r.ravel() for r in rates.values()]))
        constant, duration = 0.3 * start.graph.particles, 3.0
        end = last(march(start, Leapfrog(), world, round(duration / world.dt)))
        path, work = path_of_eq59(constant, mean, duration), workload_of_eq60(constant, mean, duration)
        if spread:
            assert end.totals["path"] / world.dt > 2 * path
            assert end.totals["workload"] > 1.2 * work
        else:
            assert end.totals["path"] / world.dt == pytest.approx(path, rel=2 * world.dt)
            assert end.totals["workload"] == pytest.approx(work, rel=1e-3)


def test_printed_factor_of_eq60_is_that_of_eq58():
    """N C_eta C_L / C_dL = C_eta / mean Lambda where C_dL / C_L = N mean Lambda; without damping it is C_eta t."""
    constant, mean, n, lagrangian = 7.0, 0.4, 50, 3.0
    printed = n * constant * lagrangian / (n * mean * lagrangian) * (1 - np.exp(-mean * 2.5))
    assert workload_of_eq60(constant, mean, 2.5) == pytest.approx(printed, rel=1e-12)
    assert workload_of_eq60(constant, 0.0, 2.5) == pytest.approx(constant * 2.5, rel=1e-12)


@pytest.mark.parametrize("law", ["friction", "signal", "feedback"])
def test_sums_of_eq57_are_those_of_the_particles_and_no_constants(law):
    settings = {"dynamics.law": law, "run.dtype": "float64", "field.samples": 100, "run.steps": 30}
    settings |= {"record.observables": ["conservation"], "system.layers": ["auto", 6, "auto"]}
    simulation = Simulation(Scenario.load("moons").changed(**settings))
    rows, vectors = [], []
    while not simulation.done:
        simulation.step()
        rows.append(simulation.last_row)
        memory = simulation.system.memory
        vectors.append({k: a.copy() for k, a in memory.items() if k.startswith("lagrangian:")})
    sums = np.array([row["lagrangian_sum"] for row in rows])
    assert np.ptp(sums) > 0.1 * np.abs(sums).mean()
    assert rows[-1]["eta_sum"] == pytest.approx(0.1 * simulation.graph.particles, rel=1e-12)
    rates = find("lambda").compute(simulation.snapshot())
    assert rows[-1]["lambda_mean"] == pytest.approx(np.mean(np.concatenate([a.ravel() for a in rates.values()])))
    if law == "friction":
        power = sum((simulation.system.force[k] * v).sum() for k, v in simulation.system.v.items() if k[0] == "q")
        assert rows[-1]["lagrangian_rate"] == pytest.approx(2 * power, rel=1e-9)
        return
    for row, vector in zip(rows, vectors):
        assert row["lagrangian_sum"] == pytest.approx(sum(a.sum() for a in vector.values()), rel=1e-9)
    changes = np.diff(sums) / simulation.motion.dt
    np.testing.assert_allclose([row["lagrangian_rate"] for row in rows[1:]], changes, rtol=1e-7, atol=1e-9)
    crossed = sum(np.count_nonzero(a[k] * b[k] < 0) for a, b in zip(vectors, vectors[1:]) for k in a)
    assert rows[-1]["lagrangian_crossings"] == crossed > 0


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_workload_for_imposed_lambda_is_eq60(spread):
    """W(T) = sum_i eta_i / Lambda_i (1 - exp(-Lambda_i T)), for equal and for very different Lambda_i."""
    duration, errors = 3.0, []
    for dt in (0.1, 0.05):
        start, world, rates, eta = imposed_world(spread, dt)
        expected = sum((eta[k] / r * (1 - np.exp(-r * duration))).sum() for k, r in rates.items())
        end = last(march(start, Leapfrog(), world, round(duration / dt)))
        errors.append(abs(end.totals["workload"] - expected))
    assert order_of(errors) == pytest.approx([2], abs=0.05)
    assert errors[-1] < 1e-3 * expected


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_particles_that_always_move_at_the_limit_reach_the_bound(rate):
    system = moving(pair_graph(), seed=0)
    force = {k: 1e3 * (1 + a**2) for k, a in system.v.items()}
    world = constant_motion(force, limit=SpeedLimit(eta=0.01, rate=rate, warmup=0), dt=0.5)
    particles = system.graph.copies * system.graph.size
    for n, (state, _) in enumerate(march(system, KickDrift(), world, 30), 1):
        assert state.totals["limited"] == 1
        assert state.totals["workload"] == pytest.approx(workload_bound(particles, 0.01, rate, n), rel=1e-12)


def test_bound_tends_to_eq60():
    """N eta / Lambda_env, up to half a step: 1 / (1 - e^-k) = 1 / k + 1/2 + O(k)."""
    for rate in (0.1, 0.01):
        bound = workload_bound(18, 0.2, rate, 100_000)
        assert bound == pytest.approx(18 * 0.2 * (1 / rate + 0.5), rel=rate**2)


@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_no_limited_run_does_more_work_than_the_bound(kernels, warmup):
    system, field = network_world(speed=1.0)
    limit = SpeedLimit(eta=0.02, rate=0.03, warmup=warmup)
    particles = sum(a.shape[0] * a.shape[1] for a in coordinates(system.x).values())
    states = march(system.replace(event_span=40), KickDrift(), motion(kernels, field, limit=limit, dt=0.5), 40)
    for n, (state, _) in enumerate(states, 1):
        assert 0 < state.totals["workload"] <= workload_bound(particles, 0.02, 0.03, n) * (1 + 1e-12)
    assert state.totals["workload"] > 0.3 * workload_bound(particles, 0.02, 0.03, n)


@pytest.mark.parametrize(
    "touch",
    [
        lambda run: run.kick(),
        lambda run: run.extend(3),
        lambda run: run.learning_event(5, "more"),
        lambda run: run.set_parameter("dynamics.eta", 0.01),
        lambda run: [run.set_parameter("dynamics.limit", on) or run.step() for on in (False, True)],
    ],
)
def test_nothing_bounds_what_was_moved_under_several_limits(touch):
    """The work before counts in W, but not in what the limit allows since."""
    run = Simulation(Scenario.load("xor", ["run.device=reference", "run.steps=20", "dynamics.warmup=0"]))
    for _ in range(4):
        run.step()
        assert run.last_row["workload"] <= run.last_row["workload_bound"] * (1 + 1e-6)
    touch(run)
    run.step()
    assert np.isnan(run.last_row["workload_bound"])
    assert 0 <= run.last_row["limited"] <= 1


def test_limits_that_are_learned_bound_only_together():
    learned = ["run.device=reference", "run.steps=3", 'dynamics.hyper.trained=["eta"]']
    for conserve in (False, True):
        run = Simulation(Scenario.load("xor", [*learned, f"dynamics.hyper.conserve={str(conserve).lower()}"]))
        run.step()
        assert np.isfinite(run.last_row["workload_bound"]) == conserve
