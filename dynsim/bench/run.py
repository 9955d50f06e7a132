"""All rows of the chosen benchmarks, and the text that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import dynsim.bench  # noqa: F401 fills the registry
from dynsim.bench.case import BENCHMARKS, Context, cases
from dynsim.bench.timing import Row, rows
from dynsim.errors import OptionError, unknown
from dynsim.kernels.load import load, thread_count
from dynsim.progress import Progress

LIMITS = "limits"  # measured in every run
WHOLE, CHOSEN = 0.35, 1.5  # s for a row where all are timed, which is to take five minutes, or some
AT_WORK = 0.9  # share of its time that work of one thread should be computing


def run(names: Sequence[str], threads: str | None, progress: Progress) -> Iterator[tuple[str, list[Row]]]:
    """Each of the named benchmarks, or of all, with its rows; the machine's limits come first.

    threads : numbers of threads, as in "1,2"; None for one and, where there are, two.
    Raises OptionError for an unknown name, or numbers of threads that this machine has not.
    """
    kernels = load("cpu")
    for name in names:
        if name not in BENCHMARKS:
            raise unknown("benchmark", name, tuple(sorted(BENCHMARKS)))
    seconds = CHOSEN if names else WHOLE
    counts = _counts(threads, thread_count(kernels))
    chosen = [LIMITS, *(name for name in names or sorted(BENCHMARKS) if name != LIMITS)]
    for done, name in enumerate(chosen):
        found = []
        for count in counts:
            progress.phase(f"timing {name}, {_threads(count)} ({done + 1} of {len(chosen)})")
            context = Context(kernels, count, brief=not names)
            found += [row for case in cases(name, context) for row in rows(case, context, seconds)]
        yield name, found


def _counts(threads: str | None, most: int) -> list[int]:
    parts = [str(n) for n in range(1, min(2, most) + 1)] if threads is None else threads.split(",")
    if not all(p.strip().isdigit() and 1 <= int(p) <= most for p in parts):
        raise OptionError("not numbers of threads", where="--threads", given=threads, allowed=f"1 to {most}, as in 1,2")
    return [int(p) for p in parts]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def text(name: str, found: Sequence[Row]) -> Iterator[str]:
    """Lines of a benchmark: its cases, and under each its rows, about 80 wide."""
    compared = any(r.rival for r in found)
    yield f"{name:<14}{'ours':>9}" + (f" {'rival':>9} {'ratio':>8} {'goal':>7}" if compared else "")
    order = {case: i for i, case in enumerate(dict.fromkeys((r.name, r.shape) for r in found))}
    by_case = sorted(found, key=lambda r: (order[r.name, r.shape], r.threads))
    for (operation, shape), mine in groupby(by_case, key=lambda r: (r.name, r.shape)):
        yield f"{operation}, {shape}"
        yield from map(_line, mine)
    yield ""


def _line(r: Row) -> str:
    start = f"  {_threads(r.threads):<12}{_time(r.ours_ms)}"
    if r.rate is not None:
        return f"{start} {r.rate:>9.4g} {r.unit}"
    if r.rival is None:
        return start
    goal = "" if r.goal is None else f"{r.goal:g}x"
    if r.missing:
        return f"{start} {'-':>9} {'-':>8} {goal:>7}  ?   {r.rival}: needs {r.missing}, pip install {r.missing}"
    assert r.rival_ms is not None
    holds = {True: "yes", False: "NO", None: ""}[r.holds]
    differs = f" (results differ by {r.difference:.0e})" if r.agrees is False else ""
    return f"{start} {_time(r.rival_ms)} {f'{r.ratio:.3g}x':>8} {goal:>7}  {holds:<4}{r.rival}{differs}"


def _time(ms: float) -> str:
    """Nine characters, three digits."""
    return f"{ms / 1e3:>7.3g} s" if ms >= 999.5 else f"{ms:>6.3g} ms"


def warning(found: Sequence[Row]) -> str | None:
    """What to say where the machine was busy with other things."""
    alone = [r.at_work for r in found if r.threads == 1]
    share = sum(alone) / len(alone) if alone else 1.0
    if share >= AT_WORK:
        return None
    return f"warning: work of one thread got {share:.0%} of a core; other programs disturb this run, ratios are rough"
