"""What it costs to record every 20th step of a shipped scenario: observables, frame and file, beside the bare steps."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.runs import start
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

EVERY = 20
SCENARIOS = ("quickstart", "moons", "gas", "mnist_mlp")
GOAL = 1 / 1.03  # recording costs less than 3 %


@benchmark("recording")
def recording(context: Context) -> Iterator[Case]:
    """As many steps as lie between two frames, with the frame and without."""
    for name in SCENARIOS:
        scenario = Scenario.load(name).changed(**{"record.every": EVERY, "run.checkpoint": 1e6})
        rivals = (Rival("no recording", partial(_bare, scenario), GOAL),)
        yield Case(f"recording {name}", f"every {EVERY} steps", partial(_recorded, scenario), rivals, most=30)


def _recorded(scenario: Scenario) -> Work:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _steps(start(scenario, f"{folder}/run").step)


def _bare(scenario: Scenario) -> Work:
    return _steps(Simulation(scenario).step)


def _steps(step: Callable[[], object]) -> Work:
    def work() -> None:
        for _ in range(EVERY):
            step()

    return work
