"""What is wrong with a nested table, said so that a person can mend it: key path, what is allowed, the closest name."""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from dynsim.errors import DynsimError, OptionError, ScenarioError, did_you_mean
from dynsim.system.layers import OPS


@dataclass(frozen=True)
class OneOf:
    """The value is one of `options` or, unadvertised, of `hidden`; the JSON schema lists the options as its enum.

    known : the options, asked for at every check, since a registry may grow.
    """

    known: Callable[[], Iterable[str]]
    hidden: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(self.known())

    def check(self, value: str) -> str:
        if value not in (*self.options, *self.hidden):
            hint = did_you_mean(value, self.options) or ""
            raise PydanticCustomError("option", "unknown name", {"allowed": ", ".join(self.options), "hint": hint})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "enum": list(self.options)}


def one_of(options: Iterable[str] | Callable[[], Iterable[str]], hidden: tuple[str, ...] = ()) -> OneOf:
    """The value is one of the options; the error lists them (but not the hidden ones) and suggests the closest."""
    if callable(options):
        return OneOf(options, hidden)
    fixed = tuple(options)
    return OneOf(lambda: fixed, hidden)


def fail(message: str, path: tuple[str, ...], given: Any, allowed: str = "", hint: str | None = None) -> None:
    context = {"path": path, "given": given, "allowed": allowed, "hint": hint}
    raise PydanticCustomError("rule", message, context)  # type: ignore[arg-type]


def explain_all(error: ValidationError, root: type[BaseModel]) -> tuple[DynsimError, ...]:
    """One problem a key: where several types were tried, their complaints are joined."""
    found: dict[str | None, DynsimError] = {}
    for problem in (_explain(e, root) for e in error.errors()):
        first = found.get(problem.where)
        found[problem.where] = problem if first is None else _either(first, problem)
    return tuple(found.values())


def _either(first: DynsimError, other: DynsimError) -> DynsimError:
    """Two complaints about one value, of which one too many: what either would have taken."""
    allowed = " or ".join(dict.fromkeys(filter(None, (first.allowed, other.allowed))))
    what = first.what if other.what in first.what else f"{first.what}, or {other.what}"
    return OptionError(
        what, where=first.where, given=first.given, allowed=allowed or None, hint=first.hint, means=first.means
    )


def _explain(error: Any, root: type[BaseModel]) -> DynsimError:
    """One pydantic error in our own words, with a did-you-mean for unknown keys and names."""
    context = error.get("ctx", {})
    path = [str(k) for k in error["loc"] if k not in ("int", "float", "constrained-int") and "literal" not in str(k)]
    where = ".".join([*path, *context.get("path", ())])
    if error["type"] == "extra_forbidden":
        legal = list(_section(root, path[:-1]).model_fields)
        hint = _nearest_key(root, path) or did_you_mean(path[-1], legal)
        return OptionError("unknown key", where=where, allowed=", ".join(legal), hint=hint)
    if error["type"] == "unexpected_keyword_argument":
        legal = [f.name for f in fields(OPS[path[-2]])]
        hint = did_you_mean(path[-1], legal)
        return OptionError(f"unknown key of layer {path[-2]!r}", where=where, allowed=", ".join(legal), hint=hint)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given, hint = context.get("tag"), did_you_mean(context.get("tag", ""), tuple(OPS))
        given = None if given is None else _short(given)
        return OptionError("unknown layer", where=f"{where}.op", given=given, allowed=", ".join(OPS), hint=hint)
    if error["type"] == "literal_error" and "network" in path:
        return OptionError("unknown name", where=where, given=_short(error["input"]), allowed=context["expected"])
    if error["type"] == "option":
        given, hint = _short(error["input"]), context["hint"] or None
        return OptionError(error["msg"], where=where, given=given, allowed=context["allowed"], hint=hint)
    if error["type"] == "rule":
        help_ = {"hint": context["hint"]} if context["hint"] else _help(root, where.split("."))
        return OptionError(
            error["msg"], where=where, given=context["given"], allowed=context["allowed"] or None, **help_
        )
    if error["type"] == "missing" and not path[-1].isdigit():
        return OptionError("missing", where=where, hint=f"{path[-1]} has no default: write it")
    return OptionError(
        error["msg"],
        where=where,
        given=_short(error["input"]),
        allowed=_allowed(error["type"], context),
        **_help(root, path),
    )


