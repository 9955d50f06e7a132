"""A long run with a recording and a follower: what it takes of memory, files and time, at the start and at the end.

    python tests/reliability/soak.py --minutes 60

Prints a table row for each promise, and exits with 1 where one is broken. The rate of steps is taken per second of the
run's processor time: neighbours on the machine do not count.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from dynsim.feed import FileFeed

SETTINGS = ("record.every=10", "run.steps=1000000000", "run.checkpoint=30")
PERIOD, WARM = 2.0, 0.2  # seconds between two looks; the part of the time that is warm-up


def watched(folder, seconds):
    """(rows of time, step, CPU seconds, bytes and files of the run, bytes and files of the follower, exit code)."""
    settings = [a for s in (*SETTINGS, f"run.stop.time={seconds}") for a in ("--set", s)]
    command = [sys.executable, "-m", "dynsim", "run", "moons", "--out", folder, "--quiet", *settings]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    it, me, rows, step = psutil.Process(run.pid), psutil.Process(), [], 0
    while not (folder / "trajectory.h5").exists():
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    feed = FileFeed(folder / "trajectory.h5")
    begun = looked = time.monotonic()
    while run.poll() is None:
        news = feed.poll()
        step = news.frame.step if news.frame is not None else step
        if time.monotonic() - looked >= PERIOD:
            looked = time.monotonic()
            try:
                cpu = it.cpu_times()
                row = [looked - begun, step, cpu.user + cpu.system, it.memory_info().rss, it.num_fds()]
            except psutil.Error:  # it has just ended
                break
            rows.append([*row, me.memory_info().rss, me.num_fds()])
        time.sleep(0.05)
    feed.close()
    return np.array(rows[:-2], float), run.wait()  # in the last two it may have been evaluating


def slope(t, memory):
    """MB a minute, by least squares."""
    return np.polyfit(t / 60, memory / 1e6, 1)[0]


def verdicts(rows):
    """(what, whether it held, figure) of every promise."""
    t = rows[:, 0]
    warm = rows[t > WARM * t[-1]]
    for name, column in (("run", 3), ("follower", 5)):
        grows = slope(warm[:, 0], warm[:, column])
        yield f"resident memory of the {name}", grows < 1, f"{grows:+.3f} MB/min, {warm[-1, column] / 1e6:.0f} MB"
        files = warm[:, column + 1]
        yield f"open files of the {name}", files[-1] <= files[0], f"{files[0]:.0f} to {files[-1]:.0f}"
    quarter = len(warm) // 4
    first, last = ((a[-1, 1] - a[0, 1]) / (a[-1, 2] - a[0, 2]) for a in (warm[:quarter], warm[-quarter:]))
    figure = f"{first:.0f} to {last:.0f} a second of processor time, {100 * (last / first - 1):+.1f} %"
    yield "steps, first and last quarter", last > 0.95 * first, figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        rows, code = watched(Path(folder) / "run", 60 * minutes)
        size = (Path(folder) / "run" / "trajectory.h5").stat().st_size
    first = f"soak of {minutes:g} minutes", code == 0, f"{rows[-1, 1]:.0f} steps, {size / 1e6:.0f} MB"
    table = [first, *verdicts(rows)]
    lines = (f"| {what} | {'held' if held else 'BROKEN'} | {figure} |" for what, held, figure in table)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(held for _, held, _ in table) else 1


if __name__ == "__main__":
    sys.exit(main())
