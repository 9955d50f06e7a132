"""What a sweep loses: trials side by side against loops of a matrix product, and what it costs to hand one out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from weakref import finalize

import numpy as np

from dynsim.bench.case import Case, Context, Rival, Work, benchmark
from dynsim.scenario import Scenario
from dynsim.sweep.journal import Journal
from dynsim.sweep.parameters import parsed
from dynsim.sweep.plan import Plan
from dynsim.sweep.record import Outcome
from dynsim.sweep.trial import Task, work_out
from dynsim.workers import Workers, workers

JOBS, TASKS = 2, 8  # so many for all workers together: where there is one each, the slower core is waited for
STEPS, FEW = 500, 150  # of a trial: a second or two, or half of one where everything is timed
# A frame is written by a thread of its own, which a trial alone has another core for.
SELDOM = {"record.every": 100, "record.properties": []}
BEFORE = 50  # trials that a search has behind it
ALLOWED = 200.0  # ms, 2 % of a trial of 10 s
SIDE = 256  # of the matrices


@benchmark("sweep")
def sweep(context: Context) -> Iterator[Case]:
    """One process of one thread, or two, where two threads are timed."""
    if context.threads == 1 and find_spec("optuna") is not None:
        allowed = Rival("2 % of a trial of 10 s", ALLOWED, goal=1.0)
        yield Case("an empty trial", f"after {BEFORE} others", _empty, (allowed,), most=20)
    if context.threads == JOBS:
        pair = _Pair(FEW if context.brief else STEPS)
        loops = Rival("two loops of float32 products, alone as long as a trial", pair.loops, goal=0.95)
        yield Case(f"{TASKS} trials on two workers", f"xor, {pair.steps} steps", pair.trials, (loops,), most=5)


class _Pair:
    """Two workers, which do both ours and the rival's work; ended when nobody keeps them any more."""

    def __init__(self, steps: int) -> None:
        self.steps, self._numbers = steps, count()

    def trials(self) -> Work:
        stack = ExitStack()
        self._folder = Path(stack.enter_context(TemporaryDirectory()))
        self._pool = stack.enter_context(workers(JOBS))
        finalize(self, stack.close)
        (self._folder / "session").touch()
        return lambda: self._at_once(self._trial, TASKS)

    def loops(self) -> Work:
        """As many products as take one worker as long as one trial takes it, both alone."""
        times, trial = 50, self._at_once(self._trial, 1)
        while self._at_once(self._loop(times), 1) < trial / 2:
            times *= 2
        alone = [(self._at_once(self._trial, 1), self._at_once(self._loop(times), 1)) for _ in range(5)]
        work = self._loop(round(times * median(trial / loop for trial, loop in alone)))
        return lambda: self._at_once(work, TASKS)

    def _at_once(self, submit: Callable[[Workers], object], tasks: int) -> float:
        """Seconds that so many tasks take, of which each worker does one after the other."""
        started = perf_counter()
        for future in [submit(self._pool) for _ in range(tasks)]:
            future.result()  # type: ignore[attr-defined]
        return perf_counter() - started

    def _trial(self, pool: Workers) -> object:
        scenario = Scenario.load("xor").changed(**{"run.steps": self.steps} | SELDOM)
        number = next(self._numbers)
        session = self._folder / "session"
        return pool.submit(work_out, Task(number, scenario, {}, self._folder, "final.train_loss", session))

    @staticmethod
    def _loop(times: int) -> Callable[[Workers], object]:
        return lambda pool: pool.submit(products, times)


def products(times: int) -> float:
    """So many matrix products, one after the other."""
    a = np.full((SIDE, SIDE), 1 / SIDE, np.float32)
    b = a
    for _ in range(times):
        b = a @ b
    return float(b[0, 0])


def _empty() -> Work:
    """Everything that a sweep does about a trial, but the trial."""
    stack = ExitStack()
    folder = Path(stack.enter_context(TemporaryDirectory()))
    pool = stack.enter_context(workers(1))
    plan = Plan(
        Scenario.load("xor"), parsed(["dynamics.dt=log:0.05:2", "system.copies=2,4"]), "final.test_loss", "minimise"
    )
    journal = Journal(folder, plan, 10**6)
    journal.begin()

    def once() -> None:
        number, settings = journal.next() or (0, {})
        task = Task(number, plan.scenario, settings, folder, plan.objective, folder)
        journal.tell(number, pool.submit(nothing, task).result())
        journal.record().save()

    for _ in range(BEFORE):
        once()
    finalize(once, stack.close)
    return once


def nothing(task: Task) -> Outcome:
    """A trial that takes no time."""
    return Outcome("complete", 1.0 / (1 + task.number), 0.0)
