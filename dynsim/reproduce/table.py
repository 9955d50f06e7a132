"""A reproduced table: the paper's numbers beside ours, as Markdown, JSON and on a screen."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynsim.files import write_atomically
from dynsim.reproduce.study import Sample


@dataclass
class Table:
    """Rows of cells under columns.

    Attributes
    ----------
    name, title : of the table. source : paper and table. about : what was done, and what is not as in print.
    cells : a number, a Sample (mean and deviation over seeds), text, or None for what does not exist.
    verdict : sentences on what was reached and what not.
    """

    name: str
    title: str
    source: str
    about: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    verdict: list[str] = field(default_factory=list)

    def texts(self) -> list[list[str]]:
        """Every cell as a person reads it."""
        return [[_text(c) for c in row] for row in self.rows]

    def markdown(self) -> str:
        """The table with its title and verdict."""
        lines = [f"## {self.title}", "", f"{self.source}. {self.about}", ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.texts()]
        return "\n".join([*lines, "", *(f"- {v}" for v in self.verdict)]).rstrip() + "\n"

    def plain(self) -> dict[str, Any]:
        """The same as JSON has it: samples with their values."""
        rows = [dict(zip(self.columns, map(_plain, row))) for row in self.rows]
        return {"name": self.name, "title": self.title, "source": self.source, "rows": rows, "verdict": self.verdict}

    def save(self, folder: Path) -> list[Path]:
        """`NAME.md` and `NAME.json`."""
        paths = [folder / f"{self.name}.md", folder / f"{self.name}.json"]
        contents = self.markdown(), json.dumps(self.plain(), indent=2) + "\n"
        for path, content in zip(paths, contents):
            write_atomically(path, content.encode())
        return paths

    def show(self) -> None:
        """Print it."""
        from rich.console import Console
        from rich.table import Table as Drawn

        console = Console()
        drawn = Drawn(title=self.title, title_justify="left", caption=self.source, caption_justify="left")
        for k, column in enumerate(self.columns):
            drawn.add_column(column, justify="left" if k == 0 else "right")
        for row in self.texts():
            drawn.add_row(*row)
        console.print(drawn)
        console.print(self.about, highlight=False)
        for sentence in self.verdict:
            console.print(f"- {sentence}", highlight=False)


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _plain(cell: Any) -> Any:
    if isinstance(cell, Sample):
        return {"mean": cell.mean, "deviation": cell.deviation, "values": list(cell.values)}
    return cell


def paired(ours: Sample, theirs: Sample) -> Sample:
    """Differences seed by seed, in the unit of the samples."""
    return Sample(tuple(a - b for a, b in zip(ours.values, theirs.values, strict=True)))


def judged(what: str, reached: Sample, goal: float, unit: str = " %") -> str:
    """A sentence on a goal: whether the mean reaches it."""
    word = "reached" if reached.mean >= goal else "not reached"
    return f"{what}: {reached}{unit}; goal {goal:.2f}{unit}: {word}."
