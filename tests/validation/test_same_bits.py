"""A seed decides every bit, for any number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dynsim.scenario import Scenario
from dynsim.simulation import Simulation

# Wide enough that the kernels share the work among threads.
QUICKSTART = """
[system]
layers = ["auto", 512, "auto"]
copies = 8
[field]
dataset = "digits"
batch = 256
[dynamics]
law = "signal"
[run]
steps = 20
device = "{device}"
"""
MNIST = """
[system]
layers = [784, 128, 10]
copies = 4
[field]
dataset = "mnist"
samples = 600
[run]
steps = 5
device = "{device}"
"""
SCRIPT = """
import hashlib, sys
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
for text in sys.stdin.read().split("=====\\n"):
    simulation = Simulation(Scenario.from_text(text))
    while not simulation.done:
        simulation.step()
    digest = hashlib.sha256()
    for groups in (simulation.system.x, simulation.system.v, simulation.system.force):
        for key in sorted(groups):
            digest.update(key.encode() + groups[key].tobytes())
    print(simulation.kernels.thread_count(), simulation.response.loss.hex(), digest.hexdigest())
"""


def runs_with_threads(threads, texts):
    """[(threads used, loss, digest of the state)] of each scenario, in a process with so many threads."""
    environment = dict(
        os.environ,
        NUMBA_NUM_THREADS=str(threads),
        OPENBLAS_NUM_THREADS=str(threads),
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(
        command, input="=====\n".join(texts), env=environment, capture_output=True, text=True, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_bits_do_not_depend_on_threads():
    texts = [t.format(device="cpu") for t in (QUICKSTART, MNIST)]
    one, two = (runs_with_threads(n, texts) for n in (1, 2))
    assert [[line[0] for line in lines] for lines in (one, two)] == [["1", "1"], ["2", "2"]]
    assert [line[1:] for line in one] == [line[1:] for line in two]


def run(device, seed):
    text = QUICKSTART.replace("512", "16").replace("256", "32").format(device=device)
    simulation = Simulation(Scenario.from_text(text, [f"run.seed={seed}"]))
    while not simulation.done:
        simulation.step()
    return simulation.system


@pytest.mark.parametrize(("seed", "same"), [(1, True), (2, False)])
def test_the_seed_decides_all(device, seed, same):
    first, second = run(device, 1), run(device, seed)
    for key in ("q:input", "q:hidden", "mu:input>hidden"):
        assert np.array_equal(first.x[key], second.x[key]) == same


@pytest.mark.parametrize("law", ["friction", "lagrangian", "signal"])
@pytest.mark.parametrize("integrator", ["kick-drift", "flow", "leapfrog", "eq10-literal", "adam"])
def test_looking_does_not_disturb(integrator, law):
    """A run whose every step is shown as a frame has the bits of one that nobody looks at."""
    text = QUICKSTART.replace("512", "8").replace("256", "32").format(device="reference")
    settings = [
        f'dynamics.integrator="{integrator}"',
        f'dynamics.law="{law}"',
        "run.steps=5",
        "record.every=1",
    ]
    unseen, seen = (Simulation(Scenario.from_text(text, settings)) for _ in range(2))
    while not unseen.done:
        unseen.step()
    assert [frame.step for frame in seen] == [0, 1, 2, 3, 4, 5]
    for groups in ("x", "v"):
        for key, a in getattr(unseen.system, groups).items():
            np.testing.assert_array_equal(getattr(seen.system, groups)[key], a)