# The words of pydantic's types in those of TOML, by how the name of its error begins.
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "a text in quotes",
    "list": "a list in [ ]",
    "tuple": "a list in [ ]",
    "dict": "a table of key = value",
    "model": "a table of key = value",
    "dataclass": "a table of key = value",
}
# The bounds in an error's context.
_BOUNDS = {
    "gt": "more than {}",
    "ge": "{} or more",
    "lt": "less than {}",
    "le": "{} or less",
    "multiple_of": "a multiple of {}",
    "min_length": "{} or more of them",
    "max_length": "{} or fewer of them",
    "pattern": "a text that matches {}",
    "expected": "{}",
}
_shortly = reprlib.Repr()
_shortly.maxstring = _shortly.maxother = _shortly.maxlong = 80


def _short(value: Any) -> str:
    """A value as an error shows it, whatever its size and depth."""
    return _shortly.repr(value)


def _allowed(kind: str, context: dict[str, Any]) -> str | None:
    """What a pydantic error of a type would have taken."""
    bounds = [text.format(context[key]) for key, text in _BOUNDS.items() if key in context]
    return ", ".join(bounds) or _KINDS.get(kind.split("_")[0])


def _help(root: type[BaseModel], path: list[str]) -> dict[str, Any]:
    """What a key means and what it is where nobody writes it, or where to look; as an error takes it."""
    named = [key for key in path if not key.isdigit()]
    field = _section(root, named[:-1]).model_fields.get(named[-1]) if named else None
    if field is None:
        return {"hint": "a shipped scenario shows how it is written: dynsim scenarios"}
    meaning = f"{named[-1]}: {field.description}" if field.description else f"a table [{'.'.join(named)}]"
    if not field.is_required() and not isinstance(field.default, BaseModel):
        meaning += f"; left out it is {'nothing' if field.default is None else _short(field.default)}"
    return {"hint": meaning, "means": True}


def _section(root: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The model of the table at a path."""
    model = root
    for key in path:
        info = model.model_fields.get(key)
        if info is not None and isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            model = info.annotation
    return model


def _nearest_key(root: type[BaseModel], path: list[str]) -> str | None:
    """A key of that name in another table: eta belongs to dynamics, not to run."""
    homes = [f"{t}.{path[-1]}" for t in root.model_fields if path[-1] in _section(root, [t]).model_fields]
    return f"did you mean {homes[0]}?" if homes and len(path) > 1 else None


def apply_setting(raw: dict[str, Any], setting: str) -> None:
    """One `a.b=value` of the command line; the value is TOML, or else a plain string."""
    key, mark, text = setting.partition("=")
    if not mark or not key.strip():
        raise ScenarioError("a setting is key=value", where="--set", given=setting, hint="--set dynamics.dt=0.5")
    set_key(raw, key.strip(), value_of(text))


def value_of(text: str) -> Any:
    """What TOML reads, or else the text itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):
        return text.strip()


# Tables in each other that a setting may name.
DEEPEST = 8
# Two ways of saying the same: setting one takes the other away.
_EXCLUSIVE = {"run.epochs": "steps", "run.steps": "epochs"}


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    *tables, last = key.split(".")
    if len(tables) > DEEPEST:
        raise ScenarioError("no key is so deep", where="--set", given=_short(key), allowed=f"{DEEPEST} tables")
    table = raw
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ScenarioError("not a table", where="--set", given=key)
    if key in _EXCLUSIVE:
        table.pop(_EXCLUSIVE[key], None)
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value
