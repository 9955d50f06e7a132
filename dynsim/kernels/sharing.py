"""Threads that share the tasks of a kernel.

Each helper sleeps on a lock of its own until it is handed a work. A pool of `concurrent.futures` does more between
(a queue, a future, its condition) and takes about twice as long; a helper that spins instead, three times as long,
because it must fetch the interpreter's lock from its caller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread, local
from typing import Any

from numba import config

WORTH_A_THREAD = 5_000_000  # multiply-adds; to wake a thread and to hear from it takes as long as 500,000 to 2,500,000


class _Limit(local):
    """Of each calling thread. Numba's own, which starts its own threads to tell it, is no part of this."""

    threads: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]


_limit = _Limit()


def thread_count():
    """How many threads share the work of kernels that this thread calls: at first those that the process may use."""
    return _limit.threads


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Inside, the work of kernels that this thread calls is shared by so many."""
    before, _limit.threads = _limit.threads, threads
    try:
        yield
    finally:
        _limit.threads = before


def share(work, tasks, operations):
    """Call work(first, step) for tasks first, first + step, ... on each thread; the caller is one of them."""
    threads = min(thread_count(), tasks) if operations > WORTH_A_THREAD else 1
    helpers = [_helper() for _ in range(1, threads)]
    for first, helper in enumerate(helpers, 1):
        helper.begin(work, first, threads)
    try:
        work(0, threads)
    finally:
        errors = [helper.end() for helper in helpers]
    for error in filter(None, errors):
        raise error


class _Helper:
    """A thread that waits for work; it ends with the process."""

    def __init__(self):
        self._begun, self._ended = Lock(), Lock()
        self._part: Any = None
        self._error: BaseException | None = None
        self._begun.acquire()
        self._ended.acquire()
        Thread(target=self._serve, name="dynsim", daemon=True).start()

    def begin(self, *part):
        self._part = part
        self._begun.release()

    def end(self):
        """Wait until the work is done; returns what it raised, or None."""
        self._ended.acquire()
        error, self._error = self._error, None
        _idle.append(self)
        return error

    def _serve(self):
        while True:
            self._begun.acquire()
            work, first, step = self._part
            try:
                work(first, step)
            except BaseException as error:
                self._error = error
            work = self._part = None  # nothing is kept alive
            self._ended.release()


_idle: list[_Helper] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # no thread but the caller's lives on there


def _helper():
    """An idle helper, or a new one: callers on several threads have each their own."""
    try:
        return _idle.pop()
    except IndexError:
        return _Helper()
