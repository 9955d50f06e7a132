"""`dynsim reproduce`: which tables and figures there are, and how one is made."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from dynsim.errors import OptionError, unknown
from dynsim.reproduce.study import Study
from dynsim.reproduce.table import Table

# name -> (module, function, what it is)
TABLES = {
    "table1": ("table1", "table1", "sub-models for every kind of layer"),
    "table2": ("table2", "table2", "MNIST: networks as weights and as DyN, fitted and moved on"),
    "table3": ("quantised", "table3", "cost, and accuracy at delta 1e-3"),
    "table4": ("table4", "table4", "convolution by the k² and the 2k policy"),
    "fig5": ("quantised", "fig5", "accuracy against delta, by floor and by round"),
}


def reproduce(
    name: str, folder: Path, seeds: int = 5, quick: bool = False, jobs: int | None = None, quiet: bool = False
) -> list[Table]:
    """Make a table or figure again in a folder, where what is done already is kept: NAME.md, NAME.json, PNG, raw/.

    Raises OptionError for an unknown name or fewer than one seed.
    """
    if name not in TABLES:
        raise unknown("table or figure", name, tuple(TABLES))
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise OptionError("not a number of them", where="--seeds" if seeds < 1 else "--jobs", allowed="1 or more")
    module, function, _ = TABLES[name]
    make: Callable[[Study, int, bool], list[Table]] = getattr(import_module(f"dynsim.reproduce.{module}"), function)
    tables = make(Study(folder, jobs, quiet), seeds, quick)
    for table in tables:
        if quick:
            table.about = f"A quick run, which only shows that it runs: none of this is a result. {table.about}"
            table.verdict = []
        table.save(folder)
    return tables
