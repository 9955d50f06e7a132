"""A scenario being edited: what is wrong with it is said by the library, field by field."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from dynsim.datafiles import existing
from dynsim.errors import DataError, DynsimError, ScenarioError
from dynsim.scenario import Scenario, find
from dynsim.shipped import head_comment
from dynsim.validation import set_key
from dynsim_gui.models.scenario_fields import FieldSpec, FormGroup, form_fields, form_groups, required_tables

__all__ = ["FieldSpec", "FormGroup", "ScenarioDraft", "form_fields", "form_groups"]

_FILES = ("field.dataset", "field.target")
_FLAT_ARRAY = re.compile(r"\[\n([^\[\]]*?),\n\]")


class ScenarioDraft:
    """A scenario being edited: it may be wrong, and says at which field.

    Attributes
    ----------
    origin : what it was loaded from, for people. folder : where its relative paths start, None for here.
    """

    def __init__(self, raw: dict[str, Any], origin: str = "", about: str = "", folder: Path | None = None) -> None:
        self.origin, self.folder = origin, folder
        self._about = about
        self._raw = copy.deepcopy(raw)
        for group in form_groups():
            _check_table(self._raw, group.path, origin)
        for table in required_tables():
            self._raw.setdefault(table, {})  # so that what is missing in it is said field by field
        self._first = copy.deepcopy(self._raw)

    @classmethod
    def blank(cls) -> ScenarioDraft:
        return cls({"name": "scenario"}, "blank")

    @classmethod
    def load(cls, source: str | Path) -> ScenarioDraft:
        """A shipped scenario by its name or a TOML file; raises ScenarioError if it cannot be read as TOML."""
        path = find(source)
        try:
            text = path.read_text(encoding="utf-8")
            raw = tomllib.loads(text)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ScenarioError("not a readable TOML file", where=str(source), given=str(error)) from None
        raw.setdefault("name", path.stem)
        return cls(raw, str(source), head_comment(text), path.parent)

    def value(self, path: str) -> Any:
        """What is written for this key, None where the default holds."""
        return _look_up(self._raw, path)

    def set(self, path: str, value: Any) -> None:
        """Write a key, or take it out with None; writing one of run.epochs and run.steps takes the other out."""
        if value is not None:
            set_key(self._raw, path, value)
            return
        table, _, last = path.rpartition(".")
        home = _look_up(self._raw, table) if table else self._raw
        if isinstance(home, dict):
            home.pop(last, None)

    def problems(self) -> dict[str, str]:
        """What the library says is wrong: path of a field, or of a table where no field is to blame -> message."""
        try:
            scenario = Scenario.from_dict(self._raw, where=self.origin)
            scenario._folder = self.folder
            return dict(self._missing_files(scenario))
        except ScenarioError as error:
            found: dict[str, str] = {}
            for problem in error.problems:
                place = _place(problem.where or "")
                message = _message(problem, place)
                found[place] = f"{found[place]}\n{message}" if place in found else message
            return found

    def unknown_keys(self) -> list[str]:
        """Written keys that no scenario has."""
        return [key for key in _leaves(self._raw, "") if _place(key) not in form_fields()]

    def toml(self) -> str:
        """What is written, under the head comment of its origin as long as nothing was changed."""
        changed = self.changed_paths()
        about = f"Started from {self.origin}; changed: {', '.join(changed)}." if changed else self._about
        comment = "".join(f"# {line}".rstrip() + "\n" for line in about.splitlines())
        return comment + _on_one_line(tomli_w.dumps(_without_empty_tables(self._raw)))

    def save(self, path: Path) -> None:
        """Write the TOML file; files that it names relative to another folder are named absolutely."""
        moved = copy.deepcopy(self)
        for key in _FILES:
            file = self.value(key)
            if self.folder and path.parent != self.folder and isinstance(file, str) and (self.folder / file).is_file():
                moved.set(key, str((self.folder / file).resolve()))
        path.write_text(moved.toml(), encoding="utf-8")

    def changed_paths(self) -> tuple[str, ...]:
        """Keys that differ from what was loaded."""
        keys = dict.fromkeys([*_leaves(self._first, ""), *_leaves(self._raw, "")])
        return tuple(k for k in keys if _look_up(self._raw, k) != _look_up(self._first, k))

    def _missing_files(self, scenario: Scenario) -> Iterator[tuple[str, str]]:
        for path in _FILES:
            file = self.value(path)
            if isinstance(file, str) and file and file not in form_fields()[path].options and Path(file).suffix:
                try:
                    existing(scenario.located(file))
                except DataError as error:
                    yield path, _message(error, path)


def _check_table(raw: dict[str, Any], path: str, origin: str) -> None:
    if path and not isinstance(_look_up(raw, path) or {}, dict):
        raise ScenarioError("not a table", where=f"{origin}: {path}", given=_look_up(raw, path))


def _look_up(raw: dict[str, Any], path: str) -> Any:
    value: Any = raw
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _leaves(raw: dict[str, Any], prefix: str) -> Iterator[str]:
    """Dotted keys; a table that is itself a field (system.initial.mu) is one key."""
    for key, value in raw.items():
        path = prefix + key
        if isinstance(value, dict) and path not in form_fields():
            yield from _leaves(value, f"{path}.")
        else:
            yield path


def _place(where: str) -> str:
    """The field that an error names, or else the innermost table around it."""
    keys = where.split(".")
    places = [".".join(keys[:n]) for n in range(len(keys), 0, -1)]
    tables = {group.path for group in form_groups()}
    return next((p for p in places if p in form_fields()), None) or next((p for p in places if p in tables), "")


def _message(problem: DynsimError, place: str) -> str:
    first, *inner = (problem.where or "").removeprefix(place).strip(".").split(".")
    item = ", ".join([f"item {int(first) + 1}" if first.isdigit() else first, *inner])
    what = f"{item}: {problem.what}" if item and place else problem.what
    allowed = f" (allowed: {problem.allowed})" if problem.allowed else ""
    return what + allowed + (f"; {problem.hint}" if problem.hint else "")


def _without_empty_tables(raw: dict[str, Any]) -> dict[str, Any]:
    kept = {k: _without_empty_tables(v) if isinstance(v, dict) else v for k, v in raw.items()}
    return {k: v for k, v in kept.items() if v != {}}


def _on_one_line(toml: str) -> str:
    """Flat arrays as people write them."""
    return _FLAT_ARRAY.sub(lambda m: "[" + ", ".join(part.strip() for part in m[1].split(",\n")) + "]", toml)
