"""Observables; importing the package fills the registry."""

from dynsim.observables import curvature, energy, entropy, learning, particles, workload
from dynsim.observables.base import OBSERVABLES, Snapshot, find, measure, named

__all__ = [
    "OBSERVABLES",
    "Snapshot",
    "curvature",
    "energy",
    "entropy",
    "find",
    "learning",
    "measure",
    "named",
    "particles",
    "workload",
]
