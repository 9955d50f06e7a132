"""Trajectory files: H5MD 1.1 with the whole state beside the 3-D view, written while the run goes on."""

from dynsim.trajectory.reader import Trajectory
from dynsim.trajectory.schema import MissingTrajectoryError
from dynsim.trajectory.writer import TrajectoryWriter, repair

__all__ = ["MissingTrajectoryError", "Trajectory", "TrajectoryWriter", "repair"]
