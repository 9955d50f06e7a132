"""The tables of docs/performance.md on a GPU, on paper: python docs/roofline.py

A step of each shipped scenario is taken on the CPU by an engine that believes it is on a card: every call of a kernel
and every operation on an array is written down with its shapes, and priced for an H100.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

import dynsim.simulation
from dynsim.bench.device_costs import Cost, cost, passed, product
from dynsim.build import build_graph, memory_estimate
from dynsim.kernels import checks
from dynsim.kernels.load import load
from dynsim.runs import smoke
from dynsim.scenario import Scenario
from dynsim.shipped import shipped_scenarios
from dynsim.simulation import Simulation

BANDWIDTH, RATE, MEMORY = 3.35e12, 67e12, 80e9  # bytes and float32 operations a second, bytes of an H100 (SXM)
LAUNCH = 4e-6  # s, of a kernel whose launch the card does not hide
# s of Python until a call returns: of kernels, measured on an H100 (docs/gpu.md); of an operation on an array, assumed
CALLS = {"path_integral": 0.27e-3, "path_integral_forces": 1.1e-3, "kick_drift": 0.4e-3}
KERNEL_CALL, ARRAY_CALL = 0.27e-3, 10e-6
FREE = {"ndim", "shape", "size", "may_share_memory", "broadcast_to", "reshape", "transpose", "squeeze"}  # no launch
READ = 20e-6  # s, that the host waits for a number beside the work before it; assumed
LINKS = {  # ms on an H100, docs/gpu.md: of the path integral, of the forces
    ("l2", (8192, 8192, 8, 9)): (1.74, 12.2),
    ("l1", (2304, 768, 8, 32)): (0.55, 2.27 - 0.55),
    ("l2", (2304, 768, 8, 32)): (0.55, 2.23 - 0.55),
    ("l1", (784, 1200, 20, 9)): (0.31, 1.09 - 0.31),
    ("l2", (784, 1200, 20, 9)): (0.32, 1.22 - 0.32),
}


@dataclass
class Step:
    """What a step asks of a card."""

    kernels: Counter = field(default_factory=Counter)
    arrays: Counter = field(default_factory=Counter)
    read: int = 0
    card: float = 0.0
    price: Cost = field(default_factory=lambda: Cost(0.0, 0.0))

    def add(self, price: Cost) -> None:
        self.card += LAUNCH + price.seconds(BANDWIDTH, RATE)
        self.price += price

    @property
    def host(self) -> float:
        """Seconds of Python."""
        of_kernels = sum(n * CALLS.get(name, KERNEL_CALL) for name, n in self.kernels.items())
        return of_kernels + ARRAY_CALL * self.arrays.total() + READ * self.read


NOW = [Step()]


class Array(np.ndarray):
    """An array that is believed to be on a card; every operation on it is written down."""

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):
        settings = {k: _bare(v) for k, v in settings.items()}
        result = getattr(ufunc, method)(*map(_bare, inputs), **settings)
        _note(ufunc.__name__, inputs, result)
        return _carried(result)

    def __array_function__(self, func, types, args, kwargs):
        result = func(*map(_bare, args), **{k: _bare(v) for k, v in kwargs.items()})
        _note(func.__name__, args, result)
        return _carried(result)

    def __getitem__(self, key):
        found = _bare(self)[_bare(key)]
        if isinstance(found, np.ndarray) and not np.may_share_memory(found, _bare(self)):
            _note("take", (), found)
        return _carried(found)

    def __setitem__(self, key, value):
        _note("put", (value,), None)
        _bare(self)[_bare(key)] = _bare(value)

    def _read(self, kind):
        NOW[0].read += 1
        return kind(_bare(self))

    def __float__(self):
        return self._read(float)

    def __int__(self):
        return self._read(int)

    def __bool__(self):
        return self._read(bool)

    def item(self, *place):
        return self._read(lambda a: a.item(*place))

    def astype(self, *args, **kwargs):
        result = _bare(self).astype(*args, **kwargs)
        _note("astype", (self,), result)
        return _carried(result)

    def copy(self, order="C"):
        result = _bare(self).copy(order)
        _note("copy", (self,), result)
        return _carried(result)


def _bare(a):
    if isinstance(a, Array):
        return a.view(np.ndarray)
    return type(a)(map(_bare, a)) if type(a) in (list, tuple) else a


def _carried(a):
    if isinstance(a, np.ndarray | np.generic) and not isinstance(a, Array):
        return np.asarray(a).view(Array)
    return type(a)(map(_carried, a)) if type(a) in (list, tuple) else a


def _note(name, inputs, result):
    """An operation on arrays: everything once through memory; one instruction a number, or a product."""
    if name in FREE:
        return
    operations = 2.0 * getattr(result, "size", 1)
    if name == "matmul":
        operations = product(*inputs[:2])
    NOW[0].arrays[name] += 1
    NOW[0].add(Cost(passed(a for a in (*inputs, result) if isinstance(a, np.ndarray)), operations))


class Card:
    """The kernels of the CPU, written down."""

    __name__ = "dynsim.kernels.cpu"

    def __init__(self):
        self.host = load("cpu")

    def __getattr__(self, name):
        kernel = getattr(self.host, name)
        if name not in checks.CASES or name in ("erf", "expit", "matmul"):
            return kernel

        def call(*arguments):
            result = kernel(*map(_bare, arguments))
            NOW[0].kernels[name] += 1
            NOW[0].add(cost(name, arguments, result))
            return _carried(result)

        return call

    def matmul(self, a, b):
        return np.matmul(a, b)

    def erf(self, a):
        return self._numbers("erf", a)

    def expit(self, a):
        return self._numbers("expit", a)

    def _numbers(self, name, a):
        result = getattr(self.host, name)(_bare(a))
        _note(name, (a,), result)
        return _carried(result)

    def to_device(self, arrays):
        return [_carried(np.asarray(a)) for a in arrays]

    def to_host(self, arrays):
        return [_bare(a) for a in arrays]


def priced(scenario: Scenario) -> Step:
    """The second step of a scenario: the first one also looks around."""
    before, dynsim.simulation.load = dynsim.simulation.load, lambda device: Card()
    try:
        simulation = Simulation(scenario)
        simulation.step()
        NOW[0] = Step()
        simulation.step()
    finally:
        dynsim.simulation.load = before
    return NOW[0]


def on_cpu(scenario: Scenario) -> float:
    """Seconds of a step on this machine, at best."""
    simulation, times = Simulation(scenario.changed(**{"run.device": "cpu"})), []
    simulation.step()
    while len(times) < 5 or (sum(times) < 0.3 and len(times) < 200):
        started = perf_counter()
        simulation.step()
        times.append(perf_counter() - started)
    return min(times)


def steps() -> None:
    """Every shipped scenario: what a step asks for, and how long it should take."""
    say("| scenario | MB | 10^6 operations | kernels | array operations | reads | card, ms | Python, ms | CPU, ms |")
    say("|---|---|---|---|---|---|---|---|---|")
    for name, _ in shipped_scenarios():
        scenario = smoke(Scenario.load(name)).changed(**{"run.steps": 10**6, "run.stop": {}})
        s, cpu = priced(scenario), on_cpu(scenario)
        numbers = f"{s.kernels.total()} | {s.arrays.total()} | {s.read} | {ms(s.card)}"
        moved = f"{1e-6 * s.price.bytes:.3g} | {1e-6 * s.price.operations:.3g}"
        say(f"| {name} | {moved} | {numbers} | {ms(s.host)} | {ms(cpu)} |")


def ms(seconds: float) -> str:
    """Two digits, of milliseconds."""
    return f"{1e3 * seconds:.0f}" if seconds >= 0.01 else f"{1e3 * seconds:.2g}"


def measured() -> Iterator[tuple[str, Cost, float]]:
    """Kernels whose time on an H100 was measured: (what, price, ms)."""
    for (metric, (m, n, copies, d)), times in LINKS.items():
        for kernel, took in zip(("path_integral", "path_integral_forces"), times):
            yield f"{kernel}, {metric}, ({m}, {n}, {copies}, {d})", of_link(kernel, metric, m, n, copies, d), took
    ends, sources, amplitudes, ways = like(8, 256, 3), like(2000, 3), like(2000), like(8)
    way = ends, ends, sources, amplitudes, 1.0, ways, ways
    field = like(8, 256, 256)
    yield "mean_field, 8.4e9 bells in R^3", cost("mean_field", way, field), 18.0
    answer = ends, ends, sources, amplitudes
    yield "mean_field_forces, the same", cost("mean_field_forces", (*way, field), answer), 68.0
    for n, took in ((10_000_000, 0.76), (100_000, 0.42)):
        q, each = like(n, 3), like(n)
        given = q, q, q, 1.0, 1.0, 0.1, 0.1, 1.0, each
        yield f"kick_drift, {n:.0e} in R^3", cost("kick_drift", given, (q, q, each, each)), took
    yield "occupied_cells, 1e6 in R^9", cost("occupied_cells", (like(1_000_000, 9), 1.0), like(0)), 15.0


def kernels() -> None:
    """Measured times beside their bounds."""
    say("| kernel | bound, ms | measured, ms | share |")
    say("|---|---|---|---|")
    for what, price, took in measured():
        bound = price.seconds(BANDWIDTH, RATE)
        say(f"| {what} | {ms(bound)} | {took:.3g} | {1e3 * bound / took:.0%} |")


def like(*shape: int) -> np.ndarray:
    """An array that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)


