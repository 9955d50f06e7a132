"""Time ours and a rival in turn, in one run, so that both meet the same machine: medians, and their ratio."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter, sleep
from typing import Any

import threadpoolctl

from dynsim.bench.case import Case, Context, Rival, Work

SECONDS, LEAST = 1.0, 5  # of repetitions for one pair; rounds at least
REST = 0.01  # s after a rival's round, until its threads have stopped to spin


@dataclass(frozen=True)
class Row:
    """A line of the table; `ratio` is rival_ms / ours_ms, `holds` whether it reaches the goal (None without one)."""

    name: str
    shape: str
    threads: int
    ours_ms: float
    rival: str
    rival_ms: float | None
    ratio: float | None
    goal: float | None
    holds: bool | None
    missing: str | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def rows(case: Case, context: Context) -> Iterator[Row]:
    """A row for each rival of a case; one that is not installed has no time and says what is missing."""
    with _ours(context.threads):
        ours = case.prepare()
        ours()
    for rival in case.rivals:
        yield _row(case, context, ours, rival)


def _row(case: Case, context: Context, ours: Work, rival: Rival) -> Row:
    common: dict[str, Any] = {"name": case.name, "shape": case.shape, "threads": context.threads, "rival": rival.name}
    if not rival.installed:
        mine, _ = _interleaved(ours, None, context.threads, case.most)
        return Row(
            **common, ours_ms=mine, rival_ms=None, ratio=None, goal=rival.goal, holds=None, missing=rival.requires
        )
    with _theirs(context.threads):
        theirs = rival.prepare()
        theirs()
    mine, other = _interleaved(ours, theirs, context.threads, case.most)
    ratio = other / mine
    holds = None if rival.goal is None else ratio >= rival.goal
    return Row(**common, ours_ms=mine, rival_ms=other, ratio=ratio, goal=rival.goal, holds=holds)


def _interleaved(ours: Work, theirs: Work | None, threads: int, most: int) -> tuple[float, float]:
    """Medians in milliseconds over as many rounds as fit into the time, each round ours and then theirs."""
    mine: list[float] = []
    other: list[float] = []
    while len(mine) < min(LEAST, most) or (sum(mine) + sum(other) < SECONDS and len(mine) < most):
        with _ours(threads):
            mine.append(_timed(ours))
        if theirs is not None:
            with _theirs(threads):
                other.append(_timed(theirs))
            sleep(REST)
    return 1e3 * statistics.median(mine), 1e3 * statistics.median(other) if other else 0.0


def _timed(work: Work) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


@contextmanager
def _ours(threads: int) -> Iterator[None]:
    """As the engine runs: `threads` kernel threads, BLAS with one thread a call."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    try:
        with threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        numba.set_num_threads(before)


@contextmanager
def _theirs(threads: int) -> Iterator[None]:
    """As a rival would run: all its libraries with `threads` threads."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    with threadpoolctl.threadpool_limits(limits=threads):
        yield
