"""Time ours and a rival in turn, in one run, so that both meet the same machine: medians, and their ratio."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
import threadpoolctl

from dynsim.bench.case import Case, Context, Rival, Work
from dynsim.kernels.sharing import limited_to

LEAST, FEWEST = 3, 2  # rounds of a pair where some benchmarks are timed, or all
LONG = 1.0  # s; where all are timed, a rival that takes longer is run once, without warming up
REST, LONGEST_REST = 0.005, 0.2  # s, for as long as threads of the work before still spin


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    name, shape, threads : of the case.
    ours_ms, rival_ms : medians in milliseconds; ratio is rival_ms / ours_ms, None where there is no rival.
    goal : least ratio wanted; holds : whether it is reached and the results agree, None without a goal or rival.
    missing : package that the rival needs and that is not installed.
    difference : between the results, over the largest value; agrees : whether it is small enough; None where they are
        not compared.
    rate, unit : what ours does a second, where the case says how much it does.
    at_work : share of the time of its threads that ours was computing; lower values tell of waiting, or of a machine
        that is busy with other things.
    """

    name: str
    shape: str
    threads: int
    ours_ms: float
    rival: str | None = None
    rival_ms: float | None = None
    ratio: float | None = None
    goal: float | None = None
    holds: bool | None = None
    missing: str | None = None
    difference: float | None = None
    agrees: bool | None = None
    rate: float | None = None
    unit: str | None = None
    at_work: float = 1.0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Times:
    """Medians in milliseconds, and the share of its threads' time that ours was computing."""

    ours: float
    theirs: float | None
    at_work: float


@dataclass(frozen=True)
class _Tried:
    """A rival's work, None where there is nothing to run; seconds of its first run, and how its result compares."""

    work: Work | None = None
    seconds: float = 0.0
    difference: float | None = None
    agrees: bool | None = None


def rows(case: Case, context: Context, seconds: float) -> Iterator[Row]:
    """A row for each rival of a case, or one where there is none; seconds that the rounds of a row may take."""
    with ours_alone(context.threads):
        ours = case.prepare()
        result = ours()
    for rival in case.rivals or (None,):
        tried = _tried(case, context.threads, result, rival)
        times = _interleaved(ours, tried, context, seconds, case.most)
        yield _row(case, context.threads, times, rival, tried)


def _tried(case: Case, threads: int, result: Any, rival: Rival | None) -> _Tried:
    """The rival's work, run once, and how far its result is from ours."""
    if rival is None or not rival.installed or not callable(rival.prepare):
        return _Tried()
    with theirs_alone(threads):
        theirs = rival.prepare()
        started = perf_counter()
        other = theirs()
        seconds = perf_counter() - started
    if case.tolerance is None or other is None:
        return _Tried(theirs, seconds)
    difference = _difference(result, other)
    return _Tried(theirs, seconds, difference, difference <= case.tolerance)


def _row(case: Case, threads: int, times: _Times, rival: Rival | None, tried: _Tried) -> Row:
    found: dict[str, Any] = {} if rival is None else _verdict(rival, times, tried.agrees)
    head: dict[str, Any] = {"name": case.name, "shape": case.shape, "threads": threads, "ours_ms": times.ours}
    rate = None if case.amount is None else 1e3 * case.amount / times.ours
    tail: dict[str, Any] = {
        "difference": tried.difference,
        "agrees": tried.agrees,
        "rate": rate,
        "unit": case.unit,
        "at_work": times.at_work,
    }
    return Row(**head, **found, **tail)


def _verdict(rival: Rival, times: _Times, agrees: bool | None) -> dict[str, Any]:
    known = {"rival": rival.name, "goal": rival.goal}
    if not rival.installed:
        return known | {"missing": rival.requires}
    rival_ms = times.theirs if callable(rival.prepare) else rival.prepare
    assert rival_ms is not None
    ratio = rival_ms / times.ours
    holds = None if rival.goal is None else bool(ratio >= rival.goal and agrees is not False)
    return known | {"rival_ms": rival_ms, "ratio": ratio, "holds": holds}


def _difference(ours: Any, theirs: Any) -> float:
    """The largest difference over the largest value, of arrays or tensors or tuples of them."""
    if isinstance(ours, tuple):
        return max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))
    a, b = (np.asarray(_on_host(x), np.float64) for x in (ours, theirs))
    return float(np.abs(a - b).max() / (np.abs(b).max() or 1.0))


def _on_host(x: Any) -> Any:
    """An array, of one or a tensor that may be on a card."""
    for leave in ("detach", "cpu", "get"):
        x = getattr(x, leave)() if hasattr(x, leave) else x
    return x


def _interleaved(ours: Work, tried: _Tried, context: Context, seconds: float, most: int) -> _Times:
    """As many rounds as fit into the time, each ours and then theirs."""
    threads, least = context.threads, min(FEWEST if context.brief else LEAST, most)
    once = context.brief and tried.seconds > LONG
    mine: list[float] = []
    other = [tried.seconds] if once else []
    theirs = None if once else tried.work
    computing, ends = 0.0, perf_counter() + seconds
    while len(mine) < least or (perf_counter() < ends and len(mine) < most):
        with ours_alone(threads):
            before = process_time()
            mine.append(_timed(ours))
            computing += process_time() - before
        if theirs is not None:
            with theirs_alone(threads):
                other.append(_timed(theirs))
    median = 1e3 * statistics.median(mine), 1e3 * statistics.median(other) if other else None
    return _Times(*median, at_work=computing / (sum(mine) * threads))


def _timed(work: Work) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


@contextmanager
def ours_alone(threads: int) -> Iterator[None]:
    """As the engine runs: `threads` kernel threads, BLAS with one thread a call; begins when all is quiet."""
    with limited_to(threads), threadpoolctl.threadpool_limits(limits=1, user_api="blas"):
        _rest()
        yield


@contextmanager
def theirs_alone(threads: int) -> Iterator[None]:
    """As a rival would run: all its libraries with `threads` threads; begins when all is quiet."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    with threadpoolctl.threadpool_limits(limits=threads):
        _rest()
        yield


def _rest() -> None:
    """Wait until no thread of this process computes: those of OpenMP and BLAS spin for a while after their work."""
    ends = perf_counter() + LONGEST_REST
    while perf_counter() < ends:
        before = process_time()
        sleep(REST)
        if process_time() - before < REST / 5:
            return
