"""What every layer of a scenario is: frozen data, with no keys but its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le

Count = Annotated[int, Gt(0), Le(10**6)]


@dataclass(frozen=True)
class Layer:
    """Base of all layers; frozen, no keys but their own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}
