"""Table 1: sub-models for every kind of layer, counted in systems that are really laid out."""

from __future__ import annotations

from typing import Any

from dynsim.reproduce.study import Study
from dynsim.reproduce.table import Table
from dynsim.system.graph import Graph
from dynsim.system.layers import Attention, Conv, Dense, Layers
from dynsim.system.layout import Defaults, lay_out

DIM, COPIES = 9, 2


def table1(study: Study, seeds: int, quick: bool) -> list[Table]:
    """From a layer to subsystems."""
    table = Table(
        "table1",
        "From a layer to subsystems",
        "Pei & Wang, ICML 2023, Table 1",
        f"Sub-models of layers as laid out here, with d = {DIM} and H = {COPIES}. Print has 2k P(N_in + N_out) for a "
        "convolution, twice what its own equation and Table 2 need; P(T) of attention is the width of a token here, so "
        "that sequences may have any length, and its second pair of subsystems is the projection of what is mixed.",
        ("layer", "shape", "printed form", "printed", "subsystems", "sub-models", "numbers", "weights"),
    )
    for name, layer, shape, printed, count, weights in _examples():
        graph, _ = lay_out([layer], shape, Defaults(COPIES, DIM))
        numbers = graph.particles * DIM + sum(graph.copies_of(k.source) + 1 for k in graph.links)
        table.rows.append((name, _shown(shape), printed, count, _subsystems(graph), graph.size, numbers, weights))
    return [table]


def _examples() -> list[tuple[str, Layers, tuple[int, ...], str, int, int]]:
    """(name, layer, shape of what comes in, printed form, sub-models in print, weights that it replaces)."""
    conv: dict[str, Any] = {"op": "conv", "channels": 16, "kernel": 5}
    return [
        ("dense 784 to 512", Dense("dense", 512), (784,), "P(m) + P(n)", 784 + 512, 784 * 512),
        ("conv 5 x 5, 6 to 16, 2k", Conv(**conv), (14, 14, 6), "2k P(N_in + N_out)", 10 * 22, 25 * 96),
        ("conv 5 x 5, 6 to 16, k²", Conv(**conv, policy="k2"), (14, 14, 6), "k² P(N_in + N_out)", 25 * 22, 25 * 96),
        (
            "attention, d_k 64, d_v 64",
            Attention("attention", 4, 64, 64),
            (16, 64),
            "P(2 d_k + d_v) + P(T)",
            3 * 64 + 64,
            64 * 192 + 64 * 64,
        ),
    ]


def _subsystems(graph: Graph) -> str:
    sizes = [s.size for s in graph.subsystems]
    if len(sizes) > 4:
        return f"{len(sizes) // 2} (P({sizes[0]}) + P({sizes[1]}))"
    return " + ".join(f"P({n})" for n in sizes)


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
