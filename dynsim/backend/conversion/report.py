"""What a conversion found, as a dictionary and as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynsim.backend.conversion import choice
from dynsim.backend.conversion.converted import SCHEMA, Converted
from dynsim.backend.conversion.networks import Network
from dynsim.backend.conversion.plan import Settings


def as_report(
    network: Network,
    converted: Converted,
    pick: Mapping[str, choice.Option],
    found: Mapping[str, list[choice.Option]],
    settings: Settings,
) -> dict[str, Any]:
    """Bytes, numbers, layers and rivals; JSON."""
    spent = sum(o.nbytes for o in pick.values())
    room = spent if settings.fixed else (settings.budget(network) or 0) - (converted.nbytes - spent)
    return {
        "schema": SCHEMA,
        "network": {"file": network.file, "sha256": network.sha256},
        "bytes": converted.nbytes,
        "bytes_original": network.nbytes,
        "ratio": converted.nbytes / network.nbytes,
        "budget": settings.budget(network),
        "numbers": converted.numbers,
        "numbers_original": network.numbers,
        "layers": [_layer(network, name, option) for name, option in pick.items()],
        "kept": {
            "tensors": len(network.tensors) - len(pick),
            "bytes": network.nbytes - sum(network.tensors[name].nbytes for name in pick),
        },
        "criterion": choice.CRITERION,
        "total_error": choice.total_error(pick),
        "rivals": choice.alone(network, found, settings, room),
        "who_won": choice.won(pick),
    }


def _layer(network: Network, name: str, option: choice.Option) -> dict[str, Any]:
    tensor = network.tensors[name]
    told: dict[str, Any] = {
        "name": name,
        "shape": list(tensor.shape),
        "choice": option.method,
        "bits": 8 * tensor.itemsize,
        "bytes": option.nbytes,
        "bytes_original": tensor.nbytes,
        "numbers": tensor.size,
        "relative_error": option.relative,
        "error": option.error,
    }
    if option.encoded is not None and option.layout is not None:
        told["bits"] = option.encoded.settings.get("bits") or 32  # coordinates without a width are float32
        told["numbers"] = option.encoded.numbers
        told["layout"], told["matrix"] = option.layout.name, list(option.encoded.shape)
        told["settings"] = dict(option.encoded.settings)
    return told


def as_text(report: Mapping[str, Any]) -> str:
    """Tables in Markdown."""
    parts = [f"# {report['network']['file']}", *_summary(report), "", *_table(LAYERS, layer_rows(report))]
    if report["budget"]:
        parts += ["", "Each method alone within the same budget:", "", *_table(METHODS, method_rows(report))]
    return "\n".join([*parts, "", *(f"- {note}" for note in report["notes"]), ""])


LAYERS = ("layer", "shape", "choice", "bits", "bytes", "rel. error")
METHODS = ("method", "bytes", "sum of squared relative errors")


def layer_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of `LAYERS` for each layer."""
    return [
        (
            x["name"],
            "x".join(map(str, x["shape"])),
            x["choice"] + (f" {x['layout']}" if x.get("layout", "dense") != "dense" else ""),
            f"{x['bits']:g}",
            f"{x['bytes']:,}",
            f"{x['relative_error']:.4f}",
        )
        for x in report["layers"]
    ]


def method_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of `METHODS` for what was kept and for each method alone."""
    rows: list[tuple[str, ...]] = [("best of all", f"{report['bytes']:,}", f"{report['total_error']:.5g}")]
    for name, alone in report["rivals"].items():
        shown = (f"{alone['bytes']:,}", f"{alone['total_error']:.5g}") if alone["fits"] else _least(alone)
        rows.append((f"{name} alone", *shown))
    return rows


def _least(alone: Mapping[str, Any]) -> tuple[str, str]:
    return f"{alone['least_bytes']:,} at least", "does not fit"


def _summary(report: Mapping[str, Any]) -> list[str]:
    return ["", *(f"- {line}" for line in summary_lines(report))]


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Bytes, winners, and what running it showed."""
    lines = [
        f"{report['bytes']:,} of {report['bytes_original']:,} bytes ({100 * report['ratio']:.2f} %), "
        f"{report['numbers']:,} of {report['numbers_original']:,} numbers; "
        f"{report['kept']['tensors']} other tensors kept ({report['kept']['bytes']:,} bytes)",
        "layers won: " + ", ".join(f"{m} {len(names)}" for m, names in report["who_won"].items()),
    ]
    if "data" in report:
        lines.append(_data_line(report["data"]))
    if "wall_clock" in report:
        clock = report["wall_clock"]
        lines.append(
            f"wall-clock of {clock['samples']} samples: dense {clock['dense_s']:.3f} s, "
            f"decoded first {clock['decode_and_dense_s']:.3f} s"
        )
    for when in ("before", "after") if "evaluation" in report else ():
        lines.append(f"{when}: " + ", ".join(f"{k} {v:.5g}" for k, v in report["evaluation"][when].items()))
    return [*lines, f"{report['wall_s']:.1f} s"]


def _data_line(data: Mapping[str, Any]) -> str:
    accuracy = ""
    if "accuracy_after" in data:
        accuracy = f"accuracy {100 * data['accuracy_before']:.2f} -> {100 * data['accuracy_after']:.2f} %, "
    return (
        f"{data['name']}, {data['samples']} samples: {accuracy}cosine of the answers {data['logit_cosine']:.5f}, "
        f"same class {100 * data['agreement']:.2f} %"
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    line = " | ".join("---" for _ in head)
    return [f"| {' | '.join(head)} |", f"| {line} |", *(f"| {' | '.join(row)} |" for row in rows)]
