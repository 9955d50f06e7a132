"""What every layer of a scenario is: frozen data, with no keys but its own."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le

Count = Annotated[int, Gt(0), Le(10**6)]


@dataclass(frozen=True)
class Layer:
    """Base of all layers; frozen, no keys but their own."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """With what stands below each field: Pydantic's own way reads all sources at every start, for whoever asks."""
        schema = handler.resolve_ref_schema(handler(core))
        for name, text in _said_below(cls).items():
            schema["properties"][name]["description"] = text
        return schema


def _said_below(cls: type) -> dict[str, str]:
    """Field -> the string under it in the source."""
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    return {
        ast.unparse(field.target): inspect.cleandoc(ast.literal_eval(below.value))
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }
