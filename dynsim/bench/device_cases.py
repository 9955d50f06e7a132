"""What is timed on a card: kernels of the facade, whole steps of shipped scenarios, and the card's limits.

On numba's simulator sizes are tiny, and times mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dynsim.bench import data, device_rivals
from dynsim.bench.case import Case, Context, Rival, Work
from dynsim.bench.device_costs import Cost, cost
from dynsim.kernels import cards, reference
from dynsim.kernels.load import load, thread_count
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

TOLERANCE, STEP_TOLERANCE = 1e-4, 1e-3  # of float32, for a kernel and for all kernels of a step
EPS = 0.3
METRICS = {"A": ("l1", "l2", "reciprocal"), "B": ("l1", "l2"), "C": ("l1", "l2", "reciprocal")}
STEPS = ("quickstart", "moons", "gas", "medium", "mnist_mlp", "lenet")
Arguments = tuple[Any, ...]
Maker = Callable[[Context], Iterator["DeviceCase"]]
DEVICE_BENCHMARKS: dict[str, Maker] = {}


def benchmark(name: str) -> Callable[[Maker], Maker]:
    """Register a function (context) -> cases as the benchmark NAME of `dynsim bench NAME --device cuda`."""

    def register(make: Maker) -> Maker:
        DEVICE_BENCHMARKS[name] = make
        return make

    return register


def sized(usual: Any, tiny: Any) -> Any:
    """A size, for a card or for the simulator."""
    return tiny if cards.SIMULATED else usual


@dataclass(frozen=True)
class DeviceCase(Case):
    """A case, with what it costs a card at least; None where that is not known."""

    most: int = sized(50, 1)
    cost: Callable[[Any], Cost] | None = None


def limits(context: Context) -> Iterator[Case]:
    """A copy of memory, read and written bytes, and a product of matrices."""
    kernels = context.kernels
    number, side, most = sized((1 << 28, 8192, 50), (1 << 12, 16, 1))

    def copy() -> Work:
        source, target = kernels.xp.ones(number, np.float32), kernels.xp.zeros(number, np.float32)
        return _synchronised(kernels, lambda: kernels.xp.copyto(target, source))

    def product() -> Work:
        a = kernels.xp.ones((side, side), np.float32)
        return _synchronised(kernels, lambda: kernels.matmul(a, a))

    yield Case("copy", f"{number >> 18} MiB", copy, most=most, amount=8e-9 * number, unit="GB/s")
    yield Case("product", f"{side} x {side}", product, most=most, amount=2e-12 * side**3, unit="TFLOP/s")


def _synchronised(kernels: Any, work: Work) -> Work:
    """The work, until the card has done it."""
    wait = (lambda: None) if cards.SIMULATED else kernels.xp.cuda.get_current_stream().synchronize

    def until_done() -> Any:
        result = work()
        wait()
        return result

    return until_done


def _kernel(
    context: Context, name: str, label: str, arguments: Arguments, rivals: tuple[Rival, ...] = (), answers: int = 0
) -> DeviceCase:
    """A kernel of the facade on arguments of the host, which are put on the card before; of several answers the first
    are compared."""
    kernels, call = context.kernels, getattr(context.kernels, name)
    arrays = [a.shape for a in arguments if isinstance(a, np.ndarray)]
    put = partial(_put, kernels, arguments)
    priced = lambda _: cost(name, put(), call(*put()))  # noqa: E731

    def ours() -> Work:
        there = put()
        return _synchronised(kernels, lambda: call(*there)[:answers] if answers else call(*there))

    return DeviceCase(label, " ".join(map(str, arrays[:2])), ours, rivals, tolerance=TOLERANCE, cost=priced)


def _put(kernels: Any, arguments: Arguments) -> Arguments:
    there = iter(kernels.to_device([a for a in arguments if isinstance(a, np.ndarray)]))
    return tuple(next(there) if isinstance(a, np.ndarray) else a for a in arguments)


def _links() -> Iterator[tuple[str, str, tuple[np.ndarray, ...]]]:
    """(shape, metric, (q_a, q_b, mu)) of the links that are timed."""
    if cards.SIMULATED:
        yield "tiny", "l2", _normal((1, 3, 2), (1, 4, 2), (1,))
        return
    for shape, metrics in METRICS.items():
        for metric in metrics:
            yield shape, metric, data.link(shape)


def _normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng()
    return tuple(rng.standard_normal(shape, np.float32) for shape in shapes)


@benchmark("path-integral")
def path_integrals(context: Context) -> Iterator[DeviceCase]:
    for shape, metric, arrays in _links():
        rivals = (device_rivals.torch_path_integral(metric, EPS, *arrays),)
        arguments = metric, *arrays, 1.0, EPS, 2.0
        yield _kernel(context, "path_integral", f"path integral {shape} {metric}", arguments, rivals)


@benchmark("forces")
def forces(context: Context) -> Iterator[DeviceCase]:
    for shape, metric, arrays in _links():
        (stress,) = _normal((arrays[0].shape[1], arrays[1].shape[1]))
        rivals = (device_rivals.torch_forces(metric, EPS, stress, *arrays),)
        arguments = metric, *arrays, 1.0, EPS, 2.0, stress
        yield _kernel(context, "path_integral_forces", f"forces {shape} {metric}", arguments, rivals, answers=3)


@benchmark("medium")
def medium(context: Context) -> Iterator[DeviceCase]:
    n, particles, nodes = sized((256, 2000, 8), (3, 3, 2))
    ways, weights = (a.astype(np.float32) for a in np.polynomial.legendre.leggauss(nodes))
    q_a, q_b, sources, amplitudes, stress = _normal((2, n, 3), (2, n, 3), (particles, 3), (particles,), (2, n, n))
    arguments = q_a, q_b, sources, amplitudes, 0.7, 0.5 + ways / 2, weights / 2
    yield _kernel(context, "mean_field", "mean field", arguments)
    yield _kernel(context, "mean_field_forces", "mean field, forces", (*arguments, stress))


@benchmark("particle-step")
def particles(context: Context) -> Iterator[DeviceCase]:
    for n in sized((100_000, 10_000_000), (5,)):
        q, v, force = _normal(*[(1, n, 3)] * 3)
        mass, work = np.full((1, 1, 1), 2, np.float32), np.zeros((1, n), np.float32)
        arguments = q, v, force, mass, np.float32(0.95), 0.1, 0.1, np.float32(1.5), work
        rivals = (device_rivals.numpy_kernel(reference.kick_drift, arguments),)
        yield _kernel(context, "kick_drift", "particle step", arguments, rivals)


@benchmark("psi")
def psi(context: Context) -> Iterator[DeviceCase]:
    (q,) = _normal((sized(1_000_000, 50), 9))
    rivals = (device_rivals.numpy_kernel(reference.structural_entropy, (q, (0.5, 1.0))),)
    yield _kernel(context, "structural_entropy", "psi, two delta", (q, (0.5, 1.0)), rivals)


@benchmark("images")
def images(context: Context) -> Iterator[DeviceCase]:
    count, side = sized((128, 28), (1, 6))
    x, kernel, feedback = _normal((count, side, side, 1), (5, 5, 1, 6), (count, side, side, 6))
    rivals = (device_rivals.torch_convolution(x, kernel),)
    yield _kernel(context, "convolve", "convolution", (x, kernel, 1, 2), rivals)
    yield _kernel(context, "convolve_back", "convolution, back", (feedback, x, kernel, 1, 2))


@benchmark("steps")
def steps(context: Context) -> Iterator[DeviceCase]:
    """A whole step of shipped scenarios, with its batch and observables; the CPU's first one is compared with ours."""
    threads = thread_count(load("cpu"))
    for name in sized(STEPS, ("two_particles",)):
        rivals = [Rival(f"CPU, {threads} threads", partial(_step, name, "cpu"))]
        if name in device_rivals.TWINS:
            rivals.append(device_rivals.torch_step(name))
        ours = partial(_on_card, context, name)
        yield DeviceCase(f"step of {name}", "-", ours, tuple(rivals), tolerance=STEP_TOLERANCE)


def _on_card(context: Context, name: str) -> Work:
    return _synchronised(context.kernels, _step(name, "cuda"))


def _step(name: str, device: str) -> Work:
    """A step, and where it leads to."""
    scenario = Scenario.load(name).changed(**{"run.device": device})
    simulation = Simulation(scenario, dataset=device_rivals.images() if name in device_rivals.TWINS else None)

    def work() -> tuple[Any, ...]:
        simulation.step()
        return tuple(a for _, a in sorted(simulation.system.x.items()))

    return work
