"""From a run folder to its page and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dynsim.errors import OptionError, RunFolderError
from dynsim.files import write_atomically
from dynsim.progress import counted
from dynsim.report import page as p
from dynsim.report.clouds import clouds, confusion_picture, limits_of, structure_pictures
from dynsim.report.curves import curves, histograms
from dynsim.report.pictures import DARK, LIGHT, Picture, png
from dynsim.report.record import Record, read
from dynsim.report.structure import Structures, structures
from dynsim.report.verdicts import ledger_scale, verdicts
from dynsim.runfolder import SCENARIO, RunFolder

ENERGIES = {"kinetic": "kinetic", "potential": "potential", "dissipated": "dissipated", "total_energy": "sum"}


def write_report(folder: RunFolder, out: Path | None = None) -> Path:
    """Write the page, by default RUN/report/index.html, and its pictures, beside it or in a folder of its name.

    Returns the page's path. Raises OptionError for a page that is no .html, RunFolderError where nothing was recorded
    or nothing can be written, DeviceError without matplotlib.
    """
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise OptionError("not the name of a page", where="--out", given=str(out), allowed="a file ending in .html")
    page = folder / "report" / "index.html" if out is None else out
    record = read(folder)
    try:
        content = _page(record, _Writer(page.parent if out is None else page.with_suffix(""))).html
        write_atomically(page, content.encode())
    except OSError as error:
        raise RunFolderError("the report cannot be written", where=str(page), given=error.strerror) from None
    return page


class _Writer:
    """Paints pictures, keeps the light ones as files and gives both to the page."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, picture: Picture, narrow: bool = False) -> str:
        light = png(picture, LIGHT)
        write_atomically(self._folder / f"{picture.name}.png", light)
        return p.figure(picture.title, picture.unit, picture.alt, light, png(picture, DARK), narrow)


def _page(record: Record, painted: _Writer) -> p.Page:
    page = p.Page(record.folder.path.resolve().name)
    found = structures(record) if record.cast.n > 1 else None
    page.head(record.scenario.about, _facts(record))
    page.section("Verdicts", p.grid([p.verdict(v) for v in verdicts(record, found)]), lead=_LEAD)
    page.section("What it reached and what it costs", _costs(record), lead=record.note)
    page.section("Classes", *_classes(record, painted))
    page.section("Curves", p.grid([painted(x) for x in curves(record, without=("energy",))]))
    page.section("Particles", p.grid([painted(x) for x in clouds(record)], pairs=True), lead=_view(record))
    page.section("Particles in numbers", p.grid([painted(x) for x in histograms(record)]))
    page.section("Energy", *_energy(record, painted))
    page.section("Structural entropy", *_structure(found, painted), lead=_STRUCTURE)
    page.section("What happened", _events(record))
    page.section("Scenario", p.folded("all settings", (record.folder / SCENARIO).read_text(encoding="utf-8")))
    return page


_LEAD = "Each is computed from the numbers of this run; where nothing is hoped for, it is only measured."
_STRUCTURE = (
    "ψ(δ) is the entropy of the occupied cells of side δ, Eq. 13; LapCurSE the Laplacian of its curvature, Eq. 14. "
    "Neither says anything without its control: untrained coordinates of as many particles, each cloud of its own seed."
)


def _view(record: Record) -> str:
    before, after = limits_of(record)
    scale = "on the same scale" if before == after else "each on its own scale"
    return f"In the first two axes of the recorded view, {scale}."


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    cast, s = record.cast, record.scenario
    yield "state", record.how
    yield "scenario", f"{s.name}, seed {record.seed}"
    yield "steps and time", f"{record.last.step:,} steps, simulated time {record.last.time:.4g} (dimensionless)"
    sizes = [f"{name} {int((cast.subsystem == k).sum()):,}" for k, name in enumerate(cast.subsystems)]
    yield "particles", f"{cast.n:,} in R^{cast.dim}: {', '.join(sizes)}"
    yield "dynamics", f"{s.dynamics.integrator}, law {s.dynamics.law}, dt {s.dynamics.dt:g}, η {s.dynamics.eta:g}"
    yield "potential", s.field.dataset or s.field.kind
    if record.summary.get("wall_s"):
        rate, threads = record.summary["steps_per_s"], counted(record.summary["threads"], "thread")
        yield "wall clock", f"{record.summary['wall_s']:.1f} s, {rate:.1f} steps/s, {threads}"
    yield "versions", ", ".join(f"{k} {v}" for k, v in json.loads(record.versions).items())


