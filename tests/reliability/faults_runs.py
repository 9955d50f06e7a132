"""Runs that are to be broken: commands in children forked from a server that has imported everything."""

import hashlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from contextlib import suppress

import numpy as np
from safetensors.numpy import load

from dynsim.runfolder import CHECKPOINT, LOG, TRAJECTORY
from dynsim.trajectory import Trajectory, flags, repair

SCENARIO = """
[system]
layers = ["auto", 8, "auto"]
copies = 2
dim = 3
[field]
dataset = "moons"
samples = 120
batch = 40
[dynamics]
hyper.trained = ["eta"]
[run]
steps = {steps}
device = "{device}"
checkpoint = 0.05
[record]
every = 3
observables = ["loss", "energy"]
properties = ["velocity"]
"""
PATIENCE = 600


def command(arguments, said, threads, largest):
    """The child: one command of dynsim."""
    from dynsim.cli import main
    from dynsim.kernels.sharing import limited_to

    with open(said, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if largest is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    sys.argv = ["dynsim", *map(str, arguments)]
    with limited_to(threads):
        main()


class Command:
    """A command of dynsim in a child."""

    def __init__(self, folder, *arguments, threads=1, largest=None):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(
            ["faults_loaders", "faults_runs", "dynsim.cli", "dynsim.runs", "dynsim.kernels.cpu"]
        )
        self.said = folder / "said.txt"
        self._process = context.Process(target=command, args=(arguments, self.said, threads, largest))
        self._process.start()

    def send(self, number):
        """Send it a signal; whether it still lived."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        return not self.ended

    @property
    def ended(self):
        return self._process.exitcode is not None

    def code(self):
        """Its exit code, once it has ended."""
        self._process.join(PATIENCE)
        assert self.ended, "it hangs"
        return self._process.exitcode

    def words(self):
        return self.said.read_text(errors="replace")

    def until(self, path):
        """Wait until a file is there, or the command has ended."""
        end = time.monotonic() + PATIENCE
        while not path.exists() and not self.ended:
            assert time.monotonic() < end
            time.sleep(0.001)


class Broken:
    """A scenario, how it ends if nobody interferes, and the folder in which it is run again."""

    def __init__(self, folder, steps, device="reference", threads=1):
        self.folder, self.threads, self.repaired = folder, threads, 0
        self.scenario = folder / "broken.toml"
        self.scenario.write_text(SCENARIO.format(steps=steps, device=device))
        whole = folder / "whole"
        first = Command(folder, "run", self.scenario, "--out", whole, "--quiet", threads=threads)
        first.until(whole / LOG)
        begun = time.monotonic()
        assert first.code() == 0, first.words()
        self.seconds = time.monotonic() - begun
        self.bits = bits(whole)
        self.frames = frames(whole)

    def run(self, out, **options):
        """Begin it, or go on where it was; the command, once its folder is there."""
        arguments = ("resume", out) if (out / "scenario.toml").exists() else ("run", self.scenario, "--out", out)
        it = Command(self.folder, *arguments, "--quiet", threads=self.threads, **options)
        it.until(out / LOG)
        return it

    def ends_alike(self, out):
        """Whether a folder's run comes to the same bits in the end."""
        last = self.run(out)
        assert last.code() == 0, last.words()
        return bits(out) == self.bits

    def frames_are_sound(self, out):
        """Whether all frames that a folder has are, in order and bit for bit, those of the whole run.

        A file whose writer was killed before it let anybody follow is repaired first, as the error says.
        """
        path = out / TRAJECTORY
        if not path.exists():
            return True
        superblock = flags.read(path)
        if superblock.is_open and not superblock.is_followable:
            repair(path)
            self.repaired += 1
        found = frames(out)
        return found == self.frames[: len(found)]


def frames(folder):
    """A hash of each recorded frame."""
    with Trajectory(folder / TRAJECTORY) as t:
        return [_hash([f.positions, *f.properties.values(), *f.scalars.values()]) for f in map(t.frame, range(len(t)))]


def bits(folder):
    """A hash of the last state, and of everything in the trajectory but what is said about interruptions."""
    state = load((folder / CHECKPOINT).read_bytes())
    with Trajectory(folder / TRAJECTORY) as t:
        history = [t.history[name] for name in sorted(t.history)]
        return _hash([state[name] for name in sorted(state)]), _hash([t.steps, t.times, *history]), frames(folder)


def _hash(arrays):
    h = hashlib.sha256()
    for a in arrays:
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()
