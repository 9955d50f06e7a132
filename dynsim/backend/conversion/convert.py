"""Conversion of a network that somebody else trained into stored forms: particles, and their rivals.

Every layer's matrix is offered to DyN (path integrals fitted to it) and to its rivals; under a budget of bytes the best
combination is kept, without one every layer becomes particles of one metric, H and d. See docs/conversion.md.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dynsim.backend.conversion import choice, evidence
from dynsim.backend.conversion.converted import Converted, ConvertedLayer, load_converted
from dynsim.backend.conversion.data import Samples, load_samples
from dynsim.backend.conversion.jobs import run_jobs
from dynsim.backend.conversion.networks import Layer, Network
from dynsim.backend.conversion.plan import Settings, fingerprint, plan
from dynsim.backend.conversion.reading import read_network
from dynsim.backend.conversion.report import as_report, as_text
from dynsim.errors import DynsimError, FileFormatError, RunFolderError
from dynsim.files import write_atomically
from dynsim.progress import Progress

MODEL, REPORT, TABLE, WORK, JOB = "model.dynsim.safetensors", "report.json", "report.md", ".work", "job.json"
RECOVERED = ("recovered.npz", "recovered.onnx")

Evaluate = Callable[[Mapping[str, np.ndarray]], Mapping[str, float]]


class ConversionStopped(DynsimError):
    """Ctrl-C: what was finished is kept."""

    number = signal.SIGINT

    def __init__(self, out: Path) -> None:
        super().__init__("stopped", where=str(out), hint="the same command again goes on where this one was")


def convert(
    model: str | Path,
    out: str | Path,
    *,
    jobs: int | None = None,
    dask: str | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Convert an .onnx, .safetensors or .npz file into a folder, and return its report.

    The folder gets `model.dynsim.safetensors` (see `load_converted`), the recovered weights as `recovered.onnx` or
    `recovered.npz`, `report.json` and `report.md`. A folder in which the same conversion was stopped goes on; a
    finished one is only read. The result does not depend on `jobs`. Processes are spawned: a script needs the usual
    `if __name__ == "__main__":`.

    Parameters
    ----------
    model : the file.
    out : the folder, new, empty or of the same conversion.
    jobs : processes at once; by default one for each core.
    dask : address of a Dask scheduler whose workers do it instead; they must see the folder (docs/sweeps.md).
    evaluate : what the caller's own code measures with tensors by their names; called with the original ones and with
        the recovered ones, for files without a graph.
    progress : who is told.
    metric, copies, dim, bits, steps : of the particles of every layer, where there is no budget (l2, 3, 9, float32).
    budget_bytes, budget_ratio : what all tensors together may take, in bytes or as a share of the original's.
    only : methods that compete (`conversion_plan.METHODS`); all of them if empty.
    layers : patterns of names (fnmatch); layers that fit none are kept as they are.
    data : dataset name or .npz file; weighs errors and judges the result, for .onnx only.
    axes : order of axes of kernels in files without a graph: auto, torch or keras.
    seed : of all random starts.

    Raises
    ------
    OptionError : settings that contradict each other, a budget too small, a pattern that fits no layer.
    FileFormatError, DataError, DeviceError : see `read_network`, `load_samples`.
    RunFolderError : the folder holds something else, or cannot be written.
    ResourceError : a process was killed, perhaps for want of memory.
    ConversionStopped : Ctrl-C.
    """
    started = perf_counter()
    listed: dict[str, Any] = {k: tuple(v) if k in ("only", "layers") else v for k, v in settings.items()}
    asked = Settings(**listed)
    network = read_network(Path(model), asked.axes)
    layers = network.matching(asked.layers)
    samples = load_samples(asked.data, asked.seed) if asked.data else None
    folder = _Folder(Path(out), fingerprint(network, asked, samples.identity if samples else None), asked.shown())
    if folder.finished:
        return folder.report()
    if network.graph is not None:
        samples = evidence.checked(network, samples, str(model))
    judge = _Judge(network, samples, evaluate, str(model))
    planned = plan(network, layers, asked, judge.channels(layers))
    progress = progress or Progress(quiet=True)
    with folder:
        run_jobs([job for _, _, job in planned], folder.work, jobs, dask, progress)
        progress.phase("choosing and writing")
        found, fit_s = choice.options(network, planned, folder.work)
        pick = choice.chosen(network, found, asked)
        converted = _converted(network, pick, asked)
        recovered = folder.write_model(converted, network)
        report = as_report(network, converted, pick, found, asked) | judge.verdict(converted, recovered, folder.model)
        folder.finish(report | {"fit_s": fit_s, "wall_s": perf_counter() - started})
    return folder.report()