def of_link(kernel: str, metric: str, m: int, n: int, copies: int, d: int) -> Cost:
    """Of a link of these sizes."""
    q_a, q_b, w, mu = like(copies, m, d), like(copies, n, d), like(m, n), like(copies)
    given = (metric, q_a, q_b, mu, 1.0, 0.1, 2.0)
    return cost(kernel, given, w) if kernel == "path_integral" else cost(kernel, (*given, w), (q_a, q_b, mu))


def sizes() -> None:
    """The largest N of two sub-models' layers, N x N, whose step fits into the card, and how long it takes there."""
    say("\n| H, d | largest N | particles | bytes of a state, GB | path integral, s | forces, s |")
    say("|---|---|---|---|---|---|")
    for copies, d in ((1, 3), (4, 4), (8, 8), (20, 9)):
        n = largest(copies, d)
        cloud = 2 * n * copies * d * 4 * 1e-9
        both = (of_link(kernel, "l2", n, n, copies, d) for kernel in ("path_integral", "path_integral_forces"))
        times = [price.seconds(BANDWIDTH, RATE) for price in both]
        say(f"| {copies}, {d} | {n:,} | {2 * n * copies:,} | {3 * cloud:.2g} | {times[0]:.2g} | {times[1]:.2g} |")


def largest(copies: int, d: int) -> int:
    low, high = 1, 10**7
    while high - low > 100:
        n = (low + high) // 2
        tables = {"layers": [n, n], "copies": copies, "dim": d}
        target = {"kind": "target", "target": "normal"}
        scenario = Scenario.model_validate({"system": tables, "field": target, "run": {"steps": 1}})
        fits = memory_estimate(scenario, build_graph(scenario, [n, n]), None, 1) <= MEMORY
        low, high = (n, high) if fits else (low, n)
    return low // 100 * 100


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    kernels()
    sizes()
    steps()
