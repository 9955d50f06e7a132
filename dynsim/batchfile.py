"""The file of a batch: `[[run]]` tables, each a scenario with its seeds and settings; every error at once."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from dynsim.errors import DynsimError, OptionError, ScenarioError
from dynsim.plain import flat
from dynsim.preparing import portable
from dynsim.scenario import Scenario
from dynsim.sections import Section
from dynsim.validation import explain_all, fail

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
MOST = 10_000  # seeds of one table


def _counted(seeds: Any) -> Any:
    """So many seeds are those from 0 on."""
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        return seeds
    if not 1 <= seeds <= MOST:
        fail("not a number of seeds", (), seeds, f"1 to {MOST:,}, or a list", "5 for 0 to 4, or a list: [1, 7, 8]")
    return list(range(seeds))


class Entry(Section):
    """A scenario and its seeds: one `[[run]]` table."""

    scenario: str = Field(description="a TOML file, seen from the batch file's folder, or a shipped scenario")
    seeds: Annotated[list[Seed] | None, Field(min_length=1, max_length=MOST), BeforeValidator(_counted)] = Field(
        None, description="a list of them, or so many from 0 on; left out the scenario's own"
    )
    set: dict[str, Any] = Field({}, description="keys of the scenario, as tables or as 'dynamics.dt'")
    name: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")] | None = Field(
        None, description="of the run folders, before the seed; default the scenario's"
    )


@dataclass(frozen=True)
class Planned:
    """One run of a batch: the name of its folder, and its scenario with its seed."""

    name: str
    scenario: Scenario

    @property
    def fingerprint(self) -> str:
        """Of everything that decides its result."""
        return hashlib.sha256(self.scenario.to_toml().encode()).hexdigest()[:16]


def read(path: str | Path) -> list[Planned]:
    """Every run of a batch file, in its order. Raises ScenarioError that lists all that is wrong."""
    path = Path(path)
    problems: list[DynsimError] = []
    planned: list[Planned] = []
    for k, table in enumerate(_tables(path)):
        where = f"[[run]] {k + 1}"
        try:
            planned += _planned(Entry.model_validate(table), path.parent)
        except ValidationError as error:
            found = *explain_all(error, Entry), *_besides(table, error, path.parent)
            problems.append(ScenarioError("not a run", where=where, problems=found))
        except DynsimError as error:
            error.where = where + (f", {error.where}" if error.where else "")
            problems.append(error)
    twice = [name for name, times in Counter(p.name for p in planned).items() if times > 1]
    problems += [OptionError("two runs of this name", where=name, hint="give one [[run]] a name") for name in twice]
    if problems:
        raise ScenarioError("nothing was run", where=str(path), problems=tuple(problems))
    return planned


def _besides(table: dict[str, Any], error: ValidationError, folder: Path) -> tuple[DynsimError, ...]:
    """What is wrong with the scenario of a table that has mistakes of its own."""
    wrong = {e["loc"][0] for e in error.errors()}
    try:
        list(_planned(Entry.model_validate({k: v for k, v in table.items() if k not in wrong}), folder))
    except ValidationError:  # without the scenario's name
        return ()
    except DynsimError as other:
        return (other,)
    return ()


def _tables(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise ScenarioError(
            "not a file" if path.exists() else "no such file",
            where=str(path),
            allowed="a TOML file of [[run]] tables",
            hint="for a single scenario: dynsim run SCENARIO",
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ScenarioError("not a readable TOML file", where=str(path), given=str(error)) from None
    tables = raw.pop("run", None)
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise ScenarioError("no [[run]] table", where=str(path), hint="one for each scenario, with its seeds")
    if raw:
        raise ScenarioError("unknown key", where=str(path), given=", ".join(raw), allowed="[[run]] tables")
    return tables


def _planned(entry: Entry, folder: Path) -> Iterator[Planned]:
    beside = folder / entry.scenario
    scenario = Scenario.load(beside if beside.is_file() else entry.scenario).changed(**flat(entry.set))
    name = entry.name or scenario.name
    for seed in entry.seeds or [scenario.run.seed]:
        # The settings and the paths are those of this moment, whatever becomes of the scenario's file.
        yield Planned(f"{name}-seed{seed}", portable(scenario.changed(**{"name": name, "run.seed": seed})))
