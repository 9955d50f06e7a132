"""A scenario: pure data that says what to simulate. TOML in and out, every error at once, nothing built here."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from dynsim import sequences
from dynsim.errors import ScenarioError, did_you_mean
from dynsim.sections import (
    DynamicsSection,
    FieldSection,
    MergeSection,
    RecipeSection,
    RecordSection,
    RunSection,
    Section,
    SequenceSection,
    SystemSection,
)
from dynsim.shipped import head_comment, scenario_folder
from dynsim.validation import apply_setting, explain_all, fail, set_key

# Bytes of a file; starting positions written out are the largest that it may hold.
LARGEST = 2**26


class Scenario(Section):
    """Everything a run needs to know.

    `Scenario.load(path or shipped name)`, `Scenario.from_text(toml)`, `Scenario.model_validate(dict)`.
    """

    name: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")] = Field(
        "scenario", description="of the run; default the file's name without its ending"
    )
    system: SystemSection
    field: FieldSection
    sequence: SequenceSection = SequenceSection()
    dynamics: DynamicsSection = DynamicsSection()
    run: RunSection
    recipe: RecipeSection = RecipeSection()
    merge: MergeSection = MergeSection()
    record: RecordSection = RecordSection()
    _about: str = PrivateAttr("")
    _folder: Path | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _check(self) -> Scenario:
        if self.field.kind == "target" and self.recipe.name != "direct":
            fail("a target field has no recipe", ("recipe", "name"), self.recipe.name, "direct")
        if self.recipe.name != "direct" and self.dynamics.integrator == "leapfrog":
            fail("leapfrog has no recipe", ("recipe", "name"), self.recipe.name, "direct, or another integrator")
        if self.merge.radius is not None and self.recipe.name == "alternate":
            fail("particles that are fitted again and again do not merge", ("merge", "radius"), self.merge.radius)
        if self.field.kind == "target" and len(self.system.layers) != 2:
            fail("a target field has exactly two layers", ("system", "layers"), self.system.layers)
        if self.field.kind == "target" and "auto" in self.system.layers:
            fail("a target field cannot size its layers", ("system", "layers"), self.system.layers)
        if self.field.kind != "sequence" and len(self.system.layers) == 1:
            fail("there are at least two layers", ("system", "layers"), self.system.layers)
        self._check_sequence()
        if self.run.stop.accuracy is not None and self.field.validation == 0:
            fail("stopping at an accuracy needs a validation part", ("field", "validation"), 0, "more than 0")
        if not all(0 <= axis < max(3, self.system.dim) for axis in self.record.axes):
            fail("an axis is not there", ("record", "axes"), self.record.axes, f"0 ... {self.system.dim - 1}")
        return self

    def _check_sequence(self) -> None:
        """What only a sequence can be asked, and what it cannot."""
        system, ticking = self.system, self.dynamics.integrator == "eq2"
        if self.field.kind != "sequence":
            allowed = 'field.kind = "sequence"'
            if ticking:
                fail("only a sequence has ticks", ("dynamics", "integrator"), "eq2", allowed)
            if system.delays is not None:
                fail("only signals of a sequence take time", ("system", "delays"), system.delays, allowed)
            for pair in (pair for pair in system.links or [] if pair[0] == pair[1]):
                fail("only in a sequence a layer hears itself", ("system", "links"), pair, allowed)
            for key, value in self.sequence:
                if value != getattr(SequenceSection(), key):
                    fail("there is no sequence here", ("sequence", key), value, allowed)
            return
        if not system.layers:
            fail("a sequence takes layers", ("system", "network"), "network")
        if self.recipe.name != "direct":
            fail("a sequence has no recipe", ("recipe", "name"), self.recipe.name, "direct")
        if self.run.twin is not None:
            fail("a sequence has no weight-based twin", ("run", "twin"), self.run.twin)
        if not self.field.dataset and not ticking:
            allowed = f"{', '.join(sequences.NAMES)}, a path, or integrator eq2"
            fail("nothing to learn", ("field", "dataset"), "", allowed)
        if "auto" in system.layers[1:] or ("auto" in system.layers and not self.field.dataset):
            fail("only the inputs of a sequence give a size", ("system", "layers"), system.layers)
        if self.field.validation or self.field.samples is not None:
            fail("a sequence is cut in time", ("field", "validation"), self.field.validation, "sequence.held_out")
        if self.run.stop.stress is not None:
            fail("a sequence has no stress that could settle", ("run", "stop", "stress"), self.run.stop.stress)
        if system.interactive:
            fail("the links of a sequence are plain", ("system", "interactive"), True, "false")
        if system.medium.law != "none":
            fail("the links of a sequence are plain", ("system", "medium", "law"), system.medium.law, "none")

    @property
    def about(self) -> str:
        """The comment at the head of the file."""
        return self._about

    @property
    def folder(self) -> Path | None:
        """Where relative paths in the scenario start: the file's folder."""
        return self._folder

    @classmethod
    def load(cls, source: str | Path, settings: Iterable[str] = ()) -> Scenario:
        """Read a TOML file, or a shipped scenario by its bare name, and apply `key=value` settings.

        Raises ScenarioError with every problem at once.
        """
        path = find(source)
        try:
            if (size := path.stat().st_size) > LARGEST:
                allowed = f"{LARGEST >> 20} MiB"
                raise ScenarioError("too large", where=str(source), given=f"{size >> 20} MiB", allowed=allowed)
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScenarioError("not a readable text file", where=str(source), given=str(error)) from None
        return cls.from_text(text, settings, where=str(source), path=path)

    @classmethod
    def from_text(
        cls, text: str, settings: Iterable[str] = (), where: str = "scenario", path: Path | None = None
    ) -> Scenario:
        """Parse TOML text; see `load`."""
        try:
            raw = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # of a number of 5000 digits, of 1000 lists in each other
            hint = "the line named above; texts stand in quotes, tables in [ ]"
            raise ScenarioError("not valid TOML", where=where, given=str(error), hint=hint) from None
        for setting in settings:
            apply_setting(raw, setting)
        if path is not None:
            raw.setdefault("name", path.stem)
        scenario = cls.from_dict(raw, where=where)
        scenario._about = head_comment(text)
        scenario._folder = path.parent if path else None
        return scenario

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "scenario") -> Scenario:
        """Validate a nested dict; raises ScenarioError listing every problem."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            problems = explain_all(error, cls)
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            raise ScenarioError(count, where=where, problems=problems) from None

    def changed(self, **settings: Any) -> Scenario:
        """A validated copy with dotted keys replaced: `scenario.changed(**{"run.seed": 1})`."""
        raw = self.model_dump(mode="json", exclude_none=True)
        for key, value in settings.items():
            set_key(raw, key, value)
        other = Scenario.from_dict(raw, where=self.name)
        other._about, other._folder = self._about, self._folder
        return other

    def located(self, file: str) -> Path:
        """A file that the scenario names: relative to the scenario's own folder, or else to where we are."""
        beside = (self.folder or Path()) / file
        return beside.resolve() if beside.exists() else Path(file).resolve()

    def to_toml(self) -> str:
        """The scenario with its defaults spelled out, under its head comment."""
        comment = "".join(f"# {line}".rstrip() + "\n" for line in self.about.splitlines())
        return comment + tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def find(source: str | Path) -> Path:
    """The file of a scenario given by path or shipped name."""
    path = Path(source)
    if path.is_file():
        return path
    shipped = {p.stem: p for p in sorted(scenario_folder().glob("*.toml"))}
    if str(source) in shipped:
        return shipped[str(source)]
    raise ScenarioError(
        "no such scenario",
        where=str(source),
        allowed=f"a TOML file or one of {', '.join(shipped)}",
        hint=did_you_mean(str(source), tuple(shipped)) or "dynsim scenarios",
    )
