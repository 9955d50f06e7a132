"""How the time of a step grows with N, H, d and the batch: forward, forces and dynamics of a whole simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dynsim.bench.case import Case, Context, Work, benchmark
from dynsim.datasets import Dataset
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

SIZES = {  # two decades each
    "N": (60, 190, 600, 1900, 6000),
    "H": (1, 3, 10, 32, 100),
    "d": (2, 6, 20, 63, 200),
    "batch": (10, 32, 100, 320, 1000),
}
EXPECTED = {"N": 2.0, "H": 1.0, "d": 1.0, "batch": 1.0}  # exponents where nothing else costs anything
SAMPLES, CLASSES = 1000, 10


@dataclass(frozen=True)
class Size:
    """Two subsystems of N sub-models, H copies, d dimensions; batch None for a given matrix instead of data."""

    N: int = 400
    H: int = 4
    d: int = 4
    batch: int | None = None

    def __str__(self) -> str:
        batch = "" if self.batch is None else f", batch {self.batch}"
        return f"N {self.N}, H {self.H}, d {self.d}{batch}"


@benchmark("growth")
def growth(context: Context) -> Iterator[Case]:
    """One size changes, the others stay; where everything is timed, three sizes, of d two: each is compiled anew."""
    for name, sizes in SIZES.items():
        apart = (4 if name == "d" else 2) if context.brief else 1
        for n in sizes[::apart]:
            size = replace(Size(), **{name: n})
            yield Case(f"step against {name}", str(size), _step(size), most=5)


def _step(size: Size) -> Callable[[], Work]:
    def prepare() -> Work:
        learning = size.batch is not None
        layers = [size.N, size.N, CLASSES] if learning else [size.N, size.N]
        data = {"dataset": "memory", "batch": size.batch, "validation": 0.0}
        tables = {
            "system": {"layers": layers, "copies": size.H, "dim": size.d},
            "field": data if learning else {"kind": "target", "target": "normal"},
            "dynamics": {"eta": 1e-3},
            "run": {"steps": 10**6},
        }
        simulation = Simulation(Scenario.model_validate(tables), dataset=_data(size) if learning else None)
        return simulation.step

    return prepare


def _data(size: Size) -> Dataset:
    rng = np.random.default_rng()
    x, y = rng.standard_normal((SAMPLES, size.N), np.float32), rng.integers(CLASSES, size=SAMPLES)
    return Dataset("memory", x, y, x[:1], y[:1], tuple(range(CLASSES)), (size.N,), "drawn", "none")
