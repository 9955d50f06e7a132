"""Where jobs are done: worker processes of this machine, or an existing Dask cluster; one kernel thread each.

with workers(jobs) as pool:
    future = pool.submit(function, *given)

A job is a function that can be imported by its name. One whose worker is killed is repeated, so it must bear to be
begun twice. Signals are left to the parent, which no worker outlives.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from dynsim.errors import DeviceError, OptionError, ResourceError, RunFolderError

# Read when NumPy and numba are loaded.
_THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CONNECT, ARRIVE = 5.0, 10.0  # s to reach a scheduler, and for its first worker to be there
MOST = 1000  # jobs that are handed to a cluster at once
Begin = Callable[..., None]


class _Place(Protocol):
    """Where a job is done; called from as many threads as jobs are done at once."""

    @property
    def slots(self) -> int: ...

    def do(self, work: Callable[..., Any], *given: Any) -> Any: ...

    def end(self, at_once: bool) -> None: ...


class Workers:
    """Takes jobs; see `workers`."""

    def __init__(self, place: _Place, most: int) -> None:
        self._place, self._most, self._threads = place, most, ThreadPoolExecutor(most)

    @property
    def slots(self) -> int:
        """How many jobs are done at once; a cluster may grow and shrink."""
        return min(self._place.slots, self._most)

    def submit(self, work: Callable[..., Any], *given: Any) -> Future:
        """Have work(*given) done; raises, by the future, what it raises, or ResourceError where it kills its worker."""
        return self._threads.submit(self._place.do, work, *given)

    def close(self, at_once: bool) -> None:
        """End the workers, when all is done or at once."""
        self._threads.shutdown(wait=not at_once, cancel_futures=at_once)
        self._place.end(at_once)
        self._threads.shutdown()


@contextmanager
def workers(
    jobs: int | None = None,
    dask: str | None = None,
    folder: Path | None = None,
    begin: Begin | None = None,
    *given: Any,
) -> Iterator[Workers]:
    """Worker processes of this machine or a Dask cluster, for as long as the block takes.

    When the block is left by an error, those of this machine are ended at once, whatever they are at.

    Parameters
    ----------
    jobs : processes; by default one a core. Spawned and loaded once, not for every job. Of a cluster so many workers
        at most; by default all.
    dask : address of a scheduler, such as tcp://HOST:8786, whose workers take the jobs.
    folder : that exists, in which the jobs leave what they do: the workers of a cluster must see it.
    begin, given : what each process of this machine calls first.

    Raises OptionError for a scheduler that is not reached, without workers or with workers of several threads,
    RunFolderError where they do not see the folder, DeviceError where distributed is not installed.
    """
    if jobs is not None and jobs < 1:
        raise OptionError("not a number of workers", where="--jobs", given=jobs, allowed="1 or more")
    most = jobs or (_cores() if dask is None else MOST)
    pool = Workers(_Local(most, begin, given) if dask is None else _Cluster(dask, folder), most)
    try:
        yield pool
    except BaseException:
        pool.close(at_once=True)
        raise
    else:
        pool.close(at_once=False)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _killed(times: str) -> ResourceError:
    return ResourceError(f"its worker was killed {times}, perhaps for want of memory", hint="fewer --jobs")


# Processes of this machine ---------------------------------------------------------------------------------------


class _Local:
    """Each thread that calls has a process of its own, so that one that is killed breaks nobody else's job."""

    def __init__(self, slots: int, begin: Begin | None, given: tuple[Any, ...]) -> None:
        self.slots, self._begin = slots, (begin, given)
        self._mine = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self._starting, self._ended = threading.Lock(), False

    def do(self, work: Callable[..., Any], *given: Any) -> Any:
        """Do it in this thread's process, and once again in a new one where that is killed."""
        for _ in range(2):
            pool = getattr(self._mine, "pool", None) or self._start()
            try:
                return pool.submit(_aside, work, *given).result()
            except BrokenProcessPool:
                self._mine.pool = None
        raise _killed("twice")

    def _start(self) -> ProcessPoolExecutor:
        with self._starting:
            if self._ended:
                raise _killed("with all others")
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, self._begin)
            with _one_thread(), _without_interrupts():
                pool.submit(os.getpid)  # starts the process, which takes over the environment and what is blocked
            self._pools.append(pool)
        self._mine.pool = pool
        return pool

    def end(self, at_once: bool) -> None:
        """Let the processes end, or kill them."""
        with self._starting:
            self._ended = True
        processes = [p for pool in self._pools for p in (pool._processes or {}).values()] if at_once else []
        for process in processes:
            process.kill()
        for pool in self._pools:
            pool.shutdown()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Inside, this thread and processes that it starts do not hear SIGINT: a terminal sends it to all of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(begin: Begin | None, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    if begin is not None:
        begin(*given)


def _die_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _aside(work: Callable[..., Any], *given: Any) -> Any:
    """Do it beside the main thread, where a run would take the signals for itself."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work, *given).result()


# A Dask cluster --------------------------------------------------------------------------------------------------


class _Cluster:
    """The workers of a Dask scheduler. It repeats the jobs of those that die, as often as it is set to."""

    def __init__(self, address: str, folder: Path | None) -> None:
        try:
            from dask import config
            from distributed import Client, KilledWorker
        except ImportError:
            raise DeviceError("a Dask cluster needs distributed", hint="pip install 'dynsim[dask]'") from None
        config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})  # a job may bring its matrix
        self._killed, self._address = KilledWorker, address
        try:
            self._client = Client(address, timeout=CONNECT, set_as_default=False)
        except Exception as error:  # distributed asserts where a scheme is none of its own
            allowed = "the address that dask scheduler tells, such as tcp://HOST:8786"
            raise OptionError("no Dask scheduler answers", where="--dask", given=address, allowed=allowed) from error
        try:
            self._examine(address, folder)
        except BaseException:
            self._client.close()
            raise

    def _examine(self, address: str, folder: Path | None) -> None:
        """Raises OptionError or RunFolderError where the workers are not of use."""
        hint = f"dask worker {address} --nworkers 4 --nthreads 1"
        try:
            self._ask(self._client.wait_for_workers, 1, ARRIVE)
        except TimeoutError:
            raise OptionError("the cluster has no workers", where="--dask", given=address, hint=hint) from None
        threads = self._ask(self._client.nthreads)
        if max(threads.values()) > 1:
            given = ", ".join(f"{worker} with {n}" for worker, n in threads.items() if n > 1)
            raise OptionError("workers of several threads", where="--dask", given=given, allowed="one", hint=hint)
        if folder is not None:
            self._check_shared(folder)
        self._ask(self._client.register_plugin, _plugin())

    def _check_shared(self, folder: Path) -> None:
        token = folder.resolve() / f".seen-{uuid4().hex}"
        token.touch()
        try:
            told = self._ask(partial(self._client.run, on_error="return"), _sees, str(token))
        finally:
            token.unlink()
        for worker, seen in told.items():
            if isinstance(seen, Exception):
                given, hint = f"{worker}: {seen}", "the same dynsim for every worker"
                raise OptionError("workers that cannot load dynsim", where="--dask", given=given, hint=hint)
        if blind := [worker for worker, seen in told.items() if not seen]:
            raise RunFolderError(
                "workers of the cluster do not see this folder",
                where=str(folder),
                given=", ".join(blind),
                hint="--out on a file system that all machines share, under the same name",
            )

    @property
    def slots(self) -> int:
        return max(1, len(self._ask(self._client.nthreads)))

    def _ask(self, call: Callable[..., Any], *given: Any) -> Any:
        """What the scheduler answers; raises TimeoutError, DeviceError where it is gone."""
        try:
            return call(*given)
        except TimeoutError:
            raise
        except (OSError, RuntimeError):  # the connection, or the client that has closed because of it
            raise self._lost() from None

    def _lost(self) -> DeviceError:
        hint = "when it runs again, the same command goes on where this one was"
        return DeviceError("the Dask scheduler is lost", where=self._address, hint=hint)

    def do(self, work: Callable[..., Any], *given: Any) -> Any:
        future = self._client.submit(work, *given, pure=False)
        try:
            return future.result()
        except self._killed:
            raise _killed("again and again") from None
        except CancelledError:
            raise self._lost() from None

    def end(self, at_once: bool) -> None:
        self._client.close()


def _sees(token: str) -> bool:
    return Path(token).is_file()


def _plugin() -> Any:
    """What the workers of a cluster do first, also later ones: Numba, not loaded yet, is to take one thread."""
    from distributed import WorkerPlugin

    class OneThread(WorkerPlugin):
        name = "dynsim: one thread"

        def setup(self, worker: Any) -> None:
            for name in _THREADS:
                os.environ.setdefault(name, "1")

    return OneThread()
