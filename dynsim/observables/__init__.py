"""Observables; importing the package fills the registry with those of all its modules."""

from importlib import import_module
from pkgutil import iter_modules

from dynsim.observables.base import OBSERVABLES, Observable, Snapshot, briefly, find, measure, named, panels, widths

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["OBSERVABLES", "Observable", "Snapshot", "briefly", "find", "measure", "named", "panels", "widths"]
