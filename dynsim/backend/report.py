"""Tables of a run for people: what it reached, what it cost, what to type next."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from dynsim import datasets
from dynsim.backend.cost import cost
from dynsim.backend.formats import card_of, load_model
from dynsim.backend.sequence_run import evaluate_sequence, print_sequence
from dynsim.errors import FileFormatError, RunFolderError
from dynsim.panels import Curve, Panel, drawn
from dynsim.runfolder import CHECKPOINT, MODEL, TRAJECTORY, RunFolder, near
from dynsim.scenario import Scenario
from dynsim.scores import JUDGED
from dynsim.trajectory.admission import admit
from dynsim.trajectory.reader import Trajectory

TIMED = 256  # samples of a batch whose inference is timed


def final_table(folder: RunFolder) -> None:
    """Print what a finished run reached and cost, its twin beside it, what was measured last, and the next commands."""
    summary = folder.summary or {}
    console = Console()
    table = Table(title=f"{summary['scenario']}: {summary['steps']} steps, {summary['stopped']}", title_justify="left")
    score, _ = reached(summary["final"])
    for name in ("", score, "parameters", "bytes", "MACs", "time"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("DyN", *_row(summary))
    if "twin" in summary:
        table.add_row("dense twin", *_row(summary["twin"]))
    for name, rival in summary.get("rivals", {}).items():
        table.add_row(name, *_row(rival))
    console.print(table)
    if numbers := summary["observables"]:
        console.print(_measured(numbers, _panels(folder)))
    path = shlex.quote(str(folder.path))
    console.print("Next:", highlight=False)
    evaluated = ((folder / MODEL).is_file() and score == "test accuracy") or score.startswith("R²")
    for command in _next_commands(path, evaluated, folder.scenario):
        console.print(f"  {program()} {command}", highlight=False, soft_wrap=True, markup=False)
    if note := _length_note(folder.scenario, summary["steps"]):
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _length_note(scenario: Scenario, steps: int) -> str:
    """Which steps a recipe's run.steps or run.epochs counts; "" where it counts all."""
    counts = {"finetune": "the phase on coordinates", "alternate": "what is trained on weights"}
    if scenario.recipe.name not in counts:
        return ""
    length = "epochs" if scenario.run.epochs else "steps"
    return f"run.{length} counts {counts[scenario.recipe.name]} alone; the {steps:,} steps are those of all phases."


def program() -> str:
    """How this program is called from here: its bare name only where the shell would find it."""
    if shutil.which("dynsim") or Path(sys.argv[0]).name != "dynsim":
        return "dynsim"
    return shlex.quote(os.path.relpath(sys.argv[0]))


def _row(summary: dict[str, Any]) -> list[str]:
    return [
        reached(summary["final"])[1],
        f"{summary['parameters']:,}",
        f"{summary['bytes']:,}",
        f"{summary['macs']:,}" if summary["macs"] or not summary["parameters"] else "-",
        f"{summary['wall_s']:.1f} s",
    ]


_SCORES = {"r2_test": "R², held out", "r2_train": "R²"}


def reached(final: dict[str, float | None]) -> tuple[str, str]:
    """What a run is judged by, and the number: accuracy of a classifier, relative error, R² of a sequence, a loss."""
    for name in JUDGED:
        value = final.get(name)
        if value is not None:
            title = _SCORES.get(name, name.replace("_", " "))
            return title, f"{100 * value:.2f} %" if name == "test_accuracy" else f"{value:.3g}"
    return "loss", "-"


def _panels(folder: RunFolder) -> tuple[Panel, ...]:
    if not (folder / TRAJECTORY).is_file():
        return ()
    with Trajectory(folder / TRAJECTORY) as trajectory:
        return trajectory.cast.panels


def _measured(numbers: dict[str, float | None], panels: tuple[Panel, ...]) -> Table:
    """What was measured last, as the observables say that it belongs together."""
    table = Table(title="Measured at the end", title_justify="left", show_header=False)
    for panel, curves in drawn(panels, [name for name, value in numbers.items() if value is not None]):
        if curves:
            table.add_row(panel.title, panel.unit, spelled(curves, numbers))
    return table


