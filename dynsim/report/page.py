"""The page itself: one HTML file without anything outside of it, light or dark as the reader's screen is."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from dynsim.report.verdicts import Verdict

OPENING = re.compile(r"However,|[A-Z][^.,:]{0,24}:")  # of a paragraph of a comment

STYLE = """
:root { color-scheme: light dark; --ground: #f4f6f9; --card: #ffffff; --ink: #1c2430; --dim: #667085;
  --line: #d8dde6; --accent: #0072b2; --good: #00855f; --bad: #b54708; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151c; --card: #1b1f27; --ink: #d7dce5; --dim: #98a2b3;
  --line: #343c4a; --accent: #56b4e9; --good: #1fc79a; --bad: #f0743e; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 12px; }
p { margin: 0 0 12px; max-width: 72ch; }
.dim, figcaption span, .unit { color: var(--dim); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.pairs { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.facts { display: grid; gap: 4px 20px; grid-template-columns: max-content 1fr; margin: 0; }
.facts dt { color: var(--dim); } .facts dd { margin: 0; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 16px 0; font-size: .9rem; }
a { color: var(--accent); }
.verdict { border-left: 4px solid var(--line); } .verdict.holds { border-left-color: var(--good); }
.verdict.fails { border-left-color: var(--bad); }
.verdict h3 { font-size: 1rem; margin: 0 0 4px; } .verdict p { margin: 0; }
.verdict .number { font-variant-numeric: tabular-nums; }
.verdict .note { font-size: .88rem; color: var(--dim); margin-top: 4px; }
.mark { font-size: .8rem; font-weight: 600; color: var(--dim); }
.holds .mark { color: var(--good); } .fails .mark { color: var(--bad); }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { margin-bottom: 6px; } figcaption span { font-size: .85rem; display: block; }
.narrow { max-width: 620px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; width: 100%; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } th:first-child, td:first-child { text-align: left; }
tbody tr:last-child td { border-bottom: 0; }
pre { overflow-x: auto; font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; margin: 12px 0 0; }
summary { cursor: pointer; }
@media print { body { background: none; } .card { break-inside: avoid; } }
""".strip()


@dataclass
class Page:
    """Sections are added from top to bottom; `html` is the whole file."""

    title: str
    _parts: list[str] = field(default_factory=list)
    _sections: list[tuple[str, str]] = field(default_factory=list)
    _head: str = ""

    def head(self, about: str, facts: Iterable[tuple[str, str]]) -> None:
        """What stands above everything."""
        rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts)
        said = "".join(f"<p>{escape(p)}</p>" for p in paragraphs(about))
        self._head = f'<h1>{escape(self.title)}</h1>{said}<div class="card"><dl class="facts">{rows}</dl></div>'

    def section(self, title: str, *parts: str, lead: str = "") -> None:
        """A section of parts made below; nothing where there are none."""
        if not any(parts):
            return
        anchor = f"s{len(self._sections) + 1}"
        self._sections.append((anchor, title))
        said = f"<p>{escape(lead)}</p>" if lead else ""
        self._parts.append(f'<section><h2 id="{anchor}">{escape(title)}</h2>{said}{"".join(parts)}</section>')

    @property
    def html(self) -> str:
        links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in self._sections)
        body = "\n".join([self._head, f"<nav>{links}</nav>", *self._parts])
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}: dynsim report</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
            f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        )


def figure(title: str, unit: str, alt: str, light: bytes, dark: bytes, narrow: bool = False) -> str:
    """A picture in both colours, of which the browser shows one."""
    sources = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in (light, dark)]
    return (
        f'<figure class="card{" narrow" if narrow else ""}"><figcaption><b>{escape(title)}</b> '
        f"<span>{escape(unit)}</span></figcaption><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{sources[1]}">'
        f'<img src="{sources[0]}" alt="{escape(alt)}"></picture></figure>'
    )


def paragraphs(about: str) -> list[str]:
    """The head comment of a scenario: its first line, then what begins with "Watch:", "However," and the like."""
    lines = [line.strip() for line in about.splitlines() if line.strip()]
    found: list[str] = lines[:1]
    for line in lines[1:]:
        if len(found) == 1 or OPENING.match(line):
            found.append(line)
        else:
            found[-1] += " " + line
    return found


def grid(parts: Sequence[str], pairs: bool = False) -> str:
    """Beside each other where there is room, two in a row if they are `pairs`."""
    return f'<div class="grid{" pairs" if pairs else ""}">{"".join(parts)}</div>' if parts else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers with their units in the column's name; None is a dash."""
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(text(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="card scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def verdict(v: Verdict) -> str:
    """Statement, number and note."""
    kind, word = {True: ("holds", "✓ as hoped"), False: ("fails", "✗ not as hoped"), None: ("", "measured")}[v.holds]
    return (
        f'<article class="card verdict {kind}"><span class="mark">{word}</span><h3>{escape(v.statement)}</h3>'
        f'<p class="number">{escape(v.number)}</p><p class="note">{escape(v.note)}</p></article>'
    )


def folded(title: str, content: str) -> str:
    """A long text that opens on a click."""
    return f'<details class="card"><summary>{escape(title)}</summary><pre>{escape(content)}</pre></details>'


def text(value: object) -> str:
    """A cell as a person reads it."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
