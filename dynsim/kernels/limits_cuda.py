# mypy: disable-error-code="operator,call-arg,var-annotated"
# (numba types the simulator's indices, not those of a kernel)
"""What a GPU can do at best: multiply-adds on numbers that stay in registers, and products of matrices."""

from __future__ import annotations

from numba import cuda

from .device import SIMULATED, THREADS, blocks, contiguous, kernel, xp


def multiply_adds(x, factor, summand, times):
    """x (n,) after `times` of x -> factor x + summand; see `reference.multiply_adds`."""
    (x,) = contiguous(x.dtype, x)
    out = xp.empty_like(x)
    _multiply_adds()[blocks(x.size, THREADS), THREADS](x, x.dtype.type(factor), x.dtype.type(summand), times, out)
    return out


def matmul(a, b):
    """a @ b by cuBLAS: the same bits on the same device."""
    return a @ b


def thread_count():
    """How many multiprocessors share the work."""
    return 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


@kernel
def _multiply_adds():
    """Kernel: a thread has a number."""

    def multiply_adds(x, factor, summand, times, out):
        i = cuda.grid(1)
        if i < x.size:
            y = x[i]
            for _ in range(times):
                y = y * factor + summand
            out[i] = y

    return multiply_adds
