"""Classifiers for other programs: ONNX, NumPy, safetensors and scikit-learn files.

Each is compared with the model before it is written. No pickle anywhere; a file is written whole or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as decode
from safetensors.numpy import save as encode

from dynsim import datasets
from dynsim.backend.cost import cost
from dynsim.backend.dense import dense_arrays, from_dense_arrays
from dynsim.backend.estimator import DynClassifier, DynRegressor
from dynsim.backend.formats import load_model
from dynsim.backend.forms import measure, microseconds
from dynsim.backend.inference import Model
from dynsim.backend.model_card import model_card
from dynsim.backend.onnx_export import FORMS, INPUT, onnx_model
from dynsim.errors import DataError, DeviceError, FileFormatError, OptionError, unknown
from dynsim.files import write_atomically
from dynsim.runfolder import MODEL, SCENARIO, RunFolder
from dynsim.scenario import Scenario

PARITY = 1e-5  # largest difference of logits, in units of the largest logit where that is above 1
SAMPLES, BATCH = 1000, 256  # of the comparison, of the timing
SUFFIXES = {"onnx": ".onnx", "npz": ".npz", "safetensors": ".safetensors", "sklearn": ".skops"}
RUNNING = ("onnx", "sklearn")  # what runs by itself; the others are arrays
Answer = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Source:
    """What is exported: a model, and the run that it comes from where there is one."""

    path: Path
    model: Model
    scenario: Scenario | None = None
    summary: dict[str, Any] | None = None

    @classmethod
    def open(cls, path: str | Path) -> Source:
        """A run folder or a model file.

        Raises RunFolderError, FileFormatError; OptionError for a run without a classifier.
        """
        path = Path(path)
        if path.is_file() and path.name == MODEL and (path.parent / SCENARIO).is_file():
            path = path.parent
        if path.is_file():
            return cls(path, _loaded(path))
        run = RunFolder.open(path)
        scenario = run.scenario
        if scenario.field.kind != "network":
            raise OptionError(
                "a run towards a target matrix or a sequence has no classifier",
                where=str(path),
                allowed="a run with a dataset",
                hint=f"dynsim info {path}",
            )
        return cls(path, _loaded(run.model), scenario, run.summary)

    def test_inputs(self) -> tuple[np.ndarray | None, str]:
        """Raw test inputs of the run's dataset, (n, features), or None and why there are none."""
        if self.scenario is None:
            return None, "a model file does not say what it was trained on"
        name, run = self.scenario.field.dataset, self.scenario.run
        try:
            source = name if name in datasets.NAMES else self.scenario.located(name)
            data = datasets.load(source, seed=run.seed)
        except (DataError, OptionError) as error:
            return None, str(error).splitlines()[0]
        return data.X_test[:SAMPLES], f"{min(SAMPLES, len(data.X_test))} test samples of {name}"


def _loaded(path: Path) -> Model:
    try:
        return load_model(path)
    except FileFormatError as error:
        raise FileFormatError(
            error.what,
            where=error.where,
            given=error.given,
            allowed="a run folder, or a model file that this version of dynsim wrote",
            hint="run its scenario again, or export it with the version that wrote it",
        ) from None


def export(path: str | Path, to: str, out: str | Path, form: str = "dense") -> dict[str, Any]:
    """Write a run's or model file's classifier to `out`, and a model card beside it; returns what the card says.

    Parameters
    ----------
    to : onnx, npz, safetensors or sklearn.
    form : dense (W of every link) or dyn (coordinates; ONNX only).

    Raises OptionError, RunFolderError, FileFormatError (also where the file answers otherwise than the model),
    DeviceError where a package is missing.
    """
    if to not in SUFFIXES:
        raise unknown("format", to, (*SUFFIXES, "gsd"), where="--to")
    if form not in FORMS:
        raise unknown("form", form, FORMS, where="--form")
    out = Path(out)
    _check_place(out, to, form)
    source = Source.open(path)
    report = _numbers(source, to, form)
    raw, answer = _WRITERS[to](source, form, report)
    report |= {"file": str(out), "file_bytes": len(raw), "card": f"{out}.md"}
    report |= _compared(source, answer, str(out), running=to in RUNNING)
    write_atomically(out, raw)
    write_atomically(Path(report["card"]), model_card(report).encode())
    return report


def _check_place(out: Path, to: str, form: str) -> None:
    if out.suffix != SUFFIXES[to]:
        raise OptionError("not a name for such a file", where="--out", given=str(out), allowed=f"*{SUFFIXES[to]}")
    if not out.parent.is_dir():
        raise OptionError("no such folder", where="--out", given=str(out.parent), hint=f"mkdir -p {out.parent}")
    if form == "dyn" and to != "onnx":
        raise OptionError(
            f"an {to} file holds dense weights" if to == "npz" else f"a {to} file has one form",
            where="--form",
            given="dyn",
            allowed="dense, or --to onnx",
            hint=f"coordinates are what {MODEL} of a run holds",
        )


