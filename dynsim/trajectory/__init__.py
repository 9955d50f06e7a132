"""Trajectory files: H5MD 1.1 with the whole state beside the 3-D view, written while the run goes on."""

from dynsim.trajectory.mending import Repaired, repair
from dynsim.trajectory.reader import Trajectory
from dynsim.trajectory.schema import MissingTrajectoryError
from dynsim.trajectory.writer import TrajectoryWriter

__all__ = ["MissingTrajectoryError", "Repaired", "Trajectory", "TrajectoryWriter", "repair"]
