"""Every case of `dynsim bench`, ours and each rival by itself, for pytest-benchmark's tables and comparisons.

    python -m pytest benchmarks/test_operations.py --benchmark-group-by=group -k path-integral

One thread; ratios and goals are measured by `dynsim bench`, which times ours and a rival in turn.
"""

import pytest

import dynsim.bench  # noqa: F401 fills the registry
from dynsim.bench.case import BENCHMARKS, Context, cases
from dynsim.bench.timing import ours_alone, theirs_alone
from dynsim.kernels.load import load

CONTEXT = Context(load("cpu"), threads=1)


def contestants():
    for name in sorted(BENCHMARKS):
        for case in cases(name, CONTEXT):
            group = f"{name}: {case.name}, {case.shape}"
            yield pytest.param(group, case.prepare, ours_alone, id=f"{group}-ours")
            for rival in case.rivals:
                if callable(rival.prepare):
                    missing = pytest.mark.skipif(not rival.installed, reason=f"needs {rival.requires}")
                    yield pytest.param(group, rival.prepare, theirs_alone, id=f"{group}-{rival.name}", marks=missing)


@pytest.mark.parametrize(("group", "prepare", "alone"), contestants())
def test_operation(benchmark, group, prepare, alone):
    benchmark.group = group
    with alone(CONTEXT.threads):
        work = prepare()
        work()
        benchmark(work)
    assert benchmark.stats.stats.rounds
