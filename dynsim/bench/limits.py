"""What this machine can do at best, measured in the same run: what every other figure is to be read against."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from dynsim.bench.case import Case, Context, Work, benchmark
from dynsim.kernels.sharing import share

SIDE = 1024  # of the matrices
NUMBERS, TIMES = 1 << 16, 512  # of the multiply-adds
BYTES = 1 << 28  # of a copy: more than a cache holds


@benchmark("limits")
def limits(context: Context) -> Iterator[Case]:
    """A product of matrices, fused multiply-adds, and a copy of memory; all float32."""
    flops = 2e-9 * SIDE**3, 2e-9 * NUMBERS * TIMES
    yield Case("product of matrices", f"{SIDE} x {SIDE}", _product(context), amount=flops[0], unit="GFLOP/s")
    yield Case("multiply-adds", f"{NUMBERS} x {TIMES}", _multiply_adds(context), amount=flops[1], unit="GFLOP/s")
    yield Case("copy", f"{BYTES >> 20} MiB", _copy, amount=2e-9 * BYTES, unit="GB/s", most=7)


def _product(context: Context) -> Callable[[], Work]:
    def prepare() -> Work:
        a, b = np.random.default_rng().standard_normal((2, SIDE, SIDE)).astype(np.float32)
        return lambda: context.kernels.matmul(a, b)

    return prepare


def _multiply_adds(context: Context) -> Callable[[], Work]:
    x = np.linspace(0, 1, NUMBERS, dtype=np.float32)
    return lambda: lambda: context.kernels.multiply_adds(x, 0.5, 0.5, TIMES)


def _copy() -> Work:
    """Each thread its part; NumPy copies without the interpreter's lock. Read and written bytes count."""
    source = np.ones(BYTES // 4, np.float32)
    target = np.zeros_like(source)

    def copy(first: int, step: int) -> None:
        part = slice(source.size * first // step, source.size * (first + 1) // step)
        np.copyto(target[part], source[part])

    return lambda: share(copy, source.size, source.size)
