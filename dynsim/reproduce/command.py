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
    "fig4": ("structure", "fig4", "accuracy against LapCurSE, beside the null control"),
    "fig5": ("quantised", "fig5", "accuracy against delta, by floor and by round"),
    "fig6": ("structure", "fig6", "do particles move to where fewer or more of them are?"),
    "fig7": ("fig7", "fig7", "workload against width; accuracy against parameters and resolution"),
    "fig8": ("fig8", "fig8", "accuracy against how much is DyN; links interactive or isolated (Eq. 61)"),
    "lemma-c2": ("lemma", "lemma_c2", "error of the best fit against H, to the bound of Eq. 19 and beyond"),
    "merging": ("merging", "merging", "accuracy against the fraction of particles merged"),
    "sequences": ("sequences", "sequences", "Eq. 2: a bank of sines and the driven Lorenz system"),
    "s-table1": ("followup_fits", "s_table1", "follow-up: accuracy against the dimension of the particles"),
    "s-table2": ("discrepancies", "s_table2", "follow-up: dynamical discrepancy over the training of other networks"),
    "s-table3": ("discrepancies", "s_table3", "follow-up: dynamical discrepancy under fine-tuning"),
    "s-fig2": ("followup_views", "s_fig2", "follow-up: t-SNE of LeNet-5, and of its controls"),
    "s-fig3": ("discrepancies", "s_fig3", "follow-up: dynamical discrepancy of LeNet-5 while it learns"),
    "s-fig4": ("followup_views", "s_fig4", "follow-up: t-SNE of the layers of a convolutional network"),
    "s-fig5": ("followup_views", "s_fig5", "follow-up: t-SNE of a transformer's layer"),
    "s-width": ("discrepancies", "s_width", "Theorem 3.1: dynamical discrepancy against the hidden width"),
    "s-field": ("followup_fits", "s_field", "(S6)-(S8): particles that follow a moving matrix; Algorithm 1"),
}


def reproduce(
    name: str,
    folder: Path,
    seeds: int = 5,
    quick: bool = False,
    jobs: int | None = None,
    quiet: bool = False,
    dask: str | None = None,
) -> list[Table]:
    """Make a table or figure again in a folder, where what is done already is kept: NAME.md, NAME.json, PNG, raw/.

    jobs, dask : worker processes, or the Dask scheduler whose workers do it (`dynsim.workers`).
    Raises OptionError for an unknown name or fewer than one seed.
    """
    if name not in TABLES:
        raise unknown("table or figure", name, tuple(TABLES))
    if seeds < 1 or (jobs is not None and jobs < 1):
        raise OptionError("not a number of them", where="--seeds" if seeds < 1 else "--jobs", allowed="1 or more")
    module, function, _ = TABLES[name]
    make: Callable[[Study, int, bool], list[Table]] = getattr(import_module(f"dynsim.reproduce.{module}"), function)
    tables = make(Study(folder, jobs, quiet, dask), seeds, quick)
    for table in tables:
        if quick:
            table.about = f"A quick run, which only shows that it runs: none of this is a result. {table.about}"
            table.verdict = []
        table.save(folder)
    return tables
