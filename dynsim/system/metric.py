"""The registry of metrics: what each is, where it comes from, what it allows.

The numerics live in `dynsim.kernels`; here is what the rest of the house needs to know about a metric.
"""

from __future__ import annotations

from dataclasses import dataclass

from dynsim.errors import unknown


@dataclass(frozen=True)
class Metric:
    """A path-integral metric f(v), v = q_i - q_j.

    Attributes
    ----------
    name : as written in a scenario.
    formula : f in words.
    source : paper and equation.
    low_rank : W is a product of two thin matrices, so it is never built for a product.
    trained_eps : eps is a particle of its own and moves.
    particles : False for plain weights, which have no coordinates behind them.
    """

    name: str
    formula: str
    source: str
    low_rank: bool = False
    trained_eps: bool = False
    particles: bool = True


_ALL = (
    Metric("l1", "|v|_1", "Eq. (5), p = 1; the only one with the sorted inference of Eq. (8)-(9)"),
    Metric("l2", "sqrt(|v|^2 + eps^2)", "Eq. (5), p = 2; eps removes the kink at 0"),
    Metric("lp", "(sum |v|^p)^(1/p)", "Eq. (5)"),
    Metric("squared", "|v|^2 / 2", "Eq. (37)", low_rank=True),
    Metric("reciprocal", "1 / sqrt(|v|^2 + eps^2)", "poster, c/mu_q(.); (S1), E/d", trained_eps=True),
    Metric("plummer", "sqrt(|v|^2 + eps^2), eps learned", "Eq. (5), p = 2, softened", trained_eps=True),
    Metric("dot", "q_i . q_j", "plain low rank, the control in comparisons", low_rank=True),
    Metric("weights", "a free matrix", "the weight-based twin, for comparison", particles=False),
)
METRICS = {m.name: m for m in _ALL}


def metric(name: str) -> Metric:
    """The metric of that name; raises OptionError that lists the options."""
    if name not in METRICS:
        raise unknown("metric", name, tuple(METRICS))
    return METRICS[name]
