"""What fills the space between sub-models: the global field of Eq. (31), and how a signal on its way feels it."""

from __future__ import annotations

from dataclasses import dataclass

from dynsim.errors import OptionError, unknown

LAWS = ("length", "damping")
# Lengths along which a field can be summed up; squared, reciprocal and dot are none.
LENGTHS = ("l1", "l2", "lp", "plummer")
POINTS = 4  # of a panel of the quadrature


@dataclass(frozen=True)
class Medium:
    """The density of all particles as a medium that signals cross (Eq. 29-31, Fig. 1b; docs/deviations.md).

    rho_l(v) is the mean of exp(-|v - q|^2 / (2 width^2)) over the particles of subsystem l, 0 ... 1 (dimensionless);
    the global field is n(v) = sum_l W_l rho_l(v), with a number W_l for each subsystem, group "medium:l", that moves.

    Attributes
    ----------
    law : "length", phi = g sum_h mu_h int (1 + n) |dv|, for metrics that are lengths; or "damping", the path integral
        arrives multiplied by exp(-int n |dv|_2).
    width : of the kernel, in units of q.
    nodes : of the composite Gauss-Legendre quadrature along a straight path, in panels of 4: error O(nodes^-8).
    strength : W_l at the start (dimensionless).

    Raises OptionError for another law or number of nodes.
    """

    law: str = "damping"
    width: float = 0.5
    nodes: int = 8
    strength: float = 1.0

    def __post_init__(self) -> None:
        if self.law not in LAWS:
            raise unknown("law of the medium", self.law, LAWS)
        if self.nodes < POINTS or self.nodes % POINTS:
            raise OptionError(
                "not a number of nodes", where="medium", given=self.nodes, allowed=f"multiples of {POINTS}"
            )
        if not self.width > 0:
            raise OptionError("the medium needs a width", where="medium", given=self.width, allowed="more than 0")
