"""The candidates of each layer, worked out in processes of their own and kept on disk until the conversion is done.

Each finished job is one file, written under a temporary name and renamed, so that a conversion that was killed goes on
where it was. A job uses one thread and its own seed: its result does not depend on how many run at once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as encode

from dynsim.backend.conversion.compression import Encoded, weighted_error
from dynsim.errors import DynsimError, ResourceError
from dynsim.progress import Progress
from dynsim.workers import workers

EFFORT = {"keep": 0, "product": 5, "svd": 2, "trellis": 5, "dyn": 20}  # for a number, about; 1 for the others
_shares: Any = None  # of each job that is done; memory that the processes share


@dataclass(frozen=True)
class Job:
    """What one process works out: stored forms of one matrix by one method.

    Attributes
    ----------
    key : name of its file.
    label : for error messages, the layer.
    matrix : (M, N) float32.
    importance : (M,) or None.
    method : a rival's name, or dyn.
    settings : of `fit_matrix`, or empty: whatever the method tries under `most_bytes`.
    """

    key: str
    label: str
    matrix: np.ndarray
    importance: np.ndarray | None
    method: str
    seed: int
    most_bytes: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def cost(self) -> int:
        """Work in some unit, for the progress."""
        return self.matrix.size * EFFORT.get(self.method, 1)


@dataclass(frozen=True)
class Candidate:
    """A stored form and its error, sum_ij s_i (W - W')^2, with and without the importance s."""

    encoded: Encoded
    weighted: float
    plain: float


def work_out(job: Job, folder: Path, number: int) -> None:
    """Do a job and leave its file."""
    started = perf_counter()
    try:
        found = _front([_judged(e, job) for e in _encoded(job, number)])
    except DynsimError as error:
        told = {"given": error.given, "allowed": error.allowed, "hint": error.hint}
        where = f"{job.label}, {error.where}" if error.where else job.label
        raise type(error)(error.what, where=where, **told) from None
    arrays = {f"{i}:{k}": np.asarray(a, order="C") for i, c in enumerate(found) for k, a in c.encoded.arrays.items()}
    notes = [
        {
            "method": c.encoded.method,
            "settings": dict(c.encoded.settings),
            "arrays": list(c.encoded.arrays),
            "weighted": c.weighted,
            "plain": c.plain,
        }
        for c in found
    ]
    card = {"shape": job.matrix.shape, "seconds": perf_counter() - started, "candidates": notes}
    temporary = folder / f"{job.key}.tmp"
    temporary.write_bytes(encode(arrays, {"dynsim": json.dumps(card)}))
    os.replace(temporary, _file(folder, job))
    _tell(number, 1, 1)


def results(job: Job, folder: Path) -> tuple[list[Candidate], float]:
    """The candidates of a finished job, and the seconds it took."""
    found = []
    with safe_open(_file(folder, job), "numpy") as file:
        card = json.loads(file.metadata()["dynsim"])
        for i, note in enumerate(card["candidates"]):
            stored = {k: file.get_tensor(f"{i}:{k}") for k in note["arrays"]}
            encoded = Encoded(note["method"], tuple(card["shape"]), stored, note["settings"])
            found.append(Candidate(encoded, note["weighted"], note["plain"]))
    return found, card["seconds"]


def run_jobs(jobs: Sequence[Job], folder: Path, processes: int | None, dask: str | None, progress: Progress) -> None:
    """Do all jobs that have no file yet, the largest first, in processes or on a Dask cluster (`dynsim.workers`)."""
    folder = folder.resolve()
    waiting = sorted((j for j in jobs if not _file(folder, j).exists()), key=lambda j: (-j.cost, j.key))
    total = max(sum(j.cost for j in jobs), 1)
    before = total - sum(j.cost for j in waiting)
    progress.phase("fitting, in thousandths of the work", 1000, 1000 * before // total)
    if not waiting:
        return
    shares = multiprocessing.get_context("spawn").Array("d", len(waiting), lock=False)
    with workers(processes, dask, folder, _share, shares) as pool:
        pending = {pool.submit(work_out, j, folder, i): i for i, j in enumerate(waiting)}
        while pending:
            for future in wait(pending, timeout=1, return_when=FIRST_COMPLETED).done:
                _ended(future, folder)
                shares[pending.pop(future)] = 1
            done = before + sum(j.cost * share for j, share in zip(waiting, shares))
            progress.update(int(1000 * done / total), 1000, {})


def _ended(future: Future, folder: Path) -> None:
    """Raises what its job raised, and says how to go on where a worker was killed."""
    try:
        future.result()
    except ResourceError as error:
        error.where, error.hint = str(folder.parent), "the same command with --jobs 1 goes on where this one was"
        raise


def _encoded(job: Job, number: int) -> Iterable[Encoded]:
    from dynsim.backend.conversion import fit, rivals

    common: dict[str, Any] = {"importance": job.importance, "seed": job.seed}
    if job.settings:
        return [fit.fit_matrix(job.matrix, told=partial(_tell, number), **common, **job.settings)]
    if job.method == "dyn":
        return fit.candidates(job.matrix, job.most_bytes or 0, **common)
    return rivals.candidates(job.matrix, most_bytes=job.most_bytes, methods=[job.method], **common)


def _tell(number: int, step: int, steps: int, *_: float) -> None:
    if _shares is not None:
        _shares[number] = step / steps


def _judged(encoded: Encoded, job: Job) -> Candidate:
    approximate = encoded.decode()
    plain = weighted_error(job.matrix, approximate)
    weighted = plain if job.importance is None else weighted_error(job.matrix, approximate, job.importance)
    return Candidate(encoded, weighted, plain)


def _front(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other beats in both bytes and error, cheapest first."""
    front: list[Candidate] = []
    for c in sorted(candidates, key=lambda c: (c.encoded.nbytes, c.weighted)):
        if not front or c.weighted < front[-1].weighted:
            front.append(c)
    return front


def _file(folder: Path, job: Job) -> Path:
    return folder / f"{job.key}.safetensors"


def _share(shares: Any) -> None:
    """What a worker begins with: the memory in which it tells how far it is."""
    global _shares
    _shares = shares
