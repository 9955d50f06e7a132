"""Errors: one base, each also a standard exception, each saying where, what was given, what is allowed, what to try."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any


class DynsimError(Exception):
    """Base of every error that dynsim raises on purpose.

    Parameters
    ----------
    what : the problem in one sentence.
    where : file, row, key or call that it concerns.
    given : the offending value.
    allowed : what would have been accepted.
    hint : what to try next; where it `means`, what the key at `where` stands for.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        given: Any = None,
        allowed: str | None = None,
        hint: str | None = None,
        means: bool = False,
    ) -> None:
        self.what, self.where, self.given, self.allowed, self.hint = what, where, given, allowed, hint
        self.means = means
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.given is not None:
            lines.append(f"  given:   {self.given}".replace("\n", "\n" + 11 * " "))
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.hint:
            lines.append(f"  {'means:' if self.means else 'try:':<9}{self.hint}")
        return "\n".join(lines)


class ScenarioError(DynsimError, ValueError):
    """A scenario that says something illegal; `problems` lists every one of them."""

    def __init__(self, what: str, *, problems: tuple[DynsimError, ...] = (), **context: Any) -> None:
        self.problems = problems
        super().__init__(what, **context)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *("\n".join("  " + s for s in str(p).split("\n")) for p in self.problems)])


class OptionError(DynsimError, ValueError):
    """A name or value that is not among the legal ones."""


class DataError(DynsimError, ValueError):
    """A dataset that cannot be read or used."""


class ShapeError(DynsimError, ValueError):
    """Arrays whose shapes do not fit each other."""


class DivergenceError(DynsimError, ArithmeticError):
    """NaN, Inf or a runaway particle."""


class DeviceError(DynsimError, RuntimeError):
    """A device that is not here or cannot do what was asked."""


class ResourceError(DynsimError, MemoryError):
    """A scenario that does not fit into this machine."""


class RunFolderError(DynsimError, OSError):
    """A run folder that exists already, is missing or is not one."""


class FileFormatError(DynsimError, ValueError):
    """A file whose content is not what its name or header promises."""


# What people call something that has another name here, and not one like it.
ALSO_CALLED = {"gpu": "cuda"}


def did_you_mean(given: str, options: list[str] | tuple[str, ...]) -> str | None:
    """The closest legal name as a hint, or None."""
    called = ALSO_CALLED.get(str(given).lower())
    close = [called] if called in options else get_close_matches(str(given), list(options), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else None


def unknown(kind: str, given: str, options: list[str] | tuple[str, ...], where: str | None = None) -> OptionError:
    """The error for a name that no registry knows."""
    return OptionError(
        f"unknown {kind}",
        where=where,
        given=repr(given),
        allowed=", ".join(options),
        hint=did_you_mean(given, options),
    )