def _numbers(source: Source, to: str, form: str) -> dict[str, Any]:
    """What does not depend on the machine: the same model gives the same file."""
    model = source.model
    dense = from_dense_arrays(model, dense_arrays(model))
    bits = {"bits": 8 * model.scaling.centre.dtype.itemsize}
    return {
        "to": to,
        "form": form,
        "classes": [str(c) for c in model.classes],
        "metrics": sorted({k.metric for k in model.graph.links if k.kind.particles}),
        "dyn": bits | asdict(cost(model)),
        "dense": bits | asdict(cost(dense)),
        "test_accuracy": ((source.summary or {}).get("final") or {}).get("test_accuracy"),
    }


def _compared(source: Source, answer: Answer, where: str, running: bool) -> dict[str, Any]:
    """Largest difference from the model on random and real inputs, and the wall-clock of every form."""
    model = source.model
    real, told = source.test_inputs()
    scaling, width = model.scaling, model.features
    noise = np.random.default_rng(0).standard_normal((BATCH, width))
    random = (scaling.centre + scaling.scale * noise).astype(np.float32)
    parity = {"random": _difference(model, answer, random, where), "limit": PARITY, "real": None, "real_inputs": told}
    if real is not None:
        parity["real"] = _difference(model, answer, real, where)
        parity["same_answer"] = float((model.logits(real).argmax(1) == answer(real).argmax(1)).mean())
    clock = _wall_clock(model, (random if real is None else real)[:BATCH], answer if running else None)
    return {"parity": parity, "wall_clock": clock}


def _difference(model: Model, answer: Answer, X: np.ndarray, where: str) -> float:
    ours, theirs = model.logits(X), answer(X)
    difference = float(np.abs(theirs - ours).max() / max(1.0, np.abs(ours).max()))
    if not difference <= PARITY:
        raise FileFormatError(
            "not written: the exported file would answer otherwise than the model",
            where=where,
            given=f"largest difference of logits {difference:.3g}",
            allowed=f"{PARITY:g} of the largest logit",
            hint="please report this with the model file",
        )
    return difference


def _wall_clock(model: Model, X: np.ndarray, answer: Answer | None) -> dict[str, Any]:
    """Of the model in its quickest and in dense form, and of the file where something runs it."""
    timings = measure(model, X)
    return {
        "batch": len(X),
        "dyn_us_per_sample": timings.us_per_sample,
        "dense_us_per_sample": timings.dense_us_per_sample,
        "file_us_per_sample": None if answer is None else microseconds(lambda: answer(X), len(X)),
        "path_integrals_ms": microseconds(model.weights, 1000),
        "forms": timings.report()["forms"],
    }


# Files -----------------------------------------------------------------------------------------------------------


def _onnx(source: Source, form: str, notes: dict[str, Any]) -> tuple[bytes, Answer]:
    raw = onnx_model(source.model, form, notes).SerializeToString()
    try:
        import onnxruntime
    except ImportError:
        raise DeviceError(
            "an ONNX file is compared with the model by onnxruntime, which is not installed",
            hint="pip install 'dynsim[onnx]'",
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that wait leave the cores alone
    session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    return raw, lambda X: session.run(None, {INPUT: np.asarray(X, np.float32)})[0]


def _npz(source: Source, form: str, notes: dict[str, Any]) -> tuple[bytes, Answer]:
    buffer = io.BytesIO()
    np.savez(buffer, **dense_arrays(source.model))  # type: ignore[arg-type]
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as file:
        again = {name: file[name] for name in file.files}
    return buffer.getvalue(), from_dense_arrays(source.model, again).logits


def _safetensors(source: Source, form: str, notes: dict[str, Any]) -> tuple[bytes, Answer]:
    raw = encode(dense_arrays(source.model), {"dynsim": json.dumps(notes, sort_keys=True)})
    return raw, from_dense_arrays(source.model, decode(raw)).logits


def _sklearn(source: Source, form: str, notes: dict[str, Any]) -> tuple[bytes, Answer]:
    kind = DynClassifier if source.model.classes else DynRegressor
    raw = _skops().dumps(kind.from_model(source.model, source.scenario))
    return raw, _estimator(raw, str(source.path)).model_.logits


def load_sklearn(path: str | Path) -> DynClassifier | DynRegressor:
    """The estimator in a .skops file. Raises FileFormatError for a damaged file or one with types not of dynsim."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise FileFormatError("cannot be read", where=str(path), given=error.strerror) from None
    return _estimator(raw, str(path))


def _estimator(raw: bytes, where: str) -> Any:
    skops = _skops()
    try:
        types = skops.get_untrusted_types(data=raw)
        if strangers := [name for name in types if not name.startswith("dynsim.")]:
            raise FileFormatError("holds types that are not dynsim's", where=where, given=", ".join(strangers))
        return skops.loads(raw, trusted=types)
    except FileFormatError:
        raise
    except Exception as error:  # of zipfile, JSON and skops, whatever a damaged file raises
        raise FileFormatError(
            "not a readable estimator of this version", where=where, given=str(error), hint="export it again"
        ) from None


def _skops() -> Any:
    try:
        import skops.io
    except ImportError:
        raise DeviceError(
            "a scikit-learn file without pickle needs the skops package", hint="pip install 'dynsim[skops]'"
        ) from None
    return skops.io


_WRITERS = {"onnx": _onnx, "npz": _npz, "safetensors": _safetensors, "sklearn": _sklearn}
