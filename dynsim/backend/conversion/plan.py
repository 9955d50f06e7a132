"""What a conversion shall do: its settings, and the jobs that follow from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.backend.conversion import rivals
from dynsim.backend.conversion.jobs import Job
from dynsim.backend.conversion.networks import Layer, Network
from dynsim.errors import OptionError, unknown

DYN = "dyn"
METHODS = (DYN, *rivals.METHODS)
DEFAULT = {"metric": "l2", "copies": 3, "dim": 9}
GENEROUS = 2.5  # small layers get more than their share, and a fit takes long
FLOOR = 0.01  # of the mean importance: an input that is silent in the samples may speak later


@dataclass(frozen=True)
class Settings:
    """Everything that decides the result; see `dynsim.backend.conversion.convert.convert`."""

    metric: str | None = None
    copies: int | None = None
    dim: int | None = None
    bits: int | None = None
    steps: int | None = None
    budget_bytes: int | None = None
    budget_ratio: float | None = None
    only: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    data: str | None = None
    axes: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in METHODS:
                raise unknown("method", name, METHODS, where="--only")
        if self.seed < 0:
            raise OptionError("not a seed", where="--seed", given=self.seed, allowed="a whole number >= 0")
        if self.budget_bytes is not None and self.budget_ratio is not None:
            raise OptionError("two budgets", where="--budget-bytes, --budget-ratio", allowed="one of them")
        if self.budget_ratio is not None and not 0 < self.budget_ratio <= 1:
            raise OptionError(
                "not a share of the original bytes", where="--budget-ratio", given=self.budget_ratio, allowed="(0, 1]"
            )
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise OptionError("not a budget", where="--budget-bytes", given=self.budget_bytes, allowed="1 or more")
        self._check_mode()

    def _check_mode(self) -> None:
        fixed = {k: getattr(self, k) for k in ("metric", "copies", "dim", "bits", "steps")}
        given = [f"--{k}" for k, v in fixed.items() if v is not None]
        if not self.fixed and given:
            raise OptionError(
                "a budget chooses these by itself",
                where=", ".join(given),
                allowed="either a budget, or one metric, copies and dim for every layer",
            )
        if self.fixed and set(self.only) - {DYN}:
            raise OptionError(
                "without a budget every layer becomes particles",
                where="--only",
                given=", ".join(self.only),
                hint="--budget-ratio 0.25",
            )

    @property
    def fixed(self) -> bool:
        """Whether every layer gets the same form, instead of the best one under a budget."""
        return self.budget_bytes is None and self.budget_ratio is None

    @property
    def methods(self) -> tuple[str, ...]:
        """Those that compete."""
        return (DYN,) if self.fixed else self.only or METHODS

    def budget(self, network: Network) -> int | None:
        """Bytes that all tensors together may take, or None."""
        if self.budget_ratio is not None:
            return int(self.budget_ratio * network.nbytes)
        return self.budget_bytes

    def shown(self) -> dict[str, Any]:
        """What was asked for, without folders of the machine; JSON."""
        asked = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v not in (None, ())}
        if self.data is not None:
            asked["data"] = Path(self.data).name
        return asked | (self._form() if self.fixed else {})

    def _form(self) -> dict[str, Any]:
        asked = {k: getattr(self, k) for k in ("metric", "copies", "dim", "bits", "steps")}
        return DEFAULT | {k: v for k, v in asked.items() if v is not None}

    def form(self) -> dict[str, Any]:
        """Arguments of `fit_matrix` without a budget, else nothing."""
        return self._form() if self.fixed else {}


def fingerprint(network: Network, settings: Settings, data: str | None) -> str:
    """sha256 of all that decides the result."""
    parts = [network.file, network.sha256, asdict(settings) | {"data": data}]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def plan(
    network: Network, layers: tuple[Layer, ...], settings: Settings, channels: Mapping[str, np.ndarray]
) -> list[tuple[Layer, int, Job]]:
    """(layer, number of its layout, job): one for each layer, layout and method."""
    kept = network.nbytes - sum(network.tensors[x.name].nbytes for x in layers)
    budget = settings.budget(network)
    if budget is not None and budget < kept:
        raise too_small(network, budget, kept)
    found = []
    for i, layer in enumerate(layers):
        tensor = network.tensors[layer.name]
        most = None if budget is None else min(budget - kept, tensor.nbytes - 1)
        share = None if most is None or budget is None else min(most, _fair(network, layers, tensor, budget - kept))
        for j, layout in enumerate(layer.layouts):
            importance = _importance(layout.importance(channels[layer.name])) if layer.name in channels else None
            matrix = layout.matrix(tensor)
            for method in settings.methods:
                key, label = f"{i:04d}-{layout.name}-{method}", f"{network.file}, {layer.name}"
                limit = share if method == DYN else most
                job = Job(key, label, matrix, importance, method, settings.seed, limit, settings.form())
                found.append((layer, j, job))
    return found


def _fair(network: Network, layers: tuple[Layer, ...], tensor: np.ndarray, room: int) -> int:
    """The largest form to fit, in bytes: some times what the tensor would get if all were compressed alike."""
    return int(GENEROUS * room * tensor.nbytes / sum(network.tensors[x.name].nbytes for x in layers))


def _importance(rows: np.ndarray) -> np.ndarray:
    mean = rows.mean()
    return rows + FLOOR * mean if mean > 0 else np.ones_like(rows)


def too_small(network: Network, budget: int, least: int) -> OptionError:
    """The error for a budget that nothing fits."""
    return OptionError(
        "the budget is too small",
        where=network.file,
        given=f"{budget:,} bytes",
        allowed=f"at least {least:,} bytes, {100 * least / network.nbytes:.3g} % of the original's {network.nbytes:,}",
        hint="a larger budget, or fewer methods left out by --only",
    )
