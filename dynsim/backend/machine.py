"""What products of matrices and sorted sums take on this machine: a few numbers, measured once in a process.

They are seconds of computing, which other programs disturb less than they do the clock; what is shared by threads
takes its part of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter, process_time
from typing import Any

import numpy as np

from dynsim.kernels import sorted_l1
from dynsim.kernels.load import load_host, thread_count
from dynsim.kernels.products_cpu import BLOCK_WORK
from dynsim.kernels.sharing import WORTH_A_THREAD, share

SIZES = (128, 512, 2048, 6144)  # sub-models on each side of a link
BATCHES = (1, 32, 256)
MOST = 1 << 28  # multiply-adds of a product that is timed; larger ones have the rate of the next smaller
AXES = 2, 16  # of the sorted sums that are timed: few enough for one thread
ROUNDS, SECONDS = 5, 0.005  # for one number, at least


@dataclass(frozen=True)
class Machine:
    """Seconds of computing, of the parts of which every form's time is made.

    Attributes
    ----------
    threads : that the kernels share.
    product : (batches, sizes), of a multiply-add in a product (batch, n) @ (n, n), n of `SIZES`.
    query : (2, sizes), of one source or target in a query by itself: before the first axis, and along each.
    block : (2, sizes), the same for `sorted_l1.LANES` queries together.
    call : of a sorted product of nearly nothing. wake : on the clock, until another thread works.
    distance : of |a - b| along one axis, in W of an l1 link. order : of sorting one coordinate.
    """

    threads: int
    product: np.ndarray
    query: np.ndarray
    block: np.ndarray
    call: float
    wake: float
    distance: float
    order: float

    def multiplied(self, batch: int, rows: int, columns: int) -> float:
        """Seconds of (batch, rows) @ (rows, columns)."""
        side = np.log(np.sqrt(rows * columns))
        at_batches = [np.interp(side, np.log(SIZES), row) for row in np.log(self.product)]
        operations = batch * rows * columns
        computing = operations * float(np.exp(np.interp(np.log(batch), np.log(BATCHES), at_batches)))
        return computing if operations < 2 * BLOCK_WORK else self.wake + computing / self.threads

    def sorted_sums(self, batch: int, rows: int, columns: int, axes: int) -> float:
        """Seconds of a sorted product along `axes` axes."""
        blocks, singles = sorted_l1.shares(batch)
        single, block = (_along(of, rows + columns, axes) for of in (self.query, self.block))
        seconds = self.call + -(-blocks // self.threads) * block
        if singles * axes * (rows + columns) * sorted_l1.STEP <= WORTH_A_THREAD:
            return seconds + singles * single
        tasks = singles if singles > 1 else min(axes, sorted_l1.PARTS)
        return seconds + self.wake + singles * single * -(-tasks // self.threads) / tasks

    def building(self, rows: int, columns: int, axes: int) -> float:
        """Seconds to compute W of an l1 link."""
        return rows * columns * axes * self.distance / self.threads

    def sorting(self, rows: int, columns: int, axes: int) -> float:
        """Seconds to find the orders of a link."""
        return axes * (rows + columns) * self.order


def _along(of: np.ndarray, particles: int, axes: int) -> float:
    before, each = (float(np.interp(np.log(particles / 2), np.log(SIZES), row)) for row in of)
    return particles * (before + axes * each)


def machine(device: str) -> Machine:
    """Of the device with as many threads as it has now."""
    kernels = load_host(device)
    return _measured(device, thread_count(kernels))


@cache
def _measured(device: str, threads: int) -> Machine:
    kernels = load_host(device)
    call = _sorted_along(1, 1)[0]
    query, block = np.array([_sorted(n, call) for n in SIZES]).transpose(1, 2, 0)
    q = np.linspace(0, 1, 4096, dtype=np.float32).reshape(1, 512, 8)
    one, a = np.ones(1, np.float32), np.random.default_rng(0).random((1, 2048))
    return Machine(
        threads=threads,
        product=np.array([_products(kernels, batch) for batch in BATCHES]),
        query=query,
        block=block,
        call=call,
        wake=_seconds(lambda: share(lambda first, step: None, threads, np.inf), perf_counter),
        distance=_seconds(lambda: kernels.path_integral("l1", q, q, one, 1.0, 0.0, 2.0)) / q.size / 512,
        order=_seconds(lambda: sorted_l1.merged_steps(a, a)) / a.size / 2,
    )


def _products(kernels: Any, batch: int) -> list[float]:
    """Seconds of a multiply-add for each of `SIZES`."""
    found: list[float] = []
    for n in SIZES:
        if batch * n * n > MOST:
            found.append(found[-1])
            continue
        e, w = np.ones((batch, n), np.float32), np.ones((n, n), np.float32)
        found.append(_seconds(partial(kernels.matmul, e, w)) / (batch * n * n))
    return found


def _sorted(n: int, call: float) -> list[tuple[float, float]]:
    """Seconds of one source or target (before the first axis, along each): of a query, and of a block."""
    few, many = (np.array(_sorted_along(n, axes)) - call for axes in AXES)
    along = np.maximum(many - few, 0) / (AXES[1] - AXES[0])
    before = np.maximum(few - AXES[0] * along, 0)
    return list(zip(before / (2 * n), along / (2 * n)))


def _sorted_along(n: int, axes: int) -> tuple[float, float]:
    """Seconds of a query, and of a block."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, axes, n), dtype=np.float32)
    e, c = rng.random((sorted_l1.LANES, n), dtype=np.float32), np.ones(axes)
    prefix, merged = sorted_l1.prefix_order(a, b), sorted_l1.merged_steps(a, b)
    query = _seconds(lambda: sorted_l1.receive_singly(prefix, b, c, e[:1]))
    return query, _seconds(lambda: sorted_l1.receive_in_blocks(merged, c, n, e))


def _seconds(work: Callable[[], Any], clock: Callable[[], float] = process_time) -> float:
    """Of the quickest round; the first, which may compile, does not count."""
    work()
    times: list[float] = []
    while len(times) < ROUNDS or sum(times) < SECONDS:
        started = clock()
        work()
        times.append(clock() - started)
    return min(times)
