"""What tests have workers do; a module of its own, so that a worker loads little."""

import os
import signal
import time
from pathlib import Path


def fatal(trace, times):
    """Kills its worker so many times."""
    if _calls(trace) <= times:
        os.kill(os.getpid(), signal.SIGKILL)


def until(trace, sign):
    """Ends when there is a file; how often it was begun."""
    calls = _calls(trace)
    while not Path(sign).exists():
        time.sleep(0.01)
    return calls


def _calls(trace):
    with open(trace, "a+") as file:
        file.write("x")
        return file.tell()


def process_and_threads():
    return os.getpid(), os.environ["NUMBA_NUM_THREADS"]


def doubled(folder, n):
    """A unit of a study."""
    return {"twice": 2 * n, "pid": os.getpid()}
