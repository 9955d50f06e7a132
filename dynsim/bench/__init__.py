"""Benchmarks: each module of the package registers cases, timed against what people would use instead."""

from importlib import import_module
from pkgutil import iter_modules

from dynsim.bench.case import BENCHMARKS, Case, Context, Rival, benchmark, cases

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["BENCHMARKS", "Case", "Context", "Rival", "benchmark", "cases"]
