"""Threads that share the tasks of a kernel."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

from numba import config, get_num_threads

WORTH_A_THREAD = 8_000_000  # multiply-adds; to wake a thread and to hear from it takes as long as 3,000,000


def share(work, tasks, operations):
    """Call work(first, step) for tasks first, first + step, ... on each thread; the caller is one of them."""
    threads = min(get_num_threads(), tasks) if operations > WORTH_A_THREAD else 1
    helpers = [_pool().submit(work, first, threads) for first in range(1, threads)]
    work(0, threads)
    for helper in helpers:
        helper.result()


@functools.cache
def _pool():
    return ThreadPoolExecutor(
        config.NUMBA_NUM_THREADS,  # type: ignore[attr-defined]
        thread_name_prefix="dynsim",
    )
