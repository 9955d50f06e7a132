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
from dynsim.kernels import load
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
    print(load.thread_count(simulation.kernels), simulation.response.loss.hex(), digest.hexdigest())
"""


def runs_with_threads(threads, texts):
    """[(threads used, loss, digest of the state)] of each scenario, in a process with so many threads."""
    environment = dict(
        os.environ, NUMBA_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads), PYTHONPATH=os.pathsep.join(sys.path)
    )
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(
        command, input="=====\n".join(texts), env=environment, capture_output=True, text=True, check=True
    )
    return [line.split() for line in done.stdout.splitlines()]


def test_bits_do_not_depend_on_threads():
    texts = [t.format(device="cpu") for t in (QUICKSTART, MNIST)]
    one, two, three = (runs_with_threads(n, texts) for n in (1, 2, 3))
    assert [[line[0] for line in lines] for lines in (one, two, three)] == [["1"] * 2, ["2"] * 2, ["3"] * 2]
    assert [line[1:] for line in one] == [line[1:] for line in two] == [line[1:] for line in three]


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
