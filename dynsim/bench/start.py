"""Cold start: from a command to its first sign of life, each time in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from dynsim.bench.case import Case, Context, Rival, Work, benchmark

FIRST_STEP = """
import tempfile
from dynsim.importing import uncollected
with uncollected():
    from dynsim.runs import start
    from dynsim.scenario import Scenario
with tempfile.TemporaryDirectory() as folder, start(Scenario.load({scenario!r}), folder + "/run") as recording:
    recording.step()
"""
TORCH = Rival("python -c 'import torch'", lambda: _process("-c", "import torch")(), requires="torch")


@benchmark("start")
def start(context: Context) -> Iterator[Case]:
    """Of a command that computes nothing, and of a run whose kernels are compiled already."""
    if context.threads > 1:  # nothing here has any use for another thread
        return
    yield Case("dynsim --help", "-", _process("-m", "dynsim", "--help"), (_allowed(500.0), TORCH), most=3)
    for scenario in ("quickstart", "mnist_mlp"):
        work = _process("-c", FIRST_STEP.format(scenario=scenario))
        yield Case("first step", scenario, work, (_allowed(1500.0),), most=5)


def _allowed(ms: float) -> Rival:
    return Rival(f"allowed: {ms / 1e3:g} s", ms, 1.0)


def _process(*arguments: str) -> Callable[[], Work]:
    command = [sys.executable, *arguments]
    as_installed = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # or each start would compile all modules again
    return lambda: lambda: subprocess.run(command, check=True, capture_output=True, env=as_installed)
