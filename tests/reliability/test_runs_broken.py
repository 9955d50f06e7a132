"""Kills, signals, full disks and neighbours: no run is lost, and each ends in the bits of one that nobody disturbed."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from faults import FULL
from faults_runs import Broken, Command

from dynsim import runs
from dynsim.errors import RunFolderError
from dynsim.feed import FileFeed

STEPS = 300 if FULL else 80


@pytest.fixture(scope="module", params=[1, 2] if FULL else [2], ids="{} threads".format)
def broken(request, tmp_path_factory):
    """The scenario on so many threads."""
    return Broken(tmp_path_factory.mktemp("broken"), STEPS, "cpu", min(request.param, os.cpu_count() or 1))


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The scenario without compiled kernels, which begins sooner."""
    return Broken(tmp_path_factory.mktemp("once"), STEPS)


@pytest.fixture
def free(tmp_path):
    """A disk of 100 MiB of its own; where nobody may mount one, None."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.counts(2, 25)
def test_kills(broken, count, rng, tally, tmp_path):
    """Each run is killed at random times, two times if it lives so long, and then left in peace."""
    kills = sound = runs = alike = 0
    while kills < count:
        out, runs = tmp_path / f"run-{runs}", runs + 1
        for _ in range(2):
            it = broken.run(out)
            time.sleep(rng.uniform(0, 0.4 * broken.seconds))
            it.send(signal.SIGKILL)
            if it.code() == -signal.SIGKILL:
                kills += 1
            else:  # it was quicker than the first, which had kernels to compile
                broken.seconds *= 0.7
            sound += broken.frames_are_sound(out)
        alike += broken.ends_alike(out)
        shutil.rmtree(out)
    repairs = f"{broken.repaired} after dynsim repair"
    tally(f"trajectories after kills on {broken.threads} threads readable, no frame torn", sound, 2 * runs, repairs)
    tally(f"{kills} kills on {broken.threads} threads, resumed to the same bits", alike, runs)


@pytest.mark.counts(2, 20)
def test_signals(once, count, rng, tally, tmp_path):
    good, slowest, most = 0, 0.0, 2.0 if FULL else 60.0
    for k in range(count):
        out, number = tmp_path / f"run-{k}", (signal.SIGINT, signal.SIGTERM)[k % 2]
        it = once.run(out)
        time.sleep(rng.uniform(0, 0.8 * once.seconds))
        it.send(number)
        begun = time.monotonic()
        code = it.code()
        slowest = max(slowest, time.monotonic() - begun)
        assert code in (0, 128 + number), it.words()
        assert code == 0 or "dynsim resume" in it.words()
        good += slowest < most and once.frames_are_sound(out) and once.ends_alike(out)
        shutil.rmtree(out)
    tally("signals obeyed, resumed to the same bits", good, count, f"slowest {slowest:.2f} s" if FULL else "")


@pytest.mark.counts(1, 5)
def test_disks_that_fill_up(once, free, count, rng, tally, tmp_path):
    """Somebody else takes all the room that is left, at any time; half of it the next time."""
    if free is None:
        pytest.skip("only root has disks to fill")
    good = 0
    for _ in range(count):
        out, filler = free / "run", free / "filler"
        it = once.run(out)
        time.sleep(rng.uniform(0, 0.5 * once.seconds))
        _fill(filler)
        assert it.code() in (0, 1), it.words()
        assert it.code() == 0 or "disk" in it.words() or "room" in it.words(), it.words()
        sound = once.frames_are_sound(out)
        filler.unlink()
        good += sound and once.ends_alike(out)
        shutil.rmtree(out)
    tally("disks filled by others, clean ends, resumed to the same bits", good, count)


def _fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(2**20)):
                pass
        except OSError:
            return


@pytest.mark.counts(1, 5)
def test_files_that_may_not_grow(once, count, rng, tally, tmp_path):
    """The system refuses a write in the middle of a file, which no look at the free space foretells."""
    good = 0
    for k in range(count):
        out = tmp_path / f"run-{k}"
        it = once.run(out, largest=int(rng.integers(2**16, 2**21)))
        assert it.code() in (0, 1), f"{it.code()} {it.words()}"
        assert it.code() == 0 or "error:" in it.words(), it.words()
        good += once.frames_are_sound(out) and once.ends_alike(out)
        shutil.rmtree(out)
    tally("files that may not grow, clean ends, resumed to the same bits", good, count)


def test_the_second_process_on_a_folder_is_refused(once, tmp_path, tally):
    out = tmp_path / "run"
    first = once.run(out)
    while not first.ended:
        try:
            runs.reopen(out).close()
        except RunFolderError as error:
            refused = str(error)
            break
    else:
        pytest.fail("it ended before anybody asked")
    assert "in use" in refused
    assert first.code() == 0
    tally("second process on a folder refused, the first undisturbed", once.frames_are_sound(out), 1)


def test_a_folder_that_cannot_be_written_is_refused(once, tmp_path, tally):
    place = tmp_path / "locked"
    place.mkdir()
    (place / "file").write_text("")
    place.chmod(0o555)
    out = place / "file" / "run" if os.geteuid() == 0 else place / "run"  # root may write anywhere but into a file
    it = Command(tmp_path, "run", once.scenario, "--out", out, "--quiet")
    assert it.code() in (1, 2)
    tally("folder that cannot be written refused", int("error:" in it.words() and "Traceback" not in it.words()), 1)


@pytest.mark.parametrize("stamp", [0, 2**32], ids=["1970", "2106"])
def test_a_clock_that_was_set_does_not_matter(once, tmp_path, stamp, tally):
    out = tmp_path / "run"
    it = once.run(out)
    it.until(out / "checkpoints" / "latest.safetensors")
    it.send(signal.SIGKILL)
    it.code()
    for path in (out, *out.rglob("*")):
        os.utime(path, (stamp, stamp))
    tally(f"clock set, files of {1970 if not stamp else 2106}", int(once.ends_alike(out)), 1)


def test_a_follower_stays_with_a_run_that_is_killed_and_gone_on_with(tmp_path):
    folder, settings = tmp_path / "run", ("run.steps=400", "record.every=1", "run.checkpoint_steps=50")
    dynsim = sys.executable, "-m", "dynsim"
    begun = subprocess.Popen(
        [*dynsim, "run", "xor", "--quiet", "--out", folder, *(a for s in settings for a in ("--set", s))]
    )
    while not (folder / "checkpoints" / "latest.safetensors").exists():
        assert begun.poll() is None
        time.sleep(0.02)
    feed = FileFeed(folder / "trajectory.h5", period=0.0)
    while len(feed.steps) < 80:
        feed.poll()
    begun.kill()
    begun.wait()
    resumed = subprocess.Popen([*dynsim, "resume", folder, "--quiet"])
    while resumed.poll() is None:
        feed.poll()
        assert (np.diff(feed.steps) > 0).all()
    feed.poll()
    assert resumed.returncode == 0
    assert feed.steps.tolist() == list(range(401))
    assert feed.frame(400).step == 400
    feed.close()
