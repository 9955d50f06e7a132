"""The model card beside an exported file: what it holds, what it costs, how it answers and how fast, in Markdown."""

from __future__ import annotations

from typing import Any


def model_card(report: dict[str, Any]) -> str:
    """Markdown from what `dynsim.backend.export.export` found."""
    parts = [f"# {report['file'].rsplit('/', 1)[-1]}", _about(report), _sizes(report), _fidelity(report)]
    return "\n\n".join([*parts, _speed(report)]) + "\n"


def _about(report: dict[str, Any]) -> str:
    classes = ", ".join(report["classes"])
    metrics = ", ".join(report["metrics"])
    return "\n".join(
        [
            f"A network of particles (DyN system), path integrals of metric {metrics or 'none: plain weights'},",
            f"exported as {report['to']}, form {report['form']}, {report['file_bytes']:,} bytes.",
            f"Classes in the order of the outputs: {classes}." if classes else "A regression.",
            f"Test accuracy of the run: {100 * report['test_accuracy']:.2f} %."
            if report["test_accuracy"] is not None
            else "Test accuracy: not known.",
        ]
    )


def _sizes(report: dict[str, Any]) -> str:
    dyn, dense = report["dyn"], report["dense"]
    lines = [
        "## Size",
        "",
        "| | DyN (coordinates) | dense weights |",
        "|---|---:|---:|",
        *(
            f"| {label} | {dyn[key]:,} | {dense[key]:,} |"
            for label, key in (
                ("numbers trained", "parameters"),
                ("bits a number", "bits"),
                ("bytes of all arrays", "bytes"),
                ("multiply-accumulates a sample", "macs"),
                ("the same without products with path integrals", "physical_macs"),
                ("the same to compute path integrals, once", "build_macs"),
            )
        ),
    ]
    return "\n".join(lines)


def _fidelity(report: dict[str, Any]) -> str:
    parity = report["parity"]
    lines = [
        "## Fidelity",
        "",
        f"Largest difference of logits from the model, in units of its largest (limit {parity['limit']:g}):",
        f"{parity['random']:.2g} on random inputs,",
    ]
    if parity["real"] is None:
        return "\n".join([*lines, f"not compared on real ones: {parity['real_inputs']}."])
    same = f"; {100 * parity['same_answer']:.2f} % the same class" if report["classes"] else ""
    return "\n".join([*lines, f"{parity['real']:.2g} on {parity['real_inputs']}{same}."])


def _speed(report: dict[str, Any]) -> str:
    w = report["wall_clock"]
    forms = ", ".join(f"{link} {chosen['form']}" for link, chosen in w["forms"].items())
    file = "" if w["file_us_per_sample"] is None else f", {w['file_us_per_sample']:.2f} by this file"
    return "\n".join(
        [
            "## Wall-clock, on the machine that exported it",
            "",
            f"Microseconds a sample, {w['batch']} at a time:",
            f"{w['dyn_us_per_sample']:.2f} by dynsim with the quickest form of every link ({forms or 'dense'}),",
            f"{w['dense_us_per_sample']:.2f} with dense weights{file}.",
            f"Path integrals are computed once, in {w['path_integrals_ms']:.2f} ms.",
        ]
    )