def spelled(curves: Sequence[Curve], numbers: Mapping[str, float | None]) -> str:
    """Labels and numbers of curves; of a long family its first and last."""
    family = [c for c in curves if c.role == "family"]
    middle = family[1:-1] if len(family) > 3 else []
    said = [f"{c.label}: {_number(numbers[c.name])}" for c in curves if c not in middle]
    if middle:
        said.insert(-1, "…")
    return ", ".join(said).replace("…, ", "… ").replace(", …", " …")


def _number(value: float | None) -> str:
    """Four digits, but whole numbers whole."""
    if value is not None and 1e4 <= abs(value) < 1e9 and value == int(value):
        return f"{int(value):,}"
    return f"{value:.4g}"


def _next_commands(path: str, evaluated: bool, scenario: Scenario) -> list[str]:
    length = "epochs" if scenario.run.epochs else "steps"
    longer = 2 * (scenario.run.epochs or scenario.run.steps or 1)
    commands = [f"info {path}", f"resume {path} --set run.{length}={longer}", f"cite {path}", "scenarios"]
    return [f"evaluate {path}", *commands] if evaluated else commands


def describe(path: Path) -> dict[str, Any]:
    """What is inside a run folder, trajectory, model or scenario file, line by line."""
    path = Path(path)
    if path.is_dir():
        return _describe_run(RunFolder.open(path))
    readers = {".h5": _describe_trajectory, ".safetensors": _describe_model, ".toml": _describe_scenario}
    if path.suffix not in readers:
        allowed = f"a run folder or one of {', '.join(readers)}"
        if not path.exists():
            raise RunFolderError("no such file or folder", where=str(path), allowed=allowed, hint=near(path))
        raise FileFormatError("unknown kind of file", where=str(path), allowed=allowed)
    return readers[path.suffix](path)


def _describe_run(folder: RunFolder) -> dict[str, Any]:
    summary = folder.summary
    lines: dict[str, Any] = {"run folder": str(folder.path)} | _scenario_lines(folder.scenario)
    if summary is None:
        checkpointed = ", has a checkpoint" if (folder / CHECKPOINT).is_file() else ""
        lines["state"] = (f"running: {folder.writer}" if folder.writer else "unfinished") + checkpointed
    else:
        lines |= {
            "state": summary["stopped"],
            "steps": summary["steps"],
            "wall seconds": round(summary["wall_s"], 1),
        }
        lines |= {k.replace("_", " "): v for k, v in summary["final"].items() if v is not None}
        lines |= {k: summary[k] for k in ("parameters", "bytes", "macs") if summary[k]}
    if (folder / TRAJECTORY).is_file():
        lines |= _describe_trajectory(folder / TRAJECTORY)
    if (folder / MODEL).is_file():
        lines["model"] = str(folder / MODEL)
    return lines


def _describe_trajectory(path: Path) -> dict[str, Any]:
    admit(path)
    with Trajectory(path) as t:
        cast = t.cast
        return {
            "trajectory": str(path),
            "frames": len(t),
            "steps covered": f"{t.steps[0]} ... {t.steps[-1]}" if len(t) else "none",
            "particles": f"{cast.n} in R^{cast.dim} ({', '.join(cast.subsystems)})",
            "file size": f"{path.stat().st_size / 1e6:.1f} MB",
            "observables": ", ".join(sorted(t.observables)),
        }


def _describe_model(path: Path) -> dict[str, Any]:
    if str(card_of(path).get("schema")).startswith("dynsim-converted/"):
        from dynsim.backend.conversion.converted import load_converted  # its decoders take half a second

        converted = load_converted(path)
        forms = [f"{x.name}: {x.encoded.method}" for x in converted.layers]
        return {"converted network": str(path), "layers": ", ".join(forms)} | {
            "kept tensors": len(converted.kept),
            "numbers": converted.numbers,
            "bytes": converted.nbytes,
        }
    model = load_model(path)
    price = cost(model)
    graph = model.graph
    return {
        "model": str(path),
        "subsystems": ", ".join(f"{s.name} {s.size}" for s in graph.subsystems),
        "links": ", ".join(f"{k.name}: {k.metric}, {k.kind.formula}" for k in graph.links),
        "copies": graph.copies,
        "dim": graph.dim,
        "classes": ", ".join(map(str, model.classes)),
        "parameters": price.parameters,
        "bytes": price.bytes,
        "macs": price.macs,
    }


