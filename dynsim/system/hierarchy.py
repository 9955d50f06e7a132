"""Eq. (32)-(33): a system of systems of subsystems, and the flat graph that it is equal to.

The principle of hierarchical structures says that a tree of systems "is equivalent to a linearly hierarchical structure
containing a set of subsystems". A `Block` is a node of such a tree: its parts are subsystems or further blocks, its
links join parts of its own, and a link to a block is one to the block's first or last part. `flattened` is the right
side of the statement, `evaluated` the left one: it runs through the tree and never sees the graph as a whole.

However, print argues with time derivatives and a "Lie algebra homomorphism" that it does not give; what can be computed
is what is checked, signals and forces of the two, equal to rounding (tests/validation/test_hierarchy.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from dynsim.errors import ShapeError
from dynsim.system.graph import Graph, Link, Subsystem

Signals = dict[str, np.ndarray]


@dataclass(frozen=True)
class Block:
    """A system whose parts are subsystems or systems.

    parts : in the order in which signals pass them; the first receives what the block is sent, the last emits for it.
    links : between parts of this block, by their own names, without delay. None: each part feeds the next.

    Raises ShapeError for a block without parts, and for a link that does not lead from a part to a later one.
    """

    name: str
    parts: tuple[Subsystem | Block, ...]
    links: tuple[Link, ...] | None = None

    def __post_init__(self) -> None:
        if not self.parts:
            raise ShapeError("a block without parts", where=self.name or "the tree")
        place = {part.name: k for k, part in enumerate(self.parts)}
        for link in self.joined:
            if link.delay or not place.get(link.source, len(place)) < place.get(link.target, -1):
                raise ShapeError("no link from a part of the block to a later one", where=self.name, given=link.name)

    @property
    def joined(self) -> tuple[Link, ...]:
        """The links between the parts."""
        following = tuple(Link(a.name, b.name) for a, b in zip(self.parts, self.parts[1:]))
        return following if self.links is None else self.links

    def end(self, last: bool) -> str:
        """Name, within the block, of the subsystem that receives first or emits last."""
        part = self.parts[-1 if last else 0]
        return f"{part.name}/{part.end(last)}" if isinstance(part, Block) else part.name

    def flat(self, link: Link, place: str = "") -> Link:
        """A link of this block between subsystems, by their names in the flat graph; the block stands at a place."""
        parts = {part.name: part for part in self.parts}
        ends = []
        for name, last in ((link.source, True), (link.target, False)):
            part = parts[name]
            ends.append(f"{place}{name}/{part.end(last)}" if isinstance(part, Block) else f"{place}{name}")
        return replace(link, source=ends[0], target=ends[1])


def flattened(tree: Block, copies: int, dim: int) -> Graph:
    """The graph of Eq. (3) with every subsystem of the tree, named "block/subsystem" by its place in it.

    Raises ShapeError as `Graph` does.
    """
    subsystems, links = _spread_out(tree, "")
    return Graph(tuple(subsystems), tuple(links), copies, dim)


def _spread_out(tree: Block, place: str) -> tuple[list[Subsystem], list[Link]]:
    subsystems: list[Subsystem] = []
    links = [tree.flat(link, place) for link in tree.joined]
    for part in tree.parts:
        if isinstance(part, Block):
            inner = _spread_out(part, f"{place}{part.name}/")
            subsystems, links = subsystems + inner[0], links + inner[1]
        else:
            subsystems.append(replace(part, name=f"{place}{part.name}"))
    return subsystems, links


def evaluated(tree: Block, sent: np.ndarray, receive: Callable, emit: Callable, place: str = "") -> Signals:
    """Signals emitted by every subsystem, (batch, N), part by part: a block within a block is evaluated by itself.

    Parameters
    ----------
    sent : what the first part receives, (batch, N).
    receive : (link of the flat graph, emitted signals) -> its share of what its target receives.
    emit : (name in the flat graph, received signals) -> what that subsystem emits.
    """
    emitted: Signals = {}
    received = {tree.parts[0].name: sent}
    for part in tree.parts:
        here = f"{place}{part.name}"
        if isinstance(part, Block):
            emitted |= evaluated(part, received[part.name], receive, emit, f"{here}/")
        else:
            emitted[here] = emit(here, received[part.name])
        for link in tree.joined:
            if link.source == part.name:
                flat = tree.flat(link, place)
                share = receive(flat, emitted[flat.source])
                received[link.target] = received[link.target] + share if link.target in received else share
    return emitted


def nested(tables: Mapping, name: str = "") -> Block:
    """A tree from nested tables: {"a": 4, "b": {"c": 3, "d": 2}}, a number for a subsystem, a table for a block.

    Parts follow one another as they are written. Raises ShapeError for what is neither, or an empty table.
    """
    parts: list[Subsystem | Block] = []
    for key, value in tables.items():
        if isinstance(value, Mapping):
            parts.append(nested(value, key))
        elif isinstance(value, int) and value > 0:
            parts.append(Subsystem(key, value))
        else:
            raise ShapeError("neither a size nor a table", where=f"{name}/{key}".lstrip("/"), given=value)
    return Block(name, tuple(parts))
