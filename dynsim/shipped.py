"""Where the files that come with dynsim lie: beside the package in a checkout, inside it once installed."""

from __future__ import annotations

from pathlib import Path

from dynsim.errors import DataError

_PACKAGE = Path(__file__).resolve().parent


def data_folder() -> Path:
    """The folder that holds `mnist/`.

    Raises
    ------
    DataError : the folder is in neither place.
    """
    return _shipped("data")


def scenario_folder() -> Path:
    """The folder that holds the scenarios, one TOML file each.

    Raises
    ------
    DataError : the folder is in neither place.
    """
    return _shipped("scenarios")


def shipped_scenarios() -> list[tuple[str, str]]:
    """(name, first line of its comment) of every shipped scenario."""
    files = sorted(scenario_folder().glob("*.toml"))
    return [(p.stem, (head_comment(p.read_text(encoding="utf-8")).splitlines() or [""])[0]) for p in files]


def head_comment(text: str) -> str:
    """The comment lines at the head of a TOML text, without their marks."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines)


def _shipped(name: str) -> Path:
    # pyproject.toml tells a checkout from a site-packages folder in which another package put a "data".
    checkout = _PACKAGE.parent / name
    if checkout.is_dir() and (_PACKAGE.parent / "pyproject.toml").is_file():
        return checkout
    installed = _PACKAGE / "_shipped" / name
    if installed.is_dir():
        return installed
    raise DataError(
        f"the folder {name!r} that comes with dynsim is missing",
        allowed=f"{checkout} or {installed}",
        hint="install dynsim again",
    )
