"""What pushes: a field yields the energy and the stress force on every weight for the current weights.

The follow-up paper calls it a time-varying potential field, (S6)-(S8): each batch is another potential.
"""

from __future__ import annotations

from typing import Protocol

from dynsim.forces import Response
from dynsim.signals import Weights
from dynsim.system.graph import System


class Field(Protocol):
    """A potential field. New ones are a class with these two members and a line in `start.build_field`."""

    steps_per_epoch: int

    def respond(self, system: System, weights: dict[str, Weights], step: int) -> Response:
        """Energy and stress at a step, for the batch of that step."""
        ...
