"""What JSON can hold: it has no NaN and no Infinity, which become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The same value, of dicts, lists and tuples, with null for every number that is not finite."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted key -> value of tables in tables."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
    return found


def text(value: Any, indent: int | None = 2) -> str:
    """The value as JSON that every reader takes."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)
