"""A study: units of work in worker processes, each result written down at once, so that a killed study goes on."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from dynsim.files import write_atomically
from dynsim.kernels.cards import PREFERRED
from dynsim.plain import plain
from dynsim.progress import Progress
from dynsim.workers import workers


@dataclass(frozen=True)
class Unit:
    """One run of an experiment.

    Attributes
    ----------
    name : of its files. work : (study folder, **settings) -> numbers as JSON has them; importable by its name.
    needs : names of the units whose files it reads.
    """

    name: str
    work: Callable[..., dict[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of everything that decides its result."""
        said = json.dumps([f"{self.work.__module__}.{self.work.__qualname__}", self.settings], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]


class Study:
    """The folder of a study, with `raw/NAME.json` (and .npz) of every unit.

    Parameters
    ----------
    jobs : worker processes, one kernel thread each; by default one a core.
    dask : address of a Dask scheduler whose workers do it instead; they must see the folder.
    """

    def __init__(self, folder: Path, jobs: int | None = None, quiet: bool = False, dask: str | None = None) -> None:
        self.folder, self.jobs, self.quiet, self.dask = Path(folder).resolve(), jobs, quiet, dask
        (self.folder / "raw").mkdir(parents=True, exist_ok=True)

    def run(self, title: str, units: Iterable[Unit]) -> dict[str, dict[str, Any]]:
        """Numbers of every unit by its name; those of the same settings that are there already are not made again."""
        units = list(units)
        done = {u.name: found for u in units if (found := self._found(u)) is not None}
        waiting = [u for u in units if u.name not in done]
        with Progress(self.quiet) as progress:
            progress.phase(title, len(units), len(done), unit="runs")
            for name, numbers in self._worked(waiting, set(done)):
                done[name] = numbers
                progress.update(len(done), len(units), {})
        return {u.name: done[u.name] for u in units}

    def _found(self, unit: Unit) -> dict[str, Any] | None:
        path = raw_file(self.folder, unit.name)
        if not path.is_file():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found.pop("fingerprint") == unit.fingerprint else None

    def _worked(self, waiting: list[Unit], done: set[str]):
        """(name, numbers) as units end, each begun when what it needs is there."""
        if not waiting:
            return
        names = {u.name for u in waiting}
        with workers(self.jobs, self.dask, self.folder) as pool:
            running: dict[Future, str] = {}
            while waiting or running:
                ready = [u for u in waiting if not (set(u.needs) & names) - done]
                for unit in ready:
                    running[pool.submit(_work, self.folder, unit)] = unit.name
                    waiting.remove(unit)
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    name = running.pop(future)
                    done.add(name)
                    yield name, future.result()


def raw_file(folder: Path, name: str, ending: str = ".json") -> Path:
    """The file of a unit."""
    return Path(folder) / "raw" / f"{name}{ending}"


def _work(folder: Path, unit: Unit) -> dict[str, Any]:
    os.environ[PREFERRED] = "cpu"  # studies read states as NumPy arrays
    started = process_time()
    numbers = plain(unit.work(folder, **unit.settings)) | {"cpu_s": process_time() - started}
    text = json.dumps({"fingerprint": unit.fingerprint, **numbers}, indent=1)
    write_atomically(raw_file(folder, unit.name), text.encode())
    return numbers


def save_arrays(folder: Path, name: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays of a unit, for those that need them."""
    from safetensors.numpy import save

    write_atomically(
        raw_file(folder, name, ".safetensors"), save({k: np.ascontiguousarray(a) for k, a in arrays.items()})
    )


def load_arrays(folder: Path, name: str) -> dict[str, np.ndarray]:
    """The arrays of a unit that is done."""
    from safetensors.numpy import load

    return load(raw_file(folder, name, ".safetensors").read_bytes())


@dataclass(frozen=True)
class Sample:
    """Mean and deviation over seeds, in the unit of its values."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        return f"{self.mean:.2f} ± {self.deviation:.2f}" if len(self.values) > 1 else f"{self.mean:.2f}"


def percent(numbers: Iterable[Mapping[str, Any]], key: str = "test_accuracy") -> Sample:
    """A sample of fractions in per cent."""
    return Sample(tuple(100 * n[key] for n in numbers))