def _converted(network: Network, pick: Mapping[str, choice.Option], settings: Settings) -> Converted:
    layers = tuple(
        ConvertedLayer(name, network.tensors[name].dtype.str, o.layout, o.encoded)
        for name, o in pick.items()
        if o.layout is not None and o.encoded is not None
    )
    stored = {x.name for x in layers}
    kept = {name: a for name, a in network.tensors.items() if name not in stored}
    card = {"source": {"file": network.file, "sha256": network.sha256}, "settings": settings.shown()}
    return Converted(layers, kept, tuple(network.tensors), card)


@dataclass
class _Judge:
    """What data, a graph or the caller's own code can say of a conversion."""

    network: Network
    samples: Samples | None
    evaluate: Evaluate | None
    where: str

    def channels(self, layers: Sequence[Layer]) -> dict[str, np.ndarray]:
        """Mean squares of what flows into the layers, where that is known."""
        if self.samples is None or self.network.graph is None:
            return {}
        return evidence.mean_squares(self.network, tuple(layers), self.samples, self.where)

    def verdict(self, converted: Converted, recovered: Any, model: Path) -> dict[str, Any]:
        """The parts of the report that need the networks to run."""
        found: dict[str, Any] = {"notes": []}
        if self.network.graph is not None:
            found |= evidence.of_graph(self.network, recovered, self.samples, model, self.where)
        elif self.samples is not None:
            found["notes"] = [
                f"--data {self.samples.name} was not used: {self.network.file} has no graph that could be run, so "
                "errors are not weighted by what flows through the layers, and accuracy is not known (from Python: "
                "evaluate=)"
            ]
        if self.evaluate is not None:
            found["evaluation"] = evidence.of_function(self.evaluate, self.network.tensors, converted, model)
        return found


class _Folder:
    """The folder of a conversion: as a context, what is inside it is a result only after `finish`."""

    def __init__(self, path: Path, identity: str, settings: dict[str, Any]) -> None:
        self.path, self.identity, self.settings = path, identity, settings
        self.work, self.model = path / WORK, path / MODEL
        self._existed = path.exists()
        self.finished = self._look()

    def _look(self) -> bool:
        """Whether this very conversion is finished; raises RunFolderError where another one is in the way."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise RunFolderError("is a file, not a folder", where=str(self.path), hint="another --out")
        if (self.path / REPORT).is_file():
            self._refuse_other(_json(self.path / REPORT), "holds another conversion")
            shutil.rmtree(self.work, ignore_errors=True)
            return True
        if (self.work / JOB).is_file():
            self._refuse_other(_json(self.work / JOB), "holds an unfinished conversion with other settings")
        elif any(self.path.iterdir()):
            raise RunFolderError("holds other files", where=str(self.path), hint="another --out")
        return False

    def _refuse_other(self, before: dict[str, Any], what: str) -> None:
        if before.get("fingerprint") != self.identity:
            old = before.get("settings") or {}
            names = sorted(k for k in {*old, *self.settings} if old.get(k) != self.settings.get(k))
            raise RunFolderError(
                what,
                where=str(self.path),
                given=", ".join(f"{k} {self.settings.get(k)}" for k in names) or "another network or other data",
                allowed=", ".join(f"{k} {old.get(k)}" for k in names) or "the same network and data",
                hint="another --out, or the same command as before",
            )

    def __enter__(self) -> _Folder:
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            note = {"fingerprint": self.identity, "settings": self.settings}
            write_atomically(self.work / JOB, json.dumps(note).encode())
        except OSError as error:
            raise RunFolderError(
                "cannot be written", where=str(self.path), given=str(error), hint="another --out"
            ) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        for name in (MODEL, *RECOVERED, TABLE):  # nothing half-written is left
            (self.path / name).unlink(missing_ok=True)
        if isinstance(error, KeyboardInterrupt):
            raise ConversionStopped(self.path) from None
        if isinstance(error, DynsimError) and isinstance(error, ValueError):  # bad input, nothing to go on with
            shutil.rmtree(self.work)
            if not self._existed:
                self.path.rmdir()

    def write_model(self, converted: Converted, network: Network) -> Any:
        """Write the model and what it recovers from it; returns the recovered graph, None where there was none."""
        written = converted.save(self.model)
        if written != converted.nbytes:
            raise FileFormatError("has another size than its arrays", where=str(self.model), given=written)
        stored = load_converted(self.model)
        if network.graph is None:
            evidence.write_npz(self.path / RECOVERED[0], stored.tensors())
            return None
        return evidence.write_onnx(self.path / RECOVERED[1], network, stored)

    def finish(self, report: dict[str, Any]) -> None:
        """The report last: with it, the conversion is finished."""
        whole = report | {"fingerprint": self.identity, "settings": self.settings}
        write_atomically(self.path / TABLE, as_text(whole).encode())
        write_atomically(self.path / REPORT, json.dumps(whole, indent=2).encode())
        shutil.rmtree(self.work)

    def report(self) -> dict[str, Any]:
        """What a finished conversion found."""
        return _json(self.path / REPORT)


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunFolderError("cannot be read", where=str(path), given=str(error), hint="another --out") from None