def _costs(record: Record) -> str:
    """What was reached and what it costs, the twin's beside it; rows that say nothing are left out."""
    if not record.summary:
        return ""
    of = {"DyN": record.summary}
    if "twin" in record.summary:
        of["weight-based twin"] = record.summary["twin"]
    of |= record.summary.get("rivals", {})
    rows = [(label, *(_cell(x["final"] if k in FINAL else x, k) for x in of.values())) for k, label in COSTS.items()]
    return f'<div class="narrow">{p.table(("", *of), [r for r in rows if set(r[1:]) != {None}])}</div>'


FINAL = {
    "test_accuracy": "test accuracy",
    "train_accuracy": "train accuracy",
    "test_loss": "test loss",
    "train_loss": "train loss",
    "relative_error": "relative error",
    "r2_test": "R², held-out ticks",
    "r2_train": "R², trained ticks",
}
COSTS = FINAL | {
    "parameters": "trained numbers",
    "bytes": "stored, bytes",
    "macs": "multiply-accumulates a sample",
    "physical_macs": "the same with path integrals for free",
    "build_macs": "multiply-accumulates to build W once",
    "wall_s": "wall clock, s",
}


def _cell(numbers: Mapping[str, Any], name: str) -> object:
    value = numbers.get(name)
    return f"{value:.2%}" if value is not None and name.endswith("accuracy") else value


def _classes(record: Record, painted: _Writer) -> Iterator[str]:
    counts = record.confusion
    if counts is None or not counts.sum():
        return
    wrong = counts - np.diag(np.diag(counts))
    rows = []
    for k, name in enumerate(record.classes):
        samples, right, worst = int(counts[k].sum()), int(counts[k, k]), int(wrong[k].argmax())
        taken = f"{record.classes[worst]} ({int(wrong[k, worst]):,})" if wrong[k].any() else None
        rows.append((name, samples, right, f"{right / samples:.2%}" if samples else None, taken))
    found = p.table(("class", "samples", "right", "accuracy", "most often taken for"), rows)
    yield p.grid([painted(confusion_picture(record)), found], pairs=True)


def _energy(record: Record, painted: _Writer) -> Iterator[str]:
    known = {n: record.series(n)[1] for n in ENERGIES if len(record.series(n)[1])}
    if "total_energy" not in known:
        return
    every = curves(record)
    yield from (painted(x, narrow=True) for x in every if x.name == "energy")
    scale = ledger_scale(record)
    rows = [
        (label, v[0], v[-1], v[-1] - v[0], float(np.abs(v - v[0]).max()) / scale)
        for v, label in ((known[n], label) for n, label in ENERGIES.items() if n in known)
    ]
    columns = ("energy (dimensionless)", "first step", "last step", "change", "largest change / largest energy")
    yield "<br>" + p.table(columns, rows)


def _structure(found: Structures | None, painted: _Writer) -> Iterator[str]:
    if found is None:
        return
    yield p.grid([painted(x) for x in structure_pictures(found)], pairs=True)
    rows = []
    for label, name in (("ψ / log N of the 3-D view", "psi"), ("LapCurSE", "lapcurse")):
        low, high = found.range(name)
        rows.append((label, getattr(found.before, name), getattr(found.after, name), f"{low:.4g} … {high:.4g}"))
    yield "<br>" + p.table(("dimensionless", "before", "after", f"{len(found.control)} untrained clouds"), rows)


def _events(record: Record) -> str:
    return p.table(("step", "what", "detail"), record.events) if record.events else ""
