"""The README's table of equations: every equation has one row, and whatever a row names is there."""

import ast
import pkgutil
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SHIPPED = sorted(path.stem for path in (ROOT / "scenarios").glob("*.toml"))
COLUMNS = ["Equation", "What it says", "Where it lives", "Test", "Scenario or status"]
PAPER = {f"{n}" for n in range(1, 62)}
FOLLOW_UP = {f"S{n}" for n in range(1, 19)}
NUMBER = re.compile(r"\((S?)(\d+)\)(?:-\(S?(\d+)\))?")
STATUS = re.compile(r"implemented$|a proof step: \S|not computable, because \S|measured(, does not hold)?: \S")
MEASURED = re.compile("measured|implemented")


@dataclass(frozen=True)
class Row:
    """One line of the table; names are what its cells hold in `backticks`."""

    equation: str
    status: str
    code: tuple[str, ...]
    tests: tuple[str, ...]
    scenarios: tuple[str, ...]

    @property
    def numbers(self) -> list[str]:
        """Equation numbers, ranges spelled out: "(5)", "(20)-(23)", "(S6)-(S8)"."""
        spans = NUMBER.findall(self.equation)
        return [f"{s}{n}" for s, first, last in spans for n in range(int(first), int(last or first) + 1)]


def read_rows() -> list[Row]:
    text = README.read_text(encoding="utf-8")
    table = text.partition("<!-- equations -->")[2].partition("<!-- /equations -->")[0]
    lines = [line.strip() for line in table.splitlines() if line.lstrip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells, "README.md has no table between <!-- equations --> and <!-- /equations -->"
    assert cells[0] == COLUMNS
    assert {len(row) for row in cells} == {len(COLUMNS)}
    return [Row(e, last, names(code), names(tests), names(last)) for e, _, code, tests, last in cells[2:]]


def names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


@cache
def functions(path: Path) -> frozenset[str]:
    """Names of the test functions in a file, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows()


@pytest.mark.parametrize(
    ("cell", "numbers"),
    [
        ("(7), Alg. 1", ["7"]),
        ("(20)-(22)", ["20", "21", "22"]),
        ("(S6)-(S8), (5)", ["S6", "S7", "S8", "5"]),
        ("(S), Alg. 1", []),
        ("Table 1", []),
    ],
)
def test_numbers_of_a_row(cell, numbers):
    assert Row(cell, "", (), (), ()).numbers == numbers


def test_every_equation_has_exactly_one_row(rows):
    numbers = [n for row in rows for n in row.numbers]
    assert sorted(numbers) == sorted(PAPER | FOLLOW_UP)


def test_every_name_can_be_imported(rows):
    for row in rows:
        for name in row.code:
            assert ":" in name, f"{row.equation}: {name} is not module:name"
            assert pkgutil.resolve_name(name) is not None


def test_every_test_exists(rows):
    for row in rows:
        for test in row.tests:
            path, _, function = test.partition("::")
            assert function.startswith("test_"), f"{row.equation}: {test}"
            assert function in functions(ROOT / path), f"{row.equation}: {test}"


def test_every_row_has_scenarios_that_exist_or_a_status(rows):
    for row in rows:
        assert row.scenarios or STATUS.match(row.status), f"{row.equation}: {row.status!r} is neither"
        assert set(row.scenarios) <= set(SHIPPED), f"{row.equation}: {row.scenarios}"


def test_what_is_implemented_names_code_and_test(rows):
    for row in rows:
        if row.scenarios or row.status == "implemented":
            assert row.code, f"{row.equation}: no code"
        if row.scenarios or MEASURED.match(row.status):
            assert row.tests, f"{row.equation}: no test"


def test_every_scenario_is_introduced():
    section = README.read_text(encoding="utf-8").partition("## Scenarios")[2].partition("\n## ")[0]
    assert set(names(section)) >= set(SHIPPED)
