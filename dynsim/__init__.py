"""dynsim: a neural network as a cloud of interacting particles (the DyN system of Pei & Wang, ICML 2023).

from dynsim import Scenario, Simulation, DynClassifier
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynsim.backend.estimator import DynClassifier, DynRegressor
    from dynsim.backend.formats import load_model, save_model
    from dynsim.backend.inference import Model
    from dynsim.datasets import Dataset
    from dynsim.errors import DynsimError
    from dynsim.frame import Cast, Frame
    from dynsim.runfolder import RunFolder
    from dynsim.runs import resume, run
    from dynsim.scenario import Scenario
    from dynsim.simulation import Simulation
    from dynsim.system.graph import Graph, Link, Subsystem, System
    from dynsim.trajectory.reader import Trajectory

# Imported when first used, so that `dynsim --help` needs no numerics.
_HOME = {
    "Cast": "dynsim.frame",
    "Dataset": "dynsim.datasets",
    "DynClassifier": "dynsim.backend.estimator",
    "DynRegressor": "dynsim.backend.estimator",
    "DynsimError": "dynsim.errors",
    "Frame": "dynsim.frame",
    "Graph": "dynsim.system.graph",
    "Link": "dynsim.system.graph",
    "Model": "dynsim.backend.inference",
    "RunFolder": "dynsim.runfolder",
    "Scenario": "dynsim.scenario",
    "Simulation": "dynsim.simulation",
    "Subsystem": "dynsim.system.graph",
    "System": "dynsim.system.graph",
    "Trajectory": "dynsim.trajectory.reader",
    "load_model": "dynsim.backend.formats",
    "resume": "dynsim.runs",
    "run": "dynsim.runs",
    "save_model": "dynsim.backend.formats",
}
__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("dynsim")
    if name not in _HOME:
        raise AttributeError(f"module 'dynsim' has no attribute {name!r}")
    from dynsim.importing import uncollected

    with uncollected():
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