def _describe_scenario(path: Path) -> dict[str, Any]:
    return _scenario_lines(Scenario.load(path))


def _scenario_lines(s: Scenario) -> dict[str, Any]:
    return {
        "scenario": s.name,
        "about": s.about.splitlines()[0] if s.about else "",
        "layers": " - ".join([*map(str, s.system.layers), *(k.name or k.op for k in s.system.network)]),
        "metric": f"{s.system.metric}, H {s.system.copies}, d {s.system.dim}",
        "field": s.field.dataset or {"target": "target matrix"}.get(s.field.kind, "nothing drives it"),
        "dynamics": _dynamics_line(s),
        **_rare_lines(s),
        "recipe": s.recipe.name,
        "seed": s.run.seed,
    }


def _dynamics_line(s: Scenario) -> str:
    d = s.dynamics
    if d.integrator == "eq2":  # which knows neither a law nor a limit
        return f"eq2, dt {d.dt}"
    return f"{d.integrator}, law {d.law}, dt {d.dt}, eta {d.eta}"


def _rare_lines(s: Scenario) -> dict[str, str]:
    """What most scenarios do without."""
    medium, hyper, merge = s.system.medium, s.dynamics.hyper, s.merge
    said = {
        "links": "interactive, Eq. (61)" if s.system.interactive else "",
        "medium": f"{medium.law}, strength {medium.strength}, width {medium.width}" if medium.law != "none" else "",
        "every particle learns": ", ".join(hyper.trained),
        "merging": f"radius {merge.radius}, every {merge.every} steps" if merge.radius is not None else "",
    }
    return {k: v for k, v in said.items() if v}


def evaluate_run(path: Path) -> dict[str, Any]:
    """Test accuracy, confusion matrix (true, predicted) and inference time of a classifier; R² of a sequence."""
    from dynsim.backend.forms import measure  # compiles

    folder = RunFolder.open(path)
    if folder.scenario.field.kind == "target":
        raise RunFolderError("a target field has no classes to evaluate", where=str(path), hint=f"dynsim info {path}")
    if folder.scenario.field.kind == "sequence":
        return evaluate_sequence(folder)
    model, s = load_model(folder.model), folder.scenario
    data = datasets.load(s.field.dataset, seed=s.run.seed, samples=s.field.samples)
    model.logits(data.X_test[:1])  # compiles
    started = perf_counter()
    predicted = model.logits(data.X_test).argmax(axis=1)
    seconds = perf_counter() - started
    n = len(model.classes)
    confusion = np.zeros((n, n), np.int64)
    np.add.at(confusion, (data.y_test, predicted), 1)
    price = cost(model)
    return {
        "run": str(folder.path),
        "dataset": s.field.dataset,
        "samples": len(predicted),
        "test_accuracy": float((predicted == data.y_test).mean()),
        "classes": [str(c) for c in model.classes],
        "confusion": confusion.tolist(),
        "inference_s": seconds,
        **asdict(price),
        **measure(model, data.X_test[:TIMED]).report(),
    }


def print_evaluation(result: dict[str, Any]) -> None:
    """The same for a person."""
    if "rivals" in result:
        return print_sequence(result)
    console = Console()
    console.print(
        f"test accuracy {100 * result['test_accuracy']:.2f} % on {result['samples']} samples of {result['dataset']}",
        highlight=False,
    )
    console.print(
        f"{result['parameters']:,} numbers, {result['bytes']:,} bytes, {result['macs']:,} MACs; "
        f"{result['inference_us_per_sample']:.1f} us a sample ({result['dense_us_per_sample']:.1f} with dense weights) "
        f"in batches of {result['batch']}",
        highlight=False,
    )
    for link, of in result["forms"].items():
        console.print(
            f"  {link}: {of['form']}, {of['us']:.2f} us a sample, dense {of['dense_us']:.2f}", highlight=False
        )
    console.print("confusion: rows true, columns predicted", highlight=False)
    table = Table()
    table.add_column("")
    for c in result["classes"]:
        table.add_column(c, justify="right")
    for c, row in zip(result["classes"], result["confusion"]):
        table.add_row(c, *map(str, row))
    console.print(table)
