"""Every loader of dynsim by a short name, as the children of the tests call them."""

import resource
import time
import traceback
import warnings
from functools import cache
from pathlib import Path

import numpy as np

from dynsim import checkpoint, datasets
from dynsim.backend.conversion.converted import load_converted
from dynsim.backend.conversion.data import load_samples
from dynsim.backend.conversion.reading import read_network
from dynsim.backend.formats import load_model
from dynsim.backend.report import describe
from dynsim.datafiles import read_matrix
from dynsim.errors import DynsimError
from dynsim.runfolder import RunFolder
from dynsim.scenario import Scenario
from dynsim.simulation import Simulation
from dynsim.trajectory import Trajectory

MEMORY = 2**30  # that a child may take beside what it has when it begins


def read_trajectory(path):
    """Everything in a trajectory, checksummed or not."""
    with Trajectory(path) as t:
        frames = [t.frame(i) for i in range(len(t))]
        cast = [t.cast.subsystem, t.cast.index, t.cast.copy, t.cast.mass, t.cast.projection]
        rows = [f.positions for f in frames] + [a for f in frames for a in f.properties.values()]
        return [*cast, *rows, *t.history.values(), *t.observables.values(), t.steps, t.times, np.array(t.events)]


def read_checkpoint(path):
    simulation = Simulation(Scenario.load(Path(path).parent / "scenario.toml"))
    checkpoint.load(Path(path), simulation)
    simulation.step()


def peek_checkpoint(path):
    notes = checkpoint.peek(Path(path))
    checkpoint.pending_events(notes)


def open_run(path):
    folder = RunFolder.open(Path(path).parent)
    assert folder.summary is None or describe(folder.path)


def classify(path):
    model = load_model(Path(path))
    model.logits(np.zeros((1, model.network.input_shape[0]), np.float32))


def build(path, settings):
    Simulation(Scenario.load(path, settings)).step()


LOADERS = {
    "build": build,
    "data": datasets.load,
    "idx": datasets.read_idx,
    "matrix": lambda path: read_matrix(Path(path)),
    "samples": load_samples,
    "network": lambda path: read_network(Path(path)),
    "converted": load_converted,
    "model": classify,
    "info": lambda path: describe(Path(path)),
    "checkpoint": read_checkpoint,
    "peek": peek_checkpoint,
    "run": open_run,
    "scenario": Scenario.load,
    "trajectory": read_trajectory,
}


def limit_memory():
    """Half of what a claim of a few bytes could ask for is enough to be refused."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)


def open_with(kind, path, more=None):
    """How opening a file went: (fate, words, seconds of processor).

    more : of a scenario that is built, its settings; of a trajectory, the sound file: "changed" where what was read
        differs from what it holds.
    """
    begun = time.process_time()
    fate, words = "read", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", category=ResourceWarning)
            found = LOADERS[kind](path, *([more] if kind == "build" else []))
        if kind == "trajectory" and not _alike(found, _sound(more)):
            fate = "changed"
    except DynsimError as error:
        fate, words = "refused", str(error)
    except BaseException:
        fate, words = "strange", traceback.format_exc()
    return fate, words, time.process_time() - begun


@cache
def _sound(path):
    return read_trajectory(path)


def _alike(found, expected):
    return len(found) == len(expected) and all(np.array_equal(a, b) for a, b in zip(found, expected))
