"""A link evaluated by sorted inference, Eq. (8)-(9): for metric l1 and coordinates that do not move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dynsim.errors import OptionError
from dynsim.kernels import sorted_l1
from dynsim.system.graph import Link, System


@dataclass(frozen=True)
class SortedLink:
    """The orders of one link's particles along every axis of every copy, ready to carry signals.

    Attributes
    ----------
    matmul : the device's product of matrices, for what is not sorted.
    a : (H d, M) axes of the emitting particles. b : (H d, N) of the receiving ones.
    c : (H d,) float64, gain mu_h of each axis.
    """

    matmul: Callable
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    @classmethod
    def of(cls, kernels, system: System, link: Link) -> SortedLink:
        """A link at the system's positions; raises OptionError for a metric other than l1."""
        if link.metric != "l1":
            raise OptionError(
                "only l1 path integrals have a sorted form", where=link.name, given=link.metric, allowed="l1"
            )
        if link.medium is not None:
            raise OptionError("a link through a medium has no sorted form", where=link.name, allowed='medium "none"')
        _, q_a, q_b, mu, gain, _, _ = system.link_arguments(link)
        a, b = (np.ascontiguousarray(q.swapaxes(1, 2)).reshape(-1, q.shape[1]) for q in (q_a, q_b))
        return cls(kernels.matmul, a, b, np.repeat(gain * mu.astype(np.float64), q_a.shape[2]))

    @cached_property
    def _prefix(self):
        return sorted_l1.prefix_order(self.a, self.b)

    @cached_property
    def _merged(self):
        return sorted_l1.merged_steps(self.a, self.b)

    def receive(self, emitted: np.ndarray) -> np.ndarray:
        """(B, M) -> (B, N): sum_i E_i phi_ij, in the type of what is emitted; O(H d (M + N)) a sample."""
        _, singles = sorted_l1.shares(len(emitted))
        whole, rest = emitted[: len(emitted) - singles], emitted[len(emitted) - singles :]
        received = np.empty((len(emitted), self.b.shape[1]), emitted.dtype)
        if len(whole):
            received[: len(whole)] = sorted_l1.receive_in_blocks(self._merged, self.c, self.b.shape[1], whole)
        if singles:
            received[len(whole) :] = sorted_l1.receive_singly(self._prefix, self.b, self.c, rest)
        return received
