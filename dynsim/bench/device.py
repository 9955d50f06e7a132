"""`dynsim bench --device cuda`: the kernels and whole steps on a card, beside what the card can do at best.

First every kernel's results are checked against the reference on fresh random input. Times are medians on the clock,
from a call in Python until the card has finished.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from dynsim.bench.case import Context
from dynsim.bench.device_cases import DEVICE_BENCHMARKS, DeviceCase, limits
from dynsim.bench.timing import Row, rows
from dynsim.errors import unknown
from dynsim.kernels import cards, checks
from dynsim.kernels.load import hardware, load, thread_count
from dynsim.progress import Progress

SECONDS = 0.5  # that the rounds of a row may take
QUICK = ("sums", "pool_back", "occupied_cells", "matmul")  # checked on the simulator


@dataclass(frozen=True)
class DeviceRow:
    """A line of the table.

    Attributes
    ----------
    row : times and rival.
    gb_s, tflop_s : what went through memory and through arithmetic at least, a second (`device_costs`).
    of_copy, of_product : the same over what a copy, or a product of matrices, reached in this run.
    """

    row: Row
    gb_s: float | None = None
    tflop_s: float | None = None
    of_copy: float | None = None
    of_product: float | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return self.row.plain() | {k: v for k, v in asdict(self).items() if k != "row"}


@dataclass(frozen=True)
class Found:
    """What a run of the benchmarks has found.

    Attributes
    ----------
    hardware : on what. checked : the worst check of each kernel. copy_gb_s, product_tflop_s : the card at best, NaN
        where that could not be measured.
    failed : what raised an error -> its traceback; it has no rows.
    """

    hardware: dict[str, str]
    checked: dict[str, checks.Check]
    copy_gb_s: float
    product_tflop_s: float
    rows: dict[str, list[DeviceRow]]
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """Whether nothing failed and all results are right: of the kernels, and of the rivals that were compared."""
        compared = [r.row.agrees for found in self.rows.values() for r in found]
        return not self.failed and not any(c.error for c in self.checked.values()) and False not in compared

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        plain = {k: getattr(self, k) for k in ("hardware", "copy_gb_s", "product_tflop_s", "failed")}
        found = {"checks": {n: asdict(c) for n, c in self.checked.items()}}
        return plain | found | {"rows": [r.plain() for found in self.rows.values() for r in found]}


def run(names: Sequence[str], progress: Progress) -> Found:
    """The named benchmarks of `DEVICE_BENCHMARKS`, or all. Raises OptionError, DeviceError."""
    for name in names:
        if name not in DEVICE_BENCHMARKS:
            raise unknown("benchmark for a device", name, tuple(DEVICE_BENCHMARKS))
    context = Context(load("cuda"), thread_count(load("cpu")))
    progress.phase("checking every kernel against the reference")
    size, kernels = (checks.TINY, QUICK) if cards.SIMULATED else (checks.USUAL, ())
    checked = checks.worst(checks.check(context.kernels, size, kernels))
    progress.phase("measuring what the card can do at best")
    failed: dict[str, str] = {}
    best = {"copy": math.nan, "product": math.nan}
    for limit in limits(context):
        with _kept(failed, limit.name):
            best[limit.name] = next(rows(limit, context, SECONDS)).rate or math.nan
    found: dict[str, list[DeviceRow]] = {name: [] for name in names or DEVICE_BENCHMARKS}
    for name, of_name in found.items():
        progress.phase(f"timing {name}")
        with _kept(failed, name):
            for case in DEVICE_BENCHMARKS[name](context):
                with _kept(failed, f"{case.name} {case.shape}"):
                    of_name += _rows(case, context, best["copy"], best["product"])
    return Found(hardware(context.kernels, "cuda"), checked, best["copy"], best["product"], found, failed)


@contextmanager
def _kept(failed: dict[str, str], name: str) -> Iterator[None]:
    """What raises an error is written down, so that nothing that was found before is lost with it."""
    try:
        yield
    except Exception:
        failed[name] = traceback.format_exc()


def _rows(case: DeviceCase, context: Context, copy_gb_s: float, product_tflop_s: float) -> Iterator[DeviceRow]:
    price = None if case.cost is None else case.cost(context)
    for row in rows(case, context, SECONDS):
        if price is None:
            yield DeviceRow(row)
            continue
        gb_s, tflop_s = 1e-6 * price.bytes / row.ours_ms, 1e-9 * price.operations / row.ours_ms
        yield DeviceRow(row, gb_s, tflop_s, gb_s / copy_gb_s, tflop_s / product_tflop_s)


def text(found: Found) -> Iterator[str]:
    """Lines, about 100 wide."""
    yield ", ".join(f"{k} {v}" for k, v in found.hardware.items())
    for name, check in found.checked.items():
        yield f"  {name:<22}{check.error or f'ok, differs by {check.difference:.0e}'}"
    yield f"copy {found.copy_gb_s:.0f} GB/s, product of matrices {found.product_tflop_s:.1f} TFLOP/s"
    yield f"{'':<34}{'ms':>9}{'GB/s':>9}{'of copy':>9}{'TFLOP/s':>9}{'of product':>11}  rival"
    for rows_of in found.rows.values():
        yield from map(_line, rows_of)
    for name, told in found.failed.items():
        yield f"{name} FAILED\n{told}"


def _line(r: DeviceRow) -> str:
    rates = f"{'':>38}"
    if r.gb_s is not None:
        rates = f"{r.gb_s:>9.3g}{r.of_copy:>9.0%}{r.tflop_s:>9.3g}{r.of_product:>11.0%}"
    return f"{r.row.name:<34}{r.row.ours_ms:>9.3g}{rates}  {_against(r.row)}"


def _against(row: Row) -> str:
    if row.rival is None:
        return ""
    if row.missing:
        return f"{row.rival}: missing ({row.missing})"
    differs = f", results DIFFER by {row.difference:.0e}" if row.agrees is False else ""
    return f"{row.rival}: {row.rival_ms:.3g} ms, {row.ratio:.3g}x{differs}"
