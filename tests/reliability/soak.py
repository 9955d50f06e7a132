"""A long run with a recording and a follower: what it takes of memory, files and time, at the start and at the end.

    python tests/reliability/soak.py --minutes 60

Prints a table row for each promise, and exits with 1 where one is broken. The rate of steps is taken per second of
processor time and beside that of a young run of the same scenario, which this process makes anew every so often: what
neighbours take of the machine's caches and clock slows both.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from dynsim import Scenario, Simulation
from dynsim.feed import FileFeed

# The cloud moves all the time: with its usual warm-up, a share of the run, it would stand still for the hour.
MOVING = ("run.steps=1000000000", "dynamics.warmup=0", "dynamics.decay=0")
SETTINGS = (*MOVING, "record.every=10", "run.checkpoint=30")
PERIOD, WARM = 2.0, 0.2  # seconds between two looks; the part of the time that is warm-up
YOUNG = 10  # looks from one young run to the next
COLUMNS = ["time", "step", "cpu", "rss", "files", "follower_rss", "follower_files", "young"]


def young_rate(steps=200):
    """Steps per second of processor time of a run that has just begun."""
    simulation = Simulation(Scenario.load("moons", MOVING))
    for _ in range(20):
        simulation.step()
    begun = time.process_time()
    for _ in range(steps):
        simulation.step()
    return steps / (time.process_time() - begun)


def watched(folder, seconds):
    """(a row of COLUMNS for each look, exit code)."""
    settings = [a for s in (*SETTINGS, f"run.stop.time={seconds}") for a in ("--set", s)]
    command = [sys.executable, "-m", "dynsim", "run", "moons", "--out", folder, "--quiet", *settings]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    it, me, rows, step = psutil.Process(run.pid), psutil.Process(), [], 0
    while not (folder / "trajectory.h5").exists():
        assert run.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    feed = FileFeed(folder / "trajectory.h5")
    begun, looked, young = time.monotonic(), 0.0, 0.0
    while run.poll() is None:
        news = feed.poll()
        step = news.frame.step if news.frame is not None else step
        if time.monotonic() - looked >= PERIOD:
            if len(rows) % YOUNG == 0:
                young = young_rate()
            looked = time.monotonic()
            try:
                cpu = it.cpu_times()
                row = [looked - begun, step, cpu.user + cpu.system, it.memory_info().rss, it.num_fds()]
            except psutil.Error:  # it has just ended
                break
            rows.append([*row, me.memory_info().rss, me.num_fds(), young])
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
    (first, one), (last, other) = rates(warm[: len(warm) // 4]), rates(warm[-len(warm) // 4 :])
    change = (last / other) / (first / one) - 1
    figure = f"{first:.0f} to {last:.0f} a CPU second, a young run {one:.0f} to {other:.0f}: {change:+.1%}"
    yield "steps, first and last quarter", change > -0.05, figure


def rates(rows):
    """(Steps per second of processor time of the run, of the young runs beside it)."""
    went = rows[-1] - rows[0]
    return went[1] / went[2], 1 / np.mean(1 / rows[::YOUNG, 7])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rows", help="a CSV file for what was seen")
    asked = parser.parse_args()
    minutes = asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        rows, code = watched(Path(folder) / "run", 60 * minutes)
        size = (Path(folder) / "run" / "trajectory.h5").stat().st_size
    first = f"soak of {minutes:g} minutes", code == 0, f"{rows[-1, 1]:.0f} steps, {size / 1e6:.0f} MB"
    if asked.rows:
        with open(asked.rows, "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    table = [first, *verdicts(rows)]
    lines = (f"| {what} | {'held' if held else 'BROKEN'} | {figure} |" for what, held, figure in table)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if all(held for _, held, _ in table) else 1


if __name__ == "__main__":
    sys.exit(main())
