"""What CuPy offers to NumPy's protocols; where CuPy is, `python -m tests.cupy_offers` writes it into cupy_14.json.

CuPy imports without a card, but every array needs one.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

MANY = "*"  # parameters that a function takes as many as there are of, or names in its body


def offered(cupy: Any) -> dict[str, Any]:
    """{"version", "functions": name -> parameters, "ufuncs": names, "methods": name of an array's -> parameters}."""
    functions, ufuncs = {}, []
    for space, numpy, own in (("", np, cupy), ("linalg.", np.linalg, cupy.linalg)):
        for name in sorted(vars(own)):
            theirs, mine = getattr(numpy, name, None), getattr(own, name)
            if name.startswith("_") or theirs is None or mine is theirs or isinstance(mine, type) or not callable(mine):
                continue
            if isinstance(theirs, np.ufunc):
                ufuncs.append(space + name)
            elif callable(theirs) and (parameters := _parameters(mine)) is not None:
                functions[space + name] = parameters
    methods = {n: _of_method(n, getattr(cupy.ndarray, n)) for n in dir(cupy.ndarray) if not n.startswith("_")}
    known = {n: parameters for n, parameters in methods.items() if parameters is not None}
    return {"version": cupy.__version__, "functions": functions, "ufuncs": sorted(ufuncs), "methods": known}


def _parameters(function: Any) -> str | None:
    """Names of the parameters of a function that Python knows; None of a compiled one."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return " ".join(MANY if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) else p.name for p in found)


def _of_method(name: str, method: Any) -> str | None:
    """The same of an array's method, which begins its documentation with its signature."""
    first = (getattr(method, "__doc__", None) or "").partition("\n")[0]
    said = re.match(rf"_ndarray_base\.{name}\(self(?:, )?(.*?)\)(?: ->|$)", first)
    if not callable(method) or said is None:
        return None
    names = [part.partition("=")[0].split() for part in said[1].split(", ") if part]
    return " ".join(MANY if words[-1].startswith("*") else words[-1] for words in names)


if __name__ == "__main__":
    import cupy

    Path(__file__).with_name("cupy_14.json").write_text(json.dumps(offered(cupy), indent=0) + "\n")
