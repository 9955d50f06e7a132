"""Threads that share work: every task once, errors are heard of, callers and processes do not meet."""

import os
import subprocess
import sys
from threading import Barrier, Thread, current_thread

import numpy as np
import pytest
from numba import config

from dynsim.kernels.sharing import limited_to, share, thread_count


@pytest.fixture(autouse=True)
def two_threads():
    with limited_to(2):
        yield


def shared_by(tasks, operations=np.inf):
    """{task: the threads that did it}."""
    done = {}

    def work(first, step):
        for task in range(first, tasks, step):
            done.setdefault(task, []).append(current_thread())

    share(work, tasks, operations)
    return done


@pytest.mark.parametrize(("tasks", "threads"), [(1, 1), (2, 2), (7, 2)])
def test_each_task_is_done_once(tasks, threads):
    done = shared_by(tasks)
    assert sorted(done) == list(range(tasks))
    assert all(len(by) == 1 for by in done.values())
    assert len({by[0] for by in done.values()}) == threads


def test_a_limit_is_of_the_thread_that_sets_it_and_ends():
    seen = {}
    with limited_to(1):
        assert {by[0] for by in shared_by(7).values()} == {current_thread()}
        other = Thread(target=lambda: seen.update(count=thread_count()))
        other.start()
        other.join()
    assert thread_count() == 2
    assert seen["count"] == config.NUMBA_NUM_THREADS


def test_small_work_stays_with_the_caller():
    assert {by[0] for by in shared_by(7, operations=1000).values()} == {current_thread()}


@pytest.mark.parametrize("part", [0, 1])
def test_an_error_is_raised_when_all_is_done_and_nothing_is_stuck(part):
    ended = []

    def work(first, step):
        if first == part:
            raise ValueError(str(first))
        ended.append(first)

    with pytest.raises(ValueError, match=str(part)):
        share(work, 2, np.inf)
    assert ended == [1 - part]
    assert len(shared_by(7)) == 7


def test_callers_on_two_threads_have_helpers_of_their_own():
    """All four parts run at the same time, or the barrier breaks."""
    together, results = Barrier(4), []

    def call(name):
        parts = []

        def work(first, step):
            together.wait(60)
            parts.append((name, first))

        with limited_to(2):
            share(work, 2, np.inf)
        results.append(sorted(parts))

    callers = [Thread(target=call, args=(name,)) for name in "ab"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(results) == [[("a", 0), ("a", 1)], [("b", 0), ("b", 1)]]


FORKED = """
import os, warnings
import numpy as np
from dynsim.kernels.sharing import share

def total():
    parts = [0, 0]
    def work(first, step):
        parts[first] = sum(range(first, 100, step))
    share(work, 2, np.inf)
    return sum(parts)

assert total() == 4950
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: a fork while threads are there
    child = os.fork()
if not child:
    os._exit(0 if total() == 4950 else 1)
assert os.waitpid(child, 0)[1] == 0
assert total() == 4950
print("done")
"""


def test_a_forked_process_has_helpers_of_its_own_and_idle_ones_do_not_hold_up_the_end():
    environment = dict(os.environ, NUMBA_NUM_THREADS="2", PYTHONPATH=os.pathsep.join(sys.path))
    command = [sys.executable, "-W", "error", "-c", FORKED]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
