"""How particles move; importing the package fills the registry of integrators."""

from dynsim.dynamics import eq2 as eq2
