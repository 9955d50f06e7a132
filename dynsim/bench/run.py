"""All rows of the chosen benchmarks, and the table that shows them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dynsim.bench.case import BENCHMARKS, Context, cases
from dynsim.bench.timing import Row, rows
from dynsim.errors import OptionError
from dynsim.kernels.load import load


def run(names: Sequence[str], threads: str) -> list[Row]:
    """Rows of the named benchmarks, or of all.

    Raises OptionError for an unknown name, or numbers of threads that this machine has not.
    """
    import dynsim.bench  # noqa: F401 fills the registry

    kernels = load("cpu")
    found: list[Row] = []
    for count in _counts(threads):
        for name in names or sorted(BENCHMARKS):
            for case in cases(name, Context(kernels, count)):
                found += rows(case, Context(kernels, count))
    return found


def _counts(threads: str) -> list[int]:
    most = os.cpu_count() or 1
    parts = threads.split(",")
    if not all(p.strip().isdigit() and 1 <= int(p) <= most for p in parts):
        raise OptionError("not numbers of threads", where="--threads", given=threads, allowed=f"1 to {most}, as in 1,2")
    return [int(p) for p in parts]


def show(found: Sequence[Row]) -> None:
    """The rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("operation", "shape", "threads", "ours, ms", "rival", "its ms", "ratio", "goal", "holds", box=None)
    for r in found:
        times = (f"{r.rival_ms:.3g}", f"{r.ratio:.3g}x") if r.ratio is not None else (f"needs {r.missing}", "")
        goal, holds = ("", "") if r.goal is None else (f"{r.goal:g}x", {True: "yes", False: "NO", None: "?"}[r.holds])
        table.add_row(r.name, r.shape, str(r.threads), f"{r.ours_ms:.3g}", r.rival, *times, goal, holds)
    Console().print(table)
