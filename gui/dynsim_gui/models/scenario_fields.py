"""The fields of a scenario, as the library's JSON schema tells them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dynsim.scenario import Scenario

# What most people set; everything else is behind "Show all".
_ORDINARY = {
    "name",
    *(f"system.{k}" for k in ("layers", "network", "copies", "dim", "metric", "activation")),
    *(f"field.{k}" for k in ("kind", "dataset", "target", "validation", "batch")),
    *(f"dynamics.{k}" for k in ("integrator", "law", "dt", "friction", "limit", "eta", "decay", "confinement")),
    *(f"run.{k}" for k in ("epochs", "steps", "seed", "device", "twin")),
    *(f"record.{k}" for k in ("every", "observables", "properties", "projection")),
    *("run.stop.accuracy", "run.stop.time", "recipe.name"),
}


@dataclass(frozen=True)
class FieldSpec:
    """One key of a scenario as a form shows it.

    Attributes
    ----------
    path : dotted key, e.g. "dynamics.dt". label : its last part.
    kind : "choice" (one of `options`), "choices" (several of them), "flag", "integer", "number", "text",
        "path" (a name among `options` or a file), "list" (flat, "auto, 64, auto"), "literal" (any TOML value).
    minimum, maximum : of a number; `exclusive` names those that are not reached themselves.
    default : None where the library decides. optional : may be left out.
    advanced : rarely set.
    """

    path: str
    label: str
    kind: str
    options: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    exclusive: frozenset[str]
    default: Any
    description: str
    optional: bool
    advanced: bool

    def read(self, text: str) -> Any:
        """The value that typed text means; text that means nothing stays text, for the library to complain about."""
        text = text.strip()
        if text == "":
            return None
        if self.kind in ("integer", "number"):
            return _number(text, self.kind)
        if self.kind == "list":
            return [_number(part.strip().strip("\"'"), "integer") for part in text.strip("[]").split(",")]
        if self.kind == "literal" or (self.kind == "path" and text.startswith("[")):
            return _literal(text)
        return text

    def write(self, value: Any) -> str:
        """Text that `read` turns into the value."""
        if value is None:
            return ""
        if self.kind == "list" and isinstance(value, list):
            return ", ".join(map(str, value))
        if isinstance(value, str):
            return value
        if isinstance(value, float) and self.kind == "number":
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        return _inline(value)

    @property
    def bounds(self) -> str:
        """What is allowed, e.g. "more than 0, at most 1"; "" for anything."""
        low = "more than" if "minimum" in self.exclusive else "at least"
        high = "less than" if "maximum" in self.exclusive else "at most"
        parts = [
            f"{word} {bound:g}" for word, bound in ((low, self.minimum), (high, self.maximum)) if bound is not None
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class FormGroup:
    """A table of a scenario: path "" for the root, "run.stop" for a nested one."""

    path: str
    title: str
    description: str
    fields: tuple[FieldSpec, ...]


@lru_cache
def form_groups() -> tuple[FormGroup, ...]:
    """The tables of a scenario in their order, nested ones right after what they belong to."""
    return tuple(_groups(_schema(), _schema()["$defs"], ""))


def required_tables() -> tuple[str, ...]:
    """The tables that every scenario has."""
    return tuple(_schema()["required"])


@lru_cache
def _schema() -> dict[str, Any]:
    return Scenario.model_json_schema()


@lru_cache
def form_fields() -> dict[str, FieldSpec]:
    """Every field by its path."""
    return {spec.path: spec for group in form_groups() for spec in group.fields}


def _groups(table: dict[str, Any], defs: dict[str, Any], path: str) -> Iterator[FormGroup]:
    prefix = f"{path}." if path else ""
    fields, nested = [], []
    for key, item in table["properties"].items():
        if "$ref" in item:
            nested.append((key, defs[item["$ref"].rpartition("/")[2]]))
        else:
            fields.append(_field(prefix + key, item, key in table.get("required", ())))
    yield FormGroup(path, path.rpartition(".")[2].capitalize(), table.get("description", ""), tuple(fields))
    for key, inner in nested:
        yield from _groups(inner, defs, prefix + key)


def _field(path: str, item: dict[str, Any], required: bool) -> FieldSpec:
    shapes = [s for s in item.get("anyOf", [item]) if s.get("type") != "null"]
    shape, several = shapes[0], len(shapes) > 1
    options = shape.get("enum") or shape.get("items", {}).get("enum") or item.get("examples") or ()
    return FieldSpec(
        path=path,
        label=path.rpartition(".")[2].replace("_", " "),
        kind=_kind(item, shape, several),
        options=tuple(options),
        minimum=shape.get("minimum", shape.get("exclusiveMinimum")),
        maximum=shape.get("maximum", shape.get("exclusiveMaximum")),
        exclusive=frozenset(b for b in ("minimum", "maximum") if f"exclusive{b.capitalize()}" in shape),
        default=item.get("default"),
        description=item.get("description", ""),
        optional=not required,
        advanced=path not in _ORDINARY,
    )


def _kind(item: dict[str, Any], shape: dict[str, Any], several: bool) -> str:
    if "examples" in item:
        return "path"
    if "enum" in shape:
        return "choice"
    if "enum" in shape.get("items", {}):
        return "choices"
    if several:
        return "literal"
    if shape.get("type") == "array":
        inner = [shape.get("items", {}), *shape.get("prefixItems", [])]
        return "literal" if any(i.get("type") == "array" or "oneOf" in i for i in inner) else "list"
    return {"boolean": "flag", "integer": "integer", "number": "number", "string": "text"}.get(shape["type"], "literal")


def _number(text: str, kind: str) -> Any:
    for parse in (int, float) if kind == "integer" else (float,):
        try:
            return parse(text)
        except ValueError:
            continue
    return text


def _inline(value: Any) -> str:
    """A TOML value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
